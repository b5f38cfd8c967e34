"""Shanks of a recording: which channels belong together."""

from __future__ import annotations

from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording


def split_shanks(recording: BaseRecording, by_group: bool = True) -> dict[Any, BaseRecording]:
    """
    Take a recording apart into its shanks.

    SpikeInterface's `split_by` does the same, but neither for a recording that was split before, nor for labels of
    several types.

    Parameters
    ----------
    recording : BaseRecording
    by_group : bool
        Whether each value of the property "group" is a shank; otherwise the whole recording is one.

    Returns
    -------
    dict of BaseRecording
        By label, in the labels' order: the shank's channels.
    """
    labels, index = _groups(recording)
    if not by_group or len(labels) == 1:
        return {labels[0]: recording}
    channels = {label: recording.channel_ids[index == i] for i, label in enumerate(labels)}
    return {label: recording.select_channels(ids) for label, ids in channels.items()}


def _groups(recording):
    """Labels in their order, and which of them each channel has, (n_channels,) int."""
    groups = recording.get_channel_groups()
    if groups is None:
        return [0], np.zeros(recording.get_num_channels(), dtype=int)
    try:
        labels, index = np.unique(groups, return_inverse=True)
        return labels.tolist(), index
    except TypeError:  # numbers and names
        values = groups.tolist()
        labels = sorted(set(values), key=lambda label: (isinstance(label, str), str(label)))
        return labels, np.array([labels.index(value) for value in values])
