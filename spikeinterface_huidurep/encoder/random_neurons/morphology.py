"""Morphologies drawn at random: a soma, dendrites and an axon with its initial segment, as a tree of straight segments.

Lengths and diameters span those of reconstructed neurons (Ascoli et al. 2007, NeuroMorpho.Org, gives them by cell
type); no reconstruction is used. Branches fork into two whose diameters follow Rall's 3/2 power law.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SOMA, AXON, BASAL, APICAL = range(4)
_RALL = 1.5
_THINNEST_UM = 0.4


@dataclass(frozen=True)
class Morphology:
    """A tree of straight segments about the soma, which is the first one and lies at the origin.

    Attributes
    ----------
    start, end : ndarray, (segments, 3), um
    diameter : ndarray, (segments,), um
    parent : ndarray, (segments,), int
        Index of the segment that each one goes on from, below its own; -1 for the first.
    part : ndarray, (segments,), int
        ``SOMA``, ``AXON``, ``BASAL`` or ``APICAL``.
    path : ndarray, (segments,), um
        Distance along the tree from the soma's centre to the segment's.
    """

    start: np.ndarray
    end: np.ndarray
    diameter: np.ndarray
    parent: np.ndarray
    part: np.ndarray
    path: np.ndarray

    def __len__(self) -> int:
        return len(self.parent)

    @property
    def length(self) -> np.ndarray:
        """Length of each segment, (segments,), um."""
        return np.linalg.norm(self.end - self.start, axis=1)

    def turned(self, rotation: np.ndarray) -> Morphology:
        """The same tree after a rotation (3, 3) about the soma."""
        return Morphology(
            self.start @ rotation.T, self.end @ rotation.T, self.diameter, self.parent, self.part, self.path
        )


@dataclass(frozen=True)
class TreeRules:
    """Limits from which one tree is drawn; a pair is the smallest and the largest value.

    Attributes
    ----------
    part : int
    count : (int, int)
        Trees of this kind.
    direction : (float, float, float)
        Mean direction; of no length for any direction.
    spread : float
        How far directions scatter about it: 0 not at all, 1 as far as the mean's length.
    flatness : float
        0 to 1: by how much the tree is pressed into the x-y plane.
    branch : (float, float)
        Length of a branch before it forks, um.
    reach : (float, float)
        Path length at which branches end, um.
    diameter : (float, float)
        At the root, um.
    fork : float
        Probability that a branch forks where it ends before the reach; otherwise it goes on alone.
    wander : float
        How much a branch turns from segment to segment.
    """

    part: int
    count: tuple[int, int]
    direction: tuple[float, float, float]
    spread: float
    branch: tuple[float, float]
    reach: tuple[float, float]
    diameter: tuple[float, float]
    flatness: float = 0.0
    fork: float = 0.8
    wander: float = 0.15


@dataclass(frozen=True)
class CellRules:
    """Limits from which a neuron's morphology is drawn: of the soma's diameter (um), and of its trees."""

    soma: tuple[float, float]
    trees: tuple[TreeRules, ...]
    most_segments: int = 110


_UP, _DOWN, _ANY = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 0.0)

# y is the axis of pyramidal cells, towards the surface; flat cells lie in the x-y plane
RULES: dict[str, CellRules] = {
    "pyramidal": CellRules(
        (11.0, 22.0),
        (
            TreeRules(APICAL, (1, 1), _UP, 0.12, (40.0, 140.0), (180.0, 520.0), (1.8, 4.5), fork=0.6, wander=0.08),
            TreeRules(BASAL, (3, 6), _DOWN, 1.2, (30.0, 90.0), (80.0, 200.0), (0.8, 2.4), fork=0.6),
            TreeRules(AXON, (1, 1), _DOWN, 0.35, (70.0, 160.0), (120.0, 400.0), (0.7, 1.8), fork=0.35),
        ),
        most_segments=180,
    ),
    "interneuron": CellRules(
        (8.0, 15.0),
        (
            TreeRules(BASAL, (3, 6), _ANY, 1.0, (25.0, 80.0), (60.0, 220.0), (0.7, 2.0), fork=0.6),
            TreeRules(AXON, (1, 1), _ANY, 1.0, (40.0, 110.0), (100.0, 350.0), (0.5, 1.3), fork=0.7),
        ),
    ),
    "bipolar": CellRules(
        (8.0, 14.0),
        (
            TreeRules(APICAL, (1, 2), _UP, 0.25, (50.0, 130.0), (100.0, 280.0), (0.8, 2.2), fork=0.4),
            TreeRules(BASAL, (1, 2), _DOWN, 0.25, (50.0, 130.0), (100.0, 280.0), (0.8, 2.2), fork=0.4),
            TreeRules(AXON, (1, 1), _DOWN, 0.8, (50.0, 120.0), (100.0, 300.0), (0.5, 1.2), fork=0.5),
        ),
    ),
    "flat": CellRules(
        (16.0, 30.0),
        (
            TreeRules(APICAL, (1, 2), _UP, 0.5, (15.0, 50.0), (130.0, 280.0), (2.5, 6.0), flatness=0.9, fork=0.95),
            TreeRules(AXON, (1, 1), _DOWN, 0.3, (80.0, 160.0), (120.0, 350.0), (0.8, 1.8), fork=0.2),
        ),
        most_segments=160,
    ),
    "multipolar": CellRules(
        (16.0, 42.0),
        (
            TreeRules(BASAL, (4, 8), _ANY, 1.0, (40.0, 120.0), (150.0, 400.0), (2.0, 6.0), fork=0.6),
            TreeRules(AXON, (1, 1), _ANY, 1.0, (80.0, 160.0), (150.0, 400.0), (1.0, 3.0), fork=0.2),
        ),
    ),
    # a piece of an axon that passes by: the "soma" is one of its segments
    "axon": CellRules(
        (0.6, 2.0),
        (
            TreeRules(AXON, (1, 1), _UP, 0.3, (80.0, 300.0), (150.0, 450.0), (0.6, 2.0), fork=0.4, wander=0.06),
            TreeRules(BASAL, (1, 1), _DOWN, 0.3, (80.0, 300.0), (150.0, 450.0), (0.6, 2.0), fork=0.15, wander=0.06),
        ),
        most_segments=70,
    ),
}


class _Growing:
    """The segments of a tree that grows."""

    def __init__(self, soma_diameter: float, length: float) -> None:
        half = np.array([0.0, 0.5 * length, 0.0])
        self.start, self.end = [-half], [half]
        self.diameter, self.parent, self.part, self.path = [soma_diameter], [-1], [SOMA], [0.0]

    def add(self, parent: int, start: np.ndarray, end: np.ndarray, diameter: float, part: int, path: float) -> int:
        """Append a segment; returns its index."""
        self.start.append(start)
        self.end.append(end)
        self.diameter.append(diameter)
        self.parent.append(parent)
        self.part.append(part)
        self.path.append(path)
        return len(self.parent) - 1

    def done(self) -> Morphology:
        """What has grown."""
        return Morphology(
            np.array(self.start),
            np.array(self.end),
            np.array(self.diameter),
            np.array(self.parent),
            np.array(self.part),
            np.array(self.path),
        )


def draw_morphology(kind: str, rng: np.random.Generator) -> Morphology:
    """Draw a neuron's tree.

    Parameters
    ----------
    kind : str
        One of :data:`RULES`.
    rng : numpy.random.Generator

    Returns
    -------
    Morphology
        Its apical dendrite, if it has one, along y.
    """
    rules = RULES[kind]
    diameter = _log_uniform(rules.soma, rng)
    growing = _Growing(diameter, diameter if kind != "axon" else 15.0)
    # the first segments of every tree come first: a limit on their number shortens far branches only
    tips = [
        tip
        for tree in rules.trees
        for _ in range(rng.integers(tree.count[0], tree.count[1] + 1))
        for tip in [_root(tree, growing, rng)]
    ]
    while tips and len(growing.parent) < rules.most_segments:
        tip = tips.pop(0)
        tips += _grow(tip, growing, rng)
    return growing.done()


@dataclass
class _Tip:
    """Where a branch goes on: from a segment's end, in a direction, until it forks and until it ends."""

    rules: TreeRules
    segment: int
    place: np.ndarray
    heading: np.ndarray
    path: float
    diameter: float
    left: float
    reach: float


