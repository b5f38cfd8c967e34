"""Logistic regression whose weights cannot be positive, around what was believed before."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit


def falling_logistic(
    x: np.ndarray, same: np.ndarray, believed: np.ndarray, strength: float
) -> tuple[np.ndarray, float]:
    """
    Fit log odds that fall with each feature: two units that differ more are less likely the same.

    scikit-learn's logistic regression has neither bounds nor a mean of the weights other than 0.

    Parameters
    ----------
    x : np.ndarray, shape (n_pairs, n_features)
        Differences.
    same : np.ndarray of bool, shape (n_pairs,)
        Whether a pair is one neuron.
    believed : np.ndarray, shape (n_features + 1,)
        Weights and offset that are believed before: the mean of a Gaussian.
    strength : float
        Precision of that belief.

    Returns
    -------
    weights : np.ndarray, shape (n_features,)
    offset : float
        Of the largest posterior probability. Both kinds of pairs count alike, however many there are, and all together
        as many as there are pairs of one neuron: those of two neurons share their units, and are no independent
        evidence. Without pairs of both kinds, what was believed.
    """
    n_same, n_other = int(same.sum()), int((~same).sum())
    if n_same == 0 or n_other == 0:
        return believed[:-1], float(believed[-1])
    design = np.column_stack([x, np.ones(len(x))])
    sign = np.where(same, 1.0, -1.0)
    weight = np.where(same, 1.0, n_same / n_other)

    def loss(w):
        margin = sign * (design @ w)
        off = w - believed
        slope = design.T @ (-weight * sign * expit(-margin)) + strength * off
        return (weight * np.logaddexp(0, -margin)).sum() + 0.5 * strength * (off**2).sum(), slope

    bounds = [(None, 0.0)] * x.shape[1] + [(None, None)]
    start = np.append(np.minimum(believed[:-1], 0), believed[-1])
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")
    return found.x[:-1], float(found.x[-1])
