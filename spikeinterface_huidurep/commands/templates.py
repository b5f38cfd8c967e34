"""``huidurep templates``: build a template library from biophysical cell models."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``templates`` to the command line."""
    parser = subparsers.add_parser(
        "templates",
        help="build a library of spike templates from biophysical cell models (extra 'simulate')",
        description=(
            "Simulates Blue Brain Project cell models with NEURON and LFPy, places them around a probe as MEArec does, "
            "and writes the templates that the encoder is trained or evaluated on. The first use of a cell model takes "
            "a few seconds to a minute; its membrane currents are cached. The cell models are licensed CC BY-NC-SA 4.0."
        ),
    )
    parser.add_argument("output", type=Path, help="library to write (.npz)")
    parser.add_argument("--probe", required=True, help="MEAutility's name of a probe, e.g. Neuropixels2-64 or tetrode")
    parser.add_argument(
        "--drift",
        choices=("none", "shank", "free"),
        default="none",
        help="none: still units; shank: 31 displacements of -50 to 50 um along z; free: 31 steps, own direction",
    )
    parser.add_argument(
        "--cell-models",
        nargs="+",
        default=["training"],
        metavar="MODEL",
        help="names of cell models, or training (nine models, the default), evaluation (the other four), all",
    )
    parser.add_argument("--units", type=int, default=60, help="units of every cell model (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random numbers (default 1)")
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps simulated cells between calls")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Build the library; returns the exit status."""
    from spikeinterface_huidurep import simulation

    logging.getLogger(simulation.__name__).setLevel(logging.INFO)
    groups = {
        "training": simulation.TRAINING_CELL_MODELS,
        "evaluation": simulation.EVALUATION_CELL_MODELS,
        "all": simulation.CELL_MODELS,
    }
    cell_models = [model for name in arguments.cell_models for model in groups.get(name, (name,))]
    path = simulation.build_library(
        arguments.output,
        arguments.probe,
        drift=arguments.drift,
        cell_models=list(dict.fromkeys(cell_models)),
        units_per_model=arguments.units,
        seed=arguments.seed,
        cache_folder=arguments.cache,
    )
    print(path)
    return 0
