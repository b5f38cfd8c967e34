"""Runs sorters on each session of the suite `days`, matches their units, and compares with simpler ways."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from spikeinterface.core import BaseSorting, SortingAnalyzer, create_sorting_analyzer, load

from ..matching import UnitMatches, match_units
from ..stages.traces.preprocessing import preprocess
from .days import NEURON, DaysSettings
from .days_baselines import (
    one_to_one,
    place_alone,
    svd_features,
    template_similarity,
    vector_similarity,
    with_other_vectors,
)
from .days_measures import PairsOfSessions, figures, found_units, pairs_of
from .days_recordings import DAYS, get_days
from .peers import get_peer
from .recordings import GroundTruth
from .runner import DEFAULT_TIME_LIMIT_S, Task, facts_of, one_run

logger = logging.getLogger(__name__)

MATCHED = "huidurep match"
#: Simpler ways: their scores are no probabilities, and each is given its best threshold, chosen on these very pairs.
BASELINES = (
    "compare_templates", "place alone", "SVD features alone", "encoder's vectors alone", "SVD in place of the vectors",
)  # fmt: skip


class DaysPairs(NamedTuple):
    """Scores and truth of two sessions, by method."""

    days: str
    sorter: str
    sessions: tuple[int, int]
    methods: dict[str, PairsOfSessions]


def run_days(
    days: Sequence[str | DaysSettings] | None = None,
    sorters: Sequence[str] = ("huidurep",),
    output_folder: str | Path = "huidurep-benchmark",
    cache_folder: str | Path | None = None,
    library_folder: str | Path | None = None,
    duration_s: float | None = None,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    n_jobs: int | None = None,
    retry_failed: bool = False,
    run_missing: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """
    Sort the sessions, match the units, and measure against the neurons.

    Parameters
    ----------
    days : sequence of str or DaysSettings, optional
        By default all of :data:`~spikeinterface_huidurep.benchmark.DAYS`.
    sorters : sequence of str
        Each sorts every session; its units are matched among themselves.
    output_folder, cache_folder, library_folder, duration_s, time_limit_s, n_jobs, retry_failed, run_missing
        As of :func:`~spikeinterface_huidurep.benchmark.run_benchmark`.
    seed : int

    Returns
    -------
    pd.DataFrame
        A row for each set of sessions, sorter and method, see `figures`; ``seconds`` is the time of the matching. Rows
        whose `days` is "all" are over all pairs of sessions.
    """
    found: list[DaysPairs] = []
    seconds: dict[tuple[str, str], float] = {}
    for one in days or list(DAYS):
        truths = get_days(one, cache_folder, library_folder, duration_s)
        name = one if isinstance(one, str) else one.name
        for sorter in sorters:
            analyzers = sorted_days(
                truths, sorter, output_folder, time_limit_s=time_limit_s, n_jobs=n_jobs, retry_failed=retry_failed,
                run_missing=run_missing, seed=seed,
            )  # fmt: skip
            if analyzers is None:
                logger.warning("%s has not sorted all sessions of %s, which are left out", sorter, name)
                continue
            started = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                matches = match_units(analyzers, seed=seed, n_jobs=1)
            seconds[name, sorter] = time.perf_counter() - started
            found += score_days(name, sorter, truths, analyzers, matches)
    return tabulate(found, seconds)


def sorted_days(
    truths: Sequence[GroundTruth],
    sorter: str,
    output_folder: str | Path,
    *,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    n_jobs: int | None = None,
    retry_failed: bool = False,
    run_missing: bool = True,
    seed: int = 0,
) -> list[SortingAnalyzer] | None:
    """Analyzers of what a sorter has found in each session, now or in an earlier call; None if it could not."""
    analyzers = []
    for truth in truths:
        task = Task(get_peer(sorter), truth, facts_of(truth, n_jobs or os.cpu_count() or 1))
        done = one_run(task, Path(output_folder) / "runs", time_limit_s, retry_failed, run_missing)
        if done.status != "done":
            logger.warning("%s on %s: %s %s", sorter, truth.name, done.status, done.message)
            return None
        analyzers.append(days_analyzer(load(Path(done.folder) / "sorting"), truth, seed))
    return analyzers


def days_analyzer(sorting: BaseSorting, truth: GroundTruth, seed: int = 0) -> SortingAnalyzer:
    """An analyzer in memory, with what is compared, on traces as sorters see them."""
    traces = preprocess(truth.recording, apply_filter=True, apply_common_reference=True)
    assert traces is not None, "the recordings of the suite have noise on all channels"
    # they are in units of noise; SpikeInterface's comparison of templates wants gains
    traces.set_channel_gains(1.0)
    traces.set_channel_offsets(0.0)
    sorting = sorting.select_units(sorting.unit_ids[sorting.count_num_spikes_per_unit(outputs="array") > 0])
    if len(sorting.unit_ids) == 0:
        return create_sorting_analyzer(sorting, traces, sparse=False)
    if sorting.get_property("main_channel_id") is not None:
        sorting.delete_property("main_channel_id")
    analyzer = create_sorting_analyzer(
        sorting, traces, return_in_uV=True, seed=seed, job_kwargs={"progress_bar": False}
    )
    wanted = {"random_spikes": {"max_spikes_per_unit": 200, "seed": seed}, "waveforms": {}, "templates": {}}
    analyzer.compute(wanted, n_jobs=1, progress_bar=False)
    return analyzer


def score_days(
    name: str,
    sorter: str,
    truths: Sequence[GroundTruth],
    analyzers: Sequence[SortingAnalyzer],
    matches: UnitMatches,
) -> list[DaysPairs]:
    """Scores of all methods on all pairs of sessions, beside the truth."""
    units = [session.units for session in matches.sessions]
    kept = [a.select_units(u.unit_ids) for a, u in zip(analyzers, units, strict=True)]
    identity = [
        found_units(truth.sorting, one.sorting, truth.sorting.get_property(NEURON))
        for truth, one in zip(truths, kept, strict=True)
    ]
    svd = svd_features(units)
    found = []
    for a, b in combinations(range(len(units)), 2):
        if min(units[a].n_units, units[b].n_units) == 0:
            continue
        scores = {
            MATCHED: matches.probabilities[a, b],
            BASELINES[0]: one_to_one(template_similarity(kept[a], kept[b])),
            BASELINES[1]: one_to_one(place_alone(units[a], units[b], matches.displacements[a, b])),
            BASELINES[2]: one_to_one(vector_similarity(svd[a], svd[b])),
            BASELINES[3]: one_to_one(vector_similarity(units[a].vectors, units[b].vectors)),
            BASELINES[4]: with_other_vectors(units[a], units[b], svd[a], svd[b]),
        }
        methods = {method: pairs_of(score, identity[a], identity[b]) for method, score in scores.items()}
        found.append(DaysPairs(name, sorter, (a, b), methods))
    return found


def tabulate(found: Sequence[DaysPairs], seconds: dict[tuple[str, str], float] | None = None) -> pd.DataFrame:
    """Figures by sessions, sorter and method, and over all sessions."""
    rows = []
    sorters = list(dict.fromkeys(one.sorter for one in found))
    for sorter in sorters:
        mine = [one for one in found if one.sorter == sorter]
        names = list(dict.fromkeys(one.days for one in mine))
        for name in [*names, "all"]:
            here = [one for one in mine if name in (one.days, "all")]
            for method in (MATCHED, *BASELINES):
                threshold = 0.5 if method == MATCHED else None
                row = {"days": name, "sorter": sorter, "method": method, "pairs_of_sessions": len(here)}
                row.update(figures([one.methods[method] for one in here], threshold))
                row["seconds"] = (seconds or {}).get((name, sorter)) if method == MATCHED else None
                rows.append(row)
    return pd.DataFrame(rows)


def to_markdown(table: pd.DataFrame) -> str:
    """The table as Markdown."""
    lines = [
        "| sessions | sorter | method | shared | recall | precision | area | calibration error | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        numbers = [f"{row.recall:.3f}", f"{row.precision:.3f}", f"{row.area:.4f}"]
        calibration = "" if pd.isna(row.calibration) else f"{row.calibration:.3f}"
        seconds = "" if pd.isna(row.seconds) else f"{row.seconds:.1f}"
        cells = [row.days, row.sorter, row.method, str(row.shared), *numbers, calibration, seconds]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_days(table: pd.DataFrame, folder: str | Path, command: str) -> Path:
    """
    Write the table of `run_days` as Markdown and CSV.

    Parameters
    ----------
    table : pd.DataFrame
    folder : str or Path
    command : str
        That made it.

    Returns
    -------
    Path
        ``days.md``; ``days.csv`` lies beside it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "days.csv", index=False)
    text = (
        f"# Units over days\n\n`{command}`\n\n{to_markdown(table)}\n"
        "shared: pairs of units of one neuron that both sorts found. Recall and precision of the matches are at a "
        "probability of 0.5; the other methods have no probabilities and get the threshold that is best on these very "
        "pairs. area: under the curve of precision and recall.\n"
    )
    path = folder / "days.md"
    path.write_text(text, encoding="utf-8")
    return path
