"""``huidurep templates``: build a template library from generated neurons or biophysical cell models."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

SOURCES = ("random", "spikeinterface", "bmtk", "bbp")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``templates`` to the command line."""
    parser = subparsers.add_parser(
        "templates",
        help="build a library of spike templates from generated neurons or biophysical cell models",
        description=(
            "Places neurons around a probe and writes the templates that the encoder is trained or evaluated on. "
            "Three sources are free: random, neurons that this package draws (MIT); spikeinterface, those of "
            "SpikeInterface's template generator (MIT); bmtk, mouse V1 models of the Allen Institute (BSD-3-Clause; "
            "extra 'simulate-free'). The fourth, bbp, the Blue Brain Project's layer-5 models, is licensed "
            "CC BY-NC-SA 4.0 (extra 'simulate'): evaluate on it. Cell models are simulated with NEURON at first use, "
            "which takes a few seconds to a minute; their membrane currents are cached. The library says its source "
            "and licence."
        ),
    )
    parser.add_argument("output", type=Path, help="library to write (.npz)")
    parser.add_argument(
        "--probe",
        required=True,
        help="a layout such as two-column-64 or tetrode-25, or MEAutility's name of a probe, e.g. Neuropixels2-64",
    )
    parser.add_argument(
        "--source", choices=SOURCES, default="random", help="where neurons are from (default: %(default)s)"
    )
    parser.add_argument(
        "--drift",
        choices=("none", "shank", "free"),
        default="none",
        help="none: still units; shank: 31 displacements of -50 to 50 um along the probe; free (cell models only): 31 "
        "steps, own direction",
    )
    parser.add_argument(
        "--cell-models",
        nargs="+",
        metavar="MODEL",
        help="bmtk: names of cell models (default: all). bbp: names, or evaluation (four models, the default), "
        "training (the nine others, of the shipped weights), all. random: kinds of neurons (default: all)",
    )
    parser.add_argument(
        "--units",
        type=int,
        help="units of every cell model (default 60), or of all generated neurons (default 500)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of all random numbers (default 1)")
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps simulated cells between calls")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Build the library; returns the exit status."""
    from spikeinterface_huidurep import simulation

    logging.getLogger(simulation.__name__).setLevel(logging.INFO)
    if arguments.source in ("random", "spikeinterface"):
        path = simulation.build_generated_library(
            arguments.output,
            arguments.probe,
            arguments.source,
            drift=arguments.drift,
            units=500 if arguments.units is None else arguments.units,
            kinds=None if arguments.cell_models is None else tuple(arguments.cell_models),
            seed=arguments.seed,
        )
    else:
        path = simulation.build_library(
            arguments.output,
            arguments.probe,
            drift=arguments.drift,
            cell_models=_cell_models(arguments.source, arguments.cell_models),
            units_per_model=60 if arguments.units is None else arguments.units,
            seed=arguments.seed,
            cache_folder=arguments.cache,
        )
    print(path)
    return 0


def _cell_models(source: str, names: list[str] | None) -> list[str]:
    """The cell models that a source's names stand for, each once."""
    from spikeinterface_huidurep import simulation

    if source == "bmtk":
        groups = {"all": simulation.MOUSE_CELL_MODELS}
        names = names or ["all"]
    else:
        groups = {
            "training": simulation.TRAINING_CELL_MODELS,
            "evaluation": simulation.EVALUATION_CELL_MODELS,
            "all": simulation.BLUE_BRAIN_CELL_MODELS,
        }
        names = names or ["evaluation"]
    models = [model for name in names for model in groups.get(name, (name,))]
    strangers = [model for model in models if model not in groups["all"]]
    if strangers:
        raise ValueError(f"The source {source} has no cell model {strangers[0]!r}; it has {', '.join(groups['all'])}.")
    return list(dict.fromkeys(models))
