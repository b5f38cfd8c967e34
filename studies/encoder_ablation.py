"""What each part of the encoder's training is worth: one short training without it, all from the same seed.

    python studies/encoder_ablation.py LIBRARIES HELDOUT RUNS --threads 1

trains on the template libraries in LIBRARIES, scores on those in HELDOUT (cell models that no run saw) and writes
``RUNS/ablation.md``. A run takes a folder of RUNS. Given again, the command goes on where it was stopped and skips
what is finished. A step of the published network (``published_network.py``) takes many times as long as one of this
project's, so it has two runs: one in about the time of the others, and one of as many steps, the last.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from published_network import PUBLISHED, PublishedEncoder
from torch import Tensor

from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.encoder.axes import principal_axes
from spikeinterface_huidurep.encoder.episodes import TABLE
from spikeinterface_huidurep.encoder.evaluation import evaluate, evaluate_denoiser
from spikeinterface_huidurep.encoder.inference import Batch, Encoder
from spikeinterface_huidurep.encoder.network import BuildEncoder, EncoderConfig, SpikeEncoder
from spikeinterface_huidurep.encoder.sources import build_sampler
from spikeinterface_huidurep.encoder.training import Trainer, TrainingConfig
from spikeinterface_huidurep.encoder.weights import read_network

_PUBLISHED: dict[str, Any] = {
    "batch_size": 64, "encoder": PUBLISHED, "views": {"recentre": 1.0}, "location_weight": 0.0
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "both losses, all views": {},
    "contrastive alone": {"denoising_weight": 0.0},
    "denoising alone": {"contrastive_weight": 0.0},
    "without footprints": {},
    "and generated neurons": {"generated": 5.0},
    "and generated neurons, cut shanks": {"generated": 5.0, "views": {"cut": 0.35}},
    "published network, like time": {**_PUBLISHED, "steps": 140, "warmup_steps": 40},
    "without drift": {"views": {"drift_um": 0.0}},
    "without re-centring": {"views": {"recentre": 0.0}},
    "without location-relative windows": {"views": {"recentre": 1.0}},
    "without collisions": {"views": {"collision": 0.0}},
    "without amplitude change": {"views": {"burst": 0.0, "amplitude_jitter": 0.0}},
    "without independent noise": {"views": {"noise": 0.0}},
    "without detection jitter": {"views": {"shift": 0}},
    "without missing channels": {"views": {"missing": 0.0}},
    "without other filters, gains, rates": {"other_bands": False, "views": {"gain": 0.0, "stretch": 0.0}},
    "without other probes": {"views": {"thin": 0.0, "random_probe": 0.0, "symmetry": False}},
    "both, batches of 64": {"batch_size": 64},
    "published network, as many steps": _PUBLISHED,  # the longest, so the last
}
ROWS = (
    "two-column, SNR 4-10",
    "two-column, SNR 3-5",
    "two-column, drift +-30 um",
    "two largest channels",
    "tetrode, 4 units",
)
_SHIPPED = "shipped weights"


class OnePass(Encoder):
    """Looks from the first look only, as a network does that was not trained to look from the location."""

    def second_pass(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Clean waveforms and location, of the only pass."""
        clean, centre = self.forward(batch)
        return batch.unmoved(clean), centre


class WithoutFootprints(SpikeEncoder):
    """The channels' features meet in the attention only. The weights of the footprints stay at zero, as they begin."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        for part in (self.modulate, self.linear, self.enter, self.gather):
            part.requires_grad_(False)


class TokenReader(SpikeEncoder):
    """Represents spikes by principal components of the mean of their channel tokens.

    Without the contrastive loss nothing trains what makes the representation, and it would be a random projection.
    """

    def __init__(self, network: SpikeEncoder, centre: Tensor, axes: Tensor) -> None:
        super().__init__(network.config)
        self.load_state_dict(network.state_dict())
        self.centre, self.axes = centre, axes

    def representation(self, tokens: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Components of the mean token."""
        return (tokens[:, 1:].mean(dim=1) - self.centre) @ self.axes


#: Runs of other networks than this project's.
BUILD: dict[str, BuildEncoder] = {
    "without footprints": WithoutFootprints,
    "published network, like time": PublishedEncoder,
    "published network, as many steps": PublishedEncoder,
}


def settings(name: str) -> dict[str, Any]:
    """The settings of a run; without what came last where it does not name it: generated neurons, and more than twelve
    channels."""
    own = RUNS[name]
    return {"generated": 0.0, **own, "encoder": {"channels": 12, **own.get("encoder", {})}}


