"""Two spikes at almost the same time, fitted together: `simultaneous` for many spikes at once, on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .amplitudes_torch import fit_two, objective
from .simultaneous import NOTHING

if TYPE_CHECKING:
    from torch import Tensor

# the lowest objective that there is, as a number
NONE = float(NOTHING)


class Pairs(NamedTuple):
    """
    The best pair at each of n spikes.

    unit, sample (n,) int64 and amplitude (n,) float32, of the larger spike; around (n, 3) float32, its matched filter
    around its sample with the other spike taken off; together (n, n_units) float32, the most that a pair explains of
    which this unit's spike is the larger, `NONE` where there is no such pair.
    """

    unit: Tensor
    sample: Tensor
    amplitude: Tensor
    around: Tensor
    together: Tensor


class _Tried(NamedTuple):
    """
    The pairs that are tried, of n spikes.

    first, second : Tensor
        Units, (n, n_first, 1, 1, 1) and (n, n_first, 1, n_neighbours, 1).
    first_at, second_at : Tensor
        Samples, (n, n_first, 3, 1, 1) and (n, 1, 1, 1, n_seconds).
    possible : Tensor
        Bool, of all dimensions.
    echo : Tensor
        What the neighbours' filters make of the first one's template, (n, n_first, n_neighbours, n_lags).
    """

    first: Tensor
    second: Tensor
    first_at: Tensor
    second_at: Tensor
    possible: Tensor
    echo: Tensor


def leave_a_pattern(search, near, echo: Tensor, amplitude: Tensor, gain: Tensor) -> Tensor:
    """
    Which of n spikes leave a residual that looks like another spike: see `simultaneous.leaves_a_pattern`.

    Parameters
    ----------
    search : pursuit_torch.SearchOnDevice
    near : pursuit_torch.Around
        The neighbours around each spike.
    echo : (n, n_neighbours, n_lags) float32
        What the neighbours' filters make of the spike's template.
    amplitude, gain : (n,) float32

    Returns
    -------
    (n,) bool
    """
    rules, half = search.rules, echo.shape[2] // 2
    reach = min(rules.same_spike, half)
    left = near.within(reach) - amplitude[:, None, None] * echo[:, :, half - reach : half + reach + 1]
    least = (rules.pattern * gain).clamp(min=rules.threshold)
    beyond = left**2 > (least[:, None] * search.energy[near.units])[:, :, None]
    return (beyond & _real(near, reach)).flatten(1).any(dim=1)


def most_after(search, near, units: Tensor, echo: Tensor, amplitude: Tensor, gain: Tensor) -> Tensor:
    """
    The most that another unit explains near each spike once that is subtracted: see `simultaneous.most_after`.

    Parameters
    ----------
    search, near, echo, amplitude, gain
        As for `leave_a_pattern`.
    units : (n,) int64
        Of the spikes.

    Returns
    -------
    objective : (n,) float32
    """
    rules, half, middle = search.rules, echo.shape[2] // 2, near.places.shape[2] // 2
    reach = min(rules.second_reach, half)
    blocked = search.blocked.take(near.places[:, :, middle - reach : middle + reach + 1])
    good = _real(near, reach) & ~blocked & (near.units != units[:, None])[:, :, None]
    rest = near.within(reach) - amplitude[:, None, None] * echo[:, :, half - reach : half + reach + 1]
    left_behind = rules.unexplained * gain[:, None] * search.neighbours.closeness[search.neighbours.pairs[units]]
    explained = objective(rest, search.energy[near.units][:, :, None], rules.prior)
    explained = explained - (left_behind + rules.threshold)[:, :, None]
    return explained.where(good, explained.new_full((), NONE)).flatten(1).amax(dim=1)


def _real(near, reach):
    """Where there is a neighbour and a sample, up to so many samples around, (n, n_neighbours, 2 * reach + 1)."""
    middle = near.inside.shape[2] // 2
    return near.real[:, :, None] & near.inside[:, :, middle - reach : middle + reach + 1]


def best_pairs(search, units: Tensor, samples: Tensor, alone: Tensor) -> Pairs:
    """
    The two spikes near each sample that explain most together: see `simultaneous.best_pair`.

    Parameters
    ----------
    search : pursuit_torch.SearchOnDevice
    units, samples : (n,) int64
    alone : (n, n_neighbours) float32
        The most that each neighbour explains alone near the sample; `NONE` where there is no neighbour.

    Returns
    -------
    Pairs
    """
    tried = _pairs_to_try(search, units, samples, alone)
    half = tried.echo.shape[3] // 2
    lag = tried.second_at - tried.first_at + half
    possible = tried.possible & (lag >= 1) & (lag <= 2 * half - 1)
    lag = lag.clamp(1, 2 * half - 1)
    lags = lag.expand(-1, tried.echo.shape[1], -1, tried.echo.shape[2], -1)
    product = tried.echo[:, :, None].expand(-1, -1, lag.shape[2], -1, -1).gather(4, lags)
    match = search.at(search.match, tried.first, tried.first_at), search.at(search.match, tried.second, tried.second_at)
    energy = search.energy[tried.first], search.energy[tried.second]
    a, b, both = fit_two(match, energy, product, search.rules.prior)
    both = both.where(possible, both.new_full((), NONE))
    first_larger = a * a * energy[0] >= b * b * energy[1]
    larger = tried.first.where(first_larger, tried.second).flatten(1)
    together = both.new_full((len(units), len(search.match)), NONE)
    together.scatter_reduce_(1, larger, both.flatten(1), "amax")
    return _larger_of(search, tried, both.flatten(1).argmax(dim=1), both.shape, together)


def _pairs_to_try(search, units, samples, alone):
    """All pairs of a unit that explains much, near its largest value, with a neighbour of its."""
    import torch

    rules, near, n = search.rules, search.neighbours, search.match.shape[1]
    explained, order = alone.topk(min(rules.most_first, alone.shape[1]), dim=1)
    first = near.units[units].gather(1, order)
    begin, end = (samples - rules.same_spike).clamp(min=1), (samples + rules.same_spike + 1).clamp(max=n - 1)
    at = (samples[:, None] + search.lags(rules.same_spike))[:, None]
    within = (at >= begin[:, None, None]) & (at < end[:, None, None])
    values = search.at(search.match, first[:, :, None], at)
    peak = samples[:, None] - rules.same_spike + values.where(within, values.new_full((), NONE)).argmax(dim=2)
    # the second spike may have moved the maximum of the first by a sample
    first_at = peak[:, :, None] + search.lags(1)
    good = (first_at >= begin[:, None, None]) & (first_at < end[:, None, None]) & (explained >= 0)[:, :, None]
    good &= ~search.at(search.blocked, first[:, :, None], first_at)
    second_at = samples[:, None] + search.lags(rules.second_reach)
    second = near.units[first]
    free = (near.real[first] & (second != first[:, :, None]))[:, :, :, None] & ~search.at(
        search.blocked, second[:, :, :, None], second_at[:, None, None]
    )
    free &= ((second_at >= 1) & (second_at < n - 1))[:, None, None]
    middle = torch.full_like(first, len(search.answers) // 2)
    return _Tried(
        first[:, :, None, None, None],
        second[:, :, None, :, None],
        first_at[:, :, :, None, None],
        second_at[:, None, None, None, :],
        good[:, :, :, None, None] & free[:, :, None],
        search.echo(first.flatten(), middle.flatten()).unflatten(0, first.shape),
    )


def _larger_of(search, tried, best, shape, together):
    """The larger spike of the pair that is the best of those tried, given by its place among them, (n,)."""
    import torch

    n_first, n_at, n_second, n_seconds = shape[1:]
    rows = torch.arange(shape[0], device=best.device)
    later, neighbour = best % n_seconds, best // n_seconds % n_second
    at, place = best // (n_seconds * n_second) % n_at, best // (n_seconds * n_second * n_at)
    first, second = tried.first[rows, place, 0, 0, 0], tried.second[rows, place, 0, neighbour, 0]
    first_at, second_at = tried.first_at[rows, place, at, 0, 0], tried.second_at[rows, 0, 0, 0, later]
    echo = tried.echo[rows, place, neighbour]
    half = echo.shape[1] // 2
    # at the edge of what is tried there is no pair, and no lag of its
    lag = (second_at - first_at + half).clamp(1, 2 * half - 1)[:, None] + search.lags(1)
    heard = echo.gather(1, lag)
    match = search.at(search.match, first, first_at), search.at(search.match, second, second_at)
    energy = search.energy[first], search.energy[second]
    a, b, _ = fit_two(match, energy, heard[:, 1], search.rules.prior)
    first_larger = a * a * energy[0] >= b * b * energy[1]
    unit, sample = first.where(first_larger, second), first_at.where(first_larger, second_at)
    amplitude, other = a.where(first_larger, b), b.where(first_larger, a)
    # each other's filter sees the same at opposite lags
    heard = heard.flip(1).where(first_larger[:, None], heard)
    around = search.three(unit, sample) - other[:, None] * heard
    return Pairs(unit, sample, amplitude, around, together)
