"""Whether adapting the encoder to a recording helps: separation of the recording's true units before and after.

    python studies/encoder_adaptation.py HELDOUT --seeds 3 --threads 1

Each example draws two dozen units on a probe and spikes of them, and hands the spikes without their labels to
``adapt_encoder``. The mean adjusted Rand index (ten principal components, mixture with the true number) is of new
spikes of six neighbours among these units, labelled by the truth. *always* is the adapted encoder whatever its check
said, *as kept* is what ``adapt_encoder`` returns.

- *like the training data*: simulated neurons of HELDOUT, two-column probe;
- *unlike it*: SpikeInterface's template generator on a linear probe, with its own shapes of spikes.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
import torch

from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.encoder.adaptation import adapt_to_spikes
from spikeinterface_huidurep.encoder.augmentation import MARGIN
from spikeinterface_huidurep.encoder.data import TemplateBank
from spikeinterface_huidurep.encoder.episodes import EpisodeConfig, draw_episodes
from spikeinterface_huidurep.encoder.evaluation import encoder_features, score
from spikeinterface_huidurep.encoder.inference import Encoder
from spikeinterface_huidurep.encoder.network import EncoderConfig
from spikeinterface_huidurep.encoder.template_filter import BandPass, filter_and_resample

UNITS, SPIKES, EPISODES = 24, 200, 12
EPISODE = EpisodeConfig(snr=(4.0, 8.0))


def simulated_units(folder: Path, config: EncoderConfig, seed: int) -> TemplateBank:
    """Two dozen units of the held-out library, spread over its probe."""
    bank = TemplateBank.from_library(folder / "neuropixels2-64.npz", config)
    chosen = torch.randperm(len(bank), generator=torch.Generator().manual_seed(seed))[:UNITS]
    return TemplateBank(bank.templates[chosen].float().numpy(), bank.locations.numpy(), config)


def generated_units(folder: Path, config: EncoderConfig, seed: int) -> TemplateBank:
    """Two dozen units of SpikeInterface's generator along a linear probe of 16 channels, band-passed."""
    from spikeinterface.core.generate import generate_templates, generate_unit_locations

    channels = np.c_[np.zeros(16), 25.0 * np.arange(16)]
    places = generate_unit_locations(UNITS, channels, margin_um=5, minimum_distance=5, seed=seed)
    templates = generate_templates(channels, places, 30_000.0, 3.0, 5.0, seed=seed).transpose(0, 2, 1)
    window = (30_000.0, config.nbefore + MARGIN, config.samples + 2 * MARGIN)
    blocks = filter_and_resample(templates, BandPass(), 30_000.0, 90, *window)
    return TemplateBank(blocks[:, None], channels, config)


def accuracy(encoder: Encoder, bank: TemplateBank, seed: int) -> float:
    """Mean adjusted Rand index over episodes of six neighbours among the bank's units."""
    features, scores = encoder_features(encoder), []
    for episode in draw_episodes(bank, EPISODE, encoder.config, EPISODES, 1000 + seed):
        scores.append(score(features(episode), episode.labels, hdbscan=False).ari_principal)
    return float(np.mean(scores))


def adapt_both_ways(encoder: Encoder, bank: TemplateBank, seed: int, steps: int) -> tuple[Encoder, Encoder]:
    """The adapted encoder whatever its check says, and the one that ``adapt_encoder`` returns."""
    config = EpisodeConfig(units=UNITS, spikes=SPIKES, radius_um=1e4, snr=(5.0, 15.0))
    (spikes,) = draw_episodes(bank, config, encoder.config, 1, seed)
    adaptation = adapt_to_spikes(
        encoder, spikes.waveforms, spikes.channel_locations, 30_000.0, spikes.nbefore, steps=steps, seed=seed
    )
    return adaptation.tuned, adaptation.encoder


def main(arguments: list[str] | None = None) -> int:
    """Print one line an example and seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heldout", type=Path, help="folder of libraries of held-out cell models")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    logging.basicConfig(level=logging.INFO)
    encoder = load_encoder("default", "cpu")
    print("| units | seed | before | always | as kept |\n|---|---|---|---|---|", flush=True)
    for name, draw in {"like the training data": simulated_units, "unlike it": generated_units}.items():
        for seed in range(options.seeds):
            bank = draw(options.heldout, encoder.config, seed)
            always, kept = adapt_both_ways(encoder, bank, seed, options.steps)
            figures = [accuracy(each, bank, seed) for each in (encoder, always, kept)]
            print(f"| {name} | {seed} | " + " | ".join(f"{value:.3f}" for value in figures) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
