"""Split: two neurons in one unit show as two sources of its spikes' residuals in whitened coordinates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from ..shank import Shank
from ..templates.whitened import N_SUBSAMPLE, whiten_templates
from ..templates.whitened_spikes import whiten_spikes
from .evidence import shared_displacements
from .mixtures import separate_sources
from .unit_set import UnitSet, some_of_each


@dataclass(frozen=True)
class SplitCriteria:
    """
    When the spikes of a unit have several sources.

    Attributes
    ----------
    distance : float
        Distance, in standard deviations of the noise, at which clusters are joined.
    of_sources : float
        Two sources need this share of that distance: they are evidence by themselves.
    min_size : int
        Least number of spikes of a source.
    min_share : float
        Least share of the spikes that are looked at: of many, a few are like each other by chance.
    variability : float
        How much the shape of one neuron's waveform varies, as a fraction of its norm; it adds to the noise.
    amplitude_std, bursts : float
        How much one neuron's amplitudes vary, as a fraction of the template's, and how many times as much in bursts,
        whose amplitudes are not Gaussian.
    max_spikes : int
        Spikes of a unit that are looked at.
    max_lag_ms : float
        Largest time between the detection of two spikes of one unit, relative to their waveform.
    max_shared : float
        Sources that have no more than this share of their displacements in common are one neuron, whose template fits
        less well at some displacements: two neurons are there whatever the displacement. Negative: no such are.
    """

    distance: float = 3.4
    of_sources: float = 0.85
    min_size: int = 20
    min_share: float = 0.02
    variability: float = 0.06
    amplitude_std: float = 0.12
    bursts: float = 1.75
    max_spikes: int = 1000
    max_lag_ms: float = 0.1
    max_shared: float = -1.0


def split_units(
    units: UnitSet,
    shank: Shank,
    criteria: SplitCriteria,
    *,
    among: np.ndarray | None = None,
    looked_at: np.ndarray | None = None,
) -> tuple[UnitSet, np.ndarray]:
    """
    Split the units whose spikes have several sources.

    Parameters
    ----------
    units : UnitSet
    shank : Shank
    criteria : SplitCriteria
    among : (n_looked_at,) int, optional
        Only these units, ascending.
    looked_at : (n_spikes,) bool, optional
        Only these spikes. In units that fall apart the others have no unit afterwards.

    Returns
    -------
    units : UnitSet
        Parts beyond the first of each unit follow after the last unit.
    changed : (n_changed,) int
        The units that fell apart, and their parts.
    """
    among = np.arange(units.n_units) if among is None else among
    some, displacement = units.among(among), units.displacement_at_spikes(shank)
    if looked_at is not None:
        some = replace(some, labels=np.where(looked_at, some.labels, -1))
    parts = find_sources(some, shank, criteria, displacement)
    n_new = max(int(parts.max(initial=-1)) + 1 - len(among), 0)
    parts = np.concatenate([among, units.n_units + np.arange(n_new), [-1]])[parts]
    if criteria.max_shared >= 0:
        parts = _together(parts, units, displacement, criteria.max_shared)
    return units.split(parts, shank)


def find_sources(units: UnitSet, shank: Shank, criteria: SplitCriteria, displacement: np.ndarray) -> np.ndarray:
    """
    Find the sources of each unit's spikes, less the template that follows the motion.

    In whitened coordinates the residuals of one neuron are a ball of unit variance; those of two are two balls as far
    apart as their templates (`separate_sources`). Along the template, where the spikes of one vary with their
    amplitude, the ball is made as narrow as elsewhere: amplitudes tell two neurons apart where they differ by more than
    those of one.

    Parameters
    ----------
    units : UnitSet
    shank : Shank
    criteria : SplitCriteria
    displacement : (n_spikes,) float
        Of the probe at each spike, um.

    Returns
    -------
    parts : (n_spikes,) int64
        The unit itself for its first source; new indices from `n_units` on for others; -1 for spikes that were not
        looked at.
    """
    templates, spikes = whiten_templates(units.templates, shank.noise), units.spikes
    chosen = some_of_each(units.labels, units.n_units, criteria.max_spikes, shank.seed)
    chosen = chosen[np.lexsort((chosen, spikes["sample_index"][chosen], spikes["segment_index"][chosen]))]
    parts = np.full(len(spikes), -1, dtype="int64")
    labels = units.labels[chosen]
    parts[chosen] = labels
    if len(chosen) == 0:
        return parts
    values = whiten_spikes(shank, spikes[chosen], labels, templates)
    max_lag = shank.samples(criteria.max_lag_ms)
    next_label = units.n_units
    for unit in range(units.n_units):
        here = np.flatnonzero(labels == unit)
        if len(here) == 0:
            continue
        expected = templates.of_unit(unit, displacement[chosen[here]])
        sources = separate_sources(
            _residuals(values[here], expected, templates, max_lag, criteria),
            min_size=max(criteria.min_size, int(criteria.min_share * len(here))),
            min_separation=criteria.of_sources * criteria.distance,
            seed=shank.seed,
        )
        for source in range(1, sources.max(initial=0) + 1):
            parts[chosen[here[sources == source]]] = next_label
            next_label += 1
    return parts


def _together(parts, units, displacement, max_shared):
    """The parts, those of one unit that are not seen at the same displacements as one."""
    displacements, n_units = units.templates.displacements, units.n_units
    n_parts = max(int(parts.max(initial=-1)) + 1, n_units)
    if len(displacements) == 1 or n_parts == n_units:
        return parts
    looked_at = np.flatnonzero(parts >= 0)
    nearest = np.abs(displacement[looked_at][:, None] - displacements).argmin(axis=1)
    counts = np.zeros((n_parts, len(displacements)), dtype="int64")
    np.add.at(counts, (parts[looked_at], nearest), 1)
    parent = np.full(n_parts, -1)
    parent[parts[looked_at]] = units.labels[looked_at]
    one = (parent[:, None] == parent) & (shared_displacements(counts) <= max_shared)
    # the part that keeps the unit's label is the first of its group
    _, group = connected_components(csr_matrix(one & (parent >= 0)), directed=False)
    first = np.array([np.flatnonzero(group == group[part])[0] for part in range(n_parts)])
    place = np.where(np.arange(n_parts) < n_units, np.arange(n_parts), -1)
    kept = np.unique(first[first >= n_units])
    place[kept] = n_units + np.arange(len(kept))
    return np.append(place[first], -1)[parts]


def _residuals(values, coefficients, templates, max_lag, criteria):
    """One unit's whitened spikes less its template, in standard deviations of one neuron's, (n_spikes, n_values)."""
    expected, late = _best_shifted(values, coefficients, templates, max_lag)
    # a spike that was detected sooner or later is no other neuron's
    late = _unit_norm(late - (late * expected).sum(axis=1, keepdims=True) * expected)
    amplitude = (values * expected).sum(axis=1, keepdims=True)
    rest = values - amplitude * expected
    rest -= (rest * late).sum(axis=1, keepdims=True) * late
    norm = np.linalg.norm(coefficients, axis=(1, 2))[:, None]
    along = (amplitude - norm) / np.sqrt(1 + (criteria.bursts * criteria.amplitude_std * norm) ** 2)
    return rest / np.sqrt(1 + (criteria.variability * norm.mean()) ** 2) + along * expected


def _best_shifted(values, coefficients, templates, max_lag):
    """The template at the lag at which it fits each spike best, of unit norm, and its change in time."""
    middle = templates.response.shape[3] // 2
    answers = templates.response[N_SUBSAMPLE // 2, :, :, middle - max_lag - 1 : middle + max_lag + 2]
    shifted = np.einsum("ncq,kql->lnck", coefficients, answers, optimize=True).reshape(answers.shape[2], *values.shape)
    inner = shifted[1:-1]
    norm = np.maximum(np.linalg.norm(inner, axis=2), 1e-9)
    best = (np.einsum("lnv,nv->ln", inner, values) / norm).argmax(axis=0)
    rows = np.arange(len(values))
    change = shifted[best + 2, rows] - shifted[best, rows]
    return inner[best, rows] / norm[best, rows][:, None], _unit_norm(change)


def _unit_norm(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
