"""``huidurep report``: analyzer, suggestions and a page of figures of an earlier sort."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikeinterface.core import BaseRecording, BaseSorting


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``report`` to the command line."""
    parser = subparsers.add_parser(
        "report",
        help="write a report of an earlier sort",
        description="Write a page with figures of a sort. In an output folder of huidurep sort, or a folder that "
        "SpikeInterface's run_sorter made, a missing analyzer for huidurep gui is made as well, as huidurep sort "
        "--report does.",
        epilog="Example: huidurep report huidurep_output",
    )
    parser.add_argument("folder", type=Path, help="folder of huidurep sort, run_sorter or a SortingAnalyzer")
    parser.add_argument("--output", type=Path, help="folder to write (default: report, in or next to the folder)")
    parser.add_argument("--n-jobs", type=int, default=1, help="number of parallel jobs (default: %(default)s)")
    parser.add_argument("--verbose", action="store_true", help="say what is done")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the report; returns the exit status."""
    from ..curation.analyzer import find_analyzer, is_analyzer, load_analyzer, sorter_folder
    from ..curation.report_page import motion_of_output, report
    from ..curation.sort_folder import load_sort
    from ..jobs import bars_shown

    folder = arguments.folder.expanduser().absolute()
    output = arguments.output.expanduser() if arguments.output else None
    found = find_analyzer(folder)
    if not is_analyzer(found) and sorter_folder(folder) is not None:
        sorting, recording, params = load_sort(folder)
        report_sort(folder, sorting, recording, params, folder.name, arguments.n_jobs, output)
        return 0
    analyzer = load_analyzer(found)
    default = folder / "report" if found != folder else folder.parent / f"{folder.stem}_report"
    motions, sorter = motion_of_output(folder), sorter_folder(folder)
    facts, log = _facts_and_log(sorter, motions) if sorter is not None else ({}, None)
    title = f"Spike sorting of {folder.name}"
    shown = {"motion": motions, "title": title, "facts": facts, "log": log, "progress_bar": bars_shown(True)}
    files = report(analyzer, output or default, **shown)
    print(f"Report: {files.html.absolute()}")
    return 0


def _facts_and_log(sorter: Path, motions: dict[Any, Any], params: dict[str, Any] | None = None):
    """What a report says of a sort at its top, and where its log is; None where another sorter has worked."""
    from ..curation.sort_folder import sorter_and_params
    from ..log_file import LOG_NAME
    from ..parameters import DEFAULT_PARAMS
    from ..version import __version__

    by, given = sorter_and_params(sorter)
    facts = {"Sorter": f"HuiduRep {__version__}" if by == "huidurep" else by}
    if by != "huidurep":
        return facts, None
    log = sorter / "sorter_output" / LOG_NAME
    told = log.read_text(encoding="ascii", errors="replace") if log.is_file() else ""
    moved = motions or " motion: corrected" in told or " motion: the given one is used" in told
    facts["Motion"] = "corrected" if moved else "not corrected"
    if params is None:
        # the command line keeps the motion for the report
        changed = {key: value for key, value in given.items() if value != DEFAULT_PARAMS.get(key, value)}
        params = {key: value for key, value in changed.items() if key != "save_intermediate"}
    facts["Parameters"] = ", ".join(f"{key}={value}" for key, value in params.items()) or "defaults"
    return facts, log


def report_sort(
    output: Path,
    sorting: BaseSorting,
    recording: BaseRecording,
    params: dict[str, Any],
    name: str,
    n_jobs: int,
    report_folder: Path | None = None,
) -> None:
    """
    Make the analyzer and the report of a sort, and keep its motion, in the folder that `load_sort` reads.

    An existing analyzer is completed if it was interrupted, and otherwise not changed; manual curation is kept.

    Parameters
    ----------
    output : Path
        As for `load_sort`.
    sorting, recording : BaseSorting, BaseRecording
    params : dict
        The sorter's parameters that differ from the defaults.
    name : str
        Of the recording, for the page's title.
    n_jobs : int
    report_folder : Path, optional
        Where the report is written; by default the folder "report" in the output folder.
    """
    from ..curation.analyzer import ANALYZER_NAME, sorter_folder
    from ..curation.report_page import motion_of_output, motion_of_sort, report, save_motions
    from ..jobs import bars_shown

    sorter = sorter_folder(output) or output / "sorter"
    intermediate = sorter / "sorter_output" / "intermediate"
    motions = motion_of_sort(sorter)
    save_motions(motions, output)
    # the motion of an earlier report, if the sort has not kept its own
    motions = motions or motion_of_output(output)
    facts, log = _facts_and_log(sorter, motions, params)
    if not params.get("save_intermediate"):
        shutil.rmtree(intermediate, ignore_errors=True)
    if len(sorting.unit_ids) == 0:
        print("No units were found: there is nothing to report.")
        return
    analyzer = _analyzer_of_sort(output / ANALYZER_NAME, sorting, recording, params, n_jobs)
    folder, title = report_folder or output / "report", f"Spike sorting of {name}"
    bar = bars_shown(True)
    files = report(analyzer, folder, motion=motions, title=title, facts=facts, log=log, progress_bar=bar)
    print(f"Report: {files.html.absolute()}")
    print(f"Look at the units and curate them with: huidurep gui {output}")


def _analyzer_of_sort(folder, sorting, recording, params, n_jobs):
    """Make the analyzer, or complete an existing one."""
    from ..curation.analyzer import complete_analyzer, is_analyzer, load_analyzer, make_analyzer
    from ..curation.curation_file import read_suggestions, save_suggestions
    from ..curation.suggestions import suggest_curation
    from ..curation.traces import PREPROCESSING
    from ..jobs import bars_shown

    # it takes minutes: somebody who waits sees what is done
    jobs = {"n_jobs": n_jobs, "progress_bar": bars_shown(True)}
    encoder = {key: params[key] for key in ("model", "device", "seed") if key in params}
    if not is_analyzer(folder):
        preprocessing = {key: params[key] for key in PREPROCESSING if key in params}
        return make_analyzer(sorting, recording, folder, preprocessing=preprocessing, **jobs, **encoder)
    analyzer = complete_analyzer(load_analyzer(folder), **jobs, **encoder)
    if read_suggestions(analyzer) is None:
        save_suggestions(analyzer, suggest_curation(analyzer, seed=params.get("seed", 0)))
    return analyzer
