"""Adapts a trained encoder to one recording, from the recording's own spikes and nothing else.

The templates of a first clustering or sorting take the place of the simulated ones: views of them are drawn as in
training and a short, gentle training follows. The result is kept only if it tells units of the recording apart better
than before: units that the training did not see, where there are enough of them.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .data import NoisePool, TemplateBank
from .episodes import EpisodeConfig, draw_episodes
from .evaluation import cluster_space, encoder_features, score
from .inference import Encoder
from .network import SpikeEncoder
from .sampler import Source, ViewSampler
from .sources import build_sampler
from .template_filter import BandPass
from .training import Trainer, TrainingConfig

logger = logging.getLogger(__name__)

_MIN_UNITS = 4
_MIN_SNR = 4.0
_MIN_SPIKES = 30
_MAX_SPIKES = 30_000
_MAX_STEPS = 2_000
_SITE_UM = 0.1


@dataclass(frozen=True)
class AdaptationConfig:
    """How far an encoder may move.

    Attributes
    ----------
    steps : int
        Training steps; during the first ``head_steps`` only the new projector and predictor learn.
    head_steps : int
    batch_size : int
    learning_rate : float
    own_share : float
        Share of batches from the recording where simulated libraries are mixed in.
    episodes : int
        Episodes of the check before and after.
    margin : float
        By so much, and by a standard error of the difference, the ARI has to rise for the adapted encoder to be kept.
    seed : int
    """

    steps: int = 300
    head_steps: int = 100
    batch_size: int = 256
    learning_rate: float = 2e-4
    own_share: float = 0.5
    episodes: int = 16
    margin: float = 0.002
    seed: int = 0


@dataclass(frozen=True)
class Adaptation:
    """The encoder to use, the mean ARI of the check before and after, whether the change was kept, and the encoder
    after the fine-tuning, kept or not."""

    encoder: Encoder
    before: float
    after: float
    kept: bool
    tuned: Encoder


def adapt_encoder(
    encoder: Encoder,
    waveforms: np.ndarray,
    channel_locations: np.ndarray,
    sampling_frequency: float,
    nbefore: int,
    *,
    steps: int = 300,
    seed: int = 0,
    labels: np.ndarray | None = None,
) -> Encoder:
    """Fine-tune an encoder on unlabelled spikes for a bounded number of steps, or leave it as it is.

    Parameters
    ----------
    encoder : Encoder
        Left as it is.
    waveforms : ndarray, (n, samples, channels)
        Noise units, band-passed as the sorter's input, NaN on channels that do not exist; the window that
        :meth:`Encoder.encode` asks for. Of more than 30,000 spikes a random part is used.
    channel_locations : ndarray, (channels, 2) or (n, channels, 2)
        um, in the probe's coordinates.
    sampling_frequency : float
        Hz.
    nbefore : int
        Sample of the detected trough.
    steps : int
        Training steps, 0 (none) to 2,000.
    seed : int
    labels : ndarray, (n,) int, optional
        Clusters of the spikes, negative for none. Without them the spikes are clustered here: HDBSCAN on ten principal
        components of the encoder's vectors, and the location.

    Returns
    -------
    Encoder
        The adapted encoder if :func:`adapt` kept it, otherwise the one given.

    Raises
    ------
    ValueError
        If steps are out of range or shapes do not fit together.
    """
    return adapt_to_spikes(
        encoder, waveforms, channel_locations, sampling_frequency, nbefore, steps=steps, seed=seed, labels=labels
    ).encoder


def adapt_to_spikes(
    encoder: Encoder,
    waveforms: np.ndarray,
    channel_locations: np.ndarray,
    sampling_frequency: float,
    nbefore: int,
    *,
    steps: int = 300,
    seed: int = 0,
    labels: np.ndarray | None = None,
) -> Adaptation:
    """As :func:`adapt_encoder`, with what the check said and the encoder that was not kept."""
    if not 0 <= steps <= _MAX_STEPS:
        raise ValueError(f"steps must be 0 to {_MAX_STEPS}, not {steps}")
    waveforms, locations = np.asarray(waveforms), np.asarray(channel_locations, dtype=np.float64)
    if labels is not None and np.shape(labels) != waveforms.shape[:1]:
        raise ValueError(f"labels {np.shape(labels)} do not fit {len(waveforms)} waveforms")
    if steps == 0 or len(waveforms) == 0:
        return _unchanged(encoder)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(waveforms))[:_MAX_SPIKES])
    waveforms, locations = waveforms[rows], locations if locations.ndim == 2 else locations[rows]
    if labels is None:
        labels = _cluster(encoder, waveforms, locations, sampling_frequency, nbefore)
    else:
        labels = np.asarray(labels)[rows]
    templates, sites = mean_waveforms(waveforms, locations, labels)
    config = AdaptationConfig(steps=steps, head_steps=steps // 3, seed=seed)
    return adapt(encoder, templates, sites, sampling_frequency, nbefore, config)


def _unchanged(encoder: Encoder) -> Adaptation:
    return Adaptation(encoder, float("nan"), float("nan"), False, encoder)


def _cluster(
    encoder: Encoder, waveforms: np.ndarray, locations: np.ndarray, sampling_frequency: float, nbefore: int
) -> np.ndarray:
    """A first clustering, (n,), -1 for spikes that belong to none."""
    from hdbscan import HDBSCAN

    if len(waveforms) < _MIN_UNITS * _MIN_SPIKES:
        return np.full(len(waveforms), -1)
    features = cluster_space(encoder.encode(waveforms, locations, sampling_frequency, nbefore))
    labels = np.full(len(features), -1)
    sound = np.isfinite(features).all(axis=1)
    labels[sound] = HDBSCAN(min_cluster_size=_MIN_SPIKES, min_samples=10).fit_predict(
        features[sound].astype(np.float64)
    )
    return labels


def mean_waveforms(
    waveforms: np.ndarray, channel_locations: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean waveform of each cluster of at least 30 spikes on the whole probe.

    Parameters
    ----------
    waveforms : ndarray, (n, samples, channels)
    channel_locations : ndarray, (channels, 2) or (n, channels, 2), um
    labels : ndarray, (n,)
        Negative ones are left out.

    Returns
    -------
    templates : ndarray, (units, samples, sites) float32
        Zero on sites that fewer than half of a unit's spikes hold.
    sites : ndarray, (sites, 2), um
        Every place that occurs in ``channel_locations``.
    """
    n, samples, channels = waveforms.shape
    if channel_locations.shape not in ((channels, 2), (n, channels, 2)):
        raise ValueError(f"channel_locations {channel_locations.shape} do not fit waveforms {waveforms.shape}")
    places = np.round(channel_locations.reshape(-1, 2) / _SITE_UM).astype(np.int64)
    sites, index = np.unique(places, axis=0, return_inverse=True)
    index = np.broadcast_to(index.reshape(channel_locations.shape[:-1]), (n, channels))
    units, counts = np.unique(labels[labels >= 0], return_counts=True)
    templates = []
    for unit, count in zip(units, counts, strict=True):
        if count < _MIN_SPIKES:
            continue
        own, where = waveforms[labels == unit], index[labels == unit]
        exists = np.isfinite(own).all(axis=1)
        spikes = np.bincount(where[exists], minlength=len(sites))
        total = np.zeros((len(sites), samples))
        np.add.at(total, where[exists], own.transpose(0, 2, 1)[exists])
        mean = total / np.maximum(spikes, 1)[:, None]
        templates.append(np.where(spikes[:, None] >= count / 2, mean, 0).T)
    shape = (len(templates), samples, len(sites))
    return np.asarray(templates, dtype=np.float32).reshape(shape), sites * _SITE_UM


