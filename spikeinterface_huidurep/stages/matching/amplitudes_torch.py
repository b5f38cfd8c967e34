"""What `amplitudes` computes, on tensors of any shapes that fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .amplitudes import AmplitudePrior

if TYPE_CHECKING:
    from torch import Tensor


def best_amplitude(match: Tensor, energy: Tensor, prior: AmplitudePrior) -> Tensor:
    """See `amplitudes.best_amplitude`."""
    return ((match + prior.stiffness) / (energy + prior.stiffness)).clamp(prior.low, prior.high)


def objective_at(amplitude: Tensor, match: Tensor, energy: Tensor, prior: AmplitudePrior) -> Tensor:
    """See `amplitudes.objective_at`."""
    return 2 * amplitude * match - amplitude * amplitude * energy - prior.stiffness * (amplitude - 1) ** 2


def objective(match: Tensor, energy: Tensor, prior: AmplitudePrior) -> Tensor:
    """See `amplitudes.objective`."""
    return objective_at(best_amplitude(match, energy, prior), match, energy, prior)


def fit_two(match: tuple[Tensor, Tensor], energy: tuple[Tensor, Tensor], product: Tensor, prior: AmplitudePrior):
    """
    Best amplitudes of two templates that overlap, and how much both explain: see `amplitudes.fit_two`.

    Parameters
    ----------
    match, energy : (Tensor, Tensor)
        Of the first template and of the second.
    product : Tensor
    prior : AmplitudePrior

    Returns
    -------
    amplitude_1, amplitude_2, objective : Tensor
    """
    stiff = energy[0] + prior.stiffness, energy[1] + prior.stiffness
    drive = match[0] + prior.stiffness, match[1] + prior.stiffness
    determinant = (stiff[0] * stiff[1] - product * product).clamp(min=1e-6)
    free = ((drive[0] * stiff[1] - drive[1] * product) / determinant).clamp(prior.low, prior.high)
    second = best_amplitude(match[1] - free * product, energy[1], prior)
    first = best_amplitude(match[0] - second * product, energy[0], prior)
    both = objective_at(first, match[0], energy[0], prior) + objective_at(second, match[1], energy[1], prior)
    return first, second, both - 2 * first * second * product
