"""Valley: between the spikes of two neurons there are fewer than at either; those of one neuron leave no gap."""

from __future__ import annotations

import numpy as np

from ..shank import Shank
from ..templates.whitened import WhitenedTemplates
from ..templates.whitened_spikes import whiten_spikes
from .unit_set import UnitSet

# spikes are counted in windows of this width, at steps of that, from so far before one unit's mean to as far beyond
# the other's (standard deviations of the noise)
WINDOW, STEP, BEYOND = 0.7, 0.1, 1.0
# a gap that is deeper, in its own standard deviations, is between two neurons: of pairs of one neuron with a constant
# waveform none had one of more than 2.65
GAP = 2.75
# spikes of a pair that are looked at
MOST_SPIKES = 2000


def pairs_by_size(near: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """
    The pairs of units to look for a gap between.

    Parameters
    ----------
    near : (n_units, n_units) bool
        Which are near each other.
    counts : (n_units,) int
        Spikes of each that may be looked at; units without any are in no pair.

    Returns
    -------
    (n_pairs, 2) int
        That with more spikes first.
    """
    pairs = np.argwhere(np.triu(near, 1) & (counts > 0) & (counts > 0)[:, None])
    swapped = counts[pairs[:, 0]] < counts[pairs[:, 1]]
    pairs[swapped] = pairs[swapped][:, ::-1]
    return pairs


def gaps_between(
    spikes: UnitSet,
    space: WhitenedTemplates,
    pairs: np.ndarray,
    lag: np.ndarray,
    shank: Shank,
    *,
    amplitude_std: float,
) -> np.ndarray:
    """
    How deep the gap between the spikes of two units is.

    The spikes of both, together, are projected on the line from the mean of one unit's spikes to the other's, as the
    other half of the spikes makes it. Along the template, where one neuron's amplitudes vary, a difference counts for
    less; in time it does not count.

    Parameters
    ----------
    spikes : UnitSet
        All lone spikes that were matched, whether it is sure which of the two units they are of, or not.
    space : WhitenedTemplates
        Of the units.
    pairs : (n_pairs, 2) int
    lag : (n_units, n_units) int
        `lag[a, b]` samples are to be added to spikes of b to align them with a.
    shank : Shank
    amplitude_std : float
        How much one neuron's amplitudes vary, as a fraction.

    Returns
    -------
    (n_pairs,) float64
        Spikes in a window at the smaller of the two peaks less those in the emptiest window between, in standard
        deviations of that difference.
    """
    if len(pairs) == 0:
        return np.zeros(0)
    chosen, row_of, moved = _spikes_of_pairs(spikes.labels, pairs, lag, shank.seed)
    displacement = spikes.displacement_at_spikes(shank)[chosen]
    looked_at = spikes.spikes[chosen].copy()
    looked_at["sample_index"] += moved
    order = np.lexsort((looked_at["sample_index"], looked_at["segment_index"]))
    looked_at, row_of, displacement = looked_at[order], row_of[order], displacement[order]
    values = whiten_spikes(shank, looked_at, pairs[row_of, 0], space)
    units = spikes.labels[chosen][order]
    gap = np.zeros(len(pairs))
    for row, (one, other) in enumerate(pairs):
        here = row_of == row
        template = space.of_unit(int(one), displacement[here]).reshape(here.sum(), -1)
        gap[row] = _depth(
            *_along_the_line(values[here] - template, units[here] == other, template, space, amplitude_std)
        )
    return gap


def _spikes_of_pairs(labels, pairs, lag, seed):
    """Indices of some spikes of each pair, the same share of both units', with the pair and what to add in time."""
    generator = np.random.default_rng(seed)
    chosen, row_of, moved = [], [], []
    for row, (one, other) in enumerate(pairs):
        members = [np.flatnonzero(labels == unit) for unit in (one, other)]
        share = min(1.0, MOST_SPIKES / max(sum(map(len, members)), 1))
        for some, by in zip(members, (0, lag[one, other]), strict=True):
            if share < 1:
                some = generator.choice(some, int(np.ceil(share * len(some))), replace=False)
            chosen.append(some)
            row_of.append(np.full(len(some), row))
            moved.append(np.full(len(some), by))
    return np.concatenate(chosen), np.concatenate(row_of), np.concatenate(moved)


def _along_the_line(left, is_other, template, space, amplitude_std):
    """Where each spike is on the line from the mean of one unit's (at zero) to the other's, and how far away that is.

    Each half of the spikes is seen along the line that the other half makes: along that of its own, a spike is nearer
    to the mean that it is part of, and any two groups have a gap between them.
    """
    half = np.zeros(len(left), dtype=bool)
    for unit in (is_other, ~is_other):
        half[np.flatnonzero(unit)[::2]] = True
    along, distances = np.zeros(len(left)), np.zeros(2)
    if min(np.bincount(2 * half + is_other, minlength=4)) == 0:
        return along, 0.0
    middle = template.mean(axis=0)
    late = _unit_norm((middle.reshape(-1, len(space.filters)) @ space.slope().T).ravel())
    for seen in (False, True):
        ones, others = left[(half != seen) & ~is_other].mean(axis=0), left[(half != seen) & is_other].mean(axis=0)
        line, centre = others - ones, middle + (ones + others) / 2
        line = line - (line @ late) * late
        varies = amplitude_std**2 / (1 + amplitude_std**2 * (centre @ centre))
        axis = _unit_norm(line - centre * (centre @ line) * varies)
        here = half == seen
        along[here] = left[here] @ axis
        start = along[here & ~is_other].mean()
        distances[int(seen)] = along[here & is_other].mean() - start
        along[here] -= start
    return along, float(distances.mean())


def _depth(along, distance):
    """Depth of the emptiest window between the templates, as in `gaps_between`."""
    grid = np.arange(-BEYOND, distance + BEYOND + STEP / 2, STEP)
    ordered = np.sort(along)
    counts = np.searchsorted(ordered, grid + WINDOW / 2) - np.searchsorted(ordered, grid - WINDOW / 2)
    deepest = 0.0
    for place in np.flatnonzero((grid > 0) & (grid < distance)):
        peak = min(counts[:place].max(), counts[place + 1 :].max())
        deepest = max(deepest, (peak - counts[place]) / np.sqrt(max(peak + counts[place], 1)))
    return float(deepest)


def _unit_norm(row):
    return row / max(np.linalg.norm(row), 1e-9)
