"""Where the encoder's remaining error comes from: bounds on the same episodes as ``huidurep evaluate``.

    python studies/encoder_bounds.py HELDOUT --episodes 30

For each row of the table, the distance of an episode's two most similar units in standard deviations of the noise
(*nearest pair*, true templates at their best shift and amplitude), and the mean adjusted Rand index of

- *template matching*: each spike to the unit whose true template is the likeliest (any sub-sample shift and any of the
  row's displacements, amplitude within the unit's spread, noise covariance measured on the episode's noise): what the
  waveforms hold;
- *trained classifier*: quadratic discriminant analysis on the features, five-fold: what the features hold;
- *mixture from the truth*: the Gaussian mixture started at the true units: what its local optima cost;
- *mixture*: what the table gives;
- *true location*: the mixture on vectors that were computed with windows centred at the spike's true location.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_predict

from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.encoder.data import TemplateBank
from spikeinterface_huidurep.encoder.episodes import TABLE, Episode, EpisodeConfig, draw_episodes
from spikeinterface_huidurep.encoder.evaluation import located_features, neighbourhoods, principal_components
from spikeinterface_huidurep.encoder.inference import Encoder, SpikeWindows

_CHANNELS = 24
_SHIFTS = range(-5, 6)
_PARTS = np.arange(-4, 4) / 8
_ROWS = (
    "two-column, SNR 4-10", "two-column, SNR 3-5", "tetrode, 4 units", "tetrode, 4 units, plain noise",
    "two-column, drift +-30 um, plain noise",
)  # fmt: skip
_NAMES = (
    "nearest pair", "template matching", "trained classifier", "mixture from the truth", "mixture", "true location"
)  # fmt: skip
_FLOOR = 1e-2


def noise_whitening(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrices that whiten noise (n, samples, channels) over channels and over samples, taken as separable."""
    space = np.einsum("ntc,ntd->cd", noise, noise) / (noise.shape[0] * noise.shape[1])
    across = np.linalg.inv(np.linalg.cholesky(space))
    time = np.einsum("ntc,nsc->ts", noise @ across.T, noise @ across.T) / (noise.shape[0] * noise.shape[2])
    return across, np.linalg.inv(np.linalg.cholesky(time + 1e-3 * np.eye(len(time))))


def shifted_templates(template: torch.Tensor, samples: int, start: int) -> np.ndarray:
    """A template (channels, W) at every shift, cut to the episode's window: (shifts, samples, channels)."""
    spectrum, frequency = torch.fft.rfft(template), torch.fft.rfftfreq(template.shape[-1])
    out = []
    for part in _PARTS:
        phase = torch.polar(torch.ones(len(frequency)), -2 * torch.pi * frequency * float(part))
        moved = torch.fft.irfft(spectrum * phase, n=template.shape[-1]).numpy().T
        out += [moved[start + shift : start + shift + samples] for shift in _SHIFTS]
    return np.array(out)


