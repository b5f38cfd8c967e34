"""How far from a spike the encoder looks first, and how well it is located after each pass.

    python studies/encoder_first_look.py HELDOUT --episodes 12

For each row of episodes: the share of spikes for which the channel looked from first lies more than so many um from the
clean spike's location, if it is the one with the deepest sample, and if it is the one with the likeliest trough
(``encoder/first_look.py``); then the spread of the location about its unit's median after the first and the second
pass of the encoder. A location that is always off by the same few um does no harm, so the median is taken out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.encoder.augmentation import estimated_location
from spikeinterface_huidurep.encoder.data import TemplateBank
from spikeinterface_huidurep.encoder.episodes import TABLE, Episode, draw_episodes
from spikeinterface_huidurep.encoder.evaluation import neighbourhoods
from spikeinterface_huidurep.encoder.inference import Encoder, SpikeWindows

ROWS = ("two-column, SNR 4-10", "two-column, SNR 3-5")
_LIMITS_UM = (15, 25, 40, 60)


def true_location(episode: Episode) -> np.ndarray:
    """Centre of mass of the clean spikes, (n, 2) um."""
    ptp = torch.from_numpy(np.ptp(episode.clean, axis=1))
    locations = torch.from_numpy(episode.channel_locations).float()
    return estimated_location(ptp, locations, torch.ones(ptp.shape[1], dtype=torch.bool)).numpy()


@torch.inference_mode()
def looks(encoder: Encoder, episode: Episode) -> dict[str, np.ndarray]:
    """Where the encoder looks from and what it finds, each (n, 2) um."""
    waveforms, locations = neighbourhoods(episode)
    reach = int(round(1e-4 * encoder.config.sampling_frequency))
    near = waveforms[:, episode.nbefore - reach : episode.nbefore + reach + 1]
    deepest = near.min(axis=1).argmin(axis=1)
    spikes = SpikeWindows(encoder, waveforms, locations, encoder.config.sampling_frequency, episode.nbefore)
    batch = spikes.batch(slice(0, len(waveforms)))
    found = {"deepest sample": locations[np.arange(len(locations)), deepest], "first look": batch.centre.numpy()}
    centre, delay = encoder.first_pass(batch)
    batch.move(centre, delay)
    return found | {"first pass": centre.numpy(), "second pass": encoder.forward(batch)[1].numpy()}


def main(arguments: list[str] | None = None) -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", type=Path, help="folder of libraries of cell models that no training saw")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    encoder = load_encoder(options.weights, "cpu")
    print("| episodes | where | median, um | " + " | ".join(f"> {limit} um" for limit in _LIMITS_UM) + " |")
    print("|---|---|---|" + "---|" * len(_LIMITS_UM))
    for row in ROWS:
        bank = TemplateBank.from_library(options.libraries / f"{TABLE[row].library}.npz", encoder.config)
        errors: dict[str, list[np.ndarray]] = {}
        for episode in draw_episodes(bank, TABLE[row], encoder.config, options.episodes, options.seed):
            for name, place in looks(encoder, episode).items():
                error = place - true_location(episode)
                if "pass" in name:
                    for label in np.unique(episode.labels):
                        error[episode.labels == label] -= np.median(error[episode.labels == label], axis=0)
                errors.setdefault(name, []).append(np.linalg.norm(error, axis=1))
        for name, parts in errors.items():
            error = np.concatenate(parts)
            shares = " | ".join(f"{(error > limit).mean():.3f}" for limit in _LIMITS_UM)
            print(f"| {row} | {name} | {np.median(error):.1f} | {shares} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
