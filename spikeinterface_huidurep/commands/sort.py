"""``huidurep sort``: sort a recording of any format that SpikeInterface reads."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``sort`` to the command line."""
    parser = subparsers.add_parser(
        "sort",
        help="sort a recording",
        description="Sort a recording of any format that SpikeInterface reads, and save the Sorting.",
        epilog="Example: huidurep sort run1_g0 --reader spikeglx --reader-option stream_id=imec0.ap --output sorted",
    )
    parser.add_argument("recording", type=Path, nargs="?", help="file or folder of the recording")
    parser.add_argument(
        "--reader",
        metavar="NAME",
        help="SpikeInterface's name of the format, such as spikeglx, openephys, neuralynx, nwb or binary "
        "(default: a recording that SpikeInterface saved)",
    )
    parser.add_argument(
        "--reader-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="argument of the reader, such as stream_id=imec0.ap; may be repeated",
    )
    parser.add_argument("--list-readers", action="store_true", help="print the names of the formats and stop")
    parser.add_argument(
        "--probe",
        metavar="PROBE",
        help="for formats without channel locations: a probeinterface .json file, a .prb file, "
        "tetrode[:radius], tetrodes:number[:radius], linear[:pitch] or grid:columns[:pitch] in um",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("huidurep_output"), help="folder to write (default: %(default)s)"
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help="continue an interrupted sort from its last finished stage: its output folder, "
        "with no other options than --report, --n-jobs and --verbose",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output folder of an earlier sort")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="parameter of the sorter; may be repeated",
    )
    parser.add_argument(
        "--known-units",
        type=Path,
        metavar="FOLDER",
        help="output folder of an earlier sort of the same probe: its units are found again, and keep their ids",
    )
    parser.add_argument("--list-params", action="store_true", help="print the sorter's parameters and stop")
    parser.add_argument(
        "--report",
        action="store_true",
        help="also make an analyzer for huidurep gui, with suggestions for the curation, and a report with figures",
    )
    parser.add_argument("--n-jobs", type=int, default=1, help="number of parallel jobs (default: %(default)s)")
    parser.add_argument("--verbose", action="store_true", help="show progress bars, and log the result of each stage")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Sort the recording; returns the exit status."""
    if arguments.list_readers:
        from ..reading import available_readers

        print("\n".join(available_readers()))
        return 0
    if arguments.list_params:
        _print_params()
        return 0
    if arguments.resume is not None:
        resume_sort(arguments)
        return 0
    if arguments.recording is None:
        raise ValueError("Which recording is to be sorted? Give its file or folder.")
    sort(arguments)
    return 0


def _print_params() -> None:
    from spikeinterface.sorters import get_default_sorter_params, get_sorter_params_description

    descriptions = get_sorter_params_description("huidurep")
    for name, value in get_default_sorter_params("huidurep").items():
        print(f"{name}={value}\n    {descriptions.get(name, '')}")


def sort(arguments: argparse.Namespace) -> None:
    """Read, sort and save. Invalid input leaves no folder behind."""
    from spikeinterface.core import set_global_job_kwargs
    from spikeinterface.sorters import run_sorter
    from spikeinterface.sorters.utils import SpikeSortingError

    from ..jobs import bars_shown
    from ..output_folder import make_room
    from ..reading import parse_assignments, read_as_typed

    if arguments.n_jobs < 1:
        raise ValueError(f"--n-jobs takes a number of 1 or more, not {arguments.n_jobs}.")
    params = sorter_params(parse_assignments(arguments.param, "--param"))
    if arguments.known_units is not None:
        params["known_units"] = _known_units(arguments.known_units, arguments.output)
    recording = read_as_typed(arguments.recording, arguments.reader, arguments.reader_option, arguments.probe)

    output = arguments.output.expanduser()
    make_room(output, arguments.overwrite, {"sorter", "sorting", "sorting.partial", "analyzer", "motion", "report"})
    set_global_job_kwargs(n_jobs=arguments.n_jobs, progress_bar=bars_shown(arguments.verbose))
    try:
        # the report shows the motion, which is one of the intermediate results
        kept = {**params, "save_intermediate": True} if arguments.report else params
        sorting = run_sorter("huidurep", recording, folder=output / "sorter", verbose=arguments.verbose, **kept)
    except SpikeSortingError:
        raise  # keep the output folder with the log of the error
    except Exception:
        # Refused before the sort started: remove the folder that SpikeInterface prepared.
        shutil.rmtree(output, ignore_errors=True)
        raise
    _save_result(sorting, output)
    if arguments.report:
        from .report import report_sort

        report_sort(output, sorting, recording, params, arguments.recording.name, arguments.n_jobs)


def _known_units(folder, output):
    """The folder, refused while the output of an earlier sort, which may be this one, is still there."""
    from ..known_units import find_known_units

    path = find_known_units(folder)
    if path.resolve().is_relative_to(output.expanduser().resolve()):
        raise ValueError(f"--known-units lies in {output}, which would be replaced: choose another --output.")
    return folder


def resume_sort(arguments: argparse.Namespace) -> None:
    """Continue an interrupted sort, and save its result in the same output folder."""
    from spikeinterface.core import set_global_job_kwargs

    from ..jobs import bars_shown
    from ..resuming import read_params, resume

    given = (arguments.recording, arguments.param, arguments.reader, arguments.probe, arguments.known_units)
    if any(given):
        raise ValueError("--resume takes the recording and the parameters from the folder: give neither.")
    if arguments.n_jobs < 1:
        raise ValueError(f"--n-jobs takes a number of 1 or more, not {arguments.n_jobs}.")
    output = arguments.resume.expanduser()
    if not (output / "sorter").is_dir():
        raise ValueError(f"{output} is not an output folder of huidurep sort: it has no folder 'sorter'.")
    set_global_job_kwargs(n_jobs=arguments.n_jobs, progress_bar=bars_shown(arguments.verbose))
    # as in a new sort: the report shows the motion, which is one of the intermediate results
    kept = read_params(output / "sorter")["save_intermediate"]
    changes = {"save_intermediate": True} if arguments.report else {}
    sorting = resume(output / "sorter", verbose=arguments.verbose, **changes)
    _save_result(sorting, output)
    if arguments.report:
        from ..curation.sort_folder import load_sort
        from .report import report_sort

        sorting, recording, params = load_sort(output)
        if not kept:
            params.pop("save_intermediate", None)
        report_sort(output, sorting, recording, params, output.name, arguments.n_jobs)


def _save_result(sorting, output):
    """Save the Sorting in the output folder, complete or not at all, and print its path."""
    partial = output / "sorting.partial"
    for folder in (partial, output / "sorting"):
        shutil.rmtree(folder, ignore_errors=True)
    sorting.save(folder=partial)
    partial.rename(output / "sorting")
    spikes = sum(sorting.count_num_spikes_per_unit(outputs="dict").values())
    print(f"{len(sorting.unit_ids)} units, {spikes} spikes: {(output / 'sorting').absolute()}")
    print(f"Read it with spikeinterface.load({str(output / 'sorting')!r}).")


def sorter_params(texts: dict[str, str]) -> dict[str, Any]:
    """Parse the sorter's parameters by the types of their defaults.

    Parameters
    ----------
    texts : dict of str to str
        Values as typed, by the parameter's name.

    Returns
    -------
    dict
        The values.

    Raises
    ------
    ValueError
        If the sorter has no such parameter, or the value is of another type than its default.
    """
    from spikeinterface.sorters import get_default_sorter_params

    from ..reading import parse_value
    from ..wording import suggestion

    defaults = get_default_sorter_params("huidurep")
    params = {}
    for name, text in texts.items():
        if name not in defaults:
            raise ValueError(f"The sorter has no parameter {name!r}.{suggestion(name, defaults)} See --list-params.")
        value, default = parse_value(text), defaults[name]
        # A default of None, or a word such as "auto", does not give the type of other values: the sorter checks those.
        if isinstance(default, bool) and not isinstance(value, bool):
            raise ValueError(f"The parameter {name!r} takes true or false, not {text!r}.")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if isinstance(default, (int, float)) and not isinstance(default, bool) and not (is_number or value is None):
            raise ValueError(f"The parameter {name!r} takes a number, not {text!r}.")
        params[name] = value
    return params
