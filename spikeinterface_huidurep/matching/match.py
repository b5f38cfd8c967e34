"""Which units of several sessions are the same neuron."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from spikeinterface.core import BaseSorting, SortingAnalyzer

from ..jobs import resolve_job_kwargs
from .displacement import Displacement, estimate_displacement
from .exclusive import match_probabilities
from .fingerprints import fingerprint_log_odds
from .grouping import group_units, membership
from .half_templates import SessionUnits
from .known_pairs import known_pairs
from .pair_model import PairModel, fit_model, in_competition, load_model
from .result import UnitMatches
from .scores import PairScores, pair_scores, shape_distance
from .sessions import Session, read_sessions
from .tables import KnownPairs

logger = logging.getLogger("spikeinterface_huidurep")

# How strongly the model of the pairs holds on to what it was fitted to. With 30 probabilities on simulated days are as
# well calibrated as without the user's sessions, with 3 and less they are too cautious: halves are made more different
# than days are.
PRIOR_STRENGTH = 30.0
# On probes shorter than this the displacement is looked for around what the locations say, in steps of 4 um, then 2:
# a template that is moved by 2 um too far differs no more than by its noise.
SHORT_UM = 400.0
TRIED_UM = (tuple(range(-20, 21, 4)), (0, -2, 2))
FURTHER_UM = 10.0  # standard deviation of that error
CANDIDATE = 0.01  # pairs that are less likely are not listed


def match_units(
    analyzers: Sequence[SortingAnalyzer | str | Path],
    *,
    names: Sequence[str] | None = None,
    threshold: float = 0.5,
    spike_times: bool = False,
    model: str = "default",
    device: str = "auto",
    seed: int = 0,
    **job_kwargs: Any,
) -> UnitMatches:
    """
    Find the units of several sessions that are the same neuron.

    Parameters
    ----------
    analyzers : sequence of SortingAnalyzer, str or Path
        The sessions in the order of time, of any sorter: analyzers, their folders, or folders of ``huidurep sort`` and
        ``run_sorter``. All of one probe. An analyzer has the extensions "random_spikes" and "waveforms", or its
        recording.
    names : sequence of str, optional
        Of the sessions; by default those of the folders, or "session_1", "session_2", ...
    threshold : float
        Pairs of at least this probability are matches; 0 < threshold < 1.
    spike_times : bool
        Let autocorrelograms, inter-spike intervals and rates count, too. Off by default: whoever wants to know whether
        these stay the same must not find the units by them.
    model, device : str
        Of the encoder, see `load_encoder`.
    seed : int
        Of all random choices.
    **job_kwargs
        SpikeInterface's parameters for parallel processing, where waveforms have to be read.

    Returns
    -------
    UnitMatches
        Tables of matches and groups, Sortings with the property "neuron_id", and ``save(folder)``.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist, or holds no finished sort.
    ValueError
        If there are fewer than two sessions, one is given twice, or probes or rates differ.

    Notes
    -----
    Each pair of units is compared by the encoder's vectors, the templates on the probe, locations and amplitudes, after
    the displacement between the sessions was estimated. A logistic model makes log odds of it. It starts from simulated
    days and is fitted to the halves of each session, changed as another day changes them. Since a unit has at most one
    partner in another session, the probabilities of its pairs compete. The share of neurons that two sessions have in
    common is estimated by expectation maximisation.
    """
    from ..encoder import load_encoder

    if not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold!r} and must be between 0 and 1.")
    jobs = resolve_job_kwargs({"job_kwargs": job_kwargs, "n_jobs": None}, bool(job_kwargs.get("progress_bar", False)))
    encoder = load_encoder(model, device)
    sessions = read_sessions(analyzers, names, encoder, seed, jobs)
    pair_model, known = _calibrated(sessions, encoder, seed)
    probabilities, displacements, shared = {}, {}, {}
    for a, b in combinations(range(len(sessions)), 2):
        one, other = sessions[a], sessions[b]
        displacement = displacement_between(one.units, other.units, pair_model)
        scores = pair_scores(one.units, other.units, displacement)
        log_odds = log_odds_matrix(pair_model, scores, (one.units.n_units, other.units.n_units))
        if spike_times:
            log_odds += fingerprint_log_odds(one, other, sessions)
        probabilities[a, b], shared[a, b] = match_probabilities(log_odds)
        displacements[a, b] = displacement
        logger.info(
            "%s and %s: displacement %.1f um, %.0f of %d and %d units are the same",
            one.name, other.name, displacement.mean_um, probabilities[a, b].sum(), one.units.n_units,
            other.units.n_units,
        )  # fmt: skip
    matches, candidates = _tables(sessions, probabilities, threshold)
    groups = _groups(sessions, probabilities, threshold)
    return UnitMatches(
        sessions=sessions, matches=matches, groups=groups, candidates=candidates, probabilities=probabilities,
        displacements=displacements, shared=shared, known=known, threshold=threshold,
        sortings=_named_sortings(sessions, groups),
    )  # fmt: skip


def displacement_between(first: SessionUnits, second: SessionUnits, model: PairModel) -> Displacement:
    """
    Displacement of the second session's units against the first one's.

    From the locations first, see `estimate_displacement`. On a short probe they are drawn to its middle, and few units
    lie on it: there the displacement is taken at which the pairs of units are likeliest, tried in steps around it.
    """
    a, b = first.locations.mean(axis=1), second.locations.mean(axis=1)
    depths = first.channel_locations[:, 1]
    extent = float(depths.min()), float(depths.max())
    found = estimate_displacement(a[:, 1], b[:, 1], a[:, 0], b[:, 0], shape_distance(first, second), extent)
    if extent[1] - extent[0] > SHORT_UM or min(first.n_units, second.n_units) == 0:
        return found

    def likelihood(offset_um: float) -> float:
        scores = pair_scores(first, second, found.shifted(offset_um))
        odds = np.maximum(log_odds_matrix(model, scores, (first.n_units, second.n_units)), 0.0)
        rows, columns = linear_sum_assignment(-odds)
        return float(odds[rows, columns].sum() - 0.5 * (offset_um / FURTHER_UM) ** 2)

    offset = 0.0
    for tried in TRIED_UM:
        offset = max((offset + step for step in tried), key=likelihood)
    return found.shifted(offset)


def log_odds_matrix(model: PairModel, scores: PairScores, shape: tuple[int, int]) -> np.ndarray:
    """Log odds of all pairs, -inf where they lie too far apart."""
    matrix = np.full(shape, -np.inf)
    matrix[scores.a, scores.b] = model.log_odds(scores.values)
    return matrix


def fit_to_halves(
    halves: Sequence[tuple[SessionUnits, SessionUnits]], encoder: Any, rng: np.random.Generator
) -> PairModel:
    """The model, fitted to what is known of the sessions: their halves, the second changed as another day would."""
    learned = [known_pairs(early, late, encoder, rng) for early, late in halves]
    values = np.concatenate([scores.values for scores in learned])
    same = np.concatenate([scores.a == scores.b for scores in learned])
    return fit_model(values, same, load_model(), PRIOR_STRENGTH)


def _calibrated(sessions: list[Session], encoder: Any, seed: int) -> tuple[PairModel, KnownPairs]:
    """The model, fitted to what is known of these sessions; and other known pairs, to check it with."""
    rng = np.random.default_rng(seed)
    fitted = in_competition(fit_to_halves([(one.early, one.late) for one in sessions], encoder, rng))
    probability, truth = [], []
    for session in sessions:
        scores = known_pairs(session.early, session.late, encoder, rng)
        n = session.units.n_units
        matrix, _ = match_probabilities(log_odds_matrix(fitted, scores, (n, n)))
        probability.append(matrix[scores.a, scores.b])
        truth.append(scores.a == scores.b)
    return fitted, KnownPairs(np.concatenate(probability), np.concatenate(truth))


def _tables(sessions, probabilities, threshold):
    """Matches, one to one, and all pairs that are not quite unlikely."""
    matches, candidates = [], []
    for (a, b), matrix in probabilities.items():
        rows, columns = linear_sum_assignment(np.where(matrix >= threshold, -matrix, 0.0))
        kept = [(i, j) for i, j in zip(rows, columns, strict=True) if matrix[i, j] >= threshold]
        matches += [_row(sessions, a, i, b, j, matrix) for i, j in kept]
        candidates += [
            _row(sessions, a, i, b, j, matrix) for i, j in zip(*np.nonzero(matrix >= CANDIDATE), strict=True)
        ]
    columns = ["session_a", "unit_a", "session_b", "unit_b", "probability"]
    return pd.DataFrame(matches, columns=columns), pd.DataFrame(candidates, columns=columns)


def _row(sessions, a, i, b, j, matrix):
    one, other = sessions[a], sessions[b]
    return one.name, one.units.unit_ids[i], other.name, other.units.unit_ids[j], float(matrix[i, j])


def _groups(sessions, probabilities, threshold):
    """Neuron, session, unit, probability; units that could not be compared are neurons of their own."""
    rows = []
    neuron = 0
    for group in group_units([session.units.n_units for session in sessions], probabilities, threshold):
        neuron += 1
        for (session, unit), value in zip(group, membership(group, probabilities), strict=True):
            rows.append((neuron, sessions[session].name, sessions[session].units.unit_ids[unit], value))
    for session in sessions:
        compared = set(session.units.unit_ids.tolist())
        for unit in session.sorting.unit_ids:
            if unit not in compared:
                neuron += 1
                rows.append((neuron, session.name, unit, np.nan))
    return pd.DataFrame(rows, columns=["neuron", "session", "unit", "probability"])


def _named_sortings(sessions: list[Session], groups: pd.DataFrame) -> dict[str, BaseSorting]:
    """The Sortings with the property "neuron_id"."""
    sortings = {}
    for session in sessions:
        mine = groups[groups["session"] == session.name]
        neuron = dict(zip(mine["unit"], mine["neuron"], strict=True))
        sorting = session.sorting.select_units(session.sorting.unit_ids)
        sorting.set_property("neuron_id", np.array([neuron[unit] for unit in sorting.unit_ids], dtype=np.int64))
        sortings[session.name] = sorting
    return sortings
