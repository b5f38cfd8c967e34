"""Adapts a trained encoder to one recording, from the recording's own unit templates and nothing else.

The templates of a first sorting take the place of the simulated ones: views of them are drawn as in training and a
short, gentle training follows. The result is kept only if it tells the recording's units apart better than before.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .augmentation import MARGIN
from .data import BandPass, NoisePool, TemplateBank
from .episodes import EpisodeConfig, make_episode
from .evaluation import encoder_features, score
from .inference import Encoder
from .network import SpikeEncoder
from .sampler import Source, ViewSampler
from .training import Trainer, TrainingConfig, build_sampler

logger = logging.getLogger(__name__)

_MIN_UNITS = 4
_MIN_SNR = 4.0


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
        By so much the ARI has to rise for the adapted encoder to be kept.
    seed : int
    """

    steps: int = 300
    head_steps: int = 100
    batch_size: int = 256
    learning_rate: float = 2e-4
    own_share: float = 0.5
    episodes: int = 8
    margin: float = 0.002
    seed: int = 0


@dataclass(frozen=True)
class Adaptation:
    """The encoder to use, the ARI on the recording's units before and after, and whether the change was kept."""

    encoder: Encoder
    before: float
    after: float
    kept: bool


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
        With the encoder given, if fewer than 4 units are clear enough or the adapted one is not better.
    """
    config = config or AdaptationConfig()
    templates = np.asarray(templates)
    if templates.ndim != 3 or np.shape(channel_locations) != (templates.shape[2], 2):
        raise ValueError(f"templates {templates.shape} do not fit channel_locations {np.shape(channel_locations)}")
    clear = -templates.min(axis=(1, 2)) >= _MIN_SNR
    if clear.sum() < _MIN_UNITS:
        logger.warning("%d units are too few to adapt the encoder to, the trained one is used", clear.sum())
        return Adaptation(encoder, float("nan"), float("nan"), False)
    bank = TemplateBank.from_templates(
        templates[clear], np.asarray(channel_locations), sampling_frequency, nbefore, encoder.config
    )
    before = _accuracy(encoder, bank, config)
    adapted = Encoder(_fine_tune(encoder, bank, config, libraries), encoder.device, encoder.facts, encoder.batch_size)
    after = _accuracy(adapted, bank, config)
    kept = after >= before + config.margin
    logger.info("adapted to %d units: ARI %.3f before, %.3f after, kept: %s", len(bank), before, after, kept)
    return Adaptation(adapted if kept else encoder, before, after, kept)


def _accuracy(encoder: Encoder, bank: TemplateBank, config: AdaptationConfig) -> float:
    """Mean ARI over episodes of neighbouring units, the same ones for each encoder."""
    generator = torch.Generator().manual_seed(config.seed + 1)
    noise = NoisePool(BandPass(), encoder.config, generator, samples=bank.samples + 2 * MARGIN)
    episode = EpisodeConfig(units=min(6, len(bank)), snr=(4.0, 8.0))
    features = encoder_features(encoder)
    scores = []
    for _ in range(config.episodes):
        drawn = make_episode(bank, noise, episode, generator)
        scores.append(score(features(drawn), drawn.labels, hdbscan=False).ari_principal)
    return float(np.mean(scores))


def _fine_tune(
    encoder: Encoder, bank: TemplateBank, config: AdaptationConfig, libraries: str | Path | None
) -> SpikeEncoder:
    training = TrainingConfig(
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup_steps=20,
        temperature=0.1,
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
        sampler = ViewSampler(sources, encoder.config, training.views, generator)
        trainer = Trainer(training, sampler, folder, str(encoder.device))
        weights = encoder.network.state_dict()
        trainer.network.encoder.load_state_dict(weights)
        trainer.network.momentum_encoder.load_state_dict(weights)
        trainer.network.encoder.requires_grad_(False)
        for step in range(config.steps):
            if step == config.head_steps:
                trainer.network.encoder.requires_grad_(True)
            trainer.train_step()
        return copy.deepcopy(trainer.network.encoder)
