"""
The matching pursuit on a device: `pursuit`, many spikes at once.

A spike changes the output of few units' filters, for a short time. A maximum that is the best of all whose spikes may
reach what is looked at for its own spike is taken at once, together with all others of which this is true; and so on in
rounds, until none is left. The spikes are those that the pursuit finds which takes one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..device import OnDevice
from .amplitudes_torch import best_amplitude, objective, objective_at
from .neighbours_torch import NeighboursOnDevice
from .rules import PursuitRules
from .simultaneous_torch import NONE, best_pairs, leave_a_pattern, most_after

if TYPE_CHECKING:
    from torch import Tensor

# time is cut into so many bins for each reach, when the best maximum around is looked for
BINS_PER_REACH = 4
# what the compiled pursuit forgives before it looks at a maximum again
TOLERANCE = 1e-3


class Spikes(NamedTuple):
    """What `pursuit.pursue` returns, as tensors (n_spikes,)."""

    samples: Tensor
    units: Tensor
    amplitudes: Tensor
    gains: Tensor
    rivals: Tensor
    shifts: Tensor


SPIKE_KINDS = ("int64", "int64", "float32", "float32", "float32", "int64")


class Maxima(NamedTuple):
    """
    Where spikes may be: what the compiled pursuit has on its heap.

    places (n,) int64, unit * n_samples + sample, some more than once; surplus (n,) float32, what there was when each
    was found.
    """

    places: Tensor
    surplus: Tensor


class Around(NamedTuple):
    """
    The neighbours of n units around a sample of each.

    units (n, most) int64 and real (n, most) bool, see `NeighboursOnDevice`; places (n, most, n_lags) int64, see
    `Maxima`; inside (n, 1, n_lags) bool, False where there is no sample; match (n, most, n_lags) float32.
    """

    units: Tensor
    real: Tensor
    places: Tensor
    inside: Tensor
    match: Tensor

    def of(self, which: Tensor) -> Around:
        """Some of the n."""
        return Around(*(part[which] for part in self))

    def within(self, reach: int) -> Tensor:
        """`match` up to so many samples around."""
        half = self.match.shape[2] // 2
        return self.match[:, :, half - reach : half + reach + 1]


class SearchOnDevice(NamedTuple):
    """`pursuit.Search` on a device, with the neighbours and answers (n_subsample, n_filters * n_filters, n_lags)."""

    match: Tensor
    energy: Tensor
    rules: PursuitRules
    blocked: Tensor
    penalty: Tensor
    neighbours: NeighboursOnDevice
    answers: Tensor

    def at(self, matrix: Tensor, units: Tensor, samples: Tensor) -> Tensor:
        """Values of one of the matrices (n_units, n_samples); of the first or last sample beyond these."""
        n_samples = matrix.shape[1]
        return matrix.take(units * n_samples + samples.clamp(0, n_samples - 1))

    def three(self, units: Tensor, samples: Tensor) -> Tensor:
        """The filter's output before a sample, at it and after it, (n, 3)."""
        return self.at(self.match, units[:, None], samples[:, None] + self.lags(1))

    def lags(self, reach: int) -> Tensor:
        """From `-reach` to `reach`."""
        import torch

        return torch.arange(-reach, reach + 1, device=self.match.device)

    def around(self, units: Tensor, samples: Tensor, reach: int) -> Around:
        """The neighbours' output around some units' samples."""
        n_samples, others = self.match.shape[1], self.neighbours.units[units]
        times = samples[:, None] + self.lags(reach)
        places = (others * n_samples)[:, :, None] + times.clamp(0, n_samples - 1)[:, None]
        inside = ((times >= 0) & (times < n_samples))[:, None]
        return Around(others, self.neighbours.real[units], places, inside, self.match.take(places))

    def echo(self, units: Tensor, shifts: Tensor) -> Tensor:
        """What the neighbours' filters make of a unit's template at these shifts, (n, most, n_lags)."""
        return self.neighbours.products[self.neighbours.pairs[units]] @ self.answers[shifts]

    def surplus(self, units: Tensor, samples: Tensor) -> Tensor:
        """The objective beyond what other spikes may have left behind."""
        explained = objective(self.at(self.match, units, samples), self.energy[units], self.rules.prior)
        return explained - self.at(self.penalty, units, samples)