def _root(rules: TreeRules, growing: _Growing, rng: np.random.Generator) -> _Tip:
    heading = _pressed(np.asarray(rules.direction) + rules.spread * rng.standard_normal(3), rules.flatness)
    radius = float(np.linalg.norm(growing.end[0]))
    place = heading * radius
    if growing.diameter[0] < 3.0:  # an axon's middle segment has two ends and no surface to leave from
        place = growing.end[0] if rules.direction[1] > 0 else growing.start[0]
    diameter = min(_log_uniform(rules.diameter, rng), growing.diameter[0])
    reach, left = rng.uniform(*rules.reach), rng.uniform(*rules.branch)
    return _Tip(rules, 0, place, heading, radius, diameter, left, reach)


def _grow(tip: _Tip, growing: _Growing, rng: np.random.Generator) -> list[_Tip]:
    """Add one segment; returns the tips that it leaves: the same, two after a fork, or none."""
    rules = tip.rules
    # finer near the soma, where the currents are large and the probe may be near
    length = float(np.clip(8.0 + 0.08 * tip.path, 8.0, 24.0))
    place = tip.place + tip.heading * length
    diameter = max(_THINNEST_UM, tip.diameter)
    segment = growing.add(tip.segment, tip.place, place, diameter, rules.part, tip.path + 0.5 * length)
    path, left = tip.path + length, tip.left - length
    if path >= tip.reach:
        return []
    taper = tip.diameter * (1 - 0.004 * length)
    if left > 0:
        heading = _pressed(tip.heading + rules.wander * rng.standard_normal(3), rules.flatness)
        return [_Tip(rules, segment, place, heading, path, taper, left, tip.reach)]
    if rng.random() >= rules.fork:
        return [_Tip(rules, segment, place, tip.heading, path, taper, rng.uniform(*rules.branch), tip.reach)]
    share = rng.uniform(0.25, 0.75)
    apart = rng.standard_normal(3)
    tips = []
    for side, part in ((1.0, share), (-1.0, 1 - share)):
        heading = _pressed(tip.heading + side * rng.uniform(0.3, 0.8) * apart, rules.flatness)
        thin = taper * part ** (1 / _RALL)
        tips.append(_Tip(rules, segment, place, heading, path, thin, rng.uniform(*rules.branch), tip.reach))
    return tips


def _pressed(vector: np.ndarray, flatness: float) -> np.ndarray:
    """The unit vector along ``vector`` pressed into the x-y plane."""
    vector = vector * np.array([1.0, 1.0, 1.0 - flatness])
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]))))
