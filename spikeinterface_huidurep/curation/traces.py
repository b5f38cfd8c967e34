"""The traces of a curation: those that the sorter works on, and what is known of their unit."""

from __future__ import annotations

from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording, SortingAnalyzer, aggregate_channels

from ..parameters import DEFAULT_PARAMS
from ..shanks import most_at_one_place, placed, split_shanks
from ..wording import suggestion

# The sorter's parameters that its preprocessing depends on.
PREPROCESSING = ("apply_preprocessing", "freq_min", "freq_max", "common_reference", "sort_by_group")

# Between shanks that are shown side by side because they share a place; no spike reaches so far.
BETWEEN_SHANKS_UM = 500.0

# Channel property that says what the gains lead to, and its value where nobody knows.
_UNIT_PROPERTY = "amplitude_unit"
OWN_UNIT = "own unit"


def curation_traces(recording: BaseRecording, **preprocessing: Any) -> BaseRecording:
    """
    The traces that the sorter works on, lazily, with gains that undo their division by the noise.

    Parameters
    ----------
    recording : BaseRecording
        As it was given to the sorter; each value of its property "group" is a shank and referenced by itself.
    **preprocessing
        The sorter's parameters of `PREPROCESSING`; by default its defaults.

    Returns
    -------
    BaseRecording
        float32 traces in units of noise, with gains to uV; where the recording has no gains, to its own unit. Channels
        are those that are alive, shank by shank. Shanks whose channels share a place lie side by side.

    Raises
    ------
    ValueError
        If every channel is silent, or the preprocessing has no such parameter.
    """
    from ..stages.traces.preprocessing import preprocess

    unknown = set(preprocessing) - set(PREPROCESSING)
    if unknown:
        name = min(unknown)
        raise ValueError(
            f"The preprocessing has no parameter {name!r}.{suggestion(name, PREPROCESSING)} "
            f"Known: {', '.join(PREPROCESSING)}."
        )
    params = {name: preprocessing.get(name, DEFAULT_PARAMS[name]) for name in PREPROCESSING}
    shanks = split_shanks(recording, params["sort_by_group"])
    parts = [
        preprocess(
            shank,
            apply_filter=params["apply_preprocessing"],
            freq_min=params["freq_min"],
            freq_max=params["freq_max"],
            apply_common_reference=params["apply_preprocessing"] and params["common_reference"],
        )
        for shank in shanks.values()
    ]
    alive = [part for part in parts if part is not None]
    if not alive:
        raise ValueError("Every channel of the recording is silent.")
    traces = alive[0]
    if len(alive) > 1:
        # left in the order of the shanks: SpikeInterface 0.105 mixes the traces up where channels of several shanks
        # are selected alternately
        traces = aggregate_channels(_apart(alive))
    # the band-pass says so itself; without it the user did
    traces.annotate(is_filtered=True)
    # "noise_level" is in uV, or in the recording's own unit: SpikeInterface's template metrics want gains in any case
    traces.set_channel_gains(traces.get_property("noise_level"))
    traces.set_channel_offsets(0.0)
    unit = "uV" if recording.has_scaleable_traces() else OWN_UNIT
    traces.set_property(_UNIT_PROPERTY, [unit] * traces.get_num_channels())
    return traces


def _apart(shanks: list[BaseRecording]) -> list[BaseRecording]:
    """The shanks, side by side where channels of two share a place: an analyzer takes what is near for one tissue."""
    locations = [shank.get_channel_locations() for shank in shanks]
    if most_at_one_place(np.concatenate(locations)) == 1:
        return shanks
    left = np.cumsum([0.0] + [np.ptp(places[:, 0]) + BETWEEN_SHANKS_UM for places in locations])
    return [
        placed(shank, places + [x - places[:, 0].min(), 0.0])
        for shank, places, x in zip(shanks, locations, left, strict=False)
    ]


def in_microvolts(analyzer: SortingAnalyzer) -> bool:
    """Whether the amplitudes of an analyzer are known to be in uV; otherwise they are in the recording's own unit."""
    unit = channel_property(analyzer, _UNIT_PROPERTY)
    return bool(analyzer.return_in_uV) and (unit is None or unit[0] != OWN_UNIT)


def channel_property(analyzer: SortingAnalyzer, name: str) -> np.ndarray | None:
    """A property of the recording's channels, (n_channels,), or None where the recording has none of that name."""
    # SpikeInterface makes an array of the None that stands for a missing property
    values = np.asarray(analyzer.get_recording_property(name))
    return values if values.ndim else None
