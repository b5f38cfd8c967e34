"""Where the encoder does better and worse: at a probe's ends under drift, on neurons of another simulator, between
neurons of one cell model.

    python studies/encoder_where.py HELDOUT --episodes 40

*Inside* and *at an end* are the episodes of the rows with drift, the latter with at least two units within 40 um of the
shank's end. *Generated* neurons are those of ``encoder/generated.py``, others than a training draws; *default* neurons
those of the generator's own settings, on a linear probe, which no training sees. Cells: ARI of the better one of 32
numbers and 10 components of what ``embed`` returns, of the same without the place, and the purity.

Below: of two units of an episode, how many of the ten nearest neighbours of one's spikes are the other's, by whether
both are of one cell model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from encoder_adaptation import generated_units
from sklearn.neighbors import NearestNeighbors

from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.encoder.data import TemplateBank
from spikeinterface_huidurep.encoder.episodes import TABLE, Episode, EpisodeConfig, draw_episodes
from spikeinterface_huidurep.encoder.evaluation import neighbourhoods, score
from spikeinterface_huidurep.encoder.generated import generated_bank
from spikeinterface_huidurep.encoder.inference import Encoder

END_UM = 40.0
_NEIGHBOURS = 10
_SEED, _NEURONS_SEED, NEURONS, BANKS = 21, 99, 150, 3
DRIFT = ("two-column, drift +-30 um, plain noise", "two-column, drift +-30 um")
PAIRS = ("two-column, drift +-30 um, plain noise", "two-column, SNR 3-5", "two-column, SNR 4-10", "tetrode, 4 units")
DEFAULT = {
    "default neurons, SNR 4-10": EpisodeConfig(),
    "default neurons, SNR 4-10, plain noise": EpisodeConfig(plain=True),
}
GENERATED = {
    "generated, SNR 4-10": EpisodeConfig(),
    "generated, SNR 3-5": EpisodeConfig(snr=(3.0, 5.0)),
    "generated, drift +-30 um": EpisodeConfig(drift_um=30.0),
    "generated, drift +-30 um, plain noise": EpisodeConfig(drift_um=30.0, plain=True),
}


def encoded(encoder: Encoder, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
    """What ``embed`` returns for an episode's spikes, and the shape alone."""
    waveforms, locations = neighbourhoods(episode)
    spikes = encoder.encode(waveforms, locations, encoder.config.sampling_frequency, episode.nbefore)
    return spikes.placed(episode.channel_locations.mean(axis=0)), spikes.shape_vectors


def scored(encoder: Encoder, episode: Episode) -> tuple[float, float, float]:
    """ARI of ``embed``'s vectors, of the shape alone, and purity."""
    placed, shape = (score(vectors, episode.labels, hdbscan=False) for vectors in encoded(encoder, episode))
    return max(placed.ari, placed.ari_principal), max(shape.ari, shape.ari_principal), placed.purity


def at_an_end(bank: TemplateBank, episode: Episode) -> bool:
    """Whether two of the units or more lie near the end of the shank."""
    depth = bank.location[torch.from_numpy(episode.units), 1]
    ends = bank.locations[:, 1].min(), bank.locations[:, 1].max()
    return int((torch.minimum(depth - ends[0], ends[1] - depth) < END_UM).sum()) >= 2


def wrong_neighbours(encoder: Encoder, bank: TemplateBank, episode: Episode) -> list[tuple[bool, float]]:
    """For each pair of the episode's units: whether both are of one cell model, and their wrong neighbours' share."""
    vectors, _ = encoded(encoder, episode)
    near = NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(vectors).kneighbors(return_distance=False)  # not itself
    if bank.cell_model is None:
        raise ValueError("the library does not say of which cell models its neurons are")
    found, models, labels = episode.labels[near], bank.cell_model[episode.units], episode.labels
    return [
        (models[one] == models[two], float(np.mean([found[labels == one] == two, found[labels == two] == one])))
        for one in range(len(models))
        for two in range(one)
    ]


def line(name: str, rows: list[tuple[float, float, float]]) -> str:
    """One line of the table."""
    if not rows:
        return f"| {name} | 0 | | | |"
    means = np.mean(rows, axis=0)
    return f"| {name} | {len(rows)} | " + " | ".join(f"{value:.3f}" for value in means) + " |"


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", type=Path)
    parser.add_argument("--weights", nargs="+", default=["default"])
    parser.add_argument("--episodes", type=int, default=40)
    options = parser.parse_args(arguments)
    for weights in options.weights:
        encoder = load_encoder(weights, "cpu")
        print(f"\n{weights}\n\n| episodes | number | ARI | ARI, shape alone | purity |\n|---|---|---|---|---|")
        for row in DRIFT:
            bank = TemplateBank.from_library(options.libraries / f"{TABLE[row].library}.npz", encoder.config)
            drawn = list(draw_episodes(bank, TABLE[row], encoder.config, options.episodes, _SEED))
            for name, end in (("inside", False), ("at an end", True)):
                rows = [scored(encoder, episode) for episode in drawn if at_an_end(bank, episode) == end]
                print(line(f"{row}, {name}", rows), flush=True)
        unlike = [generated_units(options.libraries, encoder.config, seed) for seed in range(BANKS)]
        alike = [generated_bank(bank.locations.numpy(), encoder.config, _NEURONS_SEED, NEURONS)]
        for banks, table in ((alike, GENERATED), (unlike, DEFAULT)):
            for name, config in table.items():
                rows = [
                    scored(encoder, episode)
                    for one in banks
                    for episode in draw_episodes(one, config, encoder.config, options.episodes // len(banks), _SEED)
                ]
                print(line(name, rows), flush=True)
        print("\n| episodes | pairs of one cell model | wrong neighbours | other pairs | wrong neighbours |")
        print("|---|---|---|---|---|")
        for row in PAIRS:
            print(pair_line(row, options.libraries, encoder, options.episodes), flush=True)
    return 0


def pair_line(row: str, libraries: Path, encoder: Encoder, episodes: int) -> str:
    """One line of the second table."""
    bank = TemplateBank.from_library(libraries / f"{TABLE[row].library}.npz", encoder.config)
    drawn = draw_episodes(bank, TABLE[row], encoder.config, episodes, _SEED)
    pairs = [pair for episode in drawn for pair in wrong_neighbours(encoder, bank, episode)]
    shares = [[share for same, share in pairs if same == of_one] for of_one in (True, False)]
    return f"| {row} | " + " | ".join(f"{len(kind)} | {np.mean(kind):.4f}" for kind in shares) + " |"


if __name__ == "__main__":
    sys.exit(main())
