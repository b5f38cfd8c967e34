"""How much of the traces a spike explains, and at which amplitude; compiled with numba."""

from __future__ import annotations

from typing import NamedTuple

import numba


class AmplitudePrior(NamedTuple):
    """Gaussian prior of a spike's amplitude relative to its template: inverse variance around one, and bounds."""

    stiffness: float
    low: float
    high: float


@numba.njit(nogil=True, cache=True, fastmath=True)
def best_amplitude(match: float, energy: float, prior: AmplitudePrior) -> float:
    """Amplitude that maximises `objective`."""
    return min(max((match + prior.stiffness) / (energy + prior.stiffness), prior.low), prior.high)


@numba.njit(nogil=True, cache=True, fastmath=True)
def objective_at(amplitude: float, match: float, energy: float, prior: AmplitudePrior) -> float:
    """
    How much squared noise is explained by subtracting a template at this amplitude.

    `match` is the output of the matched filter, `energy` that of the template itself; the prior is taken off.
    """
    return 2 * amplitude * match - amplitude * amplitude * energy - prior.stiffness * (amplitude - 1) ** 2


@numba.njit(nogil=True, cache=True, fastmath=True)
def objective(match: float, energy: float, prior: AmplitudePrior) -> float:
    """`objective_at` the best amplitude."""
    return objective_at(best_amplitude(match, energy, prior), match, energy, prior)


@numba.njit(nogil=True, cache=True, fastmath=True)
def fit_two(match_1, match_2, energy_1, energy_2, product, prior):
    """
    Best amplitudes of two templates that overlap, and how much both explain.

    Parameters
    ----------
    match_1, match_2, energy_1, energy_2 : float
        Output of each matched filter, squared norm of each template.
    product : float
        Scalar product of the two templates as they overlap.
    prior : AmplitudePrior

    Returns
    -------
    amplitude_1, amplitude_2, objective : float
    """
    stiff_1, stiff_2 = energy_1 + prior.stiffness, energy_2 + prior.stiffness
    drive_1, drive_2 = match_1 + prior.stiffness, match_2 + prior.stiffness
    determinant = max(stiff_1 * stiff_2 - product * product, 1e-6)
    free = min(max((drive_1 * stiff_2 - drive_2 * product) / determinant, prior.low), prior.high)
    # within the bounds, each is the best one given the other
    second = best_amplitude(match_2 - free * product, energy_2, prior)
    first = best_amplitude(match_1 - second * product, energy_1, prior)
    both = objective_at(first, match_1, energy_1, prior) + objective_at(second, match_2, energy_2, prior)
    return first, second, both - 2 * first * second * product