def adapt(
    encoder: Encoder,
    templates: np.ndarray,
    channel_locations: np.ndarray,
    sampling_frequency: float,
    nbefore: int,
    config: AdaptationConfig | None = None,
    libraries: str | Path | None = None,
) -> Adaptation:
    """Fine-tune an encoder on a recording's unit templates for a bounded number of steps.

    Parameters
    ----------
    encoder : Encoder
        Left as it is.
    templates : ndarray, (units, samples, channels)
        Noise units, band-passed as the sorter's input. Units below 4 times the noise are left out.
    channel_locations : ndarray, (channels, 2), um
    sampling_frequency : float
        Hz.
    nbefore : int
        Sample of the templates' trough.
    config : AdaptationConfig, optional
    libraries : str or Path, optional
        Folder of simulated libraries to mix in, which keeps the encoder from forgetting.

    Returns
    -------
    Adaptation
        With the encoder given, if fewer than 4 units are clear enough or the adapted one is not better: on a third of
        the units, which are left out of the training, or on all of them where there are fewer than 12.
    """
    config = config or AdaptationConfig()
    templates = np.asarray(templates)
    if templates.ndim != 3 or np.shape(channel_locations) != (templates.shape[2], 2):
        raise ValueError(f"templates {templates.shape} do not fit channel_locations {np.shape(channel_locations)}")
    clear = -templates.min(axis=(1, 2)) >= _MIN_SNR
    if clear.sum() < _MIN_UNITS:
        logger.warning("%d units are too few to adapt the encoder to, the trained one is used", clear.sum())
        return _unchanged(encoder)
    shown, asked = _split(np.flatnonzero(clear), config.seed)
    learned, bank = (
        TemplateBank.from_templates(
            templates[units], np.asarray(channel_locations), sampling_frequency, nbefore, encoder.config
        )
        for units in (shown, asked)
    )
    before = _accuracy(encoder, bank, config)
    tuned = _fine_tune(encoder, learned, config, libraries)
    adapted = replace(encoder, network=tuned)
    after = _accuracy(adapted, bank, config)
    gain = after - before
    kept = bool(gain.mean() >= config.margin + gain.std() / np.sqrt(len(gain)))
    logger.info("adapted to %d units, ARI on %d: %.3f, then %.3f, kept: %s",
                len(learned), len(bank), before.mean(), after.mean(), kept)  # fmt: skip
    return Adaptation(adapted if kept else encoder, float(before.mean()), float(after.mean()), kept, adapted)


