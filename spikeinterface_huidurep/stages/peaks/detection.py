"""Peak detection: where the traces look like a spike, over time and over channels."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d
from spikeinterface.core import BaseRecording, get_channel_distances
from spikeinterface.core.base import base_peak_dtype
from spikeinterface.core.core_tools import ms_to_samples
from spikeinterface.core.node_pipeline import PeakDetector
from spikeinterface.sortingcomponents.peak_detection import locally_exclusive
from spikeinterface.sortingcomponents.peak_detection.locally_exclusive import LocallyExclusivePeakDetector

from ...parameters import DEFAULT_PARAMS
from ..device import CPU
from ..traces.blanks import silent_values
from ..traces.chunks import run_nodes
from ..traces.scaling import ARTEFACT_MS
from ..traces.segments import away_from_ends
from .matched_filters import BestOutput, FilterBank, make_filter_bank

peak_dtype = np.dtype([*base_peak_dtype, ("score", "float32")])

# the channel of a peak is where the traces are largest, so far from where the filter's output is (with 60 um sorts of
# small units on two columns lose 0.05 of the accuracy), and in time as far as half of the sweep
CENTRE_UM = 40.0
# the trace under a spike's filter output, as a fraction of the threshold: slow waves are lower
LEAST_TRACE = 0.6
# after-waves of a spike: peaks near it in time and space that are smaller than this fraction of it
ECHO_MS, ECHO_UM, ECHO_FRACTION = ARTEFACT_MS, 100.0, 0.25

# SpikeInterface compiles its detector anew in every process: numba can keep it on the disk, where there is a folder to
# write to. Another SpikeInterface may have another detector.
with suppress(RuntimeError, AttributeError):
    locally_exclusive.detect_peaks_numba_locally_exclusive_on_chunk.enable_caching()


@dataclass(frozen=True)
class DetectionCriteria:
    """
    What counts as a peak.

    Attributes
    ----------
    peak_sign : {"neg", "pos", "both"}
        Which extrema are spikes.
    threshold : float
        In units of the noise of the filters' output.
    exclude_sweep_ms, radius_um : float
        Of the peaks within this time (ms) and distance (um) of each other only the largest is kept.
    n_time_courses : int
        How many time courses the filters have.
    """

    peak_sign: str = "neg"
    threshold: float = DEFAULT_PARAMS["detect_threshold"]
    exclude_sweep_ms: float = DEFAULT_PARAMS["exclude_sweep_ms"]
    radius_um: float = DEFAULT_PARAMS["detection_radius_um"]
    n_time_courses: int = 3


def detect_peaks(
    recording: BaseRecording,
    criteria: DetectionCriteria | None = None,
    *,
    margin_samples: int = 0,
    seed: int = 0,
    job_kwargs: dict | None = None,
    device: str = CPU,
) -> np.ndarray:
    """
    Find the peaks: extrema of a bank of matched filters beyond the threshold, one within the radius and the sweep.

    A spike lasts for many samples and shows on several channels; summed with the right weights they stand out of noise
    that hides each of them. The filters are a few time courses that the recording's own clear spikes have, times the
    footprints of sources at a few distances from the probe (those of SpikeInterface's "matched_filtering").

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    criteria : DetectionCriteria, optional
    margin_samples : int
        Peaks nearer than this to a segment's start or end are dropped: their waveform is cut.
    seed : int
        Chooses the stretches from which the filters are made.
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.
    device : str
        Where the filters are computed, as `compute_device` has it.

    Returns
    -------
    peaks : (n_peaks,) structured array
        `sample_index`, `channel_index`, `amplitude` (noise units) where the traces are largest; `segment_index`;
        `score`, the filters' output (positive, noise units). Sorted by segment and sample.
    """
    criteria = criteria or DetectionCriteria()
    bank = make_filter_bank(recording, peak_sign=criteria.peak_sign, n_time_courses=criteria.n_time_courses, seed=seed)
    node = MatchedFilterDetector(recording, bank, criteria, device=device)
    (peaks,) = run_nodes(recording, [node], job_name="detect peaks", job_kwargs=job_kwargs)
    inside = away_from_ends(recording, peaks, margin_samples, margin_samples)
    peaks = peaks[inside & (np.abs(peaks["amplitude"]) >= LEAST_TRACE * criteria.threshold)]
    order = np.lexsort((-peaks["score"], peaks["channel_index"], peaks["sample_index"], peaks["segment_index"]))
    peaks = peaks[order]
    # two outputs of the filters may have their spike at one place
    place = np.column_stack([peaks[name] for name in ("segment_index", "sample_index", "channel_index")])
    if len(peaks):
        peaks = peaks[np.append(True, (np.diff(place, axis=0) != 0).any(axis=1))]
    return peaks[~_echoes(peaks, recording)]


def _echoes(peaks, recording):
    """Peaks that are after-waves of a much larger one nearby, (n_peaks,) bool."""
    window = ms_to_samples(ECHO_MS, recording.sampling_frequency)
    near = get_channel_distances(recording) <= ECHO_UM
    # one axis for all segments
    sample = peaks["sample_index"] + peaks["segment_index"] * (np.max(peaks["sample_index"], initial=0) + 2 * window)
    echo = np.zeros(len(peaks), dtype=bool)
    for step in range(1, len(peaks)):
        close = np.flatnonzero(sample[step:] - sample[:-step] <= window)
        if len(close) == 0:
            break
        close = close[near[peaks["channel_index"][close], peaks["channel_index"][close + step]]]
        first, second = peaks["score"][close], peaks["score"][close + step]
        echo[close[first < ECHO_FRACTION * second]] = True
        echo[close[second < ECHO_FRACTION * first] + step] = True
    return echo


class MatchedFilterDetector(PeakDetector):
    """Pipeline node: SpikeInterface's locally exclusive detection on the output of a bank of matched filters."""

    def __init__(
        self,
        recording: BaseRecording,
        bank: FilterBank,
        criteria: DetectionCriteria,
        return_output: bool = True,
        device: str = CPU,
    ):
        PeakDetector.__init__(self, recording, return_output=return_output)
        self.recording, self.bank = recording, bank
        self.best_output = BestOutput(bank, recording.get_channel_locations(), criteria.peak_sign)
        self.locally_exclusive = LocallyExclusivePeakDetector(
            recording,
            peak_sign=criteria.peak_sign,
            detect_threshold=criteria.threshold,
            exclude_sweep_ms=criteria.exclude_sweep_ms,
            radius_um=criteria.radius_um,
            noise_levels=np.ones(recording.get_num_channels(), dtype="float32"),
        )
        self.on_device = None if device == CPU else self._on_device(criteria, device)
        self.reach = ms_to_samples(criteria.exclude_sweep_ms / 2, recording.sampling_frequency)
        # no blank may be so near to a peak: waveforms that were cut by blanks made a unit of their own
        self.whole = ms_to_samples(criteria.exclude_sweep_ms, recording.sampling_frequency)
        distances = get_channel_distances(recording)
        n_near = int((distances <= CENTRE_UM).sum(axis=1).max())
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :n_near]
        # a channel with fewer near ones than others stands in for those that it lacks
        near = np.take_along_axis(distances, nearest, axis=1) <= CENTRE_UM
        self.nearest = np.where(near, nearest, np.arange(len(distances))[:, None])

    def get_margin(self) -> int:
        return self.locally_exclusive.get_margin() + self.bank.time_courses.shape[1] + self.reach

    def get_dtype(self) -> np.dtype:
        return peak_dtype

    def compute(
        self, traces: np.ndarray, start_frame: int, end_frame: int, segment_index: int, max_margin: int
    ) -> tuple[np.ndarray]:
        found = self._found(traces) if self.on_device is None else self.on_device(traces)
        found = found[(found["sample_index"] >= self.reach) & (found["sample_index"] < len(traces) - self.reach)]
        peaks = np.zeros(len(found), dtype=peak_dtype)
        peaks["segment_index"] = segment_index
        peaks["score"] = np.abs(found["amplitude"])
        samples = found["sample_index"][:, None] + np.arange(-self.reach, self.reach + 1)
        channels = self.nearest[found["channel_index"]]
        around = traces[samples[:, :, None], channels[:, None, :]]
        size = around * np.sign(found["amplitude"])[:, None, None]
        sample, channel = np.divmod(
            size.reshape(len(found), samples.shape[1] * channels.shape[1]).argmax(axis=1), channels.shape[1]
        )
        rows = np.arange(len(found))
        peaks["sample_index"], peaks["channel_index"] = samples[rows, sample], channels[rows, channel]
        peaks["amplitude"] = around[rows, sample, channel]
        return (peaks[~self._cut(traces, peaks)],)

    def _found(self, traces):
        """The peaks of the filters' output, where that is largest."""
        (found,) = self.locally_exclusive.compute(self.best_output(traces), 0, len(traces), 0, 0)
        return found

    def _on_device(self, criteria, device):
        """As `_found`, on a device."""
        from .matched_filters_torch import Exclusion, PeaksOnDevice

        exclusive = self.locally_exclusive
        exclusion = Exclusion(
            criteria.peak_sign, criteria.threshold, exclusive.neighbours_mask, exclusive.exclude_sweep_size
        )
        return PeaksOnDevice(self.best_output, self.bank.footprints, exclusion, self._found, device)

    def _cut(self, traces, peaks):
        """Peaks with a blank in their waveform: a part of it is not known, and such waveforms resemble each other."""
        silent = silent_values(traces, self.recording.sampling_frequency)
        if not silent.any():
            return np.zeros(len(peaks), dtype=bool)
        near = maximum_filter1d(silent.view("uint8"), 2 * self.whole + 1, axis=0)
        return near[peaks["sample_index"], peaks["channel_index"]].astype(bool)
