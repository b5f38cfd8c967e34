"""
The matching pursuit on a device: `pursuit`, many spikes at once.

A spike changes the output of few units' filters, for a short time. A maximum that is the best of all whose spikes may
reach what is looked at for its own spike is taken at once, together with all others of which this is true; and so on in
rounds, until none is left. The spikes are those that the pursuit finds which takes one after the other.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..device import OnDevice
from .amplitudes_torch import best_amplitude, objective, objective_at
from .rules import PursuitRules
from .simultaneous_torch import NONE, best_pairs, leave_a_pattern, most_after

if TYPE_CHECKING:
    from torch import Tensor

# steps from unit to unit over which one maximum's spike may have to do with another's: the second of two spikes is two
# steps away, and what it is subtracted from is a third; the other one looks two steps around itself, and is subtracted
# from units three steps away
STEPS = 6
# time is cut into so many bins for each reach, when the best maximum around is looked for
BINS_PER_REACH = 4
# what the compiled pursuit forgives before it looks at a maximum again
TOLERANCE = 1e-3


class NeighboursOnDevice(NamedTuple):
    """
    `pursuit.Neighbours`, a row a unit, padded with the unit itself.

    units (n_units, most) int64; pairs (n_units, most) int64, rows of the products; real (n_units, most) bool, False
    for padding; far (n_units, most_far) int64, the units that are at most `STEPS` steps away, padded, too;
    products (n_pairs, n_filters * n_filters); closeness (n_pairs,).
    """

    units: Tensor
    pairs: Tensor
    real: Tensor
    far: Tensor
    products: Tensor
    closeness: Tensor


class Spikes(NamedTuple):
    """What `pursuit.pursue` returns, as tensors (n_spikes,)."""

    samples: Tensor
    units: Tensor
    amplitudes: Tensor
    gains: Tensor
    rivals: Tensor
    shifts: Tensor


class Maxima(NamedTuple):
    """
    Where spikes may be: what the compiled pursuit has on its heap.

    places (n,) int64, unit * n_samples + sample, some more than once; surplus (n,) float32, what there was when each
    was found.
    """

    places: Tensor
    surplus: Tensor


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

    def window(self, matrix: Tensor, units: Tensor, samples: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        """Values up to so many samples around some, in a last dimension, and which of them there are."""
        import torch

        samples = samples[..., None] + torch.arange(-reach, reach + 1, device=samples.device)
        return self.at(matrix, units[..., None], samples), (samples >= 0) & (samples < matrix.shape[1])

    def echo(self, units: Tensor, shifts: Tensor) -> Tensor:
        """What the neighbours' filters make of a unit's template at these shifts, (n, most, n_lags)."""
        return self.neighbours.products[self.neighbours.pairs[units]] @ self.answers[shifts]

    def surplus(self, units: Tensor, samples: Tensor) -> Tensor:
        """The objective beyond what other spikes may have left behind."""
        explained = objective(self.at(self.match, units, samples), self.energy[units], self.rules.prior)
        return explained - self.at(self.penalty, units, samples)


def rows_of_neighbours(start: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, ...]:
    """
    The first four of `NeighboursOnDevice`.

    Parameters
    ----------
    start, units
        See `pursuit.Neighbours`.

    Returns
    -------
    units, pairs : (n_units, most) int64
    real : (n_units, most) bool
    far : (n_units, most_far) int64
    """
    counts = np.diff(start)
    pairs = start[:-1, None] + np.arange(counts.max(initial=0))
    real = np.arange(pairs.shape[1]) < counts[:, None]
    own = np.arange(len(counts))[:, None]
    rows = np.where(real, units[np.where(real, pairs, 0)], own)
    near = np.zeros((len(counts), len(counts)), dtype="float32")
    np.put_along_axis(near, rows, 1, axis=1)
    reached = np.linalg.matrix_power(near, STEPS) > 0
    far = np.broadcast_to(own, (len(counts), int(reached.sum(axis=1).max(initial=1)))).copy()
    for unit, others in enumerate(reached):
        far[unit, : others.sum()] = np.flatnonzero(others)
    return rows, np.where(real, pairs, 0), real, far


def side_by_side(many: list[NeighboursOnDevice]) -> NeighboursOnDevice:
    """Units of several blocks of traces as those of one, in which the units of each follow those of the one before."""
    import torch

    n_units, n_pairs = len(many[0].units), len(many[0].products)
    steps = {"units": n_units, "pairs": n_pairs, "far": n_units}
    columns = {
        name: torch.cat(
            [
                getattr(one, name) + place * steps[name] if name in steps else getattr(one, name)
                for place, one in enumerate(many)
            ]
        )
        for name in NeighboursOnDevice._fields
    }
    return NeighboursOnDevice(**columns)


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
        _take(stage, search, spikes)
        found.append(spikes)
        maxima = _maxima_after(stage, search, Maxima(maxima.places[~first], maxima.surplus[~first]), spikes)
    columns = [torch.cat(column) for column in zip(*found, strict=True)] if found else [energy.new_empty(0)] * 6
    return tuple(stage.array(column) for column in columns)


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


def _maxima_of(search, units, samples):
    """Those of some units' samples that are maxima beyond the threshold, and not blocked."""
    n_samples = search.match.shape[1]
    at, before, after = (search.at(search.match, units, samples + step) for step in (0, -1, 1))
    good = (at > before) & (at >= after) & (samples >= 1) & (samples < n_samples - 1)
    good &= ~search.at(search.blocked, units, samples)
    places = (units * n_samples + samples)[good]
    surplus = search.surplus(places // n_samples, places % n_samples)
    good = surplus > search.rules.threshold
    return Maxima(places[good], surplus[good])


def _leaders(stage, search, maxima):
    """Which maxima are the best of all that may have to do with them, (n,) bool; the first of like ones."""
    import torch
    from torch.nn.functional import max_pool1d

    n_units, n_samples = search.match.shape
    half = search.answers.shape[2] // 2
    # from a maximum to its spike, and to where it is subtracted; from another one to what is looked at for it
    reach = 2 * search.rules.second_reach + half + 1
    reach = max(reach, search.rules.same_spike + half, search.rules.refractory + search.rules.second_reach + 1)
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
    near, energy = search.neighbours, search.energy[units]
    around, _ = search.window(search.match, units, samples, 1)
    gain, amplitude = objective(around[:, 1], energy, rules.prior), best_amplitude(around[:, 1], energy, rules.prior)
    shifts = _subsample_index(around, len(search.answers))
    echo = search.echo(units, shifts)
    others, real = near.units[units], near.real[units]
    # the objective grows with the filter's output
    most = search.window(search.match, others, samples[:, None], rules.same_spike)[0].amax(dim=2)
    alone = objective(most, search.energy[others], rules.prior)
    alone = gain[:, None].where(others == units[:, None], alone).where(real, alone.new_full((), NONE))
    rivals = _rivals(alone, gain, others, real, units)
    spikes = Spikes(samples, units, amplitude, gain, rivals, shifts)
    (pattern,) = leave_a_pattern(search, units, samples, echo, amplitude, gain).nonzero(as_tuple=True)
    if len(pattern):
        one = Spikes(*(column[pattern] for column in spikes))
        which, two = _two_at_once(search, one, echo[pattern], alone[pattern])
        for column, better in zip(spikes, two, strict=True):
            column[pattern[which]] = better[which]
    return spikes


def _two_at_once(search, one, echo, alone):
    """Which of some spikes are better taken as two, and the larger of the two."""
    rules = search.rules
    pairs = best_pairs(search, one.units, one.samples, alone)
    after = most_after(search, one.units, one.samples, echo, one.amplitudes, one.gains)
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


def _responding(search, spikes, rows):
    """Where the filters respond to some spikes: units (n, most, 1), samples (n, 1, n_lags), and which there are."""
    import torch

    n_lags, n_samples = search.answers.shape[2], search.match.shape[1]
    lags = torch.arange(n_lags, device=search.match.device) - n_lags // 2
    units, samples = spikes.units[rows], spikes.samples[rows, None, None] + lags
    real = search.neighbours.real[units][:, :, None] & (samples >= 0) & (samples < n_samples)
    return search.neighbours.units[units][:, :, None], samples, real


def _take(stage, search, spikes):
    """Subtract spikes from the output of all filters that respond to them."""
    import torch

    rules, near, n_samples = search.rules, search.neighbours, search.match.shape[1]
    match, penalty = search.match.view(-1), search.penalty.view(-1)

    def subtract(part, rows):
        others, samples, real = _responding(search, part, rows)
        places = (others * n_samples + samples.clamp(0, n_samples - 1)).flatten()
        units = part.units[rows]
        change = search.echo(units, part.shifts[rows]) * -part.amplitudes[rows, None, None]
        left_behind = rules.unexplained * near.closeness[near.pairs[units]] * part.gains[rows, None]
        change, left_behind = ((values * real).flatten() for values in (change, left_behind[:, :, None]))
        # nothing after this can fail for want of memory: the spikes would be subtracted twice
        match.index_add_(0, places, change)
        penalty.index_add_(0, places, left_behind)

    # spikes that are taken at once are further apart than half a response, or far units': in every third such stretch
    # no two change the same value, and so the result does not depend on the order in which a GPU adds
    stretch = spikes.samples // max(search.answers.shape[2] // 2, 1) % 3
    for third in range(3):
        part = Spikes(*(column[stretch == third] for column in spikes))
        stage.in_batches("spikes", len(part.units), partial(subtract, part))
    times = torch.arange(-rules.refractory, rules.refractory + 1, device=match.device)
    times = (spikes.samples[:, None] + times).clamp(0, n_samples - 1)
    search.blocked.view(-1).index_fill_(0, (spikes.units[:, None] * n_samples + times).flatten(), True)


def _maxima_after(stage, search, before, spikes):
    """The maxima that are left once spikes have been subtracted, and those that have come."""
    import torch

    n_samples = search.match.shape[1]
    units, samples = before.places // n_samples, before.places % n_samples
    free = ~search.at(search.blocked, units, samples)
    holds = search.surplus(units, samples) >= before.surplus - TOLERANCE
    found = [Maxima(before.places[free & holds], before.surplus[free & holds])]
    # where something was subtracted, the maxima of the residual are looked for again
    units, samples = units[free & ~holds], samples[free & ~holds]
    found += [_maxima_of(search, units, samples + step) for step in (-1, 0, 1)]

    def look(rows):
        others, samples, real = _responding(search, spikes, rows)
        others, samples, real = torch.broadcast_tensors(others, samples, real)
        found.append(_maxima_of(search, others[real], samples[real]))

    stage.in_batches("spikes", len(spikes.units), look)
    places, surplus = (torch.cat(column) for column in zip(*found, strict=True))
    # in the order of units and samples, of which the first is taken of like ones
    places, order = places.sort(stable=True)
    return Maxima(places, surplus[order])
