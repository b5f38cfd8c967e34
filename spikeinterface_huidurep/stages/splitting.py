"""Splitting: two neurons in one unit show as two modes of the waveforms' residuals in whitened coordinates."""

from __future__ import annotations

from functools import cache

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.node_pipeline import PeakRetriever, PipelineNode, run_node_pipeline

from .template_space import WhitenedTemplates

# scores of the dip test from which a distribution counts as having two modes (Magland and Barnett 2016)
DIP_THRESHOLD = 2.0
# distance of the two sides' means over their own spread: 2.7 for the halves of a Gaussian, 3.5 for those of a flat
# distribution, so that what has two modes lies beyond
MIN_SIDES_APART = 4.0
# a split needs less distance than clusters that are not merged: two modes are evidence by themselves
SPLIT_SHARE = 0.68


def split_units(
    recording: BaseRecording,
    spikes: np.ndarray,
    labels: np.ndarray,
    displacement: np.ndarray,
    templates: WhitenedTemplates,
    *,
    min_size: int = 20,
    min_separation: float = 5.0,
    variability: float = 0.08,
    max_spikes_per_unit: int = 1000,
    n_components: int = 4,
    seed: int = 0,
    job_kwargs: dict | None = None,
) -> np.ndarray:
    """
    Split units whose spikes, less the template that follows the motion, have two modes.

    In whitened coordinates the residuals of one neuron are a ball of unit variance; those of two are two balls as far
    apart as their templates. The principal components of the residuals are searched for two modes with
    the dip test of Isosplit (Magland and Barnett 2016), again and again in each half.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index`.
    labels : (n_spikes,) int
        Unit of each spike, -1 for none.
    displacement : (n_spikes,) float
        Displacement of the probe at each spike, um.
    templates : WhitenedTemplates
        Templates of the units.
    min_size : int
        Least number of spikes on each side.
    min_separation : float
        Least distance of the two means, in standard deviations of the noise.
    variability : float
        How much one neuron's own waveform varies, as a fraction of its norm; it adds to the noise.
    max_spikes_per_unit : int
        Spikes of a unit that are looked at; the others go to the nearer side, with the label -1 (they are found again
        by the assignment).
    n_components : int
        Principal components that are searched.
    seed : int
    job_kwargs : dict, optional

    Returns
    -------
    labels : (n_spikes,) int64
        New labels, -1 for spikes that were not looked at; halves of split units follow after the last unit.
    """
    generator = np.random.default_rng(seed)
    chosen = np.zeros(0, dtype="int64")
    for unit in range(templates.n_units):
        here = np.flatnonzero(labels == unit)
        if len(here) > max_spikes_per_unit:
            here = generator.choice(here, max_spikes_per_unit, replace=False)
        chosen = np.concatenate([chosen, here])
    chosen = chosen[np.lexsort((chosen, spikes["sample_index"][chosen], spikes["segment_index"][chosen]))]
    split = np.full(len(labels), -1, dtype="int64")
    split[chosen] = labels[chosen]
    if len(chosen) == 0:
        return split
    residuals = _residuals(recording, spikes[chosen], labels[chosen], displacement[chosen], templates, job_kwargs)
    next_label = templates.n_units
    for unit in range(templates.n_units):
        here = np.flatnonzero(labels[chosen] == unit)
        norm = np.linalg.norm(templates.of_unit(unit, displacement[chosen[here]]).mean(axis=0)) if len(here) else 0.0
        wanted = SPLIT_SHARE * min_separation * np.sqrt(1 + (variability * norm) ** 2)
        parts = _modes(residuals[here], min_size, wanted, n_components)
        for part in range(1, parts.max(initial=0) + 1):
            split[chosen[here[parts == part]]] = next_label
            next_label += 1
    return split


def _modes(points, min_size, min_separation, n_components, depth=0):
    """Mode of each point, from 0."""
    labels = np.zeros(len(points), dtype="int64")
    if len(points) < 2 * min_size or depth > 4:
        return labels
    upper = _two_modes(points, min_size, min_separation, n_components)
    if upper is None:
        return labels
    below = _modes(points[~upper], min_size, min_separation, n_components, depth + 1)
    above = _modes(points[upper], min_size, min_separation, n_components, depth + 1)
    labels[~upper] = below
    labels[upper] = above + below.max(initial=0) + 1
    return labels


