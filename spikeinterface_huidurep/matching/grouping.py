"""From probabilities of pairs to neurons over many sessions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import logit

SUREST = 0.999  # one pair of sessions cannot overrule all others
LEAST = 0.05  # pairs that are less likely join nothing


def group_units(
    n_units: list[int], probabilities: Mapping[tuple[int, int], np.ndarray], threshold: float
) -> list[list[tuple[int, int]]]:
    """
    Group the units of all sessions into neurons, none with two units of one session.

    Likely pairs come first. Two groups become one if the mean log odds of all pairs between them are above the
    threshold's (average linkage), so that a neuron that is missing in a session in between, or that one pair of
    sessions did not recognise, is still one neuron, and one false pair does not join two.

    Parameters
    ----------
    n_units : list of int
        Of each session.
    probabilities : mapping of (int, int) to np.ndarray
        For each pair of sessions, the first one earlier, (n_units, n_units).
    threshold : float

    Returns
    -------
    list of list of (session, unit)
        Units that were joined to none are groups of one. Sorted by session and unit.
    """
    group_of = {(session, unit): [(session, unit)] for session, n in enumerate(n_units) for unit in range(n)}
    edges = []
    for (a, b), matrix in probabilities.items():
        for i, j in zip(*np.nonzero(matrix >= min(LEAST, threshold)), strict=True):
            edges.append((float(matrix[i, j]), (a, int(i)), (b, int(j))))
    edges.sort(key=lambda edge: (-edge[0], edge[1], edge[2]))
    least = logit(threshold)
    joined = True
    while joined:
        joined = False
        for _, one, other in edges:
            first, second = group_of[one], group_of[other]
            if first is second or {s for s, _ in first} & {s for s, _ in second}:
                continue
            if _link(first, second, probabilities) >= least:
                first.extend(second)
                for unit in second:
                    group_of[unit] = first
                joined = True
    unique = {id(group): sorted(group) for group in group_of.values()}
    return sorted(unique.values())


def _link(first, second, probabilities):
    """Mean log odds that the units of two groups are one neuron."""
    between = [pair_probability(probabilities, one, other) for one in first for other in second]
    return float(np.mean(logit(np.clip(between, 1 - SUREST, SUREST))))


def pair_probability(probabilities: Mapping[tuple[int, int], np.ndarray], one, other) -> float:
    """Probability of a pair of (session, unit), whichever session is the earlier."""
    (a, i), (b, j) = sorted([one, other])
    return float(probabilities[a, b][i, j])


def membership(group: list[tuple[int, int]], probabilities: Mapping[tuple[int, int], np.ndarray]) -> list[float]:
    """
    How likely each unit belongs to its group.

    Returns
    -------
    list of float
        The mean probability of its pairs with the group's other units. For a unit by itself: that it has no partner in
        any session.
    """
    if len(group) > 1:
        return [
            float(np.mean([pair_probability(probabilities, unit, other) for other in group if other != unit]))
            for unit in group
        ]
    session, unit = group[0]
    alone = 1.0
    for (a, b), matrix in probabilities.items():
        if session == a:
            alone *= 1 - matrix[unit].sum()
        elif session == b:
            alone *= 1 - matrix[:, unit].sum()
    return [float(np.clip(alone, 0, 1))]
