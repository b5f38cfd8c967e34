"""What speaks for two units of an analyzer being one neuron: waveforms and spike times, as log odds and in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from spikeinterface.core import SortingAnalyzer

from ..stages.grouping.one_neuron import LARGEST_RATIO, LEAST_COSINE, MAX_LAG_MS, even_difference, waveforms_log_odds
from ..stages.grouping.spike_times import CHANCE_MS, coincidences, times_log_odds
from ..stages.grouping.variability import Variability

# of so many coincidences by chance on, the spike times say something
TELLING = 3.0
COLUMNS = ("difference", "observed", "expected", "log_odds", "probability")


def pair_evidence(analyzer: SortingAnalyzer, pairs: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """
    Weigh whether pairs of units are one neuron each, by the evidence that the sorter goes by.

    The sorter compares templates in whitened traces and in the variability that it has measured; an analyzer has
    neither, so that its templates are compared in units of each channel's noise, with the sorter's usual variability.
    Spike times are counted as in the sort.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extensions "templates" (with the operator "std", the spread of spikes counts too), "noise_levels" and
        "random_spikes".
    pairs : sequence of (int, int)
        Indices of units that are near each other.

    Returns
    -------
    pandas.DataFrame
        One row a pair: `difference` of their templates beyond what the noise makes of it, as a share of their size,
        infinite where they are not alike at all; `observed`, pairs of spikes of both at most 2 ms apart, and
        `expected`, how many chance would make; `log_odds` that both are one neuron (natural logarithm), and the
        `probability` that follows.
    """
    if len(pairs) == 0:
        return pd.DataFrame({name: np.zeros(0) for name in COLUMNS})
    difference = _differences(analyzer, pairs)
    observed, expected = coincidences(_spike_times(analyzer), np.asarray(pairs), analyzer.sampling_frequency)
    alike, log_odds = np.isfinite(difference), np.full(len(pairs), -np.inf)
    even = even_difference(difference[alike], observed[alike], expected[alike], Variability())
    log_odds[alike] = waveforms_log_odds(difference[alike], even) + times_log_odds(observed[alike], expected[alike])
    values = (difference, observed, expected, log_odds, 1 / (1 + np.exp(-log_odds)))
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))


def _differences(analyzer, pairs):
    """Difference of two units' templates at their best lag, (n_pairs,), as a share of their size."""
    extension = analyzer.get_extension("templates")
    noise = np.maximum(np.asarray(analyzer.get_extension("noise_levels").get_data()), 1e-12)
    average = extension.get_templates(operator="average") / noise
    # an analyzer of elsewhere may know the noise only
    known = "std" in extension.params["operators"]
    spread = extension.get_templates(operator="std") / noise if known else np.ones_like(average)
    counts = np.minimum(
        analyzer.sorting.count_num_spikes_per_unit(outputs="array"),
        analyzer.get_extension("random_spikes").params.get("max_spikes_per_unit") or np.inf,
    )
    by_chance = spread**2 / np.maximum(counts, 1)[:, None, None]
    seen = np.ones(average.shape[::2], dtype=bool) if analyzer.sparsity is None else analyzer.sparsity.mask
    most = round(MAX_LAG_MS * analyzer.sampling_frequency / 1000)
    found = np.full(len(pairs), np.inf)
    for row, (one, other) in enumerate(pairs):
        both = seen[one] & seen[other]
        if both.any():
            templates, chance = (values[[one, other]][:, :, both] for values in (average, by_chance))
            found[row] = _difference(templates, chance, most)
    return found


def _difference(templates, by_chance, most):
    """Of two templates (2, n_samples, n_channels), at the best lag of at most so many samples."""
    n_samples = templates.shape[1]
    middle = slice(most, n_samples - most)
    mine = templates[0, middle]
    moved = np.stack([templates[1, lag : lag + n_samples - 2 * most] for lag in range(2 * most + 1)])
    sizes = np.linalg.norm(mine), np.linalg.norm(moved, axis=(1, 2))
    best = int(np.argmax((moved * mine).sum(axis=(1, 2)) / np.maximum(sizes[1], 1e-12)))
    theirs, small, large = moved[best], *sorted((sizes[0], sizes[1][best]))
    if (mine * theirs).sum() < LEAST_COSINE * small * large or large > LARGEST_RATIO * small:
        return np.inf
    mean, left = 0.5 * (mine + theirs), mine - theirs
    noise = by_chance[0, middle].sum() + by_chance[1, best : best + mine.shape[0]].sum()
    # a change of amplitude or of time is what one neuron does, too
    basis = np.stack([mean, np.gradient(mean, axis=0)]).reshape(2, -1)
    usual = Variability()
    directions = basis * [[usual.amplitude], [1.0]]
    answer = directions @ left.ravel()
    squared = (mean**2).sum()
    unit = 1 + usual.rest**2 * squared
    inner = np.linalg.solve(unit * np.eye(2) + directions @ directions.T, answer)
    return float(np.sqrt(max((left**2).sum() - answer @ inner - noise, 0) / max(squared, 1e-12)))


def _spike_times(analyzer):
    """Samples of each unit's spikes; segments lie further apart than any lag that counts."""
    spikes = analyzer.sorting.to_spike_vector()
    apart = 2 * round(CHANCE_MS[1] * analyzer.sampling_frequency / 1000)
    lengths = [analyzer.get_num_samples(segment) + apart for segment in range(analyzer.get_num_segments())]
    at = spikes["sample_index"] + np.concatenate([[0], np.cumsum(lengths)[:-1]])[spikes["segment_index"]]
    order = np.argsort(spikes["unit_index"], kind="stable")
    bounds = np.searchsorted(spikes["unit_index"][order], np.arange(analyzer.get_num_units() + 1))
    return [np.sort(at[order[begin:end]]) for begin, end in zip(bounds, bounds[1:], strict=False)]


def times_in_words(observed: float, expected: float) -> str:
    """What the coincidences of two units say, in one sentence."""
    seen = f"they fire within 2 ms of each other {observed:,.0f} times, where chance would make {expected:,.1f}"
    if expected < TELLING:
        return f"their times say little: {seen}"
    log_odds = float(times_log_odds(np.array([observed]), np.array([expected]))[0])
    if log_odds > 1:
        return f"they keep a refractory period together: {seen}"
    return f"they keep no refractory period together: {seen}" if log_odds < -1 else f"their times leave it open: {seen}"


def waveforms_in_words(difference: float) -> str:
    """What the templates of two units say, in one sentence."""
    if not np.isfinite(difference):
        return "their templates are not alike"
    return f"their templates differ by {100 * difference:.0f} % of their size"
