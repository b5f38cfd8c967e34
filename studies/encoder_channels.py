"""What the number of channels that the encoder looks at brings and costs, with the same weights.

    python studies/encoder_channels.py HELDOUT --episodes 12

Cells: ARI of the shape alone / of what ``embed`` returns (the better one of 32 numbers and 10 components, true number
of units) / the latter's purity. The weights read any number of channels; more than they were trained with, too.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.encoder.data import TemplateBank
from spikeinterface_huidurep.encoder.episodes import TABLE, draw_episodes
from spikeinterface_huidurep.encoder.evaluation import Scores, neighbourhoods, score

ROWS = (
    "two-column, SNR 3-5",
    "two-column, SNR 3-5, plain noise",
    "two-column, drift +-30 um, plain noise",
    "linear 32",
    "four-column 128",
)
_GIVEN, _SEED = 36, 33


def better(scores: Scores) -> float:
    """The better ARI of all numbers and of ten components."""
    return max(scores.ari, scores.ari_principal)


def main(arguments: list[str] | None = None) -> int:
    """Print a line for every row of episodes and one for the speed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", type=Path)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--channels", type=int, nargs="+", default=[8, 12, 16, 20, 24])
    parser.add_argument("--episodes", type=int, default=12)
    options = parser.parse_args(arguments)
    encoders = {channels: load_encoder(options.weights, "cpu", channels) for channels in options.channels}
    config = encoders[options.channels[0]].config
    print("| episodes | " + " | ".join(f"{n} channels" for n in encoders) + " |\n|---|" + "---|" * len(encoders))
    spent, spikes = dict.fromkeys(encoders, 0.0), 0
    for row in ROWS:
        bank = TemplateBank.from_library(options.libraries / f"{TABLE[row].library}.npz", config)
        found: dict[int, list[tuple[float, float, float]]] = {channels: [] for channels in encoders}
        for episode in draw_episodes(bank, TABLE[row], config, options.episodes, _SEED):
            waveforms, locations = neighbourhoods(episode, _GIVEN)
            spikes += len(waveforms)
            for channels, encoder in encoders.items():
                start = time.perf_counter()
                encoded = encoder.encode(waveforms, locations, config.sampling_frequency, episode.nbefore)
                spent[channels] += time.perf_counter() - start
                vectors = encoded.shape_vectors, encoded.placed(episode.channel_locations.mean(axis=0))
                shape, placed = (score(one, episode.labels, hdbscan=False) for one in vectors)
                found[channels].append((better(shape), better(placed), placed.purity))
        means = (np.mean(rows, axis=0) for rows in found.values())
        print(f"| {row} | " + " | ".join(" / ".join(f"{x:.3f}" for x in mean) for mean in means) + " |", flush=True)
    print("| spikes/s | " + " | ".join(f"{spikes / seconds:.0f}" for seconds in spent.values()) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
