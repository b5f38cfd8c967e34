"""How much the place should count in the encoder's vectors: their scores with several units of it.

    python docs/encoder_place.py LIBRARIES --episodes 8

Give the libraries of the training models, so that nothing is chosen on what the evaluation asks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.encoder.augmentation import MARGIN
from spikeinterface_huidurep.encoder.data import BandPass, NoisePool, TemplateBank
from spikeinterface_huidurep.encoder.episodes import TABLE, make_episode
from spikeinterface_huidurep.encoder.evaluation import neighbourhoods, score
from spikeinterface_huidurep.encoder.inference import Encoder

ROWS = tuple(f"{row}{noise}" for row in ("two-column, SNR 4-10", "two-column, SNR 3-5", "two-column, drift +-30 um")
             for noise in ("", ", plain noise"))  # fmt: skip
UNITS_UM = (10.0, 15.0, 20.0, 30.0, 45.0, 1e6)


def scores(encoder: Encoder, row: str, arguments: argparse.Namespace) -> np.ndarray:
    """Mean ARI of a mixture with the true number of units and of HDBSCAN, (units of the place, 2)."""
    config = TABLE[row]
    bank = TemplateBank.from_library(arguments.libraries / f"{config.library}.npz", encoder.config)
    generator = torch.Generator().manual_seed(arguments.seed)
    noise = NoisePool(BandPass(), encoder.config, generator, samples=bank.samples + 2 * MARGIN, plain=config.plain)
    results = []
    for _ in range(arguments.episodes):
        episode = make_episode(bank, noise, config, generator)
        waveforms, locations = neighbourhoods(episode)
        spikes = encoder.encode(waveforms, locations, encoder.config.sampling_frequency, episode.nbefore)
        origin = episode.channel_locations.mean(axis=0)
        found = [score(spikes.placed(origin, unit), episode.labels) for unit in UNITS_UM]
        results.append([(max(one.ari, one.ari_principal), one.ari_hdbscan) for one in found])
    return np.mean(results, axis=0)


def main() -> None:
    """Print a line for every row of episodes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", type=Path)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=11)
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.weights, "cpu")
    names = [f"{unit:.0f} um" for unit in UNITS_UM[:-1]] + ["shape alone"]
    print("| episodes | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for row in ROWS:
        cells = [f"{ari:.3f} / {density:.3f}" for ari, density in scores(encoder, row, arguments)]
        print(f"| {row} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
