"""``huidurep match``: find the units of several sessions that are the same neuron."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``match`` to the command line."""
    parser = subparsers.add_parser(
        "match",
        help="find the units of several sessions that are the same neuron",
        description="Match the units of two and more sessions of one probe, each sorted by itself: by the encoder's "
        "vectors, templates, locations and amplitudes, after the displacement between the sessions.",
        epilog="Example: huidurep match day1 day2 day3 --output matched",
    )
    parser.add_argument(
        "sessions", nargs="+", type=Path, metavar="SORT",
        help="folders of huidurep sort, run_sorter or SortingAnalyzers, in the order of time",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier output")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="of the sessions (default: their folders')")
    parser.add_argument(
        "--threshold", type=float, default=0.5, metavar="P", help="least probability of a match (default: %(default)s)"
    )
    parser.add_argument(
        "--spike-times", action="store_true",
        help="let autocorrelograms, intervals and rates count, too: not where you want to know whether these change",
    )  # fmt: skip
    parser.add_argument(
        "--review", action="store_true",
        help="make an analyzer of all sessions, too: huidurep gui OUTPUT shows the neurons, to leave or refuse",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of all random choices (default: %(default)s)")
    parser.add_argument("--n-jobs", type=int, default=1, help="number of parallel jobs (default: %(default)s)")
    parser.add_argument("--verbose", action="store_true", help="say what is done")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Match the sessions; returns the exit status."""
    from ..matching import match_units
    from ..matching.result import OWN_FILES
    from ..output_folder import make_room

    output = arguments.output.expanduser().absolute()
    if output.exists() and not arguments.overwrite:
        make_room(output, False, OWN_FILES)  # before the work, not after it
    matches = match_units(
        arguments.sessions, names=arguments.names, threshold=arguments.threshold, spike_times=arguments.spike_times,
        seed=arguments.seed, n_jobs=arguments.n_jobs, progress_bar=arguments.verbose,
    )  # fmt: skip
    matches.save(output, overwrite=arguments.overwrite, review=arguments.review, n_jobs=arguments.n_jobs)
    size = matches.groups.groupby("neuron").size()
    false = float(matches.yields([arguments.threshold])["false"][0])
    print(f"{len(matches.matches)} matches, of which {false:.1f} are expected to be false.")
    print(f"{len(size)} neurons, {int((size > 1).sum())} of them in more than one session.")
    print(f"Report: {output / 'report.html'}")
    if arguments.review:
        print(f"To look at the neurons and refuse some: huidurep gui {output}")
    return 0
