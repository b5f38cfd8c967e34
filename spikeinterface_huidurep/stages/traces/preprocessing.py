"""Preprocessing: from raw traces to band-passed traces in units of noise, without the channels that carry nothing."""

from __future__ import annotations

import logging
from dataclasses import asdict

import numpy as np
from spikeinterface.core import BaseRecording, get_channel_distances, get_random_data_chunks
from spikeinterface.preprocessing import scale
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment

from ...checks import check_finite
from ...parameters import DEFAULT_PARAMS
from ..device import CPU
from .bandpass import BandpassRecording
from .blanks import ENOUGH_CASES, blank_stretches, choose_blanking
from .centring import centred
from .filling import FilledRecording, SilencedRecording
from .gaps import choose_stillness, still_samples
from .noise import ENOUGH_CHANNELS
from .scaling import CLEAR_SPIKE, MAD_TO_STD, NoiseUnitsRecording, common_part, median_of_rows
from .segments import STRIDE, some_segments

logger = logging.getLogger("spikeinterface_huidurep")

N_CHUNKS = 20
# a common median puts an echo of each large spike on all channels, and whitening takes care of some shared noise: all
# of it is subtracted only where distant channels' noise has this correlation, elsewhere only in artefacts
SHARED_NOISE = 0.3
# in an artefact nearly all channels are beyond so many units of noise, as a peak is; the second is for probes shorter
# than the third (um): one neuron's spikes may reach all of such a probe, and are smaller than that
SPARED, SPARED_ON_SHORT, SHORT_UM = DEFAULT_PARAMS["detect_threshold"], 30.0, 300.0
# a channel whose blank share of the time is larger than the median channel's by this much is left out
MOST_BLANK = 0.2


def preprocess(
    recording: BaseRecording,
    *,
    apply_filter: bool = True,
    freq_min: float = 300.0,
    freq_max: float = 6000.0,
    apply_common_reference: bool = True,
    dead_channel_fraction: float = 0.2,
    seed: int = 0,
    device: str = CPU,
) -> BaseRecording | None:
    """
    Band-pass, subtract the common median and divide each channel by its noise, lazily.

    Parameters
    ----------
    recording : BaseRecording
        Raw or already filtered traces, any dtype, with or without gains.
    apply_filter : bool
        Whether to band-pass between `freq_min` and `freq_max`.
    freq_min, freq_max : float
        Edges of the pass band, Hz; `freq_max` is brought below the Nyquist frequency.
    apply_common_reference : bool
        Whether to subtract the median over channels, on 16 and more: where distant channels share noise, or in
        artefacts only.
    dead_channel_fraction : float
        Channels with less noise than this fraction of the median channel's are left out, named in the log.
    seed : int
        Chooses where the noise is measured.
    device : str
        Where the traces are filtered, as `compute_device` has it.

    Returns
    -------
    BaseRecording or None
        float32 traces, in units of noise (scaled median absolute deviation), of the channels that are alive, with the
        channel property "noise_level" (uV; the recording's unit without gains); None when no channel is alive.
    """
    traces, known = _without_gaps(recording, seed)
    moving = known.any(axis=1)
    if not moving.any():
        return None
    filled, gaps = traces, not known.all()
    known = _where(moving, known)
    traces, gains = _comparable(traces)
    if apply_filter:
        traces = _filtered(traces, freq_min, freq_max, device)
        traces = SilencedRecording(traces, filled) if gaps else traces
    else:
        traces = traces.astype("float32")
    sample = _where(moving, _random_traces(traces, seed))
    noise = _noise(sample, known)
    alive = _living_channels(traces, noise, dead_channel_fraction) & _mostly_there(traces, known)
    if not alive.any():
        return None
    if not alive.all():
        traces, noise = traces.select_channels(traces.channel_ids[alive]), noise[alive]
        sample, known = sample[:, alive], known[:, alive]
    referenced = apply_common_reference and traces.get_num_channels() >= ENOUGH_CHANNELS
    spared = _spared(traces, sample, noise) if referenced else None
    if spared is not None and (common := common_part(sample, spared, 0)).any():
        sample = sample - common[:, None]
        noise = _noise(sample, known)
    _log_quiet_channels(traces, np.abs(sample).max(axis=0) / noise)
    # what was not filtered may have an offset
    offset = np.zeros(len(noise)) if apply_filter else -np.median(sample, axis=0) / noise
    scaled = NoiseUnitsRecording(traces, (1 / noise).tolist(), offset.tolist(), spared)
    scaled.set_property("noise_level", noise * gains[recording.ids_to_indices(scaled.channel_ids)])
    return scaled


