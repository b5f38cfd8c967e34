"""How likely a unit is one neuron's: a probability beside each label."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from spikeinterface.core import BaseRecording, BaseSorting

from .stages.result.quality import QualityCriteria, contamination_of_each
from .stages.traces.segments import duration_of

logger = logging.getLogger("spikeinterface_huidurep")

PROPERTY = "good_probability"
MODEL_FILE = "good_model.json"
#: What the model weighs; each makes a unit less likely to be one neuron's, the more there is of it.
FEATURES = ("few_spikes", "small", "doubtful", "unsteady")
#: What makes it so many times less likely by itself: it is a probability, or a share, already.
FACTORS = ("piece", "contaminated")
# spikes and SNR beyond which more of them say no more, confidence below which a spike is doubtful, and parts of the
# recording in which spikes are counted; what they make of a unit is measured by the model's figures (docs/curate.md)
MANY_SPIKES, LARGE_SNR, SURE, N_PARTS = 300.0, 10.0, 0.9, 10
# "good" units are rather one neuron's than not: of 23 that are less likely so, 8 were right (docs/curate.md)
LEAST_GOOD = 0.5


@dataclass(frozen=True)
class GoodModel:
    """
    A logistic model of `FEATURES`, times what `FACTORS` leave.

    Attributes
    ----------
    weights : (n_features,) float
        None above zero.
    offset : float
        Log odds of a unit without any of the features.
    """

    weights: np.ndarray
    offset: float

    def probability(self, known: np.ndarray) -> np.ndarray:
        """Of units of which this is known, see `describe_units`, (n_units,) float64."""
        features, factors = known[:, : len(FEATURES)], known[:, len(FEATURES) :]
        return (1 - factors).prod(axis=1) / (1 + np.exp(-(features @ self.weights + self.offset)))


def load_model() -> GoodModel:
    """The model that was fitted to recordings whose neurons are known (``studies/good_probability.py``)."""
    saved = json.loads(files(__package__).joinpath(MODEL_FILE).read_text(encoding="utf8"))
    return GoodModel(np.array([saved["weights"][name] for name in FEATURES]), float(saved["offset"]))


def set_good_probability(sorting: BaseSorting, recording: BaseRecording, time_scale: float = 1.0) -> None:
    """
    Set the unit property `good_probability`: how likely a unit has an accuracy of 0.8 and more with one neuron.

    Units that are labelled "good" in the property `quality`, but have a probability below `LEAST_GOOD`, become "mua".

    Parameters
    ----------
    sorting : BaseSorting
        Of the sorter, with its unit properties and the attribute `spike_confidence`; without units nothing is set.
    recording : BaseRecording
        That was sorted.
    time_scale : float
        How many times longer than a neuron's its potentials last: the sorter's parameter.
    """
    if len(sorting.unit_ids):
        lengths = [recording.get_num_samples(segment) for segment in range(recording.get_num_segments())]
        duration_s = duration_of(recording)
        known = describe_units(sorting, sorting.spike_confidence, lengths, duration_s, time_scale)
        probability, labels = load_model().probability(known), sorting.get_property("quality")
        sorting.set_property(PROPERTY, probability)
        if labels is not None and (unlikely := (labels == "good") & (probability < LEAST_GOOD)).any():
            sorting.set_property("quality", np.where(unlikely, "mua", labels))
            logger.info("labels: %d of %d good units are hardly one neuron's", unlikely.sum(), (labels == "good").sum())


def describe_units(
    sorting: BaseSorting, confidence: np.ndarray, n_samples: list[int], duration_s: float, time_scale: float = 1.0
) -> np.ndarray:
    """
    What the model knows of each unit.

    Parameters
    ----------
    sorting : BaseSorting
        With the unit properties `snr` and `piece_probability`.
    confidence : (n_spikes,) float
        In the order of the spike vector.
    n_samples : list of int
        Of each segment.
    duration_s : float
        Without pauses, s.
    time_scale : float
        As for `set_good_probability`.

    Returns
    -------
    (n_units, n_features + n_factors) float64
        As `FEATURES` and `FACTORS` name them: logarithms of how many times fewer spikes than `MANY_SPIKES` it has, and
        of how many times smaller than `LARGE_SNR` it is; the share of its spikes that are less sure than `SURE`; how
        unevenly they come over the recording (0 for a steady neuron, nearer 1 where they all come in a part of it); the
        probability that it is a piece; and `contamination_of_each` by its refractory period.
    """
    spikes, n_units = sorting.to_spike_vector(), len(sorting.unit_ids)
    units = spikes["unit_index"]
    counts = np.bincount(units, minlength=n_units)
    doubtful = np.bincount(units, weights=confidence < SURE, minlength=n_units) / np.maximum(counts, 1)
    snr = np.maximum(sorting.get_property("snr"), 0.1)
    columns = {
        "few_spikes": np.log(MANY_SPIKES / np.clip(counts, 1, MANY_SPIKES)),
        "small": np.log(LARGE_SNR / np.minimum(snr, LARGE_SNR)),
        "doubtful": doubtful,
        "unsteady": _unsteadiness(spikes, n_units, n_samples),
        "piece": np.asarray(sorting.get_property("piece_probability"), dtype="float64"),
        "contaminated": contamination_of_each(
            spikes, n_units, QualityCriteria(), sorting.sampling_frequency * time_scale, duration_s / time_scale
        ),
    }
    return np.column_stack([columns[name] for name in (*FEATURES, *FACTORS)])


def _unsteadiness(spikes, n_units, n_samples):
    """Of each unit: 1 - share of the recording in which as many spikes, evenly, would meet as often as they do."""
    starts = np.concatenate([[0], np.cumsum(n_samples)])
    at = starts[spikes["segment_index"]] + spikes["sample_index"]
    part = np.minimum(at * N_PARTS // max(int(starts[-1]), 1), N_PARTS - 1)
    counts = np.zeros((n_units, N_PARTS))
    np.add.at(counts, (spikes["unit_index"], part), 1)
    total = counts.sum(axis=1)
    # pairs of spikes in one part: chance makes as many as the parts are few
    pairs, chance = (counts * (counts - 1)).sum(axis=1), total * (total - 1) / N_PARTS
    return np.clip(1 - chance / np.maximum(pairs, np.maximum(chance, 1e-12)), 0.0, 1.0)
