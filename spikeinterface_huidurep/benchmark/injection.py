"""Adds spikes to a recording: any sub-sample time, any waveform between two templates of a unit, any amplitude.

SpikeInterface's InjectDriftingTemplatesRecording takes the nearest simulated displacement and whole samples. A sorter
could learn these steps of the template, so time and displacement are interpolated here, at each spike's own time. The
same interpolation serves waveforms of any width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from spikeinterface.core import BaseRecording, BaseRecordingSegment

SPIKES_AT_ONCE = 1024  # spikes whose factors are drawn together: 0.3 MB on 64 channels
LEAST_FACTOR = 0.05  # of an electrode, 12 standard deviations below 1 at 8 %: no spike changes its sign


@dataclass(frozen=True)
class MovableTemplates:
    """Templates of units at one or several positions: displacements of the tissue, or widths of the waveform.

    Attributes
    ----------
    templates : np.ndarray, shape (n_units, n_positions, n_samples, n_channels), float32
        In uV, channels in the order of the probe; the trough is at sample `nbefore`.
    first_channel : np.ndarray, shape (n_units,), int64
        Channel of the recording to which a unit's first channel belongs (may be negative; channels outside are cut).
    positions : np.ndarray, shape (n_positions,)
        Evenly spaced; um for displacements, factors for widths.
    nbefore : int
    """

    templates: np.ndarray
    first_channel: np.ndarray
    positions: np.ndarray
    nbefore: int


@dataclass(frozen=True)
class ElectrodeFactors:
    """A factor of each spike on each electrode, all independent, of mean 1.

    They are drawn where they are needed, a block of spikes at a time: those of a long recording on many electrodes
    would fill the memory.

    Attributes
    ----------
    std : float
        Standard deviation.
    n_electrodes : int
    seed : int
    """

    std: float
    n_electrodes: int
    seed: int

    def of(self, first: int, stop: int) -> np.ndarray:
        """Factors of the spikes `first` to `stop`, (stop - first, n_electrodes) float32, the same in any call."""
        blocks = range(first // SPIKES_AT_ONCE, -(-stop // SPIKES_AT_ONCE))
        factors = [self._block(block) for block in blocks] or [np.ones((0, self.n_electrodes), dtype=np.float32)]
        start = blocks.start * SPIKES_AT_ONCE
        return np.concatenate(factors)[first - start : stop - start]

    def _block(self, block: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, block])
        drawn = rng.standard_normal((SPIKES_AT_ONCE, self.n_electrodes), dtype=np.float32)
        return np.maximum(1 + np.float32(self.std) * drawn, np.float32(LEAST_FACTOR))


@dataclass(frozen=True)
class SpikesToAdd:
    """Spikes to add to a recording.

    Attributes
    ----------
    time : np.ndarray, shape (n_spikes,), float64
        In samples, sorted.
    unit_index : np.ndarray, shape (n_spikes,), int64
    amplitude : np.ndarray, shape (n_spikes,), float32
        Factor on the template.
    position : np.ndarray, shape (n_spikes,), float64
        Which of the unit's templates, as in :attr:`MovableTemplates.positions`.
    electrode_factors : ElectrodeFactors or None
        Of the recording's electrodes.
    """

    time: np.ndarray
    unit_index: np.ndarray
    amplitude: np.ndarray
    position: np.ndarray
    electrode_factors: ElectrodeFactors | None = None


class _Spikes(NamedTuple):
    """Spikes between two templates of their unit: `step_weight` is that of template `step` + 1, all (n,)."""

    time: np.ndarray
    unit_index: np.ndarray
    amplitude: np.ndarray
    step: np.ndarray
    step_weight: np.ndarray


@njit(cache=True, nogil=True)
def _add_spikes(traces, start_frame, spikes, factors, templates, first_channel, nbefore):  # pragma: no cover - compiled
    """Add spikes to `traces` (samples, channels); cubic Lagrange interpolation in time, linear between templates.

    `factors` (n or 1, channels) float32: of each spike on each channel, or one row for all spikes.
    """
    n_samples, n_channels = templates.shape[2], templates.shape[3]
    for i in range(spikes.time.size):
        frame = int(np.floor(spikes.time[i]))
        x = 1.0 - (spikes.time[i] - frame)  # template is read x samples after position s - 1
        weights = (
            -x * (x - 1) * (x - 2) / 6,
            (x + 1) * (x - 1) * (x - 2) / 2,
            -(x + 1) * x * (x - 2) / 2,
            (x + 1) * x * (x - 1) / 6,
        )
        unit = spikes.unit_index[i]
        row = i if factors.shape[0] > 1 else 0
        channel_from = max(0, -first_channel[unit])
        channel_to = min(n_channels, traces.shape[1] - first_channel[unit])
        low = spikes.step[i]
        high = min(low + 1, templates.shape[1] - 1)
        amplitude, weight = spikes.amplitude[i], spikes.step_weight[i]
        gain_low, gain_high = amplitude * (1 - weight), amplitude * weight
        for s in range(n_samples + 1):
            position = frame - nbefore + s - start_frame
            if position < 0 or position >= traces.shape[0]:
                continue
            for k in range(4):
                source = s - 2 + k
                if source < 0 or source >= n_samples:
                    continue
                w_low, w_high = np.float32(weights[k] * gain_low), np.float32(weights[k] * gain_high)
                for c in range(channel_from, channel_to):
                    channel = c + first_channel[unit]
                    traces[position, channel] += factors[row, channel] * (
                        w_low * templates[unit, low, source, c] + w_high * templates[unit, high, source, c]
                    )


class InjectMovingSpikes(BaseRecording):
    """A recording with spikes added to it.

    Parameters
    ----------
    parent_recording : BaseRecording
        Recording in uV, float32, of one segment.
    templates : MovableTemplates
    spikes : SpikesToAdd
    """

    def __init__(self, parent_recording: BaseRecording, templates: MovableTemplates, spikes: SpikesToAdd):
        BaseRecording.__init__(
            self, parent_recording.sampling_frequency, parent_recording.channel_ids, np.dtype("float32")
        )
        parent_recording.copy_metadata(self)
        self.add_recording_segment(_InjectMovingSpikesSegment(parent_recording.segments[0], templates, spikes))
        self._serializability = {"json": False, "pickle": False, "memory": True}
        self._kwargs = {"parent_recording": parent_recording, "templates": templates, "spikes": spikes}


class _InjectMovingSpikesSegment(BaseRecordingSegment):
    def __init__(self, parent_segment, templates: MovableTemplates, spikes: SpikesToAdd):
        BaseRecordingSegment.__init__(self, **parent_segment.get_times_kwargs())
        self.parent_segment, self.templates = parent_segment, templates
        known = templates.positions
        if known.size > 1:
            position = (spikes.position - known[0]) / (known[1] - known[0])
            position = np.clip(position, 0, known.size - 1)
        else:
            position = np.zeros(spikes.time.size)
        step = np.floor(position).astype(np.int64)
        self.spikes = _Spikes(spikes.time, spikes.unit_index, spikes.amplitude, step, position - step)
        self.electrode_factors = spikes.electrode_factors

    def get_num_samples(self) -> int:
        return self.parent_segment.get_num_samples()

    def get_traces(self, start_frame=None, end_frame=None, channel_indices=None):
        start_frame = 0 if start_frame is None else start_frame
        end_frame = self.get_num_samples() if end_frame is None else end_frame
        traces = np.array(self.parent_segment.get_traces(start_frame, end_frame, slice(None)), dtype=np.float32)
        reach = self.templates.templates.shape[2] + 2
        low, high = np.searchsorted(self.spikes.time, [start_frame - reach, end_frame + reach])
        if self.electrode_factors is None:
            factors = np.ones((1, traces.shape[1]), dtype=np.float32)
        else:
            factors = self.electrode_factors.of(int(low), int(high))
        _add_spikes(
            traces,
            start_frame,
            _Spikes(*(values[low:high] for values in self.spikes)),
            factors,
            self.templates.templates,
            self.templates.first_channel,
            self.templates.nbefore,
        )
        return traces if channel_indices is None else traces[:, channel_indices]