def _split(units: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Units to learn from and units to check on; all of them for both where a third of them is too few to check on."""
    if len(units) < 3 * _MIN_UNITS:
        return units, units
    mixed = np.random.default_rng(seed).permutation(units)
    return np.sort(mixed[len(units) // 3 :]), np.sort(mixed[: len(units) // 3])


def _accuracy(encoder: Encoder, bank: TemplateBank, config: AdaptationConfig) -> np.ndarray:
    """ARI of episodes of neighbouring units, (episodes,), the same ones for each encoder."""
    episode = EpisodeConfig(units=min(6, len(bank)), snr=(4.0, 8.0))
    features = encoder_features(encoder)
    scores = []
    for drawn in draw_episodes(bank, episode, encoder.config, config.episodes, config.seed + 1):
        scores.append(score(features(drawn), drawn.labels, hdbscan=False).ari_principal)
    return np.array(scores)


def _fine_tune(
    encoder: Encoder, bank: TemplateBank, config: AdaptationConfig, libraries: str | Path | None
) -> SpikeEncoder:
    training = TrainingConfig(
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup_steps=20,
        temperature=0.1,
        generated=0.0,
        seed=config.seed,
        encoder=encoder.config,
    )
    generator = torch.Generator().manual_seed(config.seed)
    sources = [Source(bank, NoisePool(BandPass(), encoder.config, generator))]
    if libraries is not None:
        simulated = build_sampler(replace(training, other_bands=False), libraries).sources
        total = sum(source.weight for source in simulated)
        for source in simulated:
            source.weight *= (1 - config.own_share) / (config.own_share * total)
        sources += simulated
    with tempfile.TemporaryDirectory() as folder:
        sampler = ViewSampler(sources, encoder.config, training.views, generator, encoder.device)
        trainer = Trainer(training, sampler, folder, str(encoder.device))
        trainer.begin_with(encoder.network)
        trainer.network.encoder.requires_grad_(False)
        for step in range(config.steps):
            if step == config.head_steps:
                trainer.network.encoder.requires_grad_(True)
            trainer.train_step()
        return copy.deepcopy(trainer.network.encoder)