def token_reader(network: SpikeEncoder, libraries: Path, seed: int) -> TokenReader:
    """Reads the tokens along their principal axes, measured on spikes of the training libraries."""
    config = network.config
    view, _, _, tokens = build_sampler(TrainingConfig(seed=seed, encoder=config, generated=0.0), libraries).draw(4096)
    seen = view.seen_from(view.offset, tokens, view.delay.round().long())
    with torch.no_grad():
        mean = network.tokens(seen.waveforms, seen.positions, seen.mask)[:, 1:].mean(dim=1)
    centre, axes = principal_axes(mean)
    return TokenReader(network, centre, axes[:, : config.dimensions])


def load_run(name: str, weights: Path, arguments: argparse.Namespace) -> Encoder:
    """The encoder of a run, as it was trained to look and to be read."""
    network, facts, beside_place = read_network(weights, BUILD.get(name, SpikeEncoder))
    if RUNS[name].get("contrastive_weight") == 0:
        network = token_reader(network, arguments.libraries, arguments.seed)
    one_pass = RUNS[name].get("views", {}).get("recentre") == 1.0
    return (OnePass if one_pass else Encoder)(network, "cpu", facts, beside_place=beside_place)


def train(name: str, folder: Path, arguments: argparse.Namespace) -> Path:
    """The weights of a run, trained as far as it still has to be."""
    weights = folder / "encoder.safetensors"
    if weights.is_file():
        return weights
    common = {"steps": arguments.steps, "batch_size": arguments.batch_size, "seed": arguments.seed}
    config = TrainingConfig.from_dict({**common, **settings(name)})
    sampler = build_sampler(config, arguments.libraries)
    trainer = Trainer(config, sampler, folder, build=BUILD.get(name, SpikeEncoder))
    if trainer.checkpoint_path.is_file():
        trainer.resume()
    trainer.run(checkpoint_every=50, progress=False)
    return trainer.export(weights)


def scores(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Scores of a run or of the shipped weights, read if they are there and measured otherwise."""
    folder = arguments.runs / name.replace(" ", "_").replace(",", "")
    path = folder / f"scores_{arguments.episodes}.json"
    if path.is_file():
        return json.loads(path.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    shipped = name == _SHIPPED
    encoder = load_encoder("default", "cpu") if shipped else load_run(name, train(name, folder, arguments), arguments)
    table = {row: TABLE[row] for row in ROWS}
    rows = evaluate(
        encoder, arguments.heldout, episodes=arguments.episodes, table=table, baselines=shipped, hdbscan=False
    )
    content = {"steps": encoder.facts["steps"], "batch": encoder.facts["config"]["batch_size"], "rows": rows}
    content["denoiser"] = evaluate_denoiser(encoder, arguments.heldout, episodes=arguments.episodes)["ratio"]
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1))
    partial.replace(path)
    return content


def table_line(name: str, rows: list[dict[str, Any]], methods: tuple[str, ...], *rest: str) -> str:
    """One line of the table: ARI of the shape alone and of what the sorter clusters on each row of episodes."""
    found = {(row["episodes"], row["method"]): max(row["ari"], row["ari_principal"]) for row in rows}
    cells = [" / ".join(f"{found[episodes, method]:.3f}" for method in methods) for episodes in ROWS]
    return f"| {name} | " + " | ".join([*cells, *rest]) + " |"


def main(arguments: list[str] | None = None) -> int:
    """Run what is not there yet, and write the table after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", type=Path, help="folder of the training libraries")
    parser.add_argument("heldout", type=Path, help="folder of libraries of other cell models")
    parser.add_argument("runs", type=Path, help="folder of the runs and of the table")
    parser.add_argument("--steps", type=int, default=500, help="of each training (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=192, help="pairs of views a step (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=20, help="a row of episodes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="only the runs whose names contain one of these")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    if options.threads:
        torch.set_num_threads(options.threads)
    lines = [
        "| trained | " + " | ".join(ROWS) + " | denoiser's error | steps x batch |",
        "|---|" + "---|" * (len(ROWS) + 2),
    ]
    for name in (_SHIPPED, *RUNS):
        if options.only and not any(text in name for text in options.only):
            continue
        result = scores(name, options)
        if name == _SHIPPED:
            for baseline in ("PCA", "per-channel SVD", "per-channel SVD, common channels"):
                lines.append(table_line(baseline, result["rows"], (baseline,), "", ""))
        ratio = "none" if RUNS.get(name, {}).get("denoising_weight") == 0 else f"{result['denoiser']:.2f}"
        both = ("encoder, shape alone", "as the sorter clusters")
        lines.append(table_line(name, result["rows"], both, ratio, f"{result['steps']} x {result['batch']}"))
        (options.runs / "ablation.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
