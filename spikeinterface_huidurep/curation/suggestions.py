"""Suggestions for the person who curates: which units to merge and to split, and what each unit is."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pandas as pd
from spikeinterface.core import SortingAnalyzer

from ..good_probability import PROPERTY as GOOD_PROBABILITY
from ..stages.grouping.spike_times import times_log_odds
from .extension import EXTENSION_NAME
from .neighbours import unit_mixing
from .pair_evidence import pair_evidence
from .splits import find_splits, split_candidates
from .traces import in_microvolts

logger = logging.getLogger("spikeinterface_huidurep")

# The labels of SpikeInterface's GUI, in its spelling: its keys g, m and n set them.
LABELS = ("good", "noise", "MUA")

# On twelve simulated recordings (16 channels, 20 units, 8 of them cut in two) the 77 true pairs that pass
# SpikeInterface's criteria reach 0.6 and more, and two false ones reach 0.25. Pieces of a unit that drift has cut apart
# mix less, 0.2 to 0.3.
MIN_MIXING = 0.25

# SpikeInterface's criteria for a merge (its preset "x_contaminations"): enough spikes, neither unit contaminated, near
# each other, similar templates, no more coincidences within the refractory period than one neuron can have.
_STEPS = ["num_spikes", "remove_contaminated", "unit_locations", "template_similarity", "cross_contamination"]
# Templates of one neuron are less alike where it drifts or has few spikes: the embedding decides, SpikeInterface's
# default of 0.25 would ask for more likeness than it needs to.
_STEP_PARAMS = {
    "num_spikes": {"min_spikes": 30},
    "unit_locations": {"max_distance_um": 60.0},
    "template_similarity": {"similarity_method": "l1", "template_diff_thresh": 0.4},
}
_QUALITY_SCORE = "quality_score"
# Probability by the sorter's evidence (`pair_evidence`) above which two units that mix are suggested. On five simulated
# recordings (`studies/curation_suggestions.py`) the 19 pairs of one neuron have more than 0.9, the 249 others less than
# 0.1.
LIKELY = 0.9
# log odds of spike times below which no merge is suggested: seven times likelier two neurons than one
AGAINST = -2.0


def suggest_curation(
    analyzer: SortingAnalyzer, *, min_mixing: float = MIN_MIXING, seed: int = 0, **job_kwargs: Any
) -> dict[str, Any]:
    """
    Suggest merges, splits and labels, in SpikeInterface's curation format.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extensions of `complete_analyzer`.
    min_mixing : float
        Least mixing of two units' spikes in the embedding, see `merge_candidates`.
    seed : int
        Chooses the spikes that are compared.
    **job_kwargs
        SpikeInterface's parameters for parallel processing: all spikes of units that may be two neurons are embedded.

    Returns
    -------
    dict
        Format version 2: `unit_ids`, `label_definitions`, `manual_labels` (category "quality"), `merges`, `splits` (see
        `find_splits`; of no unit that is to be merged, which the format does not allow, and none where the analyzer has
        no recording); nothing is suggested for removal. `spikeinterface.curation.apply_curation` takes it as it is.
    """
    from spikeinterface.curation import validate_curation_dict
    from spikeinterface.curation.curation_tools import resolve_merging_graph

    candidates = merge_candidates(analyzer, min_mixing=min_mixing, seed=seed)
    suggested = candidates[candidates["suggested"]]
    pairs = list(zip(suggested["unit_a"], suggested["unit_b"], strict=True))
    groups = resolve_merging_graph(analyzer.sorting, pairs) if pairs else []
    merged = {unit for group in groups for unit in group}
    splits = _suggest_splits(analyzer, merged, seed, job_kwargs)
    labels = suggest_labels(analyzer)
    curation = {
        "format_version": "2",
        "unit_ids": analyzer.unit_ids.tolist(),
        "label_definitions": {"quality": {"label_options": list(LABELS), "exclusive": True}},
        "manual_labels": [
            {"unit_id": _plain(unit), "labels": {"quality": [label]}} for unit, label in labels.items() if label
        ],
        "merges": [{"unit_ids": [_plain(unit) for unit in group]} for group in groups],
        "splits": splits,
        "removed": [],
    }
    validate_curation_dict(curation)
    n_labels = len(curation["manual_labels"])
    logger.info("%d merges, %d splits and %d labels suggested", len(groups), len(splits), n_labels)
    return curation


def _suggest_splits(analyzer, merged, seed, job_kwargs):
    if not (analyzer.has_recording() or analyzer.has_temporary_recording()):
        return []
    table = split_candidates(analyzer, seed=seed)
    units = [unit for unit in table["unit"][table["suggested"]] if unit not in merged]
    return find_splits(analyzer, units, seed=seed, **job_kwargs)


def merge_candidates(analyzer: SortingAnalyzer, *, min_mixing: float = MIN_MIXING, seed: int = 0) -> pd.DataFrame:
    """
    Pairs of neighbouring units with similar templates, and what speaks for their being one neuron.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extensions of `complete_analyzer`.
    min_mixing : float
        Pairs that SpikeInterface's criteria let pass are suggested from this `mixing` on.
    seed : int
        Chooses the spikes that are compared.

    Returns
    -------
    pandas.DataFrame
        One row a pair, the most mixed first: `unit_a`, `unit_b`; `distance_um` between their locations;
        `similarity` of their templates, from 0 to 1; `mixing`, from 0 (their spikes lie apart in the embedding) to 1
        (they are one cloud), see `unit_mixing`; `refractory`, whether they keep a refractory period together and the
        merged unit would be no more contaminated, by SpikeInterface's criteria; the columns of `pair_evidence`, the
        sorter's own evidence, with the `probability` that both are one neuron; `suggested`: pairs that mix and are
        refractory or, by the sorter's evidence, probably one neuron, unless their spike times speak against it.
    """
    from spikeinterface.curation import compute_merge_unit_groups

    def pairs_after(steps):
        pairs, outputs = compute_merge_unit_groups(
            analyzer, steps=steps, steps_params=_STEP_PARAMS, resolve_graph=False, extra_outputs=True
        )
        index = analyzer.sorting.ids_to_indices
        return {(int(a), int(b)) for a, b in (index(pair) for pair in pairs)}, outputs

    with warnings.catch_warnings():
        # units without enough spikes for a measure: their pairs are not suggested, that says enough
        warnings.simplefilter("ignore")
        near, outputs = pairs_after([step for step in _STEPS if step != "cross_contamination"])
        refractory, _ = pairs_after([*_STEPS, _QUALITY_SCORE])
    mixing = _mixing(analyzer, seed)
    pairs = sorted(near)
    evidence = pair_evidence(analyzer, pairs)
    rows = [
        {
            "unit_a": analyzer.unit_ids[a],
            "unit_b": analyzer.unit_ids[b],
            "distance_um": outputs["unit_distances"][a, b],
            "similarity": 1 - outputs["templates_diff"][a, b],
            "mixing": mixing[a, b],
            "refractory": (a, b) in refractory,
        }
        for a, b in pairs
    ]
    columns = ["unit_a", "unit_b", "distance_um", "similarity", "mixing", "refractory"]
    table = pd.concat([pd.DataFrame(rows, columns=columns).astype({"refractory": bool}), evidence], axis=1)
    table["suggested"] = (table["mixing"] >= min_mixing) & _are_one(table)
    return table.sort_values(["suggested", "mixing"], ascending=False, ignore_index=True)


def _mixing(analyzer: SortingAnalyzer, seed: int) -> np.ndarray:
    """Matrix of `unit_mixing`, (n_units, n_units) float64."""
    extension = analyzer.get_extension(EXTENSION_NAME)
    location, units = (extension.get_data(outputs=name) for name in ("location", "unit_index"))
    return unit_mixing(extension.get_data(), location, units, analyzer.get_num_units(), seed=seed)


def _are_one(table: pd.DataFrame) -> pd.Series:
    """Whether pairs are one neuron, by either evidence, and not two by their spike times."""
    likely = table["refractory"] | (table["probability"] > LIKELY)
    against = times_log_odds(table["observed"].to_numpy(), table["expected"].to_numpy()) < AGAINST
    return likely & ~against


def suggest_labels(analyzer: SortingAnalyzer) -> dict[Any, str]:
    """
    A label for each unit: the sorter's own where it gave one, otherwise by Bombcell's thresholds.

    The thresholds are those of Bombcell (Fabre et al.) as SpikeInterface has them, on the metrics that the analyzer
    has; that on the amplitude in uV counts only where the recording has gains.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the unit property "quality" (good, mua or noise), or with quality and template metrics.

    Returns
    -------
    dict
        "good", "MUA" or "noise", or "" where nothing is known, by unit.
    """
    if analyzer.sorting.get_property("quality") is not None:
        return given_labels(analyzer)
    if not (analyzer.has_extension("quality_metrics") and analyzer.has_extension("template_metrics")):
        return dict.fromkeys(analyzer.unit_ids, "")
    from spikeinterface.curation import bombcell_get_default_thresholds, bombcell_label_units

    thresholds = bombcell_get_default_thresholds()
    # where spikes come from (soma or axon) is another question
    thresholds["non-somatic"] = {}
    if not in_microvolts(analyzer):
        del thresholds["mua"]["amplitude_median"]
    with warnings.catch_warnings():
        # metrics of principal components are left out on purpose
        warnings.simplefilter("ignore")
        labels = bombcell_label_units(analyzer, thresholds).iloc[:, 0]
    return {unit: _spelled(labels.loc[unit]) for unit in analyzer.unit_ids}


def given_labels(analyzer: SortingAnalyzer) -> dict[Any, str]:
    """The labels that the sorter or a curation gave (unit property "quality"), "" where there are none, by unit."""
    quality = analyzer.sorting.get_property("quality")
    if quality is None:
        return dict.fromkeys(analyzer.unit_ids, "")
    return {unit: _spelled(label) for unit, label in zip(analyzer.unit_ids, quality, strict=True)}


def good_probabilities(analyzer: SortingAnalyzer) -> np.ndarray | None:
    """The sorter's probability that each unit is one neuron's, (n_units,) float64; None where it gave none."""
    given = analyzer.sorting.get_property(GOOD_PROBABILITY)
    return None if given is None else np.asarray(given, dtype="float64")


def _spelled(label: Any) -> str:
    """A label as the GUI spells it, or "" for what is none of them."""
    spelling = {known.lower(): known for known in LABELS}
    return spelling.get(str(label).strip().lower(), "")


def _plain(unit: Any) -> Any:
    """A unit id as JSON knows it."""
    return unit.item() if isinstance(unit, np.generic) else unit
