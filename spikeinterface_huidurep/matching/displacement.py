"""By how much the tissue has moved along the probe between two sessions, told by the units themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LARGEST_UM = 150.0  # displacement that is looked for
KERNEL_UM = 6.0  # of the histogram of differences in depth: what two locations of one neuron differ by
KNOT_UM = 250.0  # between depths at which the displacement may differ
NEAREST = 3  # units of the other session that a unit may be, by shape
ROUNDS = 8
# Displacements of neighbouring knots differ by so much, um, where nothing else is known; the whole by so much.
BEND_UM, WHOLE_UM = 8.0, 60.0


@dataclass(frozen=True)
class Displacement:
    """Displacement along the probe between two sessions: of the second one's units against the first one's.

    Attributes
    ----------
    depth_um : np.ndarray, shape (n_knots,)
        Depths in the first session.
    um : np.ndarray, shape (n_knots,)
        Displacement there; between the knots it changes linearly.
    """

    depth_um: np.ndarray
    um: np.ndarray

    def at(self, depth_um: np.ndarray) -> np.ndarray:
        """Displacement of what is at these depths in the first session."""
        return np.interp(depth_um, self.depth_um, self.um)

    def shifted(self, by_um: float) -> Displacement:
        """The same, `by_um` further at all depths."""
        return Displacement(self.depth_um, self.um + by_um)

    @property
    def mean_um(self) -> float:
        """Mean over the probe."""
        return float(np.mean(self.um))


def estimate_displacement(
    depth_a: np.ndarray, depth_b: np.ndarray, x_a: np.ndarray, x_b: np.ndarray, shape_distance: np.ndarray,
    extent_um: tuple[float, float],
) -> Displacement:  # fmt: skip
    """
    Estimate the displacement between two sessions from the depths of units that may be the same.

    Parameters
    ----------
    depth_a, depth_b, x_a, x_b : np.ndarray, shapes (n,) and (m,)
        Locations of the units, um.
    shape_distance : np.ndarray, shape (n, m)
        How much the shapes of two units differ, wherever they lie.
    extent_um : (float, float)
        Lowest and highest channel of the probe.

    Returns
    -------
    Displacement
        First the displacement at which most units of like shape meet (the peak of their differences in depth), then one
        that changes with depth, from the pairs that meet, by iteratively reweighted least squares. Without units it
        is 0.
    """
    low, high = extent_um
    knots = np.linspace(low, high, max(int(np.ceil((high - low) / KNOT_UM)) + 1, 2))
    if min(shape_distance.shape) == 0:
        return Displacement(knots, np.zeros(len(knots)))
    weight = _alike(shape_distance)
    across = np.exp(-0.5 * ((x_b[None] - x_a[:, None]) / 20.0) ** 2)
    difference = depth_b[None] - depth_a[:, None]
    farthest = min(LARGEST_UM, 0.5 * (high - low) + 10.0)
    grid = np.arange(-farthest, farthest + 0.5)
    rows, columns = np.nonzero(weight > 0)
    pair_weight, pair_difference = (weight * across)[rows, columns], difference[rows, columns]
    height = (pair_weight * np.exp(-0.5 * ((pair_difference - grid[:, None]) / KERNEL_UM) ** 2)).sum(axis=1)
    # no displacement is a little likelier than any other
    height *= np.exp(-0.5 * (grid / WHOLE_UM) ** 2)
    values = np.full(len(knots), float(grid[int(np.argmax(height))]))
    basis = _hats(depth_a[rows], knots)
    spread = 2 * KERNEL_UM
    for _ in range(ROUNDS):
        off = pair_difference - basis @ values
        robust = pair_weight * np.exp(-0.5 * (off / spread) ** 2)
        values = _fit(basis, pair_difference, robust, spread)
        spread = max(0.7 * spread, KERNEL_UM)
    return Displacement(knots, values)


def _alike(distance: np.ndarray) -> np.ndarray:
    """Weights (n, m) of pairs whose shapes are among the nearest to each other, 0 for others."""
    row = np.argsort(np.argsort(distance, axis=1), axis=1) < NEAREST
    column = np.argsort(np.argsort(distance, axis=0), axis=0) < NEAREST
    scale = np.median(distance.min(axis=1)) + 1e-9
    return np.where(row & column, np.exp(-distance / (2 * scale)), 0.0)


def _hats(depth: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Linear interpolation between knots as a matrix, (n, n_knots)."""
    return np.stack([np.interp(depth, knots, one) for one in np.eye(len(knots))], axis=1)


def _fit(basis: np.ndarray, difference: np.ndarray, weight: np.ndarray, spread: float) -> np.ndarray:
    """Displacement at the knots: weighted least squares, with neighbouring knots alike."""
    n = basis.shape[1]
    bend = np.diff(np.eye(n), axis=0) / BEND_UM
    prior = bend.T @ bend + np.eye(n) / WHOLE_UM**2
    scaled = basis * (weight / KERNEL_UM**2)[:, None]
    return np.linalg.solve(basis.T @ scaled + prior, scaled.T @ difference)
