"""Potentials in a homogeneous medium: line sources for the segments, a point source for the soma."""

from __future__ import annotations

import numpy as np

from .morphology import Morphology

CONDUCTIVITY = 0.3
"""S/m, the usual value for grey matter."""
_LEAST_UM = 0.5  # a contact cannot lie in a segment


def transfer_matrix(
    morphology: Morphology, contacts: np.ndarray, contact_radius: float = 5.0, gain: float = 2.0
) -> np.ndarray:
    """What a contact sees of a current of 1 nA out of each segment.

    The potential of a straight segment of uniform current density (Holt and Koch 1999) with the distances r1, r2 of
    its ends and its length L is I / (4 pi sigma L) log((r1 + r2 + L) / (r1 + r2 - L)); the soma is a point source.

    Parameters
    ----------
    morphology : Morphology
    contacts : ndarray, (..., 3), um
        In the coordinates of the morphology.
    contact_radius : float
        um. A contact averages over its surface; here distances are those to a point this far above its centre.
    gain : float
        2 for contacts on an insulating plane (method of images), 1 for wires.

    Returns
    -------
    ndarray, (..., segments), uV/nA
    """
    flat = np.asarray(contacts, dtype=np.float64).reshape(-1, 3)
    soft = contact_radius**2
    near, far = (_distances(flat, ends, soft) for ends in (morphology.start, morphology.end))
    length = morphology.length
    total = near + far
    # not nearer than the membrane: sqrt(L^2 + 4 a^2) is what r1 + r2 is at the middle of a segment of radius a
    least = np.sqrt(length**2 + (morphology.diameter + 2 * _LEAST_UM) ** 2)
    total = np.maximum(total, least)
    inverse = np.log((total + length) / (total - length)) / length
    if morphology.diameter[0] >= 0.9 * length[0]:  # a sphere, from outside, is a point
        centre = 0.5 * (morphology.start[0] + morphology.end[0])
        distance = np.maximum(_distances(flat, centre[None], soft)[:, 0], 0.5 * morphology.diameter[0])
        inverse[:, 0] = 1 / distance
    factor = 1000.0 * gain / (4 * np.pi * CONDUCTIVITY)
    return (factor * inverse).reshape(*np.shape(contacts)[:-1], len(morphology))


def _distances(points: np.ndarray, ends: np.ndarray, soft: float) -> np.ndarray:
    """Distances (points, ends), um, each as from a point sqrt(``soft``) above the contact."""
    squared = (points**2).sum(axis=1)[:, None] + (ends**2).sum(axis=1) - 2 * points @ ends.T
    return np.sqrt(np.maximum(squared, 0.0) + soft)
