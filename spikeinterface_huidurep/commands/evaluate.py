"""``huidurep evaluate``: how well an encoder separates neighbouring neurons."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``evaluate`` to the command line."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure an encoder on simulated neighbouring neurons",
        description="Draw spikes of neighbouring neurons from template libraries, cluster the encoder's vectors and, "
        "for comparison, those of PCA and per-channel SVD, and write the scores. Use cell models that the encoder was "
        "not trained on.",
        epilog="Example: huidurep evaluate --libraries heldout --episodes 100 --output evaluation.md",
    )
    parser.add_argument("--libraries", type=Path, required=True, help="folder of template libraries (.npz)")
    parser.add_argument("--weights", default="default", help="name or .safetensors file (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="cell models to evaluate on (default: all)")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="MODEL", help="cell models to leave out")
    parser.add_argument("--episodes", type=int, default=100, help="episodes for each row (default: %(default)s)")
    parser.add_argument("--rows", nargs="+", metavar="TEXT", help="only the rows whose names contain one of these")
    parser.add_argument("--no-baselines", action="store_true", help="leave out PCA and per-channel SVD")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--output", type=Path, required=True, help="Markdown file; the numbers go to a .json file of the same name"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate the encoder; returns the exit status."""
    from ..encoder.episodes import TABLE
    from ..encoder.evaluation import evaluate, evaluate_denoiser, report, write_report
    from ..encoder.weights import load_encoder

    logging.getLogger("spikeinterface_huidurep").setLevel(logging.INFO)
    encoder = load_encoder(arguments.weights)
    table = {
        name: config
        for name, config in TABLE.items()
        if not arguments.rows or any(text in name for text in arguments.rows)
    }
    if not table:
        raise ValueError(f"No row's name contains one of {arguments.rows}; the rows are {', '.join(TABLE)}.")
    selection = {"only": arguments.only, "exclude": arguments.exclude}
    rows = evaluate(
        encoder,
        arguments.libraries,
        episodes=arguments.episodes,
        table=table,
        baselines=not arguments.no_baselines,
        seed=arguments.seed,
        **selection,
    )
    if not rows:
        raise FileNotFoundError(f"{arguments.libraries} has none of the libraries that the rows need.")
    denoiser = None
    if any(config.library == "neuropixels2-64" for config in table.values()):
        denoiser = evaluate_denoiser(encoder, arguments.libraries, seed=arguments.seed, **selection)
    facts = {"weights": arguments.weights, "training": encoder.facts, "episodes": arguments.episodes, **selection}
    write_report(arguments.output, rows, denoiser, facts)
    print(report(rows, denoiser))
    return 0
