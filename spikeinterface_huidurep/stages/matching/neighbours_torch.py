"""Which units overlap, and which one spike may have to do with, as rows of one length for a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

# steps from unit to unit over which one maximum's spike may have to do with another's: the second of two spikes is two
# steps away, and what it is subtracted from is a third; the other one looks two steps around itself, and is subtracted
# from units three steps away
STEPS = 6


class NeighboursOnDevice(NamedTuple):
    """
    `pursuit.Neighbours`, a row a unit, padded with the unit itself.

    units (n_units, most) int64; pairs (n_units, most) int64, rows of the products; real (n_units, most) bool, False
    for padding; far (n_units, most_far) int64, the units that are at most `STEPS` steps away, padded, too;
    products (n_pairs, n_filters * n_filters); closeness (n_pairs,).
    """

    units: Tensor
    pairs: Tensor
    real: Tensor
    far: Tensor
    products: Tensor
    closeness: Tensor


def rows_of_neighbours(start: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, ...]:
    """
    The first four of `NeighboursOnDevice`.

    Parameters
    ----------
    start, units
        See `pursuit.Neighbours`.

    Returns
    -------
    units, pairs : (n_units, most) int64
    real : (n_units, most) bool
    far : (n_units, most_far) int64
    """
    counts = np.diff(start)
    pairs = start[:-1, None] + np.arange(counts.max(initial=0))
    real = np.arange(pairs.shape[1]) < counts[:, None]
    own = np.arange(len(counts))[:, None]
    rows = np.where(real, units[np.where(real, pairs, 0)], own)
    near = np.zeros((len(counts), len(counts)), dtype="float32")
    np.put_along_axis(near, rows, 1, axis=1)
    reached = np.linalg.matrix_power(near, STEPS) > 0
    far = np.broadcast_to(own, (len(counts), int(reached.sum(axis=1).max(initial=1)))).copy()
    for unit, others in enumerate(reached):
        far[unit, : others.sum()] = np.flatnonzero(others)
    return rows, np.where(real, pairs, 0), real, far


def side_by_side(many: list[NeighboursOnDevice]) -> NeighboursOnDevice:
    """Units of several blocks of traces as those of one, in which the units of each follow those of the one before."""
    import torch

    n_units, n_pairs = len(many[0].units), len(many[0].products)
    steps = {"units": n_units, "pairs": n_pairs, "far": n_units}
    columns = {
        name: torch.cat(
            [
                getattr(one, name) + place * steps[name] if name in steps else getattr(one, name)
                for place, one in enumerate(many)
            ]
        )
        for name in NeighboursOnDevice._fields
    }
    return NeighboursOnDevice(**columns)
