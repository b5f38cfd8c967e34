"""How well units were matched over sessions whose neurons are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score
from spikeinterface.comparison import compare_sorter_to_ground_truth
from spikeinterface.core import BaseSorting

from .measures import WELL_DETECTED

OWN_SHARE = 0.5  # of a unit's spikes: it is the neuron's that most of them are of
# Sorters put a spike where it is largest on its main channel, which may be another phase of it than the truth's.
TIME_MS = 1.0
LISTED = 0.01  # probability from which a pair counts for the calibration: most of all pairs are plainly none
BINS = 10
UNASSIGNED = -1e3  # score of a pair that a one-to-one assignment has left out: below all others


@dataclass(frozen=True)
class FoundUnits:
    """Which neurons the units of a sort are.

    Attributes
    ----------
    neuron : np.ndarray, shape (n_units,), int64
        The neuron that most of a unit's spikes are of, -1 for none.
    best : np.ndarray, shape (n_units,), bool
        Whether the unit is the one that matches its neuron best, with an accuracy of at least 0.8.
    """

    neuron: np.ndarray
    best: np.ndarray


@dataclass(frozen=True)
class PairsOfSessions:
    """Scores and truth of all pairs of units of two sessions.

    Attributes
    ----------
    score : np.ndarray, shape (n, m)
    same : np.ndarray of bool, shape (n, m)
        Both units are of one neuron.
    wanted : np.ndarray of bool, shape (n, m)
        Both are the best ones of it, too: the pairs that are to be found.
    """

    score: np.ndarray
    same: np.ndarray
    wanted: np.ndarray


def found_units(truth: BaseSorting, tested: BaseSorting, neurons: np.ndarray) -> FoundUnits:
    """
    Tell which neurons the units of a sort are.

    Parameters
    ----------
    truth, tested : BaseSorting
    neurons : np.ndarray, shape (n_true_units,)
        Names of the true units.
    """
    neuron = np.full(len(tested.unit_ids), -1, dtype=np.int64)
    best = np.zeros(len(tested.unit_ids), dtype=bool)
    if len(tested.unit_ids) == 0 or len(truth.unit_ids) == 0:
        return FoundUnits(neuron, best)
    comparison = compare_sorter_to_ground_truth(truth, tested, exhaustive_gt=True, delta_time=TIME_MS)
    events = comparison.match_event_count.to_numpy()
    counts = tested.count_num_spikes_per_unit(outputs="array")
    share = events.max(axis=0) / np.maximum(counts, 1)
    neuron[share >= OWN_SHARE] = np.asarray(neurons)[events.argmax(axis=0)][share >= OWN_SHARE]
    tested_ids = list(tested.unit_ids)
    for row, unit in enumerate(truth.unit_ids):
        partner = comparison.hungarian_match_12[unit]
        if partner in tested_ids and comparison.agreement_scores.at[unit, partner] >= WELL_DETECTED:
            column = tested_ids.index(partner)
            best[column] = neuron[column] == neurons[row]
    return FoundUnits(neuron, best)


def pairs_of(score: np.ndarray, first: FoundUnits, second: FoundUnits) -> PairsOfSessions:
    """Put scores (n, m) beside the truth."""
    same = (first.neuron[:, None] == second.neuron[None]) & (first.neuron >= 0)[:, None]
    return PairsOfSessions(score, same, same & first.best[:, None] & second.best[None])


def figures(pairs: Sequence[PairsOfSessions], threshold: float | None = 0.5) -> dict[str, float]:
    """
    Recall, precision, area under their curve, and calibration error over pairs of sessions.

    Parameters
    ----------
    pairs : sequence of PairsOfSessions
    threshold : float or None
        Of the score; None for scores that are no probabilities: recall and precision are then those of the threshold
        with the largest F1, chosen on these very pairs.

    Returns
    -------
    dict
        ``shared`` (pairs to be found), ``recall``, ``precision``, ``area`` (average precision), ``calibration`` (mean
        distance between probability and share of right pairs, over bins of 0.1 and pairs of 0.01 and more).
    """
    score = np.concatenate([one.score.ravel() for one in pairs])
    same = np.concatenate([one.same.ravel() for one in pairs])
    wanted = np.concatenate([one.wanted.ravel() for one in pairs])
    counted = wanted | ~same  # pieces of a neuron are neither asked for nor wrong
    area = float(average_precision_score(wanted[counted], score[counted])) if wanted.any() else float("nan")
    at = _best_threshold(score, same, wanted) if threshold is None else threshold
    chosen = score >= at
    return {
        "shared": int(wanted.sum()),
        "recall": float((chosen & wanted).sum() / max(wanted.sum(), 1)),
        "precision": float((chosen & same).sum() / max(chosen.sum(), 1)),
        "area": area,
        "calibration": float("nan") if threshold is None else calibration_error(score, same),
    }


def _best_threshold(score, same, wanted):
    assigned = wanted & (score > UNASSIGNED)
    values = np.unique(score[assigned]) if assigned.any() else np.array([np.inf])
    best, at = -1.0, float(values[-1])
    for value in values:
        chosen = score >= value
        recall, precision = (chosen & wanted).sum() / wanted.sum(), (chosen & same).sum() / max(chosen.sum(), 1)
        f1 = 2 * recall * precision / max(recall + precision, 1e-12)
        if f1 > best:
            best, at = float(f1), float(value)
    return at


def calibration_error(probability: np.ndarray, same: np.ndarray) -> float:
    """Mean distance between probability and share of right pairs over bins of 0.1, of pairs of 0.01 and more."""
    listed = probability >= LISTED
    if not listed.any():
        return float("nan")
    probability, same = probability[listed], same[listed]
    bins = np.clip((probability * BINS).astype(int), 0, BINS - 1)
    error = 0.0
    for k in np.unique(bins):
        mine = bins == k
        error += abs(probability[mine].mean() - same[mine].mean()) * mine.mean()
    return float(error)
