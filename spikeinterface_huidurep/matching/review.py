"""The groups in SpikeInterface's GUI: all sessions in one analyzer, each neuron a merge to leave or to refuse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from spikeinterface.core import (
    BaseRecording,
    ChannelSliceRecording,
    NumpySorting,
    SortingAnalyzer,
    append_recordings,
)
from spikeinterface.preprocessing import scale_to_uV

from ..curation.analyzer import load_analyzer, make_analyzer
from ..curation.curation_file import decided_curation, save_suggestions
from ..curation.traces import curation_traces
from .sessions import SAME_RATE, Session, common_channels
from .tables import MatchTables

SESSION, UNIT = "session", "session_unit"  # properties of a unit: which one of which session it is


def make_review(
    matches: MatchTables, folder: str | Path, *, overwrite: bool = False, seed: int = 0, **job_kwargs: Any
) -> SortingAnalyzer:
    """
    Make one analyzer of the units of all sessions, for ``huidurep gui``.

    Each session is a segment of it, or several. A unit is named by its session and its id there, such as "day1 12".
    Each neuron of several sessions is a suggested merge: a click on it shows its units in all views, and what stays in
    the list when "Save curation" is pressed is accepted. `read_groups` reads that.

    Parameters
    ----------
    matches : MatchTables
        From `match_units`.
    folder : str or Path
    overwrite : bool
        Replace an analyzer that is there; nothing else is ever replaced.
    seed : int
        Chooses the spikes whose waveforms are shown.
    **job_kwargs
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    SortingAnalyzer

    Raises
    ------
    ValueError
        If the recording of a session cannot be found, or no session has a unit.
    FileExistsError
        If `folder` exists and may not be replaced.
    """
    recordings = _on_common_channels(matches.sessions)
    joined = append_recordings(recordings, sampling_frequency_max_diff=SAME_RATE * recordings[0].sampling_frequency)
    sorting = _all_units(matches.sessions, joined.sampling_frequency)
    as_it_is = {"apply_preprocessing": False, "sort_by_group": False}
    analyzer = make_analyzer(
        sorting, joined, folder, overwrite=overwrite, preprocessing=as_it_is, suggest=False, seed=seed, **job_kwargs
    )
    save_suggestions(analyzer, _as_merges(matches))
    return analyzer


def read_groups(folder: str | Path | SortingAnalyzer) -> pd.DataFrame:
    """
    Read which neurons were accepted in the GUI.

    Parameters
    ----------
    folder : str, Path or SortingAnalyzer
        From `make_review`, or the folder of ``huidurep match --review``.

    Returns
    -------
    pd.DataFrame
        ``neuron, session, unit``: every unit that was not removed, once; those of accepted merges have one neuron.

    Raises
    ------
    FileNotFoundError
        If nothing was saved in the GUI yet.
    ValueError
        If the analyzer is none of several sessions, or a merge holds two units of one session.
    """
    analyzer = folder if isinstance(folder, SortingAnalyzer) else load_analyzer(folder)
    sessions, units = (analyzer.get_sorting_property(name) for name in (SESSION, UNIT))
    if sessions is None or units is None:
        raise ValueError("This analyzer holds one session: huidurep match --review makes one of all sessions.")
    place = {unit: (str(name), own) for unit, name, own in zip(analyzer.unit_ids, sessions, units, strict=True)}
    curation = decided_curation(analyzer, accept_suggestions=False)
    left = [unit for unit in analyzer.unit_ids if unit not in set(curation.get("removed") or [])]
    merges = [[unit for unit in merge["unit_ids"] if unit in left] for merge in curation.get("merges") or []]
    for merge in merges:
        names = [place[unit][0] for unit in merge]
        if len(set(names)) < len(names):
            raise ValueError(
                f"The merge of {', '.join(map(str, merge))} holds two units of one session: merge these in that "
                "session's own curation, and match the sessions again."
            )
    merged = {unit for merge in merges for unit in merge}
    neurons = [*merges, *([unit] for unit in left if unit not in merged)]
    rows = [(number, *place[unit]) for number, neuron in enumerate(neurons, start=1) for unit in neuron]
    return pd.DataFrame(rows, columns=["neuron", "session", "unit"])


def unit_name(session: str, unit: Any) -> str:
    """Name of a unit among those of all sessions."""
    return f"{session} {unit}"


def _on_common_channels(sessions: Sequence[Session]) -> list[BaseRecording]:
    """The sessions' traces, uV where that is known, on the channels that all have, named alike."""
    places = sessions[0].units.channel_locations
    recordings = []
    for session in sessions:
        analyzer = session.analyzer
        if not (analyzer.has_recording() or analyzer.has_temporary_recording()):
            raise ValueError(f"The recording of the session {session.name} cannot be found: the GUI shows its traces.")
        traces = analyzer.recording if analyzer.is_filtered() else curation_traces(analyzer.recording)
        if traces.has_scaleable_traces():
            traces = scale_to_uV(traces)
        kept = common_channels(places, traces.get_channel_locations())[1]
        own_ids = traces.channel_ids[kept]
        # channels may be named otherwise in each session
        recordings.append(ChannelSliceRecording(traces.astype("float32"), own_ids, np.arange(len(own_ids))))
    return recordings


def _all_units(sessions: Sequence[Session], sampling_frequency: float) -> NumpySorting:
    """The units of all sessions in one Sorting, each in the segments of its own session."""
    owners = [(session, unit) for session in sessions for unit in session.sorting.unit_ids]
    ids = [unit_name(session.name, unit) for session, unit in owners]
    segments = []
    for session in sessions:
        for segment in range(session.sorting.get_num_segments()):
            trains = {one: np.zeros(0, dtype=np.int64) for one in ids}
            for unit in session.sorting.unit_ids:
                train = session.sorting.get_unit_spike_train(unit, segment_index=segment)
                trains[unit_name(session.name, unit)] = train
            segments.append(trains)
    sorting = NumpySorting.from_unit_dict(segments, sampling_frequency)
    sorting = sorting.select_units([one for one in ids if one in set(sorting.unit_ids)])
    sorting.set_property(SESSION, np.array([session.name for session, _ in owners]))
    sorting.set_property(UNIT, np.array([unit for _, unit in owners]))
    return sorting


def _as_merges(matches: MatchTables) -> dict[str, Any]:
    """The neurons of several sessions as merges, in SpikeInterface's curation format; the least sure ones first."""
    sure = matches.groups.groupby("neuron")["probability"].min()
    size = matches.groups.groupby("neuron").size()
    merges = []
    for neuron in sure[size > 1].sort_values(kind="stable").index:
        mine = matches.groups[matches.groups["neuron"] == neuron]
        merges.append({"unit_ids": [unit_name(one.session, one.unit) for one in mine.itertuples()]})
    names = [unit_name(session.name, unit) for session in matches.sessions for unit in session.sorting.unit_ids]
    return {
        "format_version": "2",
        "unit_ids": names,
        "label_definitions": {},
        "manual_labels": [],
        "merges": merges,
        "splits": [],
        "removed": [],
    }