def pursue_on_device(
    stage: OnDevice,
    match: Tensor,
    energy: Tensor,
    neighbours: NeighboursOnDevice,
    answers: Tensor,
    rules: PursuitRules,
) -> tuple[np.ndarray, ...]:
    """
    `pursuit.pursue` on a device.

    Parameters
    ----------
    stage : OnDevice
        Whose device it is.
    match : (n_units, n_samples) float32
        Changed in place.
    energy : (n_units,) float32
    neighbours : NeighboursOnDevice
    answers : (n_subsample, n_filters * n_filters, n_lags) float32
    rules : PursuitRules

    Returns
    -------
    samples, units, amplitudes, gains, rivals, shifts : (n_spikes,) array
        Round by round.
    """
    import torch

    blocked, penalty = torch.zeros_like(match, dtype=torch.bool), torch.zeros_like(match)
    search = SearchOnDevice(match, energy, rules, blocked, penalty, neighbours, answers)
    maxima, found = _all_maxima(stage, search), []
    while len(maxima.places):
        first = _leaders(stage, search, maxima)
        spikes = _spikes_at(stage, search, maxima.places[first])
        touched = _take(stage, search, spikes)
        found.append(spikes)
        maxima = _maxima_after(stage, search, Maxima(maxima.places[~first], maxima.surplus[~first]), touched)
    if not found:
        found.append(Spikes(*(energy.new_empty(0, dtype=getattr(torch, kind)) for kind in SPIKE_KINDS)))
    return tuple(stage.array(torch.cat(column)) for column in zip(*found, strict=True))


