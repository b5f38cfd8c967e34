"""What the pursuit goes by, in samples and units of noise, as the compiled code takes it."""

from __future__ import annotations

from typing import NamedTuple

from spikeinterface.core.core_tools import ms_to_samples

from .amplitudes import AmplitudePrior

# part of a spike's objective that its template may leave in the residual: nothing smaller counts as a spike there; more
# where the template follows an estimated motion
UNEXPLAINED_STILL, UNEXPLAINED_MOVING = 0.005, 0.02
# within so long of a spike, ms, another unit's spike is the same one; the first of two spikes that explain more
# together is as near to it
SAME_SPIKE_MS = 0.2
# units tried as the first of a pair: those that explain most alone
MOST_FIRST = 4


class PursuitRules(NamedTuple):
    """
    What counts as a spike, and where it is looked for.

    threshold, the least objective (squared units of noise); prior of the amplitudes; unexplained, the fraction of a
    spike's objective that its template may leave behind: nothing smaller is a spike there. In samples: refractory, in
    which a unit is not looked for again after its spike; same_spike, see `SAME_SPIKE_MS`; second_reach, within which
    the second of two spikes is looked for: the refractory time, too. pattern, the part of a spike's objective from
    which its residual may be another spike; most_first, see `MOST_FIRST`.
    """

    threshold: float
    prior: AmplitudePrior
    unexplained: float
    refractory: int
    same_spike: int
    second_reach: int
    pattern: float
    most_first: int


def pursuit_rules(criteria, sampling_frequency: float) -> PursuitRules:
    """The rules of `assignment.MatchingCriteria` at a sampling frequency (Hz)."""
    return PursuitRules(
        criteria.threshold,
        AmplitudePrior(criteria.amplitude_std**-2, *criteria.amplitude_limits),
        criteria.unexplained,
        int(criteria.refractory_ms * sampling_frequency / 1000),
        ms_to_samples(SAME_SPIKE_MS, sampling_frequency),
        ms_to_samples(criteria.refractory_ms, sampling_frequency),
        UNEXPLAINED_MOVING,
        MOST_FIRST,
    )
