"""From the log odds of pairs to probabilities, where a unit has at most one partner in another session."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

ROUNDS = 200
# The share of the units of the smaller session that have a partner, before anything is known: a Beta distribution of
# this mean and weight (units).
SHARED, SHARED_WEIGHT = 0.5, 2.0


def match_probabilities(log_odds: np.ndarray) -> tuple[np.ndarray, float]:
    """
    Probability of each pair of units, given that a unit is at most one of the other session's.

    How many units the sessions share is estimated with it, by expectation maximisation.

    Parameters
    ----------
    log_odds : np.ndarray, shape (n, m)
        Log likelihood ratio of each pair, same neuron against two; -inf for pairs that cannot be one.

    Returns
    -------
    probability : np.ndarray, shape (n, m)
        No row and no column sums to more than 1.
    shared : float
        Expected share of the smaller session's units that have a partner.
    """
    n, m = log_odds.shape
    possible = np.isfinite(log_odds)
    if not possible.any():
        return np.zeros((n, m)), 0.0
    fewer = int(min(possible.any(axis=1).sum(), possible.any(axis=0).sum()))
    likelihood = np.where(possible, np.exp(np.clip(log_odds, -60, 60)), 0.0)
    prior = 1.0 / fewer
    probability = np.zeros((n, m))
    for _ in range(50):
        probability = exclusive_marginals(prior * likelihood)
        wanted = (probability.sum() + SHARED * SHARED_WEIGHT) / (fewer + SHARED_WEIGHT)
        before = prior
        prior = _prior_of_share(min(wanted, 0.999), possible, fewer)
        if abs(np.log(prior / before)) < 1e-2:
            break
    probability = exclusive_marginals(prior * likelihood)
    return probability, float(probability.sum() / fewer)


def _prior_of_share(share: float, possible: np.ndarray, fewer: int) -> float:
    """Odds of a single pair at which `share` of the units have a partner when nothing is known of the pairs."""

    def missing(log_odds: float) -> float:
        return float(exclusive_marginals(np.exp(log_odds) * possible, rounds=40).sum() / fewer - share)

    low, high = -25.0, 25.0
    if missing(high) < 0:  # the graph of possible pairs has no assignment of so many
        return float(np.exp(high))
    return float(np.exp(brentq(missing, low, high, xtol=0.01)))


def exclusive_marginals(odds: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
    """
    Marginal probabilities of pairs over all one-to-one assignments, each as likely as the product of its odds.

    By belief propagation for monomers and dimers, which converges on any graph and is exact on trees (Zdeborova and
    Mezard 2006).

    Parameters
    ----------
    odds : np.ndarray, shape (n, m)
        Of each pair against both units being alone; 0 for pairs that cannot be.
    rounds : int
        At most.

    Returns
    -------
    np.ndarray, shape (n, m)
    """
    # how free a unit is for a partner, given its other possible partners
    from_rows, from_columns = np.ones_like(odds), np.ones_like(odds)
    for _ in range(rounds):
        taken = odds * from_columns
        new_rows = 1.0 / (1.0 + np.maximum(taken.sum(axis=1, keepdims=True) - taken, 0))
        taken = odds * new_rows
        new_columns = 1.0 / (1.0 + np.maximum(taken.sum(axis=0, keepdims=True) - taken, 0))
        change = max(np.abs(new_rows - from_rows).max(), np.abs(new_columns - from_columns).max())
        from_rows, from_columns = new_rows, new_columns
        if change < 1e-6:
            break
    weight = odds * from_rows * from_columns
    return weight / (1.0 + weight)
