"""Adds spikes to a recording: any sub-sample time, any displacement between two simulated ones, any amplitude.

SpikeInterface's InjectDriftingTemplatesRecording takes the nearest simulated displacement and whole samples. A sorter
could learn these steps of the template, so time and displacement are interpolated here, at each spike's own time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from spikeinterface.core import BaseRecording, BaseRecordingSegment


@dataclass(frozen=True)
class MovableTemplates:
    """Templates of units at one or several displacements.

    Attributes
    ----------
    templates : np.ndarray, shape (n_units, n_displacements, n_samples, n_channels), float32
        In uV, channels in the order of the probe; the trough is at sample `nbefore`.
    first_channel : np.ndarray, shape (n_units,), int64
        Channel of the recording to which a unit's first channel belongs (may be negative; channels outside are cut).
    displacement_um : np.ndarray, shape (n_displacements,)
        Evenly spaced.
    nbefore : int
    """

    templates: np.ndarray
    first_channel: np.ndarray
    displacement_um: np.ndarray
    nbefore: int


@dataclass(frozen=True)
class SpikesToAdd:
    """Spikes sorted by `time` (samples), with `unit_index`, `amplitude` (factor), `displacement_um` (n,)."""

    time: np.ndarray
    unit_index: np.ndarray
    amplitude: np.ndarray
    displacement_um: np.ndarray


class _Spikes(NamedTuple):
    """Spikes between two simulated displacements: `step_weight` is that of displacement `step` + 1, all (n,)."""

    time: np.ndarray
    unit_index: np.ndarray
    amplitude: np.ndarray
    step: np.ndarray
    step_weight: np.ndarray


@njit(cache=True, nogil=True)
def _add_spikes(traces, start_frame, spikes, templates, first_channel, nbefore):  # pragma: no cover - compiled
    """Add spikes to `traces` (samples, channels); cubic Lagrange interpolation in time, linear in displacement."""
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
                    traces[position, c + first_channel[unit]] += (
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
        displacement = templates.displacement_um
        if displacement.size > 1:
            position = (spikes.displacement_um - displacement[0]) / (displacement[1] - displacement[0])
            position = np.clip(position, 0, displacement.size - 1)
        else:
            position = np.zeros(spikes.time.size)
        step = np.floor(position).astype(np.int64)
        self.spikes = _Spikes(spikes.time, spikes.unit_index, spikes.amplitude, step, position - step)

    def get_num_samples(self) -> int:
        return self.parent_segment.get_num_samples()

    def get_traces(self, start_frame=None, end_frame=None, channel_indices=None):
        start_frame = 0 if start_frame is None else start_frame
        end_frame = self.get_num_samples() if end_frame is None else end_frame
        traces = np.array(self.parent_segment.get_traces(start_frame, end_frame, slice(None)), dtype=np.float32)
        reach = self.templates.templates.shape[2] + 2
        low, high = np.searchsorted(self.spikes.time, [start_frame - reach, end_frame + reach])
        _add_spikes(
            traces,
            start_frame,
            _Spikes(*(values[low:high] for values in self.spikes)),
            self.templates.templates,
            self.templates.first_channel,
            self.templates.nbefore,
        )
        return traces if channel_indices is None else traces[:, channel_indices]
