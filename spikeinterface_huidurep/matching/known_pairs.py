"""Pairs known to be one neuron, or two: the halves of one session, changed as another day would change them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from .displacement import Displacement
from .half_templates import SessionUnits, with_templates
from .scores import PairScores, pair_scores

# What another day changes in a neuron's waveform, beside the displacement. Standard deviations: of the logarithm of the
# amplitude, of each electrode, of the width, of the error of the displacement (um).
DAY_AMPLITUDE, DAY_ELECTRODE, DAY_WIDTH, DAY_DEPTH_UM = 0.15, 0.07, 0.04, 2.5


def known_pairs(early: SessionUnits, late: SessionUnits, encoder: Any, rng: np.random.Generator) -> PairScores:
    """
    Compare the halves of one session, the second one changed as another day would change it.

    Halves of one session are more alike than two days: taken as they are they would teach that nothing changes.

    Parameters
    ----------
    early, late : SessionUnits
        The two halves, of the same units.
    encoder : Encoder
    rng : np.random.Generator

    Returns
    -------
    PairScores
        A pair is one neuron where `a` and `b` are equal.
    """
    changed = another_day(late, encoder, rng)
    depths = early.channel_locations[:, 1]
    still = Displacement(np.array([depths.min(), depths.max() + 1.0]), np.zeros(2))
    return pair_scores(early, changed, still)


def another_day(units: SessionUnits, encoder: Any, rng: np.random.Generator) -> SessionUnits:
    """The units as they may look on another day, with the error that an estimated displacement has."""
    n, _, n_samples, n_channels = units.templates.shape
    amplitude = np.exp(rng.normal(0, DAY_AMPLITUDE, size=n))[:, None, None, None]
    electrodes = 1 + rng.normal(0, DAY_ELECTRODE, (n, 1, 1, n_channels))
    templates = units.templates * amplitude * electrodes
    samples = np.arange(n_samples)
    widths = np.ones(n) + rng.normal(0, DAY_WIDTH, size=n)
    for unit, width in enumerate(widths):
        source = np.clip(units.nbefore + (samples - units.nbefore) / width, 0, n_samples - 1)
        templates[unit] = CubicSpline(samples, templates[unit], axis=1)(source)
    changed = with_templates(units, templates.astype(np.float32), units.counts, encoder)
    error = rng.normal(0, DAY_DEPTH_UM, (n, 1))
    locations = changed.locations.copy()
    locations[..., 1] += error
    return replace(changed, locations=locations)
