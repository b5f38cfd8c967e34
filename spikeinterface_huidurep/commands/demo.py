"""``huidurep demo``: sort a generated recording whose units are known."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``demo`` to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="generate a recording whose units are known, sort it and print the accuracy",
        description="Generate a recording with SpikeInterface, sort it, print each unit's accuracy, draw the result.",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("huidurep_demo"), help="folder to write (default: %(default)s)"
    )
    parser.add_argument("--channels", type=int, default=32, help="contacts of the probe (default: %(default)s)")
    parser.add_argument("--units", type=int, default=12, help="neurons (default: %(default)s)")
    parser.add_argument(
        "--duration", type=float, default=60.0, help="length of the recording, s (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the recording and the sorter (default: %(default)s)"
    )
    parser.add_argument("--n-jobs", type=int, default=1, help="number of parallel jobs (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the output of an earlier demonstration")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demonstration; returns the exit status."""
    from spikeinterface.core import set_global_job_kwargs

    from ..demo import CONTENTS, run_demo
    from ..jobs import bars_shown
    from ..output_folder import make_room

    if arguments.channels < 1 or arguments.units < 1 or arguments.n_jobs < 1 or not arguments.duration >= 1:
        raise ValueError("The demonstration needs 1 channel, 1 unit, 1 job and 1 second at least.")
    if not arguments.quiet:
        logging.getLogger("spikeinterface_huidurep").setLevel(logging.INFO)
    set_global_job_kwargs(n_jobs=arguments.n_jobs, progress_bar=bars_shown(not arguments.quiet))
    output = arguments.output.expanduser()
    make_room(output, arguments.overwrite, CONTENTS)
    demo = run_demo(
        output,
        num_channels=arguments.channels,
        num_units=arguments.units,
        duration=arguments.duration,
        seed=arguments.seed,
        verbose=not arguments.quiet,
    )
    print(f"\n{demo.recording.get_num_channels()} channels, {arguments.duration:g} s, sorted in {demo.run_time:.0f} s.")
    print(demo.table.to_string(float_format=lambda value: f"{value:.2f}"))
    well = int((demo.table["accuracy"] >= 0.8).sum())
    print(f"{len(demo.table)} true units, {len(demo.sorting.unit_ids)} found, {well} with an accuracy of 0.8 or more.")
    print(f"Mean accuracy {demo.table['accuracy'].mean():.3f}.")
    print(f"Figure: {demo.figure.absolute()}")
    print(f"Sorting, recording and truth: {output.absolute()}")
    return 0
