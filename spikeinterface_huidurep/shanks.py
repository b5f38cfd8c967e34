"""Shanks of a recording: which channels belong together, and where their contacts lie in the plane, in um."""

from __future__ import annotations

from typing import Any

import numpy as np
from probeinterface import Probe
from spikeinterface.core import BaseRecording

UM_PER_UNIT = {"um": 1.0, "mm": 1e3, "m": 1e6}
# of a probe in space: the last axis is the depth; another plane than xy is taken where it spans so many times as much
PLANES, WIDER = ((0, 1), (0, 2), (1, 2)), 1.1
# contacts nearer than this, in um, are at one place
SAME_PLACE_UM = 1e-3


def split_shanks(recording: BaseRecording, by_group: bool = True) -> dict[Any, BaseRecording]:
    """
    Take a recording apart into its shanks.

    SpikeInterface's `split_by` does the same, but neither for a recording that was split before, nor for labels of
    several types.

    Parameters
    ----------
    recording : BaseRecording
        With a probe.
    by_group : bool
        Whether each value of the property "group" is a shank; otherwise the whole recording is one.

    Returns
    -------
    dict of BaseRecording
        By label, in the labels' order: the shank's channels, with locations in um on a plane.
    """
    labels, index = _groups(recording)
    if not by_group or len(labels) == 1:
        return {labels[0]: flattened(recording)}
    channels = {label: recording.channel_ids[index == i] for i, label in enumerate(labels)}
    return {label: flattened(recording.select_channels(ids)) for label, ids in channels.items()}


def shank_locations(recording: BaseRecording, by_group: bool = True) -> dict[Any, np.ndarray]:
    """
    Where the contacts of each shank lie.

    Parameters
    ----------
    recording : BaseRecording
        With a probe.
    by_group : bool
        As in `split_shanks`.

    Returns
    -------
    dict of (n_channels, 2) float64
        By label: um on the plane of the shank's contacts, the depth last.
    """
    labels, index = _groups(recording)
    places = _positions_um(recording)
    if not by_group or len(labels) == 1:
        return {labels[0]: _on_a_plane(places)}
    return {label: _on_a_plane(places[index == i]) for i, label in enumerate(labels)}


def most_at_one_place(locations: np.ndarray) -> int:
    """The largest number of contacts at one place, of (n_channels, n_dimensions) locations in um."""
    _, counts = np.unique(np.round(locations / SAME_PLACE_UM), axis=0, return_counts=True)
    return int(counts.max())


def flattened(recording: BaseRecording) -> BaseRecording:
    """The recording with locations in um on a plane; itself where they are."""
    probes = recording.get_probegroup().probes
    if all(probe.si_units == "um" and probe.ndim == 2 for probe in probes):
        return recording
    return placed(recording, _on_a_plane(_positions_um(recording)))


def placed(recording: BaseRecording, locations: np.ndarray) -> BaseRecording:
    """
    The recording with other locations.

    Parameters
    ----------
    recording : BaseRecording
        It is not changed.
    locations : (n_channels, 2) float
        In um.

    Returns
    -------
    BaseRecording
        With the recording's groups and other properties.
    """
    made = recording.select_channels(recording.channel_ids)
    probe = Probe(ndim=2, si_units="um")
    probe.set_contacts(locations, shapes="circle", shape_params={"radius": 6})
    probe.set_device_channel_indices(np.arange(len(locations)))
    groups = recording.get_channel_groups()
    made.set_probe(probe)
    made.set_channel_groups(groups)
    return made


def _groups(recording):
    """Labels in their order, and which of them each channel has, (n_channels,) int."""
    groups = recording.get_channel_groups()
    if groups is None:
        return [0], np.zeros(recording.get_num_channels(), dtype=int)
    try:
        unique, index = np.unique(groups, return_inverse=True)
        return unique.tolist(), index
    except TypeError:  # numbers and names
        values = groups.tolist()
        labels = sorted(set(values), key=lambda label: (isinstance(label, str), str(label)))
        return labels, np.array([labels.index(value) for value in values])


def _positions_um(recording):
    """(n_channels, 2 or 3) float64."""
    probegroup = recording.get_probegroup()
    units = probegroup.to_numpy(complete=True)["si_units"]
    positions = np.asarray(probegroup.get_global_contact_positions(), dtype="float64")
    # of mm, 0.02 * 1000 is not quite 20
    return np.round(positions * np.array([UM_PER_UNIT[str(unit)] for unit in units])[:, None], 6)


def _on_a_plane(positions):
    """Of positions (n, 2 or 3) the two axes in which no two contacts coincide, and which span the most: (n, 2)."""
    if positions.shape[1] == 2:
        return positions
    best, most = positions[:, PLANES[0]], -1.0
    for plane in PLANES:
        here = positions[:, plane]
        spanned = 0.0 if most_at_one_place(here) > 1 else float(np.ptp(here, axis=0).sum()) + 1.0
        if most < 0 or spanned > WIDER * most:
            best, most = here, spanned
    return best