def _filtered(recording, freq_min, freq_max, device):
    return BandpassRecording(recording, freq_min, min(freq_max, 0.95 * recording.sampling_frequency / 2), device)


def _comparable(recording):
    """The traces in one unit and with one sign: in uV where gains differ or are negative; each channel's gain to uV."""
    gains = recording.get_channel_gains()
    if gains is None:
        return recording, np.ones(recording.get_num_channels(), dtype="float32")
    gains = np.asarray(gains)
    if np.all(gains == gains[0]) and gains[0] >= 0:
        return recording, gains
    return scale(recording, gain=gains.tolist(), dtype="float32"), np.ones(len(gains), dtype="float32")


def _without_gaps(recording, seed):
    """
    Signed, finite traces without gaps and blanks; which values of `_random_traces` are the recording's own, bool.
    """
    traces = recording
    if traces.get_dtype().kind == "f":
        traces = FiniteRecording(traces)
    raw = given = _random_traces(traces, seed)
    near = centred(traces, raw)
    if near is not traces:
        traces, raw = near, _random_traces(near, seed)
    stillness = choose_stillness(raw, traces.sampling_frequency)
    moving = ~still_samples(raw, stillness)
    known = np.repeat(moving[:, None], raw.shape[1], axis=1)
    if not moving.any():
        logger.warning("the recording stands still on all channels")
        return traces, known
    baseline = median_of_rows(np.ascontiguousarray(_where(moving, raw)[::STRIDE].T))
    # differences are exact, and so zero is, too
    zero = [
        int(now) - int(then) if raw.dtype.kind == "i" else float(now - then)
        for now, then in zip(raw[0], given[0], strict=True)
    ]
    blanking = choose_blanking(_where(moving, raw), zero, traces.sampling_frequency)
    blanks = blank_stretches(raw, blanking)
    for channel, blank in blanks.items():
        known[blank, channel] = False
        own = raw[known[:, channel], channel]
        if len(own):
            baseline[channel] = np.median(own)
    lost = {channel: 1 - known[moving, channel].mean() for channel in blanks}
    if lost:
        worst = max(lost, key=lost.__getitem__)
        logger.info(
            "blanks on %d channel(s) are filled, up to %.1f %% of the time (channel %s)",
            len(lost), 100 * lost[worst], recording.channel_ids[worst],
        )  # fmt: skip
    return FilledRecording(traces, baseline.tolist(), asdict(stillness), asdict(blanking)), known