def _two_modes(points, min_size, min_separation, n_components):
    """Mask of the points on the upper side of the clearest cut along a principal component; None if there is none."""
    dip_test = _dip_test()
    centred = points - np.median(points, axis=0)
    best, best_dip = None, DIP_THRESHOLD
    for direction in _directions(centred, n_components):
        projection = (centred @ direction).astype("float64")
        for _ in range(2):
            dip, cut = dip_test(projection)
            upper = projection > cut
            if min(upper.sum(), (~upper).sum()) < min_size:
                dip = 0.0
                break
            # once more along the line between the two means
            line = np.median(centred[upper], axis=0) - np.median(centred[~upper], axis=0)
            projection = (centred @ (line / max(np.linalg.norm(line), 1e-9))).astype("float64")
        if dip > best_dip and min(upper.sum(), (~upper).sum()) >= min_size:
            if _separation(projection, upper) >= MIN_SIDES_APART:
                if _distance(points, upper) >= min_separation:
                    best, best_dip = upper, dip
    return best


def _directions(centred, n_components, far=0.1):
    """
    Unit vectors along which to look for two modes: the principal components of the bulk, and of what is far from it.

    Collisions are far out in every direction and must not turn the components of the bulk; but a second neuron that is
    no tenth of the points is far out as well, all of it in one direction.
    """
    norm = np.linalg.norm(centred, axis=1)
    inner = norm <= np.quantile(norm, 1 - far)
    parts = [part for part in (centred[inner], centred[~inner]) if len(part) > 1]
    return np.concatenate([np.linalg.svd(part, full_matrices=False)[2][:n_components] for part in parts])


@cache
def _dip_test():
    """SpikeInterface's isocut, compiled into numba's cache: it is compiled once, not in every process."""
    import numba
    from spikeinterface.sortingcomponents.clustering.isosplit_isocut import isocut

    return numba.njit(nogil=True, cache=True)(isocut.py_func)


def _distance(points, upper):
    """Distance of the medians of the two sides, without the part that their estimation from few points makes."""
    above, below = points[upper], points[~upper]
    squared = np.sum((np.median(above, axis=0) - np.median(below, axis=0)) ** 2)
    # the variance of a median is pi / 2 times that of a mean, in each coordinate
    by_chance = 0.5 * np.pi * points.shape[1] * (1 / len(above) + 1 / len(below))
    return np.sqrt(max(squared - by_chance, 0.0))


def _separation(projection, upper):
    """Distance of the means of the two sides of a cut, in standard deviations within the sides."""
    above, below = projection[upper], projection[~upper]
    within = np.sqrt(0.5 * (above.var() + below.var()))
    return (above.mean() - below.mean()) / max(within, 1e-9)


def _residuals(recording, spikes, labels, displacement, templates, job_kwargs):
    """Whitened coefficients of each spike less the scaled and shifted template, (n_spikes, n_values) float32."""
    retriever = PeakRetriever(recording, np.ascontiguousarray(_as_peaks(spikes, labels)))
    node = WhitenSpikes(recording, templates, parents=[retriever])
    values = run_node_pipeline(recording, [retriever, node], job_kwargs or {}, job_name="whiten spikes")
    for unit in range(templates.n_units):
        here = np.flatnonzero(labels == unit)
        if len(here) == 0:
            continue
        coefficients = templates.of_unit(unit, displacement[here])
        # a spike that is larger or a fraction of a sample late is no other neuron's
        expected = _unit_norm(coefficients.reshape(len(here), -1))
        late = _unit_norm((coefficients @ templates.slope().T).reshape(len(here), -1))
        late = _unit_norm(late - (late * expected).sum(axis=1, keepdims=True) * expected)
        for direction in (expected, late):
            values[here] -= (values[here] * direction).sum(axis=1, keepdims=True) * direction
    return values


def _unit_norm(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def _as_peaks(spikes, labels):
    peaks = np.zeros(
        len(spikes), dtype=[("sample_index", "int64"), ("segment_index", "int64"), ("unit_index", "int64")]
    )
    peaks["sample_index"], peaks["segment_index"] = spikes["sample_index"], spikes["segment_index"]
    peaks["unit_index"] = labels
    return peaks


class WhitenSpikes(PipelineNode):
    """Pipeline node: the whitened coefficients of each spike on its unit's channels."""

    def __init__(self, recording, templates: WhitenedTemplates, parents=None, return_output=True):
        PipelineNode.__init__(self, recording, parents=parents, return_output=return_output)
        self.templates = templates
        n_samples = templates.filters.shape[1]
        self.window = np.arange(n_samples) - templates.nbefore

    def get_margin(self):
        return len(self.window)

    def get_dtype(self):
        return np.dtype("float32")

    def compute(self, traces, spikes):
        whitened = traces @ self.templates.whitening
        channels = self.templates.channels[spikes["unit_index"]]
        waveforms = whitened[(spikes["sample_index"][:, None] + self.window)[:, :, None], channels[:, None, :]]
        values = np.einsum("nsc,ks->nck", waveforms, self.templates.filters, optimize=True)
        return values.reshape(len(spikes), -1).astype("float32")
