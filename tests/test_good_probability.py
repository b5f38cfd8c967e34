"""How likely a unit is one neuron's."""

import numpy as np
import pytest
from spikeinterface.core import NumpyRecording, NumpySorting
from spikeinterface.sorters import run_sorter

from spikeinterface_huidurep.good_probability import (
    FACTORS,
    FEATURES,
    describe_units,
    load_model,
    set_good_probability,
)

RATE, DURATION_S = 10_000.0, 100.0


def sorting_of(trains, snr, piece=0.0):
    """Units with these spike times (s)."""
    samples = {unit: np.sort((times * RATE).astype(int)) for unit, times in enumerate(trains)}
    sorting = NumpySorting.from_unit_dict([samples], RATE)
    sorting.set_property("snr", np.asarray(snr, dtype="float64"))
    sorting.set_property("piece_probability", np.broadcast_to(np.float64(piece), len(trains)).copy())
    return sorting


def known_of(sorting, confidence, time_scale=1.0):
    known = describe_units(sorting, confidence, [int(RATE * DURATION_S)], DURATION_S, time_scale)
    return dict(zip((*FEATURES, *FACTORS), known.T, strict=True)), known


def test_what_is_known_of_a_unit():
    rng = np.random.default_rng(0)
    steady, early = rng.uniform(0, DURATION_S, 400), rng.uniform(0, DURATION_S / 5, 100)
    # every spike with another one after 1.2 ms: a unit of foreign spikes
    mixed = np.concatenate([steady, steady + 0.0012])
    sorting = sorting_of([steady, early, mixed], snr=[20.0, 5.0, 2.5])
    units = sorting.to_spike_vector()["unit_index"]
    told, known = known_of(sorting, np.where((units == 1) & (np.cumsum(units == 1) % 4 == 0), 0.5, 1.0))
    assert told["few_spikes"] == pytest.approx([0, np.log(3), 0])
    assert told["small"] == pytest.approx([0, np.log(2), np.log(4)])
    assert told["doubtful"] == pytest.approx([0, 0.25, 0])
    # in a fifth of the recording: spikes meet five times as often as chance lets them
    assert told["unsteady"][0] < 0.05 and told["unsteady"][1] == pytest.approx(0.8, abs=0.05)
    assert told["contaminated"][:2].max() < 0.1 and told["contaminated"][2] > 0.9
    # potentials that last twice as long have pauses that do
    longer, _ = known_of(sorting, np.ones(len(units)), time_scale=2.0)
    assert longer["contaminated"][2] > 0.9
    probability = load_model().probability(known)
    assert probability[0] > 0.95 and probability[1] < 0.5 and probability[2] < 0.1


def test_a_likely_piece_is_unlikely_a_neuron():
    rng = np.random.default_rng(0)
    trains, sure = [rng.uniform(0, DURATION_S, 500)], np.ones(500)
    _, whole = known_of(sorting_of(trains, [9.0]), sure)
    _, piece = known_of(sorting_of(trains, [9.0], piece=0.75), sure)
    model = load_model()
    assert model.probability(piece) == pytest.approx(model.probability(whole) / 4)
    # more of anything that speaks against a unit never speaks for it
    assert (model.weights <= 0).all()


def test_units_of_a_sort_have_it(tetrode_recording, tmp_path):
    recording, _ = tetrode_recording
    sorting = run_sorter("huidurep", recording, folder=tmp_path / "sort", n_jobs=1, device="cpu")
    probability = sorting.get_property("good_probability")
    assert len(probability) == len(sorting.unit_ids) > 0
    assert ((probability > 0) & (probability < 1)).all()
    # four neurons, all found
    assert probability.mean() > 0.8
    nothing = NumpySorting.from_unit_dict([{}], RATE)
    set_good_probability(nothing, recording)
    assert nothing.get_property("good_probability") is None


def test_a_unit_that_is_hardly_one_neurons_is_not_good(caplog):
    rng = np.random.default_rng(0)
    clear, small = rng.uniform(0, DURATION_S, 900), rng.uniform(0, DURATION_S / 8, 25)
    sorting = sorting_of([clear, small, small[:22]], snr=[15.0, 2.2, 2.2])
    sorting.spike_confidence = np.where(sorting.to_spike_vector()["unit_index"] == 0, 1.0, 0.7)
    sorting.set_property("quality", np.array(["good", "good", "noise"]))
    recording = NumpyRecording([np.zeros((int(DURATION_S * RATE), 1), dtype="int16")], RATE)
    with caplog.at_level("INFO", logger="spikeinterface_huidurep"):
        set_good_probability(sorting, recording)
    assert sorting.get_property("good_probability")[1] < 0.5
    assert sorting.get_property("quality").tolist() == ["good", "mua", "noise"]
    assert "1 of 2 good units" in caplog.text
