"""Path: the likeliest displacement in each bin of time, where moving has a cost (Viterbi 1967)."""

from __future__ import annotations

import numpy as np

# most that a move costs, in units of the logarithm of the likelihood: from there on it is a jump
COST_OF_JUMP = 15.0
# a path, and what it is found by, are found in turns: rounds of that
ROUNDS = 6


def likeliest_path(likelihood: np.ndarray, cost_of_step: float) -> np.ndarray:
    """
    Find the path over the states whose likelihood less the costs of moving is the largest.

    Parameters
    ----------
    likelihood : (n_bins, n_states) float
        Logarithm of the likelihood of each state in each bin.
    cost_of_step : float
        Of a move by one state, in the same unit; any move costs `COST_OF_JUMP` at most.

    Returns
    -------
    path : (n_bins,) int64
        The state in each bin.
    """
    states = np.arange(likelihood.shape[1])
    costs = np.minimum(cost_of_step * np.abs(states[:, None] - states), COST_OF_JUMP)
    total = likelihood[0]
    came_from = np.zeros(likelihood.shape, dtype=int)
    for row in range(1, len(likelihood)):
        options = total[None] - costs
        came_from[row] = options.argmax(axis=1)
        total = options[states, came_from[row]] + likelihood[row]
    path = np.zeros(len(likelihood), dtype="int64")
    path[-1] = total.argmax()
    for row in range(len(likelihood) - 1, 0, -1):
        path[row - 1] = came_from[row, path[row]]
    return path
