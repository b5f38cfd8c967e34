"""Likeness: how much today's templates are like those of another session, on the channels where both are known."""

from __future__ import annotations

import numpy as np

from ..matching.confidence import LEAST_SHARE
from ..shank import Shank
from ..templates.drifting import DriftingUnitTemplates, concatenated
from ..templates.placing import SessionTemplates, coverage, place_templates
from ..templates.whitened import whiten_templates
from .explained import OTHER_TROUGH_MS

# largest ratio of the norms of a unit's templates on two days
LARGER = 2.0
# a channel says something where the other session tells so much of the field there, and a template where so much of its
# energy is on such channels
LEAST_COVERED = LEAST_SEEN = LEAST_SHARE


def placed_and_covered(
    session: SessionTemplates, shank: Shank, moved: np.ndarray
) -> tuple[DriftingUnitTemplates, np.ndarray]:
    """Templates of another session where they are now, and how much of them it told (`coverage`)."""
    placed = place_templates(session, shank, moved)
    return placed, coverage(session, shank, placed, moved)


def similarities(
    shank: Shank, today: DriftingUnitTemplates, placed: DriftingUnitTemplates, covered: np.ndarray, pairs: np.ndarray
) -> np.ndarray:
    """
    Cosines of templates in whitened coordinates, at the lag and the displacement at which they count.

    Parameters
    ----------
    shank : Shank
    today, placed : DriftingUnitTemplates
        Of the session, and known ones that were placed in it.
    covered : (n_placed, n_displacements, n_local) float
        From `coverage`.
    pairs : (n_pairs, 2) int
        Which of today's, and which known.

    Returns
    -------
    (n_pairs,) float64
        On the channels where both are known; zero where these have too little of today's, or the larger of two is more
        than `LARGER` times the other.
    """
    space = whiten_templates(concatenated(today, placed), shank.noise)
    window = space.lags_within(shank.samples(OTHER_TROUGH_MS))
    found = np.zeros(len(pairs))
    for row, (one, other) in enumerate(pairs):
        seen = int(np.argmax(today.counts[one]))
        mine, theirs, channels, _ = space.aligned(one, today.n_units + other, seen, window)
        # where the other session saw nothing of the unit, nothing is known
        unseen = placed.channels[other][covered[other, seen] < LEAST_COVERED]
        use = ~np.isin(channels, unseen)
        a, b = np.linalg.norm(mine[use]), np.linalg.norm(theirs[use])
        if a**2 > LEAST_SEEN * (mine**2).sum() and max(a, b) <= LARGER * min(a, b):
            found[row] = (mine[use] * theirs[use]).sum() / (a * b)
    return found
