"""``huidurep benchmark``: compare sorters on recordings with ground truth."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path

# of a run, by suite
TIME_LIMITS_S = {"quick": 300.0, "scale": 36000.0}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``benchmark`` to the command line."""
    parser = subparsers.add_parser(
        "benchmark",
        help="compare sorters on recordings with ground truth",
        description="Run sorters, each in its own process, on recordings with ground truth, and write a page that "
        "compares them. Finished runs are used again.",
        epilog="Example: huidurep benchmark --suite quick --output comparison",
    )
    parser.add_argument("--suite", help="named set of recordings (default: quick); see --list")
    parser.add_argument("--recordings", nargs="+", default=[], metavar="NAME", help="recordings by name; see --list")
    parser.add_argument(
        "--sorters", nargs="+", metavar="NAME", help="sorters (default: HuiduRep and all known peers; scale: HuiduRep)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("huidurep-benchmark"),
        help="folder of the runs and the report (default: %(default)s)",
    )
    parser.add_argument(
        "--cache", type=Path, help="folder in which recordings are kept (default: HUIDUREP_CACHE or ~/.cache)"
    )
    parser.add_argument("--templates", type=Path, help="folder of template libraries (default: HUIDUREP_TEMPLATES)")
    parser.add_argument(
        "--duration", type=float, metavar="S", help="length of the recordings in s, instead of their own"
    )
    parser.add_argument(
        "--time-limit", type=float, metavar="S", help="for each run, s (default: 3600, suite quick 300, scale 36000)"
    )
    parser.add_argument("--n-jobs", type=int, help="processes or threads for each sorter (default: all CPUs)")
    parser.add_argument("--retry-failed", action="store_true", help="repeat runs that failed or reached the time limit")
    parser.add_argument("--report-only", action="store_true", help="run nothing, write the report of earlier runs")
    parser.add_argument(
        "--list", action="store_true", help="print the names of suites, recordings and sorters, and stop"
    )
    hybrid = parser.add_argument_group("hybrid recording: your own recording with units of known spikes added")
    hybrid.add_argument("--hybrid", metavar="PATH", type=Path, help="file or folder of your recording")
    hybrid.add_argument("--reader", metavar="NAME", help="SpikeInterface's name of its format")
    hybrid.add_argument(
        "--reader-option", action="append", default=[], metavar="KEY=VALUE", help="argument of the reader"
    )
    hybrid.add_argument("--probe", metavar="PROBE", help="for formats without channel locations; see huidurep sort")
    hybrid.add_argument("--units", type=int, default=10, help="units to add (default: %(default)s)")
    hybrid.add_argument("--follow-motion", action="store_true", help="let the added units follow the estimated motion")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark; returns the exit status."""
    from .. import benchmark

    if arguments.list:
        _print_names(benchmark)
        return 0
    if arguments.suite is not None and arguments.suite not in benchmark.SUITES:
        raise ValueError(f"There is no suite named '{arguments.suite}'; there are {', '.join(benchmark.SUITES)}.")
    logging.getLogger("spikeinterface_huidurep").setLevel(logging.INFO)
    chosen_days = [name for name in arguments.recordings if name in benchmark.DAYS]
    if arguments.suite == "days" or chosen_days:
        return _run_days(arguments, chosen_days)
    recordings: list = list(arguments.recordings)
    if arguments.hybrid is not None:
        recordings.append(_hybrid_folder(arguments))
    suite = arguments.suite or (None if recordings else "quick")
    recordings = [*(benchmark.SUITES[suite] if suite else ()), *recordings]
    scale = suite == "scale"
    results = benchmark.run_benchmark(
        recordings,
        arguments.sorters or (["huidurep"] if scale else None),
        arguments.output,
        arguments.cache,
        arguments.templates,
        duration_s=arguments.duration,
        time_limit_s=arguments.time_limit or TIME_LIMITS_S.get(suite or "", 3600.0),
        n_jobs=arguments.n_jobs,
        retry_failed=arguments.retry_failed,
        run_missing=not arguments.report_only,
    )
    files = benchmark.write_report(results, arguments.output, command_line())
    print(files.markdown.read_text(encoding="utf-8"))
    if scale:
        print(_scale(benchmark, results, arguments).read_text(encoding="utf-8"))
    print(f"Report: {files.html.absolute()}")
    return 0


def _scale(benchmark, results, arguments: argparse.Namespace) -> Path:
    """How the cost grows with the length, with the shortest part sorted once more, killed and resumed."""
    own = benchmark.scale_table(results).query("sorter == 'huidurep'")
    resumed = None
    if len(own) and not arguments.report_only:
        resumed = benchmark.kill_and_resume(Path(own.iloc[0]["folder"]), own.iloc[0]["recording"])
    return benchmark.write_scale(results, arguments.output, command_line(), resumed)


def _run_days(arguments: argparse.Namespace, chosen: list[str]) -> int:
    """Match the units of sessions, and write what was measured; returns the exit status."""
    from .. import benchmark

    if arguments.hybrid is not None or len(chosen) < len(arguments.recordings):
        raise ValueError(f"The suite days has sessions only: give none but {', '.join(benchmark.DAYS)}.")
    table = benchmark.run_days(
        chosen or None,
        arguments.sorters or ("huidurep",),
        arguments.output,
        arguments.cache,
        arguments.templates,
        duration_s=arguments.duration,
        time_limit_s=arguments.time_limit or 3600.0,
        n_jobs=arguments.n_jobs,
        retry_failed=arguments.retry_failed,
        run_missing=not arguments.report_only,
    )
    path = benchmark.write_days(table, arguments.output, command_line())
    print(path.read_text(encoding="utf-8"))
    print(f"Table: {path.absolute()}")
    return 0


def command_line() -> str:
    """The command line, quoted for a shell."""
    return shlex.join(["huidurep", *sys.argv[1:]])


def _print_names(benchmark) -> None:
    for suite, names in benchmark.SUITES.items():
        print(f"suite {suite}: {', '.join(names)}")
    for name, settings in benchmark.RECORDINGS.items():
        source = getattr(settings, "library", "SpikeInterface's generator")
        if isinstance(settings, benchmark.LazySettings):
            source += ", made while it is read"
        if isinstance(settings, benchmark.MearecSettings):
            source += " by MEArec"
        print(f"recording {name}: {settings.n_units} units, {settings.duration_s:g} s, from {source}")
    for name, days in benchmark.DAYS.items():
        sessions = f"{len(days.displacements_um)} sessions of {days.n_units} units, {days.duration_s:g} s each"
        print(f"sessions {name}: {sessions}, from {days.library}")
    for name, peer in benchmark.PEERS.items():
        print(f"sorter {name}: {peer.version() if peer.installed() else 'not installed'}")


def _hybrid_folder(arguments: argparse.Namespace) -> Path:
    """Make the hybrid recording, or use that of an earlier call with the same arguments."""
    from ..benchmark import make_hybrid
    from ..reading import read_as_typed

    motion = "moving" if arguments.follow_motion else "still"
    folder = arguments.output / f"hybrid-{arguments.hybrid.stem}-{arguments.units}-{motion}"
    if not folder.is_dir():
        recording = read_as_typed(arguments.hybrid, arguments.reader, arguments.reader_option, arguments.probe)
        name = f"hybrid_{arguments.hybrid.stem}"
        make_hybrid(
            recording, folder, arguments.units, motion="estimate" if arguments.follow_motion else None, name=name
        )
    return folder
