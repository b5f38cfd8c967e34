"""Positions of a template library's units on a probe: as simulated, or along a longer probe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from probeinterface import Probe

from .library_units import LibraryUnits

# Of each unit on a longer probe: 384 channels are three times the library's 128, and only the middle half of its units
# can move along.
COPIES = 4


@dataclass(frozen=True)
class Placement:
    """Positions of a library's units on a probe.

    Attributes
    ----------
    channel_locations : np.ndarray, shape (n_channels, 2)
    unit : np.ndarray of int64, shape (n_units,)
        Which unit of the library; on a longer probe each is used several times, at different depths.
    location : np.ndarray, shape (n_units, 3)
        Soma positions, moved along the probe.
    first_channel : np.ndarray of int64, shape (n_units,)
        Channel of the probe at which a unit's first channel lies.
    usable : np.ndarray of bool, shape (n_units,)
        Units whose template is not truncated at an end of the library's probe where the longer probe continues.
    """

    channel_locations: np.ndarray
    unit: np.ndarray
    location: np.ndarray
    first_channel: np.ndarray
    usable: np.ndarray


def find_rows(locations: np.ndarray) -> tuple[int, float] | None:
    """Channels in a row and um from one row to the next, of (n, 2) locations sorted by depth; None if rows differ."""
    for per_row in range(1, len(locations) // 2 + 1):
        step = locations[per_row:] - locations[:-per_row]
        if np.allclose(step, step[0]) and abs(step[0, 0]) < 1e-6:
            return per_row, float(step[0, 1])
    return None


def place_on_probe(units: LibraryUnits, n_channels: int | None, rng: np.random.Generator) -> Placement:
    """Place units as in the library, or at any depth of a longer probe made of the same rows.

    Parameters
    ----------
    units : LibraryUnits
    n_channels : int or None
        Of the probe; None for the library's own.
    rng : np.random.Generator
        For the depths.

    Raises
    ------
    ValueError
        If `n_channels` needs a longer probe, and the library's does not consist of equal rows.
    """
    locations, n_units = units.channel_locations, len(units.location)
    if n_channels is None or n_channels == len(locations):
        still, usable = np.zeros(n_units, dtype=np.int64), np.ones(n_units, dtype=bool)
        return Placement(locations, np.arange(n_units), units.location, still, usable)
    rows = find_rows(locations)
    if rows is None:
        raise ValueError(
            f"A probe of {n_channels} channels cannot be made from one that does not consist of equal rows."
        )
    per_row, row_um = rows
    index = np.arange(n_channels)
    long = locations[index % per_row] + np.stack([np.zeros(n_channels), (index // per_row) * row_um], axis=1)
    depth = units.location[:, 1]
    low, high = locations[:, 1].min(), locations[:, 1].max()
    usable = np.abs(depth - 0.5 * (low + high)) < 0.25 * (high - low)
    unit = np.repeat(np.arange(n_units), COPIES)
    wanted_um = rng.uniform(long[:, 1].min(), long[:, 1].max(), unit.size)
    return _shifted(units.location, unit, wanted_um, long, per_row, row_um, usable[unit])


def place_anywhere(units: LibraryUnits, place: Placement, rng: np.random.Generator) -> Placement:
    """Place units of a probe of equal rows at any depth; units of other probes stay where `place` has them.

    `units` are those of `place`, in its order. A template that is truncated at an end of the library's probe stays so,
    which matters little for far units.
    """
    rows = find_rows(units.channel_locations)
    if rows is None:
        return place
    depths = place.channel_locations[:, 1]
    unit = np.arange(len(units.location))
    wanted_um = rng.uniform(depths.min(), depths.max(), unit.size)
    return _shifted(units.location, unit, wanted_um, place.channel_locations, *rows, place.usable)


def _shifted(
    location: np.ndarray,
    unit: np.ndarray,
    wanted_um: np.ndarray,
    channels: np.ndarray,
    per_row: int,
    row_um: float,
    usable: np.ndarray,
) -> Placement:
    """Move each unit by whole rows to the nearest depth to the wanted one."""
    rows = np.rint((wanted_um - location[unit, 1]) / row_um).astype(np.int64)
    moved = location[unit] + np.stack([np.zeros(rows.size), rows * row_um, np.zeros(rows.size)], axis=1)
    return Placement(channels, unit, moved, rows * per_row, usable)


def make_probe(channel_locations: np.ndarray) -> Probe:
    """Probe of circular contacts (radius 6 um) at (n, 2) positions in um, wired in their order."""
    probe = Probe(ndim=2, si_units="um")
    probe.set_contacts(positions=channel_locations, shapes="circle", shape_params={"radius": 6})
    probe.set_device_channel_indices(np.arange(len(channel_locations)))
    probe.create_auto_shape()
    return probe
