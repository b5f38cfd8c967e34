"""The spike of a neuron's membrane: its shape, how it travels along the tree, and how it changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .morphology import APICAL, AXON, BASAL, SOMA, Morphology

_STEP_MS = 0.005
_SPAN_MS = (-6.0, 13.0)  # of the axon's, which is narrower, about half of that
# the slow after-potentials are let fall to zero between these times after the soma's peak, in all segments at once
_TAPER_MS = (4.5, 6.5)
_END_UM = 120.0  # over which the spike of a cut axon fades, which in a whole one would go on


@dataclass(frozen=True)
class SpikeShape:
    """The course of the membrane potential, 1 at its peak.

    Attributes
    ----------
    rise : float
        ms, width of the half Gaussian before the peak.
    fall, power : float
        The potential falls as 1 / (1 + (t / fall) ** power), t in ms.
    after, after_ms : float
        Depth of the hyperpolarisation that follows, and the time in which it decays.
    spikelets : tuple of (float, float)
        Time (ms) and height of smaller peaks on the shoulder of a complex spike.
    """

    rise: float
    fall: float
    power: float
    after: float
    after_ms: float
    spikelets: tuple[tuple[float, float], ...] = ()

    def course(self) -> tuple[np.ndarray, np.ndarray]:
        """Times (ms) and potentials on a fine grid."""
        time = np.arange(*_SPAN_MS, _STEP_MS)
        late = np.maximum(time, 0.0)
        falling = 1 / (1 + (late / self.fall) ** self.power)
        dip = self.after * (1 - np.exp(-((late / (1.5 * self.fall)) ** 2))) * np.exp(-late / self.after_ms)
        potential = np.where(time < 0, np.exp(-0.5 * (time / self.rise) ** 2), falling - dip)
        for moment, height in self.spikelets:
            potential = potential + height * np.exp(-0.5 * ((time - moment) / (1.5 * self.rise)) ** 2)
        return time, potential


@dataclass(frozen=True)
class Conduction:
    """How the spike travels.

    Attributes
    ----------
    height : float
        mV, at the soma.
    dendrite_reach, dendrite_speed, dendrite_broadening : dict of int to float
        For basal and apical dendrites: path in which the height falls to 1/e (um), um/ms, and by how much of its width
        the spike is broader 100 um away.
    initial_segment : float
        um along the axon: where the spike begins.
    lead : float
        ms by which it begins there before the soma's.
    axon_speed : float
        um/ms.
    axon_width : float
        Width of the axon's spike in parts of the soma's.
    resistivity : float
        Of the cytoplasm, ohm cm.
    """

    height: float
    dendrite_reach: dict[int, float]
    dendrite_speed: dict[int, float]
    dendrite_broadening: dict[int, float]
    initial_segment: float
    lead: float
    axon_speed: float
    axon_width: float
    resistivity: float


@dataclass(frozen=True)
class Change:
    """How one spike of a neuron differs from its usual one: factors, all 1 where nothing changes.

    ``height``, ``rise``, ``fall`` and ``after`` are of the spike's shape; ``reach`` and ``speed`` of the dendrites, and
    ``lead`` of the initial segment. In a burst sodium channels have not recovered: the spike is smaller, slower and
    broader, and dies out earlier in the dendrites. Over days and hours width and size change in either direction.
    """

    height: float = 1.0
    rise: float = 1.0
    fall: float = 1.0
    after: float = 1.0
    reach: float = 1.0
    speed: float = 1.0
    lead: float = 1.0


UNCHANGED = Change()


def draw_changes(rng: np.random.Generator) -> tuple[Change, ...]:
    """Draw the forms of one neuron's spike: its usual one, the last of a burst, that of another age, and a narrower or
    broader one.

    Some neurons hardly change, and some to half the size and twice the width.
    """
    burst, age, width = rng.uniform(0.0, 1.0, 3)
    late = Change(
        height=1 - rng.uniform(0.2, 0.5) * burst,
        rise=1 + rng.uniform(0.2, 0.9) * burst,
        fall=1 + rng.uniform(0.0, 0.7) * burst,
        reach=1 - rng.uniform(0.0, 0.5) * burst,
        speed=1 - rng.uniform(0.0, 0.3) * burst,
        lead=1 + rng.uniform(0.0, 0.4) * burst,
    )
    older = Change(*(float(np.exp(age * spread * rng.standard_normal())) for spread in _AGE))
    factor = float(np.exp(width * rng.choice([-0.45, 0.5])))
    broader = replace(UNCHANGED, fall=factor, rise=factor**0.7, height=float(rng.uniform(0.8, 1.1)))
    return UNCHANGED, late, older, broader


_AGE = (0.2, 0.12, 0.2, 0.3, 0.2, 0.1, 0.15)  # spreads of the logarithms, in the order of Change


def delays_and_sizes(
    morphology: Morphology, conduction: Conduction, change: Change = UNCHANGED
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the spike in each segment: delay after the soma's (ms), height (mV) and width in parts of the soma's."""
    path, part = morphology.path, morphology.part
    delay, height, width = np.zeros(len(path)), np.ones(len(path)), np.ones(len(path))
    if morphology.diameter[0] < 3.0:  # an axon: the spike comes along one side and leaves on the other
        side = np.where(part == BASAL, -1.0, 1.0)
        delay = side * path / (conduction.axon_speed * change.speed)
        ends = [path[part == one].max(initial=0.0) for one in (BASAL, AXON)]
        height = np.clip((np.where(part == BASAL, *ends) - path) / _END_UM, 0.0, 1.0)
        return delay, conduction.height * change.height * height, width
    for one in (BASAL, APICAL):
        here = part == one
        x = path[here]
        reach = conduction.dendrite_reach[one] * change.reach
        height[here] = np.exp(-x / reach)
        delay[here] = x / (conduction.dendrite_speed[one] * change.speed)
        width[here] = 1 + conduction.dendrite_broadening[one] * x / 100.0
    here = part == AXON
    lead = conduction.lead * change.lead
    beyond = path[here] - conduction.initial_segment
    speed = np.where(beyond < 0, conduction.initial_segment / max(lead, 1e-3), conduction.axon_speed * change.speed)
    delay[here] = np.abs(beyond) / speed - lead
    near = np.clip(path[here] / conduction.initial_segment, 0.0, 1.0)
    width[here] = 1 + (conduction.axon_width - 1) * near
    far = path[here].max(initial=0.0)
    height[here] = np.clip((far - path[here]) / min(_END_UM, max(far, 1.0)), 0.0, 1.0) if far > 2 * _END_UM else 1.0
    assert part[0] == SOMA
    return delay, conduction.height * change.height * height, width


