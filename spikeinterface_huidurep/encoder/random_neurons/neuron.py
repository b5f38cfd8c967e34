"""A neuron drawn at random: its tree, its spike, and how its spike changes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .medium import transfer_matrix
from .membrane import (
    UNCHANGED,
    Change,
    Conduction,
    SpikeShape,
    draw_changes,
    membrane_currents,
    membrane_potentials,
)
from .morphology import APICAL, BASAL, RULES, Morphology, draw_morphology

Limits = tuple[float, float]


@dataclass(frozen=True)
class KindRules:
    """Limits of a kind of neuron, from which values are drawn evenly in their logarithm (``power``, ``after``: evenly).

    ``share`` is how many of the neurons are of the kind; the others are those of :class:`SpikeShape` and
    :class:`Conduction`. ``oriented`` is the probability that the neuron's axis lies along the probe.
    """

    share: float
    rise: Limits
    fall: Limits
    after: Limits
    apical_reach: Limits = (150.0, 1500.0)
    basal_reach: Limits = (80.0, 500.0)
    lead: Limits = (0.06, 0.3)
    axon_speed: Limits = (200.0, 900.0)
    power: Limits = (2.0, 4.5)
    complex_spikes: float = 0.0
    fast: float = 0.0
    oriented: float = 0.0


KINDS: dict[str, KindRules] = {
    "pyramidal": KindRules(0.36, (0.08, 0.3), (0.25, 1.1), (0.0, 0.12), oriented=0.8),
    "interneuron": KindRules(0.27, (0.07, 0.25), (0.2, 0.9), (0.05, 0.3), basal_reach=(50.0, 350.0), fast=0.5),
    "bipolar": KindRules(0.08, (0.07, 0.25), (0.15, 0.8), (0.02, 0.25), apical_reach=(80.0, 600.0), oriented=0.7),
    "flat": KindRules(0.08, (0.06, 0.15), (0.1, 0.4), (0.02, 0.25), apical_reach=(40.0, 250.0), complex_spikes=0.4),
    "multipolar": KindRules(0.11, (0.08, 0.35), (0.25, 1.2), (0.0, 0.15), basal_reach=(80.0, 700.0)),
    "axon": KindRules(0.1, (0.05, 0.12), (0.08, 0.3), (0.0, 0.1), axon_speed=(150.0, 900.0)),
}
_FAST = KindRules(0.0, (0.05, 0.09), (0.09, 0.18), (0.05, 0.3))  # fast-spiking cells, trough to peak 0.1 to 0.3 ms
_COMPLEX_RISE, _COMPLEX_FALL = (0.12, 0.45), (0.6, 2.0)


@dataclass(frozen=True)
class RandomNeuron:
    """A neuron whose potentials can be computed anywhere.

    Attributes
    ----------
    kind : str
    morphology : Morphology
    shape : SpikeShape
    conduction : Conduction
    changes : tuple of Change
        The forms of its spike; the first is the usual one.
    """

    kind: str
    morphology: Morphology
    shape: SpikeShape
    conduction: Conduction
    changes: tuple[Change, ...] = field(default=(UNCHANGED,))

    def currents(self, time: np.ndarray, change: Change = UNCHANGED) -> np.ndarray:
        """Current out of each segment, (segments, samples), nA, at ``time`` (samples,) in ms from the soma's peak."""
        potentials = membrane_potentials(self.morphology, self.shape, self.conduction, time, change)
        return membrane_currents(self.morphology, potentials, self.conduction.resistivity)

    def transfer(self, contacts: np.ndarray, contact_radius: float = 5.0, gain: float = 2.0) -> np.ndarray:
        """What contacts (..., 3) um from the soma see of each segment, (..., segments), uV/nA."""
        return transfer_matrix(self.morphology, contacts, contact_radius, gain)


def draw_neuron(rng: np.random.Generator, kind: str | None = None) -> RandomNeuron:
    """Draw a neuron.

    Parameters
    ----------
    rng : numpy.random.Generator
    kind : str, optional
        One of :data:`KINDS`; drawn by their shares if not given.

    Returns
    -------
    RandomNeuron
        Turned: axes that lie along the probe are within some 15 degrees of y, up or down.
    """
    if kind is None:
        kind = str(rng.choice(list(KINDS), p=[rules.share for rules in KINDS.values()]))
    elif kind not in KINDS:
        raise ValueError(f"there is no kind of neuron {kind!r}; the kinds are {', '.join(KINDS)}")
    assert kind in RULES
    rules = KINDS[kind]
    morphology = draw_morphology(kind, rng).turned(_rotation(rules.oriented, rng))
    return RandomNeuron(kind, morphology, _draw_shape(rules, rng), _draw_conduction(rules, rng), draw_changes(rng))


def _draw_shape(rules: KindRules, rng: np.random.Generator) -> SpikeShape:
    if rng.random() < rules.fast:
        rules = _FAST
    rise, fall = _drawn(rules.rise, rng), _drawn(rules.fall, rng)
    spikelets: tuple[tuple[float, float], ...] = ()
    if rng.random() < rules.complex_spikes:
        rise, fall = _drawn(_COMPLEX_RISE, rng), _drawn(_COMPLEX_FALL, rng)
        moments = np.cumsum(rng.uniform(0.9, 2.0, rng.integers(0, 4)))
        spikelets = tuple((float(moment), float(rng.uniform(0.15, 0.5))) for moment in moments)
    after, power = rng.uniform(*rules.after), rng.uniform(*rules.power)
    return SpikeShape(rise, fall, power, after, _drawn((0.6, 8.0), rng), spikelets)


def _draw_conduction(rules: KindRules, rng: np.random.Generator) -> Conduction:
    reach = {APICAL: _drawn(rules.apical_reach, rng), BASAL: _drawn(rules.basal_reach, rng)}
    return Conduction(
        height=rng.uniform(60.0, 105.0),
        dendrite_reach=reach,
        dendrite_speed={part: _drawn((150.0, 700.0), rng) for part in (BASAL, APICAL)},
        dendrite_broadening={part: rng.uniform(0.0, 0.8) for part in (BASAL, APICAL)},
        initial_segment=rng.uniform(18.0, 50.0),
        lead=_drawn(rules.lead, rng),
        axon_speed=_drawn(rules.axon_speed, rng),
        axon_width=rng.uniform(0.5, 0.95),
        resistivity=_drawn((80.0, 250.0), rng),
    )


def _rotation(oriented: float, rng: np.random.Generator) -> np.ndarray:
    """A rotation (3, 3): any, or one that leaves y within some 15 degrees of itself or of its opposite."""
    if rng.random() >= oriented:
        first, second = rng.standard_normal((2, 3))
    else:
        second = np.array([0.0, rng.choice([-1.0, 1.0]), 0.0]) + 0.15 * rng.standard_normal(3)
        first = rng.standard_normal(3)
    second = second / np.linalg.norm(second)
    first = first - (first @ second) * second
    first = first / np.linalg.norm(first)
    return np.stack([first, second, np.cross(first, second)], axis=1)


def _drawn(limits: Limits, rng: np.random.Generator) -> float:
    """Evenly in the logarithm."""
    return float(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]))))
