"""Placement of cells in front of a probe by MEArec's rules, with an explicit random generator.

MEArec (Buccino and Einevoll, "MEArec: a fast and customizable testbench simulator for ground-truth extracellular
spiking activity", Neuroinformatics 2021) seeds numpy's global generator; here all random numbers come from the
generator that is passed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from .mouse_cells import EXCITATORY
from .probes import SimulationProbe

# Types with an orientation in MEArec's "physrot": the apical axis within 15 degrees of the shank. All pyramidal cells,
# and of the interneurons the bipolar and the Martinotti cells; the others are turned at random.
ORIENTED_CELL_TYPES = ("PC", "BP", "MC", *EXCITATORY)
MAX_POLAR_ANGLE = np.deg2rad(15.0)


@dataclass(frozen=True)
class PlacementRules:
    """Limits on the position of a soma and on the amplitude of its spike on the probe.

    Attributes
    ----------
    depth : tuple of float
        Smallest and largest distance of the soma from the plane of the contacts, um.
    overhang : float
        How far beyond the outermost contacts the soma may be, um.
    minimum_amplitude : float
        Smallest trough on the best channel, uV.
    drift_distance : tuple of float
        Smallest and largest distance between the ends of a free drift, um.
    drift_sideways : float
        Largest displacement of a free drift across the shank, um.
    drift_along : tuple of float
        Smallest and largest displacement of a free drift along the shank, um.
    """

    depth: tuple[float, float] = (10.0, 80.0)
    overhang: float = 30.0
    minimum_amplitude: float = 30.0
    drift_distance: tuple[float, float] = (30.0, 100.0)
    drift_sideways: float = 10.0
    drift_along: tuple[float, float] = (30.0, 80.0)


def position_limits(probe: SimulationProbe, rules: PlacementRules) -> np.ndarray:
    """Box in which somata are placed.

    Returns
    -------
    numpy.ndarray, shape (3, 2), float64
        Lower and upper limit along x, y and z, um.
    """
    limits = np.stack(
        [probe.channel_positions.min(axis=0) - rules.overhang, probe.channel_positions.max(axis=0) + rules.overhang],
        axis=1,
    )
    limits[probe.depth_axis] = np.sort(probe.depth_sign * np.asarray(rules.depth))
    return limits


def draw_position(limits: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Soma position, shape (3,), um, uniform within `limits`, shape (3, 2)."""
    return generator.uniform(limits[:, 0], limits[:, 1])


def is_oriented(cell_type: str) -> bool:
    """Whether cells of this morphological type stand along the shank."""
    return any(name in cell_type for name in ORIENTED_CELL_TYPES)


def draw_rotation(cell_type: str, generator: np.random.Generator) -> np.ndarray:
    """Draw the orientation of a cell.

    Parameters
    ----------
    cell_type : str
        Morphological type, e.g. ``"TTPC2"``.
    generator : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray, shape (3,), float64
        Angles in radians of the rotations about the fixed x, y and z axes, in this order, that take the cell model's
        own coordinates (dendrites along y) to the probe's.
    """
    if is_oriented(cell_type):
        # A uniform rotation, given that the axis ends up inside the cone: uniform azimuth and roll, uniform cosine of
        # tilt.
        azimuth, roll = generator.uniform(0.0, 2 * np.pi, size=2)
        tilt = np.arccos(generator.uniform(np.cos(MAX_POLAR_ANGLE), 1.0))
        rotation = Rotation.from_euler("ZYZ", [azimuth, tilt, roll])
    else:
        rotation = Rotation.from_quat(generator.standard_normal(4))  # normalized: uniform over all rotations
    angles = rotation.as_euler("xyz")
    angles[0] += np.pi / 2  # the models' y axis points to the pia; this turns it to z, along the shank
    return angles


def draw_drift(
    start: np.ndarray, limits: np.ndarray, rules: PlacementRules, generator: np.random.Generator, trials: int = 100
) -> np.ndarray | None:
    """Draw the end of a free drift that begins at `start`.

    Parameters
    ----------
    start : numpy.ndarray, shape (3,)
        First soma position, um.
    limits : numpy.ndarray, shape (3, 2)
        Box that the end must lie in, um.
    rules : PlacementRules
        Distances allowed.
    generator : numpy.random.Generator
        Source of randomness.
    trials : int
        Ends drawn before giving up.

    Returns
    -------
    numpy.ndarray, shape (3,), or None
        Last soma position, um; None if no end was found within the limits. Half of the drifts go up, half down.
    """
    for _ in range(trials):
        step = np.append(
            generator.uniform(-rules.drift_sideways, rules.drift_sideways, size=2),
            generator.choice([-1.0, 1.0]) * generator.uniform(*rules.drift_along),
        )
        end = start + step
        inside = np.all((limits[:, 0] < end) & (end < limits[:, 1]))
        if inside and rules.drift_distance[0] <= np.linalg.norm(step) <= rules.drift_distance[1]:
            return end
    return None