def membrane_potentials(
    morphology: Morphology, shape: SpikeShape, conduction: Conduction, time: np.ndarray, change: Change = UNCHANGED
) -> np.ndarray:
    """The potential of each segment after the resting one, (segments, samples), mV, at ``time`` (samples,) in ms."""
    delay, height, width = delays_and_sizes(morphology, conduction, change)
    changed = replace(
        shape,
        rise=shape.rise * change.rise,
        fall=shape.fall * change.fall,
        after=shape.after * change.after,
    )
    grid, course = changed.course()
    own = (time[None] - delay[:, None]) / width[:, None]
    left = np.clip((_TAPER_MS[1] - time) / (_TAPER_MS[1] - _TAPER_MS[0]), 0.0, 1.0)
    return height[:, None] * np.interp(own, grid, course) * np.sin(0.5 * np.pi * left) ** 2


def membrane_currents(morphology: Morphology, potentials: np.ndarray, resistivity: float) -> np.ndarray:
    """The current out of each segment's membrane, (segments, samples), nA.

    By Kirchhoff's law it is what flows in along the tree: the sum over neighbours of the difference in potential
    over the resistance of the cytoplasm between the middles. Summed over all segments it is zero.

    Parameters
    ----------
    morphology : Morphology
    potentials : ndarray, (segments, samples), mV
    resistivity : float
        ohm cm.
    """
    half = 0.5 * morphology.length / (np.pi * morphology.diameter**2 / 4)
    if morphology.diameter[0] >= 3.0:
        half[0] = 0.0  # inside a soma the potential is one
    child = np.arange(1, len(morphology))
    parent = morphology.parent[1:]
    resistance = resistivity / 100.0 * (half[child] + half[parent])  # megaohm: 100 ohm cm are 1 megaohm um
    flow = (potentials[parent] - potentials[child]) / resistance[:, None]
    currents = np.zeros_like(potentials)
    currents[child] = flow
    np.subtract.at(currents, parent, flow)
    return currents
