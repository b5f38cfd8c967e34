"""``huidurep export``: units for Phy, or as an NWB file."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``export`` to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="write units for Phy, or as an NWB file (extra 'nwb')",
        description="Write the units of an analyzer for other programs, as sorted or as curated.",
        epilog="Example: huidurep export sorted/analyzer units.nwb --to nwb --session-start 2026-05-04T10:30 --curated",
    )
    parser.add_argument("folder", type=Path, help="folder of a SortingAnalyzer, or of a sort with a report")
    parser.add_argument("output", type=Path, help="folder for Phy, or NWB file, to write")
    parser.add_argument("--to", choices=("phy", "nwb"), required=True, help="what to write")
    parser.add_argument("--curated", action="store_true", help="apply the curation that was saved in the GUI first")
    parser.add_argument(
        "--accept-suggestions", action="store_true", help="where none was saved, apply all suggestions unseen"
    )
    parser.add_argument(
        "--drop", nargs="+", default=[], metavar="LABEL", help="leave out the units with these labels, such as noise"
    )
    parser.add_argument("--session-start", metavar="TIME", help="for NWB: start of the recording, as ISO 8601")
    parser.add_argument("--no-traces", action="store_true", help="for Phy: do not write the filtered traces")
    parser.add_argument("--verbose", action="store_true", help="show progress")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export the units; returns the exit status."""
    from ..curation.analyzer import load_analyzer
    from ..curation.export import curated_analyzer, drop_labels, export_nwb, export_phy
    from ..jobs import bars_shown

    start = None
    if arguments.to == "nwb":
        if arguments.session_start is None:
            raise ValueError("NWB requires the start of the recording: give --session-start, such as 2026-05-04T10:30.")
        start = datetime.fromisoformat(arguments.session_start)
    analyzer = load_analyzer(arguments.folder)
    if arguments.curated or arguments.accept_suggestions:
        analyzer = curated_analyzer(analyzer, accept_suggestions=arguments.accept_suggestions)
    analyzer = drop_labels(analyzer, arguments.drop)
    output = arguments.output.expanduser()
    if start is not None:
        path = export_nwb(analyzer, output, session_start_time=start)
    else:
        jobs = {"n_jobs": 1, "progress_bar": bars_shown(arguments.verbose)}
        path = export_phy(analyzer, output, copy_traces=not arguments.no_traces, **jobs)
    print(f"{len(analyzer.unit_ids)} units: {path.absolute()}")
    if arguments.to == "phy":
        print(f"Open them with: phy template-gui {path.absolute()}")
    return 0
