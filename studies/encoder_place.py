"""How much the place should count in the encoder's vectors: their scores with several units of it.

    python studies/encoder_place.py LIBRARIES --episodes 8

Give the libraries of the training models, so that nothing is chosen on what the evaluation asks.
"""

from __future__ import annotations

import argparse
import sys
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.encoder.encoded_spikes import EncodedSpikes
from spikeinterface_huidurep.encoder.episodes import TABLE, Episode
from spikeinterface_huidurep.encoder.evaluation import Features, evaluate, neighbourhoods
from spikeinterface_huidurep.encoder.inference import Encoder

ROWS = tuple(f"{row}{noise}" for row in ("two-column, SNR 4-10", "two-column, SNR 3-5", "two-column, drift +-30 um")
             for noise in ("", ", plain noise"))  # fmt: skip
UNITS_UM = {f"{unit:.0f} um": unit for unit in (10.0, 15.0, 20.0, 30.0, 45.0)} | {"shape alone": 1e6}


def placed_features(encoder: Encoder) -> dict[str, Features]:
    """The vectors with each unit of the place, of one pass over an episode."""

    @lru_cache(maxsize=1)
    def encode(episode: Episode) -> EncodedSpikes:
        waveforms, locations = neighbourhoods(episode)
        return encoder.encode(waveforms, locations, encoder.config.sampling_frequency, episode.nbefore)

    def placed(episode: Episode, unit_um: float) -> np.ndarray:
        return encode(episode).placed(episode.channel_locations.mean(axis=0), unit_um)

    return {name: partial(placed, unit_um=unit) for name, unit in UNITS_UM.items()}


def main(arguments: list[str] | None = None) -> int:
    """Print a line for every row of episodes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", type=Path)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args(arguments)
    encoder = load_encoder(options.weights, "cpu")
    print("| episodes | " + " | ".join(UNITS_UM) + " |\n|---|" + "---|" * len(UNITS_UM))
    for row in ROWS:
        scores = evaluate(
            encoder, options.libraries, episodes=options.episodes, table={row: TABLE[row]},
            extra=placed_features(encoder), baselines=False, seed=options.seed,
        )  # fmt: skip
        found = {score["method"]: score for score in scores}
        cells = [f"{max(one['ari'], one['ari_principal']):.3f} / {one['ari_hdbscan']:.3f}"
                 for one in (found[name] for name in UNITS_UM)]  # fmt: skip
        print(f"| {row} | " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