def whitened(episode: Episode, bank: TemplateBank, drift_um: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Spikes (n, features) and each unit's true template at every displacement and shift (steps x shifts, features),
    in white noise."""
    middle = bank.steps // 2
    reach = bank.steps_within(drift_um)
    steps = range(middle - reach, middle + reach + 1)
    channels = bank.ptp[episode.units][:, steps].amax(dim=(0, 1)).argsort(descending=True)[:_CHANNELS].numpy()
    across, along = noise_whitening((episode.waveforms - episode.clean)[:, :, channels])

    def whiten(waveforms: np.ndarray) -> np.ndarray:
        return (along @ waveforms @ across.T).reshape(len(waveforms), -1).astype(np.float32)

    shapes = []
    for label, unit in enumerate(episode.units):
        depth = bank.trough[unit, steps].amax(dim=1)
        depth = depth[depth >= 0.5 * depth[reach]].median()  # of the displacements at which it is detected
        size = float(np.median(-episode.clean[episode.labels == label].min(axis=(1, 2)))) / float(depth)
        start = bank.nominal - episode.nbefore
        moved = (bank.templates[unit, step][torch.from_numpy(channels)].float() * size for step in steps)
        shapes.append(
            np.concatenate([whiten(shifted_templates(one, episode.waveforms.shape[1], start)) for one in moved])
        )
    return whiten(episode.waveforms[:, :, channels]), shapes


def likelihood(spikes: np.ndarray, shapes: np.ndarray, spread: float) -> np.ndarray:
    """Twice the log-likelihood of a unit at its best shift and amplitude, beside that of no spike, (n,)."""
    dot, energy = spikes @ shapes.T, np.square(shapes).sum(axis=1)
    factor = (dot + spread**-2) / (energy + spread**-2)  # the likeliest amplitude, given its spread about 1
    return (2 * factor * dot - factor**2 * energy - ((factor - 1) / spread) ** 2).max(axis=1)


def match_templates(spikes: np.ndarray, shapes: list[np.ndarray], spread: float) -> np.ndarray:
    """The likeliest unit of each spike, (n,)."""
    return np.stack([likelihood(spikes, unit, spread) for unit in shapes], axis=1).argmax(axis=1)


def nearest_pair(shapes: list[np.ndarray], spread: float) -> float:
    """Distance of the two most similar units in standard deviations of white noise: of a template, unshifted and not
    displaced, from the other unit at the displacement, shift and amplitude that fit it best."""
    shifts = len(_PARTS) * len(_SHIFTS)
    middle = len(shapes[0]) // shifts // 2 * shifts + len(_PARTS) // 2 * len(_SHIFTS) + len(_SHIFTS) // 2
    distances = []
    for one, shape in enumerate(shapes):
        own = shape[middle : middle + 1]
        others = [likelihood(own, other, spread)[0] for two, other in enumerate(shapes) if two != one]
        distances.append(np.square(own).sum() - max(others))
    return float(np.sqrt(max(0.0, min(distances))))


def centred_at_truth(encoder: Encoder, episode: Episode) -> np.ndarray:
    """The encoder's vectors with windows centred at the clean spike's location instead of the estimated one."""
    waveforms, locations = neighbourhoods(episode)
    clean = np.take_along_axis(
        episode.clean, _nearest(episode, waveforms.shape[2])[:, None, :].repeat(episode.clean.shape[1], axis=1), axis=2
    )
    weight = np.square(np.ptp(clean, axis=1))
    weight = np.maximum(weight - 0.1 * weight.max(axis=1, keepdims=True), 0)
    centre = torch.from_numpy(
        ((weight[..., None] * locations).sum(1) / weight.sum(1, keepdims=True)).astype(np.float32)
    )
    spikes = SpikeWindows(encoder, waveforms, locations, encoder.config.sampling_frequency, episode.nbefore)
    with torch.inference_mode():
        batch = spikes.batch(slice(0, len(waveforms)))
        batch.move(centre, encoder.first_pass(batch)[1])
        encoder.forward(batch)
    return batch.representation.numpy()


def _nearest(episode: Episode, count: int) -> np.ndarray:
    distance = np.square(episode.channel_locations[:, None] - episode.channel_locations[None]).sum(axis=2)
    return np.argsort(distance, axis=1, kind="stable")[:, :count][episode.detected]


def mixture(features: np.ndarray, labels: np.ndarray, from_truth: bool = False) -> float:
    """ARI of a full-covariance mixture with the true number of units, the likeliest of ten or started at the truth."""
    count = int(labels.max()) + 1
    settings: dict = {"n_init": 10}
    if from_truth:
        units = [features[labels == unit] for unit in range(count)]
        floor = _FLOOR * np.eye(features.shape[1])
        settings = {
            "means_init": np.array([unit.mean(axis=0) for unit in units]),
            "precisions_init": np.array([np.linalg.inv(np.cov(unit.T) + floor) for unit in units]),
        }
    model = GaussianMixture(count, reg_covar=_FLOOR, random_state=0, **settings)
    return adjusted_rand_score(labels, model.fit_predict(features))


def reduced(vectors: np.ndarray) -> np.ndarray:
    """Ten principal components with a mean variance of one."""
    components = principal_components(vectors.astype(np.float64))
    return components / components.std()


def main(arguments: list[str] | None = None) -> int:
    """Print one line a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", type=Path)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", metavar="ROW", default=_ROWS, help="only these rows of the table")
    parser.add_argument("--each", action="store_true", help="a line for every episode as well")
    options = parser.parse_args(arguments)
    encoder = load_encoder(options.weights, "cpu")
    print("| episodes | " + " | ".join(_NAMES) + " |\n|---|" + "---|" * len(_NAMES))
    for row in options.only:
        config = TABLE[row]
        bank = TemplateBank.from_library(options.libraries / f"{config.library}.npz", encoder.config)
        scores = []
        drawn = draw_episodes(bank, config, encoder.config, options.episodes, options.seed)
        for number, episode in enumerate(drawn):
            scores.append(bounds(episode, bank, encoder, config))
            if options.each:
                print(_line(f"{row}, episode {number}", scores[-1]), flush=True)
        print(_line(row, np.mean(scores, axis=0)), flush=True)
    return 0


def bounds(episode: Episode, bank: TemplateBank, encoder: Encoder, config: EpisodeConfig) -> list[float]:
    """The figures of one episode, in the order of ``_NAMES``."""
    labels, located = episode.labels, located_features(encoder)(episode).astype(np.float64)
    located = (located - located.mean(axis=0)) / located.std()
    guessed = cross_val_predict(QuadraticDiscriminantAnalysis(reg_param=1e-3), located, labels, cv=5)
    spikes, shapes = whitened(episode, bank, config.drift_um)
    spread = config.amplitude_jitter
    return [
        nearest_pair(shapes, spread),
        adjusted_rand_score(labels, match_templates(spikes, shapes, spread)),
        adjusted_rand_score(labels, guessed),
        mixture(located, labels, from_truth=True),
        mixture(located, labels),
        mixture(reduced(centred_at_truth(encoder, episode)), labels),
    ]


def _line(name: str, values: Iterable[float]) -> str:
    distance, *scores = values
    return f"| {name} | {distance:.1f} | " + " | ".join(f"{value:.3f}" for value in scores) + " |"


if __name__ == "__main__":
    sys.exit(main())
