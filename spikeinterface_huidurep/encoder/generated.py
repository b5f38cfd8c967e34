"""Neurons of SpikeInterface's template generator, to train on in addition to the simulated ones.

Simulated cell models are few and of one kind, and a network trained on them alone tells neurons of another kind apart
worse (studies/encoder_diary.md). The generator's waveforms are plain, but no two neurons are alike: each is a soma with
up to two branches, every one with a time course, a size and a direction of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .data import TemplateBank, at_network_rate
from .network import EncoderConfig
from .template_filter import BandPass

LICENCE = "MIT"
RATE = 60_000.0
"""Hz, of the raw templates."""
_MS_BEFORE, _MS_AFTER = 1.5, 4.0
NBEFORE = int(_MS_BEFORE * 1e-3 * RATE)
_MARGIN_UM = 20.0
_REACH_UM = 40.0
_RANGES = {
    "depolarization_ms": (0.06, 0.3),
    "repolarization_ms": (0.2, 1.0),
    "recovery_ms": (0.3, 1.6),
    "positive_amplitude": (0.05, 0.5),
    "smooth_ms": (0.03, 0.12),
    "spatial_decay": (12.0, 45.0),
    "propagation_speed": (150.0, 900.0),
    "ellipse_shrink": (0.4, 1.0),
    "ellipse_angle": (0.0, 2 * np.pi),
}


def generated_bank(
    channel_locations: np.ndarray,
    config: EncoderConfig,
    seed: int,
    units: int = 300,
    displacement: np.ndarray | None = None,
) -> TemplateBank:
    """Generate neurons around a probe, seen at displacements along its second axis.

    Parameters
    ----------
    channel_locations : ndarray, (channels, 2), um
    config : EncoderConfig
    seed : int
    units : int
    displacement : ndarray, (steps,), optional
        um, equally spaced; -48 to 48 by default.

    Returns
    -------
    TemplateBank
        Takes about 0.07 s a neuron on a probe of 64 channels.
    """
    rng = np.random.default_rng(seed)
    steps = np.linspace(-48.0, 48.0, 17) if displacement is None else displacement
    locations = np.asarray(channel_locations, dtype=np.float64)
    somata = draw_somata(locations, units, rng)
    places = np.repeat(somata[:, None, :2], len(steps), axis=1)
    places[..., 1] += steps
    raw = raw_templates(locations, somata, steps, rng)
    blocks = (at_network_rate(block, RATE, NBEFORE, config, BandPass()) for block in raw)
    bank = TemplateBank(blocks, channel_locations, config, "generated", None, places.astype(np.float32))
    bank.licence = LICENCE
    return bank


def draw_somata(locations: np.ndarray, units: int, rng: np.random.Generator) -> np.ndarray:
    """Places (units, 3) um next to a probe with contacts at ``locations`` (channels, 2) um."""
    return np.array([_soma(locations, rng) for _ in range(units)])


def _soma(locations: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    low, high = locations.min(axis=0) - _MARGIN_UM, locations.max(axis=0) + _MARGIN_UM
    return np.append(rng.uniform(low, high), rng.uniform(5.0, 40.0))


def raw_templates(
    locations: np.ndarray, somata: np.ndarray, steps: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Templates before any filter at ``RATE``, one block (steps, channels, samples) a neuron, of amplitude about 1.

    Parameters
    ----------
    locations : ndarray, (channels, 2), um
    somata : ndarray, (units, 3), um
    steps : ndarray, (steps,), um
        Displacements along the second axis.
    rng : numpy.random.Generator

    Yields
    ------
    ndarray
        The trough near sample ``NBEFORE``.
    """
    for soma in somata:
        templates = _source(locations, soma, steps, rng)
        for _branch in range(rng.integers(0, 3)):
            place = soma + np.append(rng.uniform(-_REACH_UM, _REACH_UM, 2), 0.0)
            strength = rng.uniform(0.1, 0.7) * rng.choice([1.0, 1.0, -1.0])
            late = int(rng.uniform(-0.1, 0.4) * 1e-3 * RATE)
            templates = templates + strength * np.roll(_source(locations, place, steps, rng), late, axis=1)
        yield templates.transpose(0, 2, 1)


def _source(locations: np.ndarray, place: np.ndarray, steps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One source at ``place`` (3,) um and its displacements, (steps, samples, channels)."""
    from spikeinterface.core.generate import generate_templates

    shape = {name: float(rng.uniform(*limits)) for name, limits in _RANGES.items()}
    places = np.repeat(place[None], len(steps), axis=0)
    places[:, 1] += steps
    return generate_templates(
        locations,
        places,
        RATE,
        _MS_BEFORE,
        _MS_AFTER,
        seed=0,
        unit_params={"alpha": 1.0, "spatial_power": 2.0, **shape},
    )
