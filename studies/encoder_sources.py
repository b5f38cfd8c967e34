"""Which free data teach an encoder most, and how far weights from free data are off the earlier ones.

    python studies/encoder_sources.py LIBRARIES RUNS --threads 1
    python studies/encoder_sources.py LIBRARIES RUNS --weights default free.safetensors --only weights

trains one encoder from random weights on each set of sources, all as long and from the same seed, scores it and writes
``RUNS/sources.md``. LIBRARIES holds nine cell models, which the earlier weights were trained on and which weights from
free data never see, and, for the runs that use them, the libraries of the mouse models (``huidurep templates --source
bmtk``). A run takes a folder of RUNS; given again, the command skips what is finished.

*Cell models* are four rows of docs/encoder.md; *generated* and *default* neurons those of ``encoder_where.py``; *random
neurons* the project's own, others than a training draws, and *changing* the same when half of the spikes are of another
form than the usual one. Cells: ARI of ``embed``'s vectors, the better one of 32 numbers and 10 components.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoder_adaptation import generated_units
from encoder_where import NEURONS, scored

from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.encoder.data import TemplateBank
from spikeinterface_huidurep.encoder.episodes import TABLE, EpisodeConfig, draw_episodes
from spikeinterface_huidurep.encoder.generated import generated_bank
from spikeinterface_huidurep.encoder.inference import Encoder
from spikeinterface_huidurep.encoder.layouts import layout
from spikeinterface_huidurep.encoder.network import EncoderConfig
from spikeinterface_huidurep.encoder.random_bank import random_bank
from spikeinterface_huidurep.encoder.sources import build_sampler
from spikeinterface_huidurep.encoder.training import Trainer, TrainingConfig

_OTHERS_SEED, _SEED = 9_900, 21
_BMTK = {"bmtk-two-column-64": 2.0, "bmtk-two-column-64-shank": 2.0}
_LAYOUTS = ("tetrode-25", "linear-32", "two-column-64", "two-column-32-staggered", "four-column-96", "grid-100")
_UNCHANGED = {"change": 0.0, "electrode": 0.0, "random_probe": 0.0}
_OWN = {"random_probe": 0.0}
RUNS: dict[str, dict[str, Any]] = {
    "cell models": {"layouts": [], "generated": 0.0},
    "cell models, SpikeInterface's": {"layouts": [], "generated": 5.0},
    "SpikeInterface's": {"generated": 5.0, "libraries": {}},
    "random": {"random_neurons": 5.0, "generated": 0.0, "libraries": {}, "views": _OWN},
    "random, not changing": {"random_neurons": 5.0, "generated": 0.0, "libraries": {}, "views": _UNCHANGED},
    "random, SpikeInterface's": {"random_neurons": 8.0, "generated": 3.0, "libraries": {}, "views": _OWN},
    "random, SpikeInterface's, random probes": {"random_neurons": 8.0, "generated": 3.0, "libraries": {}},
    "random, SpikeInterface's, mouse": {"random_neurons": 8.0, "generated": 3.0, "libraries": _BMTK, "views": _OWN},
}
CELL_ROWS = ("two-column, SNR 4-10", "two-column, SNR 3-5", "two-column, drift +-30 um", "tetrode, 4 units")
NEURON_ROWS = {
    "generated": EpisodeConfig(),
    "default": EpisodeConfig(),
    "random": EpisodeConfig(),
    "random, changing": EpisodeConfig(change=0.5),
}
COLUMNS = (*CELL_ROWS, *NEURON_ROWS)


def neuron_banks(name: str, libraries: Path, config: EncoderConfig) -> list[TemplateBank]:
    """Banks of a row of ``NEURON_ROWS``."""
    where = layout("two-column-64")
    if name == "generated":
        return [generated_bank(where, config, _OTHERS_SEED, NEURONS)]
    if name == "default":
        return [generated_units(libraries, config, seed) for seed in range(3)]
    return [random_bank(where, config, _OTHERS_SEED, NEURONS)]


def scores(encoder: Encoder, libraries: Path, episodes: int) -> dict[str, list[float]]:
    """ARI of each episode of each row."""
    rows: dict[str, list[float]] = {}
    for row in COLUMNS:
        config = TABLE.get(row) or NEURON_ROWS[row]
        banks = (
            [TemplateBank.from_library(libraries / f"{config.library}.npz", encoder.config)]
            if row in TABLE
            else neuron_banks(row, libraries, encoder.config)
        )
        rows[row] = [
            scored(encoder, episode)[0]
            for bank in banks
            for episode in draw_episodes(bank, config, encoder.config, -(-episodes // len(banks)), _SEED)
        ]
    return rows


def trained(name: str, folder: Path, arguments: argparse.Namespace) -> Path:
    """The weights of a run, trained as far as it still has to be."""
    weights = folder / "encoder.safetensors"
    if weights.is_file():
        return weights
    common = {
        "steps": arguments.steps,
        "batch_size": arguments.batch_size,
        "seed": arguments.seed,
        "layouts": list(_LAYOUTS),
        "generated_units": arguments.units,
        "random_units": arguments.units,
        "autocast": True,
    }
    views = {"electrode": 0.05, "drift_um": 20.0, **RUNS[name].get("views", {})}
    config = TrainingConfig.from_dict({**common, **RUNS[name], "views": views})
    trainer = Trainer(config, build_sampler(config, arguments.libraries), folder)
    if trainer.checkpoint_path.is_file():
        trainer.resume()
    trainer.run(checkpoint_every=100, progress=False)
    return trainer.export(weights)


def line(name: str, rows: dict[str, list[float]]) -> str:
    """One line of the table: means and standard errors."""
    cells = [f"{np.mean(rows[row]):.3f} ({np.std(rows[row]) / np.sqrt(len(rows[row])):.3f})" for row in COLUMNS]
    return f"| {name} | " + " | ".join(cells) + " |"


def main(arguments: list[str] | None = None) -> int:
    """Run what is not there yet, and write the table after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", type=Path, help="folder of template libraries")
    parser.add_argument("runs", type=Path, help="folder of the runs and of the table")
    parser.add_argument("--weights", nargs="*", default=["default"], help="trained encoders to score as well")
    parser.add_argument("--steps", type=int, default=500, help="of each training (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=192, help="pairs of views a step (default: %(default)s)")
    parser.add_argument("--units", type=int, default=100, help="generated neurons a probe (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=12, help="a row of episodes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these runs; 'weights' for none")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.runs.mkdir(parents=True, exist_ok=True)
    lines = ["| trained on | " + " | ".join(COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for name in (*options.weights, *(run for run in RUNS if options.only is None or run in options.only)):
        folder = options.runs / Path(name).stem.replace(" ", "_").replace(",", "").replace("'", "")
        kept = folder / f"scores_{options.episodes}.json"
        if kept.is_file():
            rows = json.loads(kept.read_text())
        else:
            folder.mkdir(exist_ok=True)
            encoder = load_encoder(name if name in options.weights else trained(name, folder, options), "cpu")
            rows = scores(encoder, options.libraries, options.episodes)
            kept.write_text(json.dumps(rows))
        lines.append(line(name, rows))
        (options.runs / "sources.md").write_text("\n".join(lines) + "\n")
        print(lines[-1], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
