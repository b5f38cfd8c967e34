"""Performance of a sorting against the ground truth, computed by SpikeInterface's comparison module."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from spikeinterface.comparison import GroundTruthComparison, compare_sorter_to_ground_truth
from spikeinterface.comparison.comparisontools import make_matching_events
from spikeinterface.core import BaseSorting

from .recordings import GroundTruth

WELL_DETECTED = 0.8  # accuracy from which a unit counts as found: SpikeInterface's default
PIECE = 0.5  # share of a found unit's spikes from which it counts as a piece of a true unit: most of them
WINDOWS = 20  # for accuracy over time: a 60 s recording still has 3 s, and some spikes of most units, in each


@dataclass(frozen=True)
class Measures:
    """Performance of a sorting.

    Attributes
    ----------
    summary : dict
        `true_units`, `found_units`, mean `accuracy`, `precision` and `recall` over true units (0 for a unit without
        a match), `well_detected`, `pieces`, and, if the ground truth is complete, `false_positive`, `redundant`,
        `overmerged`.
    units : pd.DataFrame
        One row for each true unit: `unit_id`, `accuracy`, `precision`, `recall`, `snr`, `n_spikes`, `pieces`.
    over_time : pd.DataFrame
        One row for each time window: `time_s` (its centre) and `accuracy`, the mean over the units that fire in it.
    """

    summary: dict[str, float | int | None]
    units: pd.DataFrame
    over_time: pd.DataFrame


def compare_to_truth(truth: BaseSorting, tested: BaseSorting, exhaustive: bool = True) -> GroundTruthComparison:
    """SpikeInterface's comparison with its default matching (0.4 ms, Hungarian)."""
    return compare_sorter_to_ground_truth(truth, tested, exhaustive_gt=exhaustive)


def measure(truth: GroundTruth, tested: BaseSorting) -> Measures:
    """Measure a sorting against the ground truth.

    Parameters
    ----------
    truth : GroundTruth
    tested : BaseSorting
        What a sorter found on ``truth.recording``.

    Returns
    -------
    Measures
        The unit table is that of ``compare_sorter_to_ground_truth(...).get_performance()``.
    """
    exhaustive = bool(truth.info.get("exhaustive", True))
    units = _empty_performance(truth.sorting)
    counts: dict[str, int] = {"well_detected": 0, "pieces": 0, "false_positive": 0, "redundant": 0, "overmerged": 0}
    comparison = None
    if tested.get_num_units() > 0:
        comparison = compare_to_truth(truth.sorting, tested, exhaustive)
        performance = comparison.get_performance().astype(float).fillna(0.0)
        for column in ("accuracy", "precision", "recall"):
            units[column] = performance.loc[truth.sorting.unit_ids, column].to_numpy()
        units["pieces"] = count_pieces(comparison)
        counts["pieces"] = int(units["pieces"].sum())
        counts["well_detected"] = comparison.count_well_detected_units(WELL_DETECTED)
        if exhaustive:
            counts["false_positive"] = comparison.count_false_positive_units()
            counts["redundant"] = comparison.count_redundant_units()
            counts["overmerged"] = comparison.count_overmerged_units()
    summary: dict[str, float | int | None] = {
        "true_units": len(units),
        "found_units": int(tested.get_num_units()),
        **{column: float(units[column].mean()) for column in ("accuracy", "precision", "recall")},
        **counts,
    }
    if not exhaustive:  # the recording has units that are not in the ground truth
        summary.update(false_positive=None, redundant=None, overmerged=None)
    return Measures(summary, units, _accuracy_over_time(truth, comparison))


def count_pieces(comparison: GroundTruthComparison) -> np.ndarray:
    """Found units that are a part of each true unit, beside the one that matches it best; (n_true,) int64.

    At least half of a piece's spikes are the true unit's. A double, which has nearly all of them once more, is a piece,
    too. A unit is a piece of one true unit at most: the one with most of its spikes.
    """
    matches = comparison.match_event_count.to_numpy()
    share = matches / np.maximum(comparison.event_counts2.to_numpy(), 1)
    best_found = comparison.agreement_scores.to_numpy().argmax(axis=1)
    parent = share.argmax(axis=0)
    found = np.arange(share.shape[1])
    is_piece = (share[parent, found] >= PIECE) & (best_found[parent] != found)
    return np.bincount(parent[is_piece], minlength=len(matches))


def _empty_performance(sorting: BaseSorting) -> pd.DataFrame:
    snr = sorting.get_property("gt_snr")
    return pd.DataFrame(
        {
            "unit_id": [str(unit) for unit in sorting.unit_ids],
            "accuracy": 0.0,
            "precision": 0.0,
            "recall": 0.0,
            "snr": np.full(len(sorting.unit_ids), np.nan) if snr is None else np.asarray(snr, dtype=float),
            "n_spikes": list(sorting.count_num_spikes_per_unit(outputs="array")),
            "pieces": 0,
        }
    )


def _accuracy_over_time(truth: GroundTruth, comparison: GroundTruthComparison | None) -> pd.DataFrame:
    """Mean accuracy of the true units in time windows, each with its match in the whole recording."""
    sorting, frequency = truth.sorting, truth.recording.sampling_frequency
    n_samples = [truth.recording.get_num_samples(segment) for segment in range(sorting.get_num_segments())]
    starts = np.concatenate([[0], np.cumsum(n_samples)])
    edges = np.linspace(0, starts[-1], WINDOWS + 1)
    accuracy = np.full((len(sorting.unit_ids), WINDOWS), np.nan)
    for row, unit in enumerate(sorting.unit_ids):
        match = -1 if comparison is None else comparison.hungarian_match_12[unit]
        has_match = str(match) not in ("-1", "")
        n_true, n_found, n_false = np.zeros((3, WINDOWS))
        for segment in range(sorting.get_num_segments()):
            true_frames = sorting.get_unit_spike_train(unit, segment_index=segment)
            n_true += np.histogram(true_frames + starts[segment], edges)[0]
            if comparison is None or not has_match:
                continue
            found_frames = comparison.sorting2.get_unit_spike_train(match, segment_index=segment)
            pairs = make_matching_events(true_frames, found_frames, comparison.delta_frames)
            n_found += np.histogram(true_frames[np.unique(pairs["index1"])] + starts[segment], edges)[0]
            unpaired = np.delete(found_frames, np.unique(pairs["index2"]))
            n_false += np.histogram(unpaired + starts[segment], edges)[0]
        fires = n_true > 0
        accuracy[row, fires] = n_found[fires] / (n_true[fires] + n_false[fires])
    n_firing = np.maximum(np.sum(~np.isnan(accuracy), axis=0), 1)
    centres_s = 0.5 * (edges[1:] + edges[:-1]) / frequency
    return pd.DataFrame({"time_s": centres_s, "accuracy": np.nansum(accuracy, axis=0) / n_firing})
