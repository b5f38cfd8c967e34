"""``huidurep gui``: look at sorted units and curate them."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``gui`` to the command line."""
    parser = subparsers.add_parser(
        "gui",
        help="look at sorted units and curate them (extra 'gui')",
        description="Open SpikeInterface's GUI on an analyzer, with a view of the embeddings. Accept or reject the "
        "suggested merges, splits and labels; 'Save curation' saves the decisions with the analyzer.",
        epilog="Example: huidurep sort recording --output sorted --report, then huidurep gui sorted/analyzer",
    )
    parser.add_argument("folder", type=Path, help="folder of a SortingAnalyzer, or of a sort with a report")
    parser.add_argument("--web", action="store_true", help="serve a page for a browser instead of a window")
    parser.add_argument("--address", default="localhost", help="of the page; auto-ip: reachable from other machines")
    parser.add_argument("--port", type=int, default=0, help="of the page (default: a free one)")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page in this machine's browser")
    parser.add_argument("--no-curation", action="store_true", help="only look")
    parser.add_argument("--complete", action="store_true", help="first compute missing extensions of the analyzer")
    parser.add_argument("--verbose", action="store_true", help="say what is done")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Open the GUI; returns the exit status when the GUI is closed."""
    from ..curation.analyzer import complete_analyzer, load_analyzer
    from ..curation.gui import curation_summary, open_gui
    from ..jobs import bars_shown

    analyzer = load_analyzer(arguments.folder)
    if arguments.complete:
        complete_analyzer(analyzer, progress_bar=bars_shown(True))
    print(f"Opening {len(analyzer.unit_ids)} units; this takes a while the first time.", flush=True)
    open_gui(
        analyzer,
        mode="web" if arguments.web else "desktop",
        curation=not arguments.no_curation,
        address=arguments.address,
        port=arguments.port,
        show=not arguments.no_browser,
    )
    if not arguments.no_curation:
        print(curation_summary(analyzer))
    return 0
