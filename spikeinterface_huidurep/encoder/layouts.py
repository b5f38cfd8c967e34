"""Where the contacts of common probes are: the probes that neurons are drawn around for training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def columns(count: int, rows: int, gap: float, pitch: float, stagger: float = 0.0) -> np.ndarray:
    """Contacts in columns, (count x rows, 2), um.

    Parameters
    ----------
    count, rows : int
    gap, pitch : float
        Between columns, and between the rows of a column, um.
    stagger : float
        By how much of the pitch every second column is higher.
    """
    column, row = np.meshgrid(np.arange(count), np.arange(rows), indexing="ij")
    places = np.stack([gap * column, pitch * (row + stagger * (column % 2))], axis=-1).reshape(-1, 2)
    return places[np.lexsort((places[:, 0], places[:, 1]))]


def _tetrode() -> np.ndarray:
    return np.array([[0.0, 0.0], [0.0, 25.0], [25.0, 0.0], [25.0, 25.0]])


LAYOUTS: dict[str, Callable[[], np.ndarray]] = {
    "tetrode-25": _tetrode,
    "tetrode-15": lambda: 0.6 * _tetrode(),
    "diamond": lambda: np.array([[0.0, 0.0], [-16.0, 18.0], [16.0, 18.0], [0.0, 36.0]]),
    "linear-16": lambda: columns(1, 16, 0.0, 25.0),
    "linear-32": lambda: columns(1, 32, 0.0, 20.0),
    "linear-16-wide": lambda: columns(1, 16, 0.0, 50.0),
    "two-column-64": lambda: columns(2, 32, 32.0, 15.0),  # Neuropixels 2.0
    "two-column-32-staggered": lambda: columns(2, 16, 25.0, 25.0, 0.5),
    "three-column-32": lambda: columns(3, 11, 18.0, 25.0, 0.5)[:32],
    # Neuropixels 1.0: rows 20 um apart, every second one moved by 16 um
    "four-column-96": lambda: columns(4, 24, 16.0, 40.0, 0.5),
    "grid-100": lambda: columns(10, 10, 15.0, 15.0),
    "grid-64-wide": lambda: columns(8, 8, 30.0, 30.0),
}
"""Layouts by name."""


def layout(name: str) -> np.ndarray:
    """Contact locations (contacts, 2) float32, um about the middle, of a layout of :data:`LAYOUTS`.

    Raises
    ------
    ValueError
        If there is no such layout.
    """
    if name not in LAYOUTS:
        raise ValueError(f"there is no probe layout {name!r}; the layouts are {', '.join(LAYOUTS)}")
    places = LAYOUTS[name]()
    return (places - 0.5 * (places.min(axis=0) + places.max(axis=0))).astype(np.float32)
