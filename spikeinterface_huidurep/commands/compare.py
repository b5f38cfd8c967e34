"""``huidurep compare``: compare sorters on a recording without ground truth."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``compare`` to the command line."""
    parser = subparsers.add_parser(
        "compare",
        help="compare sorters on your own recording, without ground truth",
        description="Run sorters on a recording and write a page that shows their agreement, and the SNR and ISI "
        "violations of their units. Finished runs are used again.",
        epilog="Example: huidurep compare run1_g0 --reader spikeglx --reader-option stream_id=imec0.ap "
        "--sorters huidurep kilosort4",
    )
    parser.add_argument("recording", type=Path, help="file or folder of the recording")
    parser.add_argument("--reader", metavar="NAME", help="SpikeInterface's name of its format")
    parser.add_argument(
        "--reader-option", action="append", default=[], metavar="KEY=VALUE", help="argument of the reader"
    )
    parser.add_argument("--probe", metavar="PROBE", help="for formats without channel locations; see huidurep sort")
    parser.add_argument("--sorters", nargs="+", metavar="NAME", help="sorters (default: HuiduRep and all known peers)")
    parser.add_argument("--output", type=Path, default=Path("huidurep-compare"), help="folder (default: %(default)s)")
    parser.add_argument("--no-drift", action="store_true", help="do not switch on drift correction in the peers")
    parser.add_argument("--time-limit", type=float, default=3600.0, metavar="S", help="for each run, s (default: 3600)")
    parser.add_argument("--n-jobs", type=int, help="processes or threads for each sorter (default: all CPUs)")
    parser.add_argument("--retry-failed", action="store_true", help="repeat runs that failed or reached the time limit")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare the sorters; returns the exit status."""
    from ..benchmark import compare_sorters, write_agreement_report
    from ..reading import read_as_typed
    from .benchmark import command_line

    logging.getLogger("spikeinterface_huidurep").setLevel(logging.INFO)
    recording = read_as_typed(arguments.recording, arguments.reader, arguments.reader_option, arguments.probe)
    results = compare_sorters(
        recording,
        arguments.sorters,
        arguments.output,
        name=arguments.recording.stem,
        drifts=not arguments.no_drift,
        time_limit_s=arguments.time_limit,
        n_jobs=arguments.n_jobs,
        retry_failed=arguments.retry_failed,
    )
    files = write_agreement_report(results, arguments.output, command_line())
    print(files.markdown.read_text(encoding="utf-8"))
    print(f"Report: {files.html.absolute()}")
    return 0
