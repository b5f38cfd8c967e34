"""Checks of the input, made before anything is written."""

from __future__ import annotations

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.time_series_tools import get_random_sample_slices

# the templates' and the encoder's windows must fit several times
MIN_DURATION_S = 0.05
CHECKED_CHUNKS = 10


class BadTracesError(ValueError):
    """The traces have values with which nothing can be sorted."""


def check_recording(recording: BaseRecording) -> None:
    """
    Refuse a recording that cannot be sorted, in one sentence.

    Raises
    ------
    ValueError
        No channels, no probe or coinciding channel locations, no finite sampling frequency, too short, complex or
        not finite traces (looked for in random stretches; each later chunk is checked when it is read).
    """
    if not isinstance(recording, BaseRecording):
        raise ValueError(f"recording must be a SpikeInterface recording, not {type(recording).__name__}.")
    if recording.get_num_channels() == 0:
        raise ValueError("The recording has no channels: there is nothing to sort.")
    _check_locations(recording)
    rate = recording.sampling_frequency
    if not np.isfinite(rate) or rate < 5000:
        raise ValueError(f"The sampling frequency is {rate} Hz; spikes need at least 5000 Hz.")
    shortest = min(recording.get_num_samples(i) for i in range(recording.get_num_segments()))
    if shortest < MIN_DURATION_S * rate:
        raise ValueError(
            f"A segment of the recording has {shortest} samples ({1000 * shortest / rate:.1f} ms), which is shorter "
            f"than the {1000 * MIN_DURATION_S:.0f} ms that the spikes' waveforms and the filter need."
        )
    _check_traces(recording)


def _check_locations(recording):
    if not recording.has_probe():
        raise ValueError(
            "The recording has no probe: set one with recording.set_probe(...), the sorter needs the channel locations."
        )
    locations = np.asarray(recording.get_channel_locations(), dtype=float)
    if not np.all(np.isfinite(locations)):
        raise ValueError("Some channel locations are not finite numbers: check the probe.")
    groups = recording.get_channel_groups()
    for group in np.unique(groups):
        here = locations[groups == group]
        _, counts = np.unique(np.round(here, 3), axis=0, return_counts=True)
        if np.any(counts > 1):
            raise ValueError(
                f"{int(counts.max())} channels share one location: give every channel of a shank its own location in "
                "the probe, or separate shanks by the 'group' property."
            )


def _check_traces(recording):
    kind = np.dtype(recording.get_dtype()).kind
    if kind not in "iuf":
        raise ValueError(f"The traces are of type {recording.get_dtype()}; they must be integers or real numbers.")
    if kind != "f":
        return
    shortest = min(recording.get_num_samples(i) for i in range(recording.get_num_segments()))
    chunk_size = min(int(recording.sampling_frequency), shortest - 1)
    slices = get_random_sample_slices(
        recording, num_chunks_per_segment=CHECKED_CHUNKS, chunk_size=max(chunk_size, 1), seed=0
    )
    for segment_index, start, end in slices:
        check_finite(recording.get_traces(segment_index=segment_index, start_frame=start, end_frame=end), start)


def check_finite(traces: np.ndarray, start_frame: int) -> None:
    """Raise a BadTracesError that says where, if any value of the `traces`, from `start_frame` on, is not finite."""
    bad = ~np.isfinite(traces)
    if bad.any():
        sample, channel = np.argwhere(bad)[0]
        raise BadTracesError(
            f"The traces have NaN or infinite values (first at sample {start_frame + sample}, channel index "
            f"{channel}): replace them, for example by zeros, before sorting."
        )