def _all_maxima(stage, search):
    """The maxima of all filters' output."""
    import torch

    n_units, n_samples = search.match.shape
    found = []

    def look(units):
        match = search.match[units]
        at = match[:, 1:-1]
        good = (at > match[:, :-2]) & (at >= match[:, 2:])
        good &= objective(at, search.energy[units, None], search.rules.prior) > search.rules.threshold
        places = good.nonzero()
        found.append((places[:, 0] + units.start) * n_samples + places[:, 1] + 1)

    stage.in_batches("maxima", n_units, look)
    places = torch.cat(found)
    return Maxima(places, search.surplus(places // n_samples, places % n_samples))


def _maxima_of(search, places):
    """Those of some places that are maxima beyond the threshold, and not blocked."""
    n_samples, last = search.match.shape[1], search.match.numel() - 1
    at = search.match.take(places)
    good = (at > search.match.take((places - 1).clamp(min=0))) & (at >= search.match.take((places + 1).clamp(max=last)))
    samples = places % n_samples
    places = places[good & (samples >= 1) & (samples < n_samples - 1) & ~search.blocked.take(places)]
    surplus = search.surplus(places // n_samples, places % n_samples)
    good = surplus > search.rules.threshold
    return Maxima(places[good], surplus[good])


def _leaders(stage, search, maxima):
    """Which maxima are the best of all that may have to do with them, (n,) bool; the first of like ones."""
    import torch
    from torch.nn.functional import max_pool1d

    n_units, n_samples = search.match.shape
    rules, half = search.rules, search.answers.shape[2] // 2
    # from a maximum to its spike and to where that changes something, and from another one to what is looked at for it
    reach = 2 * max(rules.second_reach, rules.same_spike) + max(half, rules.refractory) + 1
    width = -(-reach // BINS_PER_REACH)
    n = len(maxima.places)
    rank = search.match.new_empty(n)
    order = maxima.surplus.sort(descending=True, stable=True).indices
    rank[order] = torch.arange(n, 0, -1, device=order.device, dtype=rank.dtype)
    units, bins = maxima.places // n_samples, maxima.places % n_samples // width
    n_bins = -(-n_samples // width)
    best = rank.new_zeros(n_units * n_bins).scatter_reduce_(0, units * n_bins + bins, rank, "amax")
    best = max_pool1d(best.view(n_units, n_bins), 2 * BINS_PER_REACH + 1, stride=1, padding=BINS_PER_REACH)
    leads = torch.empty_like(order, dtype=torch.bool)

    def look(rows):
        around = best[search.neighbours.far[units[rows]], bins[rows, None]]
        leads[rows] = around.amax(dim=1) == rank[rows]

    stage.in_batches("leaders", n, look)
    return leads


def _spikes_at(stage, search, places):
    """The spikes at some maxima, none of which has to do with another."""
    import torch

    n_samples = search.match.shape[1]
    found = []

    def find(rows):
        found.append(_spikes_of(search, places[rows] // n_samples, places[rows] % n_samples))

    stage.in_batches("spikes", len(places), find)
    return Spikes(*(torch.cat(column) for column in zip(*found, strict=True)))


def _spikes_of(search, units, samples):
    """The spike at each maximum, or the larger of two that explain more together."""
    rules = search.rules
    energy = search.energy[units]
    around = search.three(units, samples)
    gain, amplitude = objective(around[:, 1], energy, rules.prior), best_amplitude(around[:, 1], energy, rules.prior)
    shifts = _subsample_index(around, len(search.answers))
    echo = search.echo(units, shifts)
    near = search.around(units, samples, max(echo.shape[2] // 2, rules.same_spike))
    # the objective grows with the filter's output
    alone = objective(near.within(rules.same_spike).amax(dim=2), search.energy[near.units], rules.prior)
    alone = gain[:, None].where(near.units == units[:, None], alone).where(near.real, alone.new_full((), NONE))
    rivals = _rivals(alone, gain, near.units, near.real, units)
    spikes = Spikes(samples, units, amplitude, gain, rivals, shifts)
    (pattern,) = leave_a_pattern(search, near, echo, amplitude, gain).nonzero(as_tuple=True)
    if len(pattern):
        one, near = Spikes(*(column[pattern] for column in spikes)), near.of(pattern)
        which, two = _two_at_once(search, one, near, echo[pattern], alone[pattern])
        spikes = Spikes(
            *(
                column.index_copy(0, pattern, better.where(which, column[pattern]))
                for column, better in zip(spikes, two, strict=True)
            )
        )
    return spikes


def _two_at_once(search, one, near, echo, alone):
    """Which of some spikes are better taken as two, and the larger of the two."""
    rules = search.rules
    pairs = best_pairs(search, one.units, one.samples, alone)
    after = most_after(search, near, one.units, echo, one.amplitudes, one.gains)
    gain = objective_at(pairs.amplitude, pairs.around[:, 1], search.energy[pairs.unit], rules.prior)
    own = gain - search.at(search.penalty, pairs.unit, pairs.sample)
    both = pairs.together.gather(1, pairs.unit[:, None])[:, 0]
    # for two spikes, each beyond the threshold, as much more has to speak as for one
    better = (both - rules.threshold > one.gains + after.clamp(min=0) + rules.threshold) & (own > rules.threshold)
    others, real = search.neighbours.units[pairs.unit], search.neighbours.real[pairs.unit]
    rivals = _rivals(pairs.together.gather(1, others), both, others, real, pairs.unit)
    shifts = _subsample_index(pairs.around, len(search.answers))
    return better, Spikes(pairs.sample, pairs.unit, pairs.amplitude, gain, rivals, shifts)


def _rivals(explained, own, others, real, units):
    """Sum over the other units of exp(half the difference of what they explain to what this one does)."""
    ratios = (0.5 * (explained - own[:, None])).clamp(max=0).exp()
    return ratios.where(real & (others != units[:, None]), ratios.new_zeros(())).sum(dim=1)


def _subsample_index(around, n_subsample):
    """See `pursuit._subsample_index`; of three values a row."""
    left, centre, right = around.unbind(dim=1)
    curvature = left - 2 * centre + right
    shift = (0.5 * (left - right) / curvature).where(curvature < 0, curvature.new_zeros(()))
    return ((shift + 0.5) * n_subsample).round().clamp(0, n_subsample - 1).long()


def _take(stage, search, spikes):
    """Subtract spikes from the output of all filters that respond to them; the places where they do."""
    import torch

    rules, n_samples, half = search.rules, search.match.shape[1], search.answers.shape[2] // 2
    match, penalty = search.match.view(-1), search.penalty.view(-1)
    touched = []

    def subtract(rows):
        samples, units, amplitudes, gains, _, shifts = (column[rows] for column in spikes)
        near = search.around(units, samples, half)
        real = near.real[:, :, None] & near.inside
        left_behind = rules.unexplained * search.neighbours.closeness[search.neighbours.pairs[units]] * gains[:, None]
        change, left_behind = search.echo(units, shifts) * -amplitudes[:, None, None], left_behind[:, :, None]
        # spikes that are taken at once are further apart than half a response, or far units': in every third such
        # stretch no two change the same value, and so the result does not depend on the order in which a GPU adds
        stretch = (samples // max(half, 1) % 3)[:, None, None]
        thirds = [real & (stretch == third) for third in range(3)]
        changes = [((change * third).flatten(), (left_behind * third).flatten()) for third in thirds]
        places = near.places.flatten()
        touched.append(near.places[real])
        # nothing after this can fail for want of memory: the spikes would be subtracted twice
        for to_match, to_penalty in changes:
            match.index_add_(0, places, to_match)
            penalty.index_add_(0, places, to_penalty)

    stage.in_batches("spikes", len(spikes.units), subtract)
    times = (spikes.samples[:, None] + search.lags(rules.refractory)).clamp(0, n_samples - 1)
    search.blocked.view(-1).index_fill_(0, (spikes.units[:, None] * n_samples + times).flatten(), True)
    return torch.cat(touched)


def _maxima_after(stage, search, before, touched):
    """The maxima that are left once spikes have been subtracted at some places, and those that have come."""
    import torch

    n_samples = search.match.shape[1]
    units, samples = before.places // n_samples, before.places % n_samples
    free = ~search.blocked.take(before.places)
    holds = search.surplus(units, samples) >= before.surplus - TOLERANCE
    found = [Maxima(before.places[free & holds], before.surplus[free & holds])]
    # where something was subtracted, the maxima of the residual are looked for again
    stale = before.places[free & ~holds]
    places = torch.cat([touched, stale - 1, stale, stale + 1])

    def look(rows):
        found.append(_maxima_of(search, places[rows]))

    stage.in_batches("places", len(places), look)
    places, surplus = (torch.cat(column) for column in zip(*found, strict=True))
    # in the order of units and samples, of which the first is taken of like ones
    places, order = places.sort(stable=True)
    return Maxima(places, surplus[order])