def _where(chosen: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values[chosen]`, without a copy where all are chosen: of a large probe it is some hundred megabytes."""
    return values if chosen.all() else values[chosen]


def _random_traces(recording: BaseRecording, seed: int) -> np.ndarray:
    """A few seconds of traces from all over the recording, (n_samples, n_channels)."""
    chunk_size = max(1, min(int(recording.sampling_frequency) // 4, recording.get_total_samples() // 4))
    chosen = some_segments(recording, N_CHUNKS, chunk_size, seed)
    chunks_per_segment = max(1, N_CHUNKS // len(chosen))
    if len(chosen) < recording.get_num_segments():
        recording = recording.select_segments(chosen)
    return get_random_data_chunks(
        recording, num_chunks_per_segment=chunks_per_segment, chunk_size=chunk_size, concatenated=True, seed=seed
    )


def _noise(sample: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Scaled median absolute deviation of each channel, (n_channels,), of the values (n_samples, n_channels) known."""
    if len(sample) < ENOUGH_CASES * STRIDE:
        return np.zeros(sample.shape[1])
    # a row a channel: several times as fast as medians down the columns
    rows, known = np.ascontiguousarray(sample[::STRIDE].T), known[::STRIDE].T
    rows -= median_of_rows(rows)[:, None]
    noise = MAD_TO_STD * median_of_rows(np.abs(rows))
    # a channel that is blank for half of the time has a median deviation of nothing
    for channel in np.flatnonzero(~known.all(axis=1)):
        own = sample[::STRIDE, channel][known[channel]]
        noise[channel] = MAD_TO_STD * np.median(np.abs(own - np.median(own))) if len(own) >= ENOUGH_CASES else 0.0
    return noise


def _living_channels(recording: BaseRecording, noise: np.ndarray, fraction: float) -> np.ndarray:
    reference = np.median(noise[noise > 0]) if np.any(noise > 0) else 0.0
    alive = noise > fraction * reference
    if reference == 0.0:
        alive[:] = False
    if not alive.all():
        silent = ", ".join(str(c) for c in recording.channel_ids[~alive])
        logger.warning("%d silent channel(s) left out: %s", (~alive).sum(), silent)
    return alive


def _mostly_there(recording: BaseRecording, known: np.ndarray) -> np.ndarray:
    """
    Channels that are not blank for much longer than others, as those are that die in the middle.

    A neuron would have one waveform with them and another without them.
    """
    blank = 1 - known.mean(axis=0)
    there = blank <= np.median(blank) + MOST_BLANK
    if not there.all():
        lost = ", ".join(f"{recording.channel_ids[c]} ({100 * blank[c]:.0f} %)" for c in np.flatnonzero(~there))
        logger.warning("%d channel(s) that stand still for a part of the time left out: %s", (~there).sum(), lost)
    return there


def _spared(recording: BaseRecording, sample: np.ndarray, noise: np.ndarray) -> float:
    """What `NoiseUnitsRecording` takes under this name."""
    if _noise_is_shared(recording, sample):
        return 0.0
    short = np.ptp(recording.get_channel_locations(), axis=0).max() < SHORT_UM
    return (SPARED_ON_SHORT if short else SPARED) * float(np.median(noise))


def _noise_is_shared(recording: BaseRecording, sample: np.ndarray) -> bool:
    """
    Whether channels that are far from each other have noise in common; `sample` is (n_samples, n_channels).

    The correlation is that of Gaussian noise whose signs agree as often (Blomqvist 1950): large spikes and artefacts
    weigh no more than other samples.
    """
    rows = np.ascontiguousarray(sample[::STRIDE].T)
    signs = np.sign(rows - median_of_rows(rows)[:, None])
    distances = get_channel_distances(recording)
    far = np.triu(distances >= np.median(distances[distances > 0]), 1)
    correlation = float(np.sin(0.5 * np.pi * np.corrcoef(signs)[far]).mean())
    logger.info("distant channels' noise has a correlation of %.2f", correlation)
    return correlation >= SHARED_NOISE


def _log_quiet_channels(recording, largest):
    """Name the channels that have noise but no spike: none of their samples stands out while others' do."""
    quiet = (largest < CLEAR_SPIKE) & (np.median(largest) > 1.5 * CLEAR_SPIKE)
    if quiet.any():
        names = ", ".join(str(channel) for channel in recording.channel_ids[quiet])
        logger.info("%d nearly silent channel(s), kept: %s", quiet.sum(), names)


class FiniteRecording(BasePreprocessor):
    """
    The recording itself, but reading NaN or infinite values is a ValueError that says where they are.

    A filter spreads one such value over a whole chunk, in which no peak would be found, silently.
    """

    name = "finite"

    def __init__(self, recording: BaseRecording):
        BasePreprocessor.__init__(self, recording)
        for segment in recording.segments:
            self.add_recording_segment(_FiniteSegment(segment))
        self._kwargs = dict(recording=recording)


class _FiniteSegment(BasePreprocessorSegment):
    def get_traces(self, start_frame, end_frame, channel_indices):
        traces = self.parent_recording_segment.get_traces(start_frame, end_frame, channel_indices)
        check_finite(traces, start_frame or 0)
        return traces
