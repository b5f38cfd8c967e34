"""What a report says of merges and splits: the evidence, in tables and in words."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from spikeinterface.core import SortingAnalyzer

from .. import page as html
from .extension import EXTENSION_NAME
from .neighbours import mixing_of, near_units, unit_mixing
from .pair_evidence import pair_evidence, times_in_words, waveforms_in_words
from .picture_data import EmbeddingMap
from .suggestions import MIN_MIXING as SUGGESTED_MIXING
from .suggestions import merge_candidates

NEEDED = (EXTENSION_NAME, "template_similarity", "unit_locations", "correlograms", "templates", "noise_levels")
# what is told of two units: their spikes lie among each other by so much, or they are one neuron with this probability
MIN_MIXING, MIN_PROBABILITY = 0.15, 0.1
MAX_DISTANCE_UM = 60.0


def pairs_to_tell(analyzer: SortingAnalyzer, embedding: EmbeddingMap) -> pd.DataFrame:
    """
    All pairs of units of which a report says something: suggested, mixed (in the map too), or probably one neuron.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extensions of `NEEDED`.
    embedding : EmbeddingMap
        The map that the report shows.

    Returns
    -------
    pandas.DataFrame
        One row a pair, those that are suggested first: `a`, `b` (indices), `unit_a`, `unit_b`, `mixing` and
        `map_mixing` (see `unit_mixing`; that of the map), `suggested`, and the columns of `pair_evidence`.
    """
    n_units, extension = analyzer.get_num_units(), analyzer.get_extension(EXTENSION_NAME)
    units, location = np.asarray(extension.get_data(outputs="unit_index")), extension.get_data(outputs="location")
    mixing = unit_mixing(extension.get_data(), location, units, n_units)
    near = near_units(location, units, n_units, MAX_DISTANCE_UM)
    in_map = _square(mixing_of(embedding.xy, embedding.units, near), n_units)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        candidates = merge_candidates(analyzer)
    index = {unit: place for place, unit in enumerate(analyzer.unit_ids)}
    ends = [(index[pair.unit_a], index[pair.unit_b]) for pair in candidates.itertuples() if pair.suggested]
    suggested = {(min(one), max(one)) for one in ends}
    pairs: list[tuple[int, int]] = sorted({(int(a), int(b)) for a, b in np.argwhere(np.triu(near, 1))} | suggested)
    table = pair_evidence(analyzer, pairs)
    first, second = np.array(pairs, dtype=int).reshape(-1, 2).T
    table["a"], table["b"] = first, second
    table["unit_a"], table["unit_b"] = analyzer.unit_ids[first], analyzer.unit_ids[second]
    table["mixing"], table["map_mixing"] = mixing[first, second], in_map[first, second]
    table["suggested"] = [pair in suggested for pair in pairs]
    told = table["suggested"] | (table["mixing"] > MIN_MIXING) | (table["map_mixing"] > MIN_MIXING)
    table = table[told | (table["probability"] > MIN_PROBABILITY)]
    return table.sort_values(["suggested", "probability", "mixing"], ascending=False, ignore_index=True, kind="stable")


def _square(matrix, n_units):
    """With rows and columns for all units."""
    full = np.full((n_units, n_units), np.nan)
    full[: len(matrix), : len(matrix)] = matrix
    return full


def pair_in_words(pair: Any) -> str:
    """One row of `pairs_to_tell` as a sentence."""
    if pair.suggested:
        says = "may be one neuron: a merge is suggested"
    elif pair.probability > 0.5:
        says = "may be one neuron, but not all evidence agrees: no merge is suggested"
    else:
        says = "are taken for two neurons"
    if np.isnan(pair.mixing):
        clouds = "too few of their spikes are embedded to tell"
    elif pair.mixing > MIN_MIXING:
        some = "their" if pair.mixing > SUGGESTED_MIXING else "a few of their"
        clouds = f"{some} spikes lie among each other in the embedding (mixing {pair.mixing:.2f})"
    elif pair.map_mixing > MIN_MIXING:
        clouds = f"their spikes meet in the picture of the embedding, but not in the vectors (mixing {pair.mixing:.2f})"
    else:
        clouds = f"their spikes lie apart in the embedding (mixing {pair.mixing:.2f})"
    evidence = "; ".join([clouds, waveforms_in_words(pair.difference), times_in_words(pair.observed, pair.expected)])
    return f"{says}. {evidence[0].upper()}{evidence[1:]}."


def split_in_words(split: Any) -> str:
    """One row of `split_candidates` as a sentence."""
    return (
        f"may be two neurons: its spikes lie in two clouds of the embedding, {100 * split.share:.0f} % of them in the "
        f"smaller one, and between the clouds they are {100 * split.valley:.0f} % as dense as there. Of the spikes "
        f"that are embedded, {times_in_words(split.observed, split.expected)}."
    )


def merges_section(pairs: pd.DataFrame) -> str:
    """HTML of the section on merges."""
    head = '<h2 id="merges">Units that may be one neuron</h2>\n'
    if len(pairs) == 0:
        return (
            f"{head}<p>None: no spikes of two units that are less than {MAX_DISTANCE_UM:.0f} µm apart lie among each "
            "other, neither in the embedding nor in its picture, and no two templates and spike times look like one "
            "neuron's.</p>"
        )
    lines = "".join(
        f'<li class="{"own" if pair.suggested else ""}">{_link(pair.a, pair.unit_a)} and {_link(pair.b, pair.unit_b)} '
        f"{html.escape(pair_in_words(pair))} <b>{_percent(pair.probability)}</b></li>"
        for pair in pairs.itertuples()
    )
    text = (
        "Mixing is how much the spikes of two units lie among each other in the embedding, from 0 (apart) to 1 (one "
        "cloud). The percentage at the end is the probability of one neuron by templates and spike times, without the "
        "embedding. Accept or refuse the suggestions in <code>huidurep gui</code>: nothing is merged before."
    )
    return f'{head}<p>{text}</p>\n<ul class="evidence">{lines}</ul>'


def splits_section(analyzer: SortingAnalyzer, splits: pd.DataFrame) -> str:
    """HTML of the section on splits."""
    head = '<h2 id="splits">Units that may be two neurons</h2>\n'
    suggested = splits[splits["suggested"]]
    if len(suggested) == 0:
        return f"{head}<p>None: no unit's spikes lie in two clouds of the embedding with a clear valley between.</p>"
    index = {unit: place for place, unit in enumerate(analyzer.unit_ids)}
    lines = "".join(
        f'<li class="own">{_link(index[split.unit], split.unit)} {html.escape(split_in_words(split))}</li>'
        for split in suggested.itertuples()
    )
    text = (
        "They are in the list of splits of <code>huidurep gui</code>, unless the unit is to be merged: click on one to "
        "see its clouds, and refuse it there. A neuron that changes its waveform may lie in two clouds, too: look at "
        "the autocorrelogram of each."
    )
    return f'{head}<p>{text}</p>\n<ul class="evidence">{lines}</ul>'


def notes_of_units(pairs: pd.DataFrame, splits: pd.DataFrame) -> dict[Any, list[str]]:
    """What the cards of the units say of merges and splits, by unit."""
    notes: dict[Any, list[str]] = {}
    for pair in pairs[pairs["suggested"]].itertuples():
        for one, other in ((pair.unit_a, pair.unit_b), (pair.unit_b, pair.unit_a)):
            notes.setdefault(one, []).append(f"May be one neuron with unit {other} ({_percent(pair.probability)}).")
    for split in splits[splits["suggested"]].itertuples():
        notes.setdefault(split.unit, []).append("May be two neurons: its spikes lie in two clouds.")
    return notes


def _link(index: int, unit: Any) -> str:
    return f'<a href="#unit-{index}">Unit {html.escape(unit)}</a>'


def _percent(probability: float) -> str:
    """Neither certainty is to be had."""
    return "< 1 %" if probability < 0.01 else "> 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"
