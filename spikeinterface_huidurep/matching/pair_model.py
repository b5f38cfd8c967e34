"""How likely two units are one neuron, from what they differ by: a logistic model that starts from days whose neurons
are known and goes on with the user's own sessions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from .logistic import falling_logistic
from .scores import NAMES

# A score below this makes no difference: it is the noise's.
_SMALLEST = {"vector": 0.005, "template": 0.003, "footprint": 0.003, "waveform": 0.002, "x": 2.0, "depth": 3.0}
_LOG = tuple(_SMALLEST)
MODEL_FILE = "pair_model.json"


@dataclass(frozen=True)
class PairModel:
    """Log odds that a pair is one neuron, where either is as likely before anything is known of it.

    Attributes
    ----------
    weights : np.ndarray, shape (n_scores,)
        Of the features, none above 0: two units that differ more are less likely the same.
    offset : float
    """

    weights: np.ndarray
    offset: float

    def log_odds(self, scores: np.ndarray) -> np.ndarray:
        """Of pairs with these scores (n_pairs, n_scores), (n_pairs,)."""
        return features(scores) @ self.weights + self.offset


def features(scores: np.ndarray) -> np.ndarray:
    """The scores as the model takes them, (n_pairs, n_scores): logarithms of all but the amplitude's, which is one."""
    values = np.array(scores, dtype=np.float64)
    for name, smallest in _SMALLEST.items():
        column = NAMES.index(name)
        values[:, column] = np.log(np.maximum(values[:, column], 0) / smallest + 1)
    return values


def in_competition(model: PairModel) -> PairModel:
    """
    The model for pairs that compete for their partners, see `match_probabilities`.

    It is fitted to pairs by themselves, most of which are plainly two neurons: the few that decide count little in
    that, and near the boundary its log odds are too low. Of simulated days, the scale and the shift of the log odds
    were taken at which the probabilities after the competition are likeliest (``studies/days_model.py``).
    """
    saved = json.loads(files(__package__).joinpath(MODEL_FILE).read_text(encoding="utf8"))
    scale, shift = float(saved["scale"]), float(saved["shift"])
    return PairModel(model.weights * scale, model.offset * scale + shift)


def load_model() -> PairModel:
    """The model that was fitted to sessions whose neurons are known (``studies/days_model.py``)."""
    saved = json.loads(files(__package__).joinpath(MODEL_FILE).read_text(encoding="utf8"))
    return PairModel(np.array([saved["weights"][name] for name in NAMES]), float(saved["offset"]))


def fit_model(scores: np.ndarray, same: np.ndarray, start: PairModel | None, strength: float) -> PairModel:
    """
    Fit the model to pairs that are known.

    Parameters
    ----------
    scores : np.ndarray, shape (n_pairs, n_scores)
    same : np.ndarray of bool, shape (n_pairs,)
        Whether a pair is one neuron.
    start : PairModel or None
        What is believed before: Gaussian, its mean; None for weights of 0.
    strength : float
        Of that belief, see `falling_logistic`.

    Returns
    -------
    PairModel
    """
    believed = np.zeros(len(NAMES) + 1) if start is None else np.append(start.weights, start.offset)
    weights, offset = falling_logistic(features(scores), same, believed, strength)
    return PairModel(weights, offset)
