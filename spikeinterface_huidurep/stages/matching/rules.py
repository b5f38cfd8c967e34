"""What the pursuit goes by, in samples and units of noise, as the compiled code takes it."""

from __future__ import annotations

from typing import NamedTuple

from spikeinterface.core.core_tools import ms_to_samples

from .amplitudes import AmplitudePrior

# around a spike, ms: where another unit explains it as well; where the first and the second of two spikes are looked
# for that explain more together; around its own maximum where the first of them is tried, since the second moved it
SAME_SPIKE_MS, FIRST_MS, SECOND_MS, NUDGE_MS = 0.2, 0.25, 0.5, 0.07
# what a spike leaves behind looks like another one from so many standard deviations of the noise at the output of a
# matched filter, but at least this share of the spike's own
PATTERN_SD, PATTERN_SHARE = 4.5, 0.15
# units tried as the first of a pair: those that explain most alone, and at least this share of the best one's
MOST_FIRST, PAIR_SHARE = 4, 0.25
# by how much two spikes together must explain more than one after the other
PAIR_MARGIN = 10.0


class PursuitRules(NamedTuple):
    """
    What counts as a spike, and where it is looked for.

    threshold, the least objective (squared units of noise); prior of the amplitudes; unexplained, the fraction of a
    spike's objective that its template may leave behind: no spike at its place is made of less. In samples: refractory,
    in which a unit is not looked for again after its spike; same_spike, first_reach, second_reach and nudge, of which
    this module's constants are the times. The others are this module's constants.
    """

    threshold: float
    prior: AmplitudePrior
    unexplained: float
    refractory: int
    same_spike: int
    first_reach: int
    second_reach: int
    nudge: int
    pattern_sd: float
    pattern_share: float
    most_first: int
    pair_share: float
    pair_margin: float


def pursuit_rules(criteria, sampling_frequency: float) -> PursuitRules:
    """The rules of `assignment.MatchingCriteria` at a sampling frequency (Hz)."""
    same_spike, first_reach, second_reach, nudge = (
        ms_to_samples(time, sampling_frequency) for time in (SAME_SPIKE_MS, FIRST_MS, SECOND_MS, NUDGE_MS)
    )
    return PursuitRules(
        criteria.threshold,
        AmplitudePrior(criteria.amplitude_std**-2, *criteria.amplitude_limits),
        criteria.unexplained,
        int(criteria.refractory_ms * sampling_frequency / 1000),
        same_spike,
        first_reach,
        second_reach,
        nudge,
        PATTERN_SD,
        PATTERN_SHARE,
        MOST_FIRST,
        PAIR_SHARE,
        PAIR_MARGIN,
    )
