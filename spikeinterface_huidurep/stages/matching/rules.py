"""What the pursuit goes by, in samples and units of noise, as the compiled code takes it."""

from __future__ import annotations

from typing import NamedTuple

from spikeinterface.core.core_tools import ms_to_samples

from .amplitudes import AmplitudePrior

# around a spike, ms: where another unit explains it as well; where the first and the second of two spikes are looked
# for that explain more together; around its own maximum where the first of them is tried, since the second moved it
SAME_SPIKE_MS, FIRST_MS, SECOND_MS, NUDGE_MS = 0.2, 0.25, 0.5, 0.07


class PursuitRules(NamedTuple):
    """
    What counts as a spike, and where it is looked for.

    threshold, the least objective (squared units of noise); prior of the amplitudes; unexplained, the fraction of a
    spike's objective that its template may leave behind: no spike at its place is made of less. In samples: refractory,
    in which a unit is not looked for again after its spike; same_spike, first_reach, second_reach and nudge, of which
    this module's constants are the times.
    """

    threshold: float
    prior: AmplitudePrior
    unexplained: float
    refractory: int
    same_spike: int
    first_reach: int
    second_reach: int
    nudge: int


def pursuit_rules(criteria, sampling_frequency: float) -> PursuitRules:
    """The rules of `assignment.MatchingCriteria` at a sampling frequency (Hz)."""
    reaches = (ms_to_samples(time, sampling_frequency) for time in (SAME_SPIKE_MS, FIRST_MS, SECOND_MS, NUDGE_MS))
    return PursuitRules(
        criteria.threshold,
        AmplitudePrior(criteria.amplitude_std**-2, *criteria.amplitude_limits),
        criteria.unexplained,
        int(criteria.refractory_ms * sampling_frequency / 1000),
        *reaches,
    )
