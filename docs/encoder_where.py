"""Where the encoder does better and worse: at a probe's ends under drift, and on neurons of another simulator.

    python docs/encoder_where.py HELDOUT --episodes 40

*Inside* and *at an end* are the episodes of the rows with drift, the latter with at least two units within 40 um of the
shank's end. *Generated* neurons are those of ``encoder/generated.py``, others than a training draws. Cells: ARI of the
better one of 32 numbers and 10 components of what ``embed`` returns, of the same without the place, and the purity.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.encoder.data import TemplateBank
from spikeinterface_huidurep.encoder.episodes import TABLE, Episode, EpisodeConfig, draw_episodes
from spikeinterface_huidurep.encoder.evaluation import neighbourhoods, score
from spikeinterface_huidurep.encoder.generated import generated_bank
from spikeinterface_huidurep.encoder.inference import Encoder

_END_UM = 40.0
_SEED, _NEURONS_SEED, _NEURONS = 21, 99, 150
_DRIFT = ("two-column, drift +-30 um, plain noise", "two-column, drift +-30 um")
_GENERATED = {
    "generated, SNR 4-10": EpisodeConfig(),
    "generated, SNR 3-5": EpisodeConfig(snr=(3.0, 5.0)),
    "generated, drift +-30 um": EpisodeConfig(drift_um=30.0),
    "generated, drift +-30 um, plain noise": EpisodeConfig(drift_um=30.0, plain=True),
}


def scored(encoder: Encoder, episode: Episode) -> tuple[float, float, float]:
    """ARI of ``embed``'s vectors, of the shape alone, and purity."""
    waveforms, locations = neighbourhoods(episode)
    spikes = encoder.encode(waveforms, locations, encoder.config.sampling_frequency, episode.nbefore)
    placed = score(spikes.placed(episode.channel_locations.mean(axis=0)), episode.labels, hdbscan=False)
    shape = score(spikes.embedding, episode.labels, hdbscan=False)
    return max(placed.ari, placed.ari_principal), max(shape.ari, shape.ari_principal), placed.purity


def at_an_end(bank: TemplateBank, episode: Episode) -> bool:
    """Whether two of the units or more lie near the end of the shank."""
    depth = bank.location[torch.from_numpy(episode.units), 1]
    ends = bank.locations[:, 1].min(), bank.locations[:, 1].max()
    return int((torch.minimum(depth - ends[0], ends[1] - depth) < _END_UM).sum()) >= 2


def line(name: str, rows: list[tuple[float, float, float]]) -> str:
    """One line of the table."""
    if not rows:
        return f"| {name} | 0 | | | |"
    means = np.mean(rows, axis=0)
    return f"| {name} | {len(rows)} | " + " | ".join(f"{value:.3f}" for value in means) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", type=Path)
    parser.add_argument("--weights", nargs="+", default=["default"])
    parser.add_argument("--episodes", type=int, default=40)
    arguments = parser.parse_args()
    for weights in arguments.weights:
        encoder = load_encoder(weights, "cpu")
        print(f"\n{weights}\n\n| episodes | number | ARI | ARI, shape alone | purity |\n|---|---|---|---|---|")
        for row in _DRIFT:
            bank = TemplateBank.from_library(arguments.libraries / f"{TABLE[row].library}.npz", encoder.config)
            drawn = list(draw_episodes(bank, TABLE[row], encoder.config, arguments.episodes, _SEED))
            for name, end in (("inside", False), ("at an end", True)):
                rows = [scored(encoder, episode) for episode in drawn if at_an_end(bank, episode) == end]
                print(line(f"{row}, {name}", rows), flush=True)
        bank = generated_bank(bank.locations.numpy(), encoder.config, _NEURONS_SEED, _NEURONS)
        for name, config in _GENERATED.items():
            rows = [
                scored(encoder, episode)
                for episode in draw_episodes(bank, config, encoder.config, arguments.episodes, _SEED)
            ]
            print(line(name, rows), flush=True)


if __name__ == "__main__":
    main()
