"""Sessions to match: SortingAnalyzers, or folders of sorts, read, checked and brought to one form."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from spikeinterface.core import BaseSorting, SortingAnalyzer, create_sorting_analyzer

from ..curation.analyzer import find_analyzer, is_analyzer, load_analyzer, sorter_folder, with_known_main_channels
from ..curation.extension import traces_in_noise_units
from ..curation.sort_folder import load_sort
from ..curation.traces import PREPROCESSING, curation_traces
from .half_templates import PARTS, SessionUnits, read_session

logger = logging.getLogger("spikeinterface_huidurep")

MAX_SPIKES = 200  # of a unit whose waveforms are read: more change its mean by less than a fourteenth of the noise
WINDOW_MS = (1.0, 2.0)
SAME_RATE = 0.01  # rates that differ by less are one: clocks differ
SAME_PLACE_UM = 1.0  # channels that lie nearer than this are one


@dataclass(frozen=True)
class Session:
    """A session as it is matched.

    Attributes
    ----------
    name : str
    sorting : BaseSorting
        All of its units.
    units : SessionUnits
        Those that have enough spikes.
    early, late : SessionUnits
        The same in either half of the session.
    analyzer : SortingAnalyzer
    """

    name: str
    sorting: BaseSorting
    units: SessionUnits
    early: SessionUnits
    late: SessionUnits
    analyzer: SortingAnalyzer


def read_sessions(
    sources: Sequence[Any], names: Sequence[str] | None, encoder: Any, seed: int, job_kwargs: dict[str, Any]
) -> list[Session]:
    """
    Read sessions and check that they can be matched.

    Parameters
    ----------
    sources : sequence of SortingAnalyzer, str or Path
        Paths are folders of saved analyzers, of ``huidurep sort``, or of ``run_sorter``.
    names : sequence of str, optional
        By default the folders' names, or "session_1", "session_2", ...
    encoder : Encoder
    seed : int
        Chooses spikes where an analyzer has no waveforms.
    job_kwargs : dict
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    list of Session
        On the channels that all have, with windows of one length.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist, or holds no finished sort.
    ValueError
        If there is one session only, or the same twice; if their probes or rates differ; or if an analyzer has neither
        waveforms nor its recording.
    """
    _check_number(sources)
    names = _names(sources, names)
    analyzers = [_analyzer(source, name, seed) for source, name in zip(sources, names, strict=True)]
    _check_same(analyzers, names)
    sessions = []
    for name, analyzer in zip(names, analyzers, strict=True):
        _check_readable(analyzer, name)
    for name, analyzer in zip(names, analyzers, strict=True):
        with_waveforms = _with_waveforms(analyzer, seed, job_kwargs)
        whole, early, late = read_session(with_waveforms, name, encoder)
        _say_who_is_left_out(name, analyzer, whole)
        sessions.append(Session(name, analyzer.sorting, whole, early, late, analyzer))
    return _alike(sessions)


def _check_number(sources):
    if isinstance(sources, str | Path | SortingAnalyzer) or len(sources) < 2:
        raise ValueError("Units are matched between sessions: give at least two, as folders or SortingAnalyzers.")
    seen: list = []
    for source in sources:
        key = Path(source).expanduser().resolve() if isinstance(source, str | Path) else source
        if any(key is other or (isinstance(key, Path) and key == other) for other in seen):
            raise ValueError(f"The session {source if isinstance(key, Path) else ''} is given twice: give each once.")
        seen.append(key)


def _names(sources, names):
    if names is not None:
        if len(names) != len(sources) or len(set(names)) != len(names):
            raise ValueError(f"There are {len(sources)} sessions: give as many names, each another.")
        return [str(name) for name in names]
    paths = [Path(source).expanduser().resolve() if isinstance(source, str | Path) else None for source in sources]
    found = [path.stem if path is not None else f"session_{k + 1}" for k, path in enumerate(paths)]
    if len(set(found)) < len(found):
        # folders of one name in folders that differ, such as day1/sorted and day2/sorted
        found = [f"{path.parent.name}_{path.stem}" if path else name for path, name in zip(paths, found, strict=True)]
    if len(set(found)) < len(found):
        found = [f"{name}_{k + 1}" for k, name in enumerate(found)]
    return found


def _analyzer(source: Any, name: str, seed: int) -> SortingAnalyzer:
    if isinstance(source, SortingAnalyzer):
        return source
    if not isinstance(source, str | Path):
        raise ValueError(f"A session is a SortingAnalyzer or a folder, not a {type(source).__name__}.")
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}.")
    if is_analyzer(find_analyzer(path)):
        return load_analyzer(path)
    if sorter_folder(path) is None:
        raise ValueError(f"{path} is neither the folder of a sort nor a SortingAnalyzer.")
    sorting, recording, params = load_sort(path)
    traces = curation_traces(recording, **{key: params[key] for key in PREPROCESSING if key in params})
    if len(sorting.unit_ids) == 0:
        # SpikeInterface makes no sparse analyzer of nothing
        return create_sorting_analyzer(sorting, traces, sparse=False, return_in_uV=True)
    return create_sorting_analyzer(with_known_main_channels(sorting, traces), traces, return_in_uV=True, seed=seed)


def _check_same(analyzers, names):
    first, rate = analyzers[0], analyzers[0].sampling_frequency
    for name, other in zip(names[1:], analyzers[1:], strict=True):
        if abs(other.sampling_frequency / rate - 1) > SAME_RATE:
            raise ValueError(
                f"The sessions were recorded at different rates, {names[0]} at {rate:g} Hz and {name} at "
                f"{other.sampling_frequency:g} Hz: resample one before it is sorted."
            )
        most = max(first.get_num_channels(), other.get_num_channels())
        if len(common_channels(first.get_channel_locations(), other.get_channel_locations())[0]) < 0.5 * most:
            raise ValueError(
                f"The sessions {names[0]} and {name} are of different probes: fewer than half of the channels lie at "
                "the same places."
            )


def _check_readable(analyzer, name):
    has_waveforms = analyzer.has_extension("waveforms") and analyzer.has_extension("random_spikes")
    if not has_waveforms and not _has_recording(analyzer) and analyzer.get_num_units() > 0:
        raise ValueError(
            f"The analyzer of the session {name} has neither waveforms nor its recording: compute its extensions "
            '"random_spikes" and "waveforms" first.'
        )


def _has_recording(analyzer):
    return analyzer.has_recording() or analyzer.has_temporary_recording()


def _with_waveforms(analyzer: SortingAnalyzer, seed: int, job_kwargs: dict[str, Any]) -> SortingAnalyzer:
    """The analyzer if it has waveforms of filtered traces, else one in memory that has them; the given one stays as it
    is."""
    ready = analyzer.has_extension("waveforms") and analyzer.has_extension("random_spikes")
    if ready and (analyzer.is_filtered() or not _has_recording(analyzer)):
        if not analyzer.is_filtered():
            warnings.warn("Waveforms of traces that were not band-passed are matched as they are.", stacklevel=2)
        return analyzer
    if analyzer.get_num_units() == 0:
        return analyzer
    recording = analyzer.recording if analyzer.is_filtered() else traces_in_noise_units(analyzer.recording)
    sorting = with_known_main_channels(analyzer.sorting, recording)
    own = create_sorting_analyzer(sorting, recording, return_in_uV=False, seed=seed, job_kwargs=job_kwargs)
    before, after = WINDOW_MS
    own.compute(
        {
            "random_spikes": {"max_spikes_per_unit": MAX_SPIKES, "seed": seed},
            "waveforms": {"ms_before": before, "ms_after": after},
        },
        **job_kwargs,
    )
    return own


def _say_who_is_left_out(name, analyzer, units):
    if analyzer.get_num_units() == 0:
        warnings.warn(f"The session {name} has no units: nothing in it can be matched.", stacklevel=3)
    missing = [str(unit) for unit in analyzer.unit_ids if unit not in set(units.unit_ids.tolist())]
    if missing:
        warnings.warn(
            f"Units of the session {name} with fewer than {PARTS} spikes are not matched: {', '.join(missing)}.",
            stacklevel=3,
        )


def common_channels(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Channels of two probes that lie at the same places, as indices in either."""
    distance = np.linalg.norm(first[:, None, :2] - second[None, :, :2], axis=2)
    a, b = np.nonzero(distance < SAME_PLACE_UM)
    return a, b


def _alike(sessions: list[Session]) -> list[Session]:
    """The sessions on the channels that all have, in one order, with the window that all have."""
    reference = sessions[0].units.channel_locations
    kept = np.arange(len(reference))
    for session in sessions[1:]:
        kept = np.intersect1d(kept, common_channels(reference, session.units.channel_locations)[0])
    places = reference[kept]
    before = min(session.units.nbefore for session in sessions)
    after = min(s.units.templates.shape[2] - s.units.nbefore for s in sessions)

    def cut(units: SessionUnits) -> SessionUnits:
        channels = common_channels(places, units.channel_locations)[1]
        window = slice(units.nbefore - before, units.nbefore + after)
        return replace(
            units, templates=units.templates[:, :, window][..., channels], seen=units.seen[:, channels],
            channel_locations=places, nbefore=before,
        )  # fmt: skip

    return [replace(s, units=cut(s.units), early=cut(s.early), late=cut(s.late)) for s in sessions]
