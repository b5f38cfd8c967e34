"""Simpler ways to match units over sessions, to compare with: each gives a score for all pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from spikeinterface.comparison import compare_templates
from spikeinterface.core import SortingAnalyzer

from ..matching.displacement import Displacement
from ..matching.exclusive import match_probabilities
from ..matching.half_templates import SessionUnits
from ..matching.match import displacement_between, log_odds_matrix
from ..matching.pair_model import in_competition, load_model
from ..matching.scores import pair_scores
from .days_measures import UNASSIGNED

COMPONENTS = 5  # of each channel's waveforms, as spike sorters keep


def one_to_one(score: np.ndarray) -> np.ndarray:
    """The scores of the best one-to-one assignment, the others far below: what SpikeInterface's matching leaves."""
    rows, columns = linear_sum_assignment(-score)
    kept = np.full(score.shape, UNASSIGNED)
    kept[rows, columns] = score[rows, columns]
    return kept


def template_similarity(first: SortingAnalyzer, second: SortingAnalyzer) -> np.ndarray:
    """SpikeInterface's comparison of templates, `compare_templates`: cosine similarity, (n, m)."""
    comparison = compare_templates(first, second, similarity_method="cosine", support="union", num_shifts=4)
    return comparison.agreement_scores.to_numpy()


def place_alone(first: SessionUnits, second: SessionUnits, displacement: Displacement) -> np.ndarray:
    """Minus the distance of the units after the displacement, um, (n, m)."""
    a, b = first.locations.mean(axis=1), second.locations.mean(axis=1)
    a = a + np.column_stack([np.zeros(len(a)), displacement.at(a[:, 1])])
    return -np.linalg.norm(a[:, None] - b[None], axis=2)


def svd_features(sessions: list[SessionUnits], n_channels: int = 12) -> list[np.ndarray]:
    """Vectors of units of principal components: of each one's nearest channels, in the order of their distance.

    The components are those of all waveforms of all sessions. They stand where the encoder's vectors stand.

    Returns
    -------
    list of np.ndarray, shape (n_units, 2, n_components * n_channels)
        Of the halves of each unit, of unit length.
    """
    waveforms = [_nearest(session, n_channels) for session in sessions]
    rows = np.concatenate([one.reshape(-1, one.shape[-1]) for one in waveforms])
    components = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:COMPONENTS]
    vectors = []
    for one in waveforms:
        projected = one @ components.T
        flat = projected.reshape(*projected.shape[:2], -1)
        vectors.append(flat / np.maximum(np.linalg.norm(flat, axis=2, keepdims=True), 1e-9))
    return vectors


def _nearest(session: SessionUnits, n_channels: int) -> np.ndarray:
    """Waveforms of the halves on the channels nearest to each unit, (n_units, 2, n_channels, n_samples)."""
    n_channels = min(n_channels, len(session.channel_locations))
    found = []
    for unit in range(session.n_units):
        distance = np.linalg.norm(session.channel_locations - session.locations[unit].mean(axis=0), axis=1)
        channels = np.argsort(distance, kind="stable")[:n_channels]
        found.append(session.templates[unit][:, :, channels].transpose(0, 2, 1))
    n_samples = session.templates.shape[2]
    return np.array(found, dtype=np.float64).reshape(session.n_units, 2, n_channels, n_samples)


def vector_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Minus the mean squared distance of the halves' vectors, (n, m)."""
    return -np.mean(
        [
            ((first[:, None, h].astype(np.float64) - second[None, :, k]) ** 2).mean(axis=2)
            for h in (0, 1)
            for k in (0, 1)
        ],
        axis=0,
    )


def with_other_vectors(
    first: SessionUnits, second: SessionUnits, vectors_a: np.ndarray, vectors_b: np.ndarray
) -> np.ndarray:
    """Probabilities of all pairs, (n, m), by the same method with other vectors (n_units, 2, d) than the encoder's.

    They are brought to the encoder's scale: the mean squared distance of two units is the same.
    """
    scale = _spread(first.vectors, second.vectors) / max(_spread(vectors_a, vectors_b), 1e-12)
    one = replace(first, vectors=vectors_a * np.sqrt(scale))
    other = replace(second, vectors=vectors_b * np.sqrt(scale))
    model = in_competition(load_model())
    scores = pair_scores(one, other, displacement_between(one, other, model))
    log_odds = log_odds_matrix(model, scores, (one.n_units, other.n_units))
    return match_probabilities(log_odds)[0]


def _spread(a: np.ndarray, b: np.ndarray) -> float:
    return float(-vector_similarity(a, b).mean())
