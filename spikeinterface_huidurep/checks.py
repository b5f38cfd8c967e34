"""Checks of the input, made before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.core_tools import element_is_path, extractor_dict_iterator
from spikeinterface.core.time_series_tools import get_random_sample_slices

from .shanks import UM_PER_UNIT, most_at_one_place, shank_locations

SHORTEST_SEGMENT_S = 0.05  # several windows of a template or of the encoder, and the filter's margin
CHECKED_CHUNKS = 10  # of 1 s in each segment: quick, also on a remote disk; the sort checks every chunk that it reads
CHECKED_SEGMENTS = 100
# The filter needs a margin of three periods on either side of a chunk: 30 ms at this frequency, which is shorter than
# the shortest segment. Spikes have hardly any power below it. Both change with the parameter time_scale.
LEAST_FREQUENCY_HZ = 100.0


class BadTracesError(ValueError):
    """The traces have values that cannot be sorted (NaN or infinite)."""


def check_recording(recording: BaseRecording) -> None:
    """
    Raise an error of one sentence for a recording that cannot be sorted.

    Raises
    ------
    ValueError
        If it has no channels, no probe, channels of a shank at one place, or groups, gains or a sampling frequency that
        are not finite, or if the traces are too short, complex or not finite. Traces are checked in random stretches;
        the sort checks each chunk when it is read.
    """
    if not isinstance(recording, BaseRecording):
        raise ValueError(f"recording must be a SpikeInterface recording, not {type(recording).__name__}.")
    if recording.get_num_channels() == 0:
        raise ValueError("The recording has no channels: there is nothing to sort.")
    _check_locations(recording)
    for values, name in ((recording.get_channel_gains(), "gains"), (recording.get_channel_offsets(), "offsets")):
        if values is not None and not np.all(np.isfinite(values)):
            raise ValueError(f"Some channel {name} are not finite numbers: set them with recording.set_channel_{name}.")
    rate = recording.sampling_frequency
    if not np.isfinite(rate) or rate < 5000:
        raise ValueError(f"The sampling frequency is {rate} Hz; spikes need at least 5000 Hz.")
    shortest = min(recording.get_num_samples(i) for i in range(recording.get_num_segments()))
    if shortest < SHORTEST_SEGMENT_S * rate:
        raise ValueError(
            f"A segment of the recording has {shortest} samples ({1000 * shortest / rate:.1f} ms), which is shorter "
            f"than the {1000 * SHORTEST_SEGMENT_S:.0f} ms that the spikes' waveforms and the filter need."
        )
    _check_traces(recording)


def _check_locations(recording):
    if not recording.has_probe():
        raise ValueError(
            "The recording has no probe: set one with recording.set_probe(...), the sorter needs the channel locations."
        )
    probegroup = recording.get_probegroup()
    unknown = {str(probe.si_units) for probe in probegroup.probes} - set(UM_PER_UNIT)
    if unknown:
        raise ValueError(f"The probe's si_units are {min(unknown)!r}; they must be {', '.join(UM_PER_UNIT)}.")
    if not np.all(np.isfinite(probegroup.get_global_contact_positions())):
        raise ValueError("Some channel locations are not finite numbers: check the probe.")
    groups = recording.get_channel_groups()
    # NaN is not itself
    if groups is not None and any(group is None or group != group for group in np.ravel(groups).tolist()):
        raise ValueError("Some channels have no 'group' (NaN or None): every channel must belong to a shank.")
    for group, locations in shank_locations(recording).items():
        most = most_at_one_place(locations)
        if most > 1:
            raise ValueError(
                f"{most} channels of group {group!r} share one location: give each its own in the probe, or, where "
                "they are on several shanks or sides, give each of these its own value of the channel property 'group'."
            )


def check_folder(recording: BaseRecording, folder: Path) -> None:
    """
    Raise an error if the folder of a sort holds the recording's own files, which would be removed with the folder.

    Raises
    ------
    ValueError
        If a file of the recording, or of a recording that it is derived from, is in `folder`.
    """
    folder = folder.resolve()
    for element in extractor_dict_iterator(recording.to_dict(recursive=True)):
        if element_is_path(element) and Path(element.value).resolve().is_relative_to(folder):
            raise ValueError(f"The recording's own files lie in {folder}: choose another folder for the sort.")


def check_fit(recording: BaseRecording, params: dict[str, Any]) -> None:
    """
    Raise an error for parameters that are valid, but not for this recording.

    Raises
    ------
    ValueError
        If a segment is too short, the filter's band is not possible at this sampling frequency, `sort_by_group` is
        False and channels of two groups share a location.
    """
    low, rate = params["freq_min"], recording.sampling_frequency
    least_s, least_hz = SHORTEST_SEGMENT_S * params["time_scale"], LEAST_FREQUENCY_HZ / params["time_scale"]
    shortest = min(recording.get_num_samples(i) for i in range(recording.get_num_segments()))
    if shortest < least_s * rate:
        raise ValueError(
            f"A segment of the recording lasts {1000 * shortest / rate:.1f} ms; with a time_scale of "
            f"{params['time_scale']:g} the shortest may last {1000 * least_s:.0f} ms."
        )
    if params["apply_preprocessing"] and not least_hz <= low < 0.4 * rate:
        raise ValueError(
            f"freq_min must be from {least_hz:.0f} Hz up to {0.4 * rate:.0f} Hz (0.4 of the sampling "
            f"frequency), not {low!r} Hz."
        )
    shanks = shank_locations(recording, params["sort_by_group"])
    if any(most_at_one_place(locations) > 1 for locations in shanks.values()):
        raise ValueError("sort_by_group=False needs groups at different places, and channels of two share a location.")


def _check_traces(recording):
    kind = np.dtype(recording.get_dtype()).kind
    if kind not in "iuf":
        raise ValueError(f"The traces are of type {recording.get_dtype()}; they must be integers or real numbers.")
    if kind != "f":
        return
    n_segments = recording.get_num_segments()
    if n_segments > CHECKED_SEGMENTS:
        recording = recording.select_segments(np.linspace(0, n_segments - 1, CHECKED_SEGMENTS).astype(int))
    shortest = min(recording.get_num_samples(i) for i in range(recording.get_num_segments()))
    chunk_size = min(int(recording.sampling_frequency), shortest - 1)
    # of a hundred segments as much is read as of ten
    n_chunks = max(1, min(CHECKED_CHUNKS, 10 * CHECKED_CHUNKS // recording.get_num_segments()))
    slices = get_random_sample_slices(recording, num_chunks_per_segment=n_chunks, chunk_size=max(chunk_size, 1), seed=0)
    for segment_index, start, end in slices:
        check_finite(recording.get_traces(segment_index=segment_index, start_frame=start, end_frame=end), start)


def check_finite(traces: np.ndarray, start_frame: int) -> None:
    """Raise a BadTracesError with the position of the first value of `traces` that is not finite, if there is one."""
    bad = ~np.isfinite(traces)
    if bad.any():
        sample, channel = np.argwhere(bad)[0]
        raise BadTracesError(
            f"The traces have NaN or infinite values (first at sample {start_frame + sample}, channel index "
            f"{channel}): replace them, for example by zeros, before sorting."
        )
