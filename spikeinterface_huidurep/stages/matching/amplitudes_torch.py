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
    """See `amplitudes.objective`; in as few operations as there may be, each of which a GPU is given by itself."""
    drive, stiff = match + prior.stiffness, energy + prior.stiffness
    amplitude = (drive / stiff).clamp(prior.low, prior.high)
    return amplitude * (2 * drive - amplitude * stiff) - prior.stiffness


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
    # within the bounds, each is the best one given the other
    second = ((drive[1] - free * product) / stiff[1]).clamp(prior.low, prior.high)
    drive_1 = drive[0] - second * product
    first = (drive_1 / stiff[0]).clamp(prior.low, prior.high)
    explained = first * (2 * drive_1 - first * stiff[0])
    return first, second, explained + second * (2 * drive[1] - second * stiff[1]) - 2 * prior.stiffness
