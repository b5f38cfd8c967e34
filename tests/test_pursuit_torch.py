"""The pursuit on a device takes many spikes at once, and finds those of the one that takes one after the other."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import spikeinterface.core as sc
import torch
from stage_helpers import MOVING, recording_with, shank_of, templates_for, waveform

from spikeinterface_huidurep.stages.device import OnDevice
from spikeinterface_huidurep.stages.matching.assignment import MatchingCriteria, MatchTemplates
from spikeinterface_huidurep.stages.matching.neighbours_torch import (
    NeighboursOnDevice,
    rows_of_neighbours,
    side_by_side,
)
from spikeinterface_huidurep.stages.matching.pursuit import Neighbours, pursue
from spikeinterface_huidurep.stages.matching.pursuit_torch import pursue_on_device
from spikeinterface_huidurep.stages.templates.whitened import whiten_templates

TORCH_ON_CPU = "cpu:torch"


def _benchmark():
    path = Path(__file__).parents[1] / "benchmarks" / "pursuit_rounds.py"
    spec = importlib.util.spec_from_file_location("pursuit_rounds", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rounds = _benchmark()


def by_place(found):
    """Columns in the order of units and samples."""
    order = np.lexsort((found[0], found[1]))
    return [column[order] for column in found]


def assert_alike(here, there, rtol=1e-3):
    samples, units, amplitudes, gains, rivals, shifts = by_place(there)
    for column, expected in zip((samples, units, shifts), [by_place(here)[place] for place in (0, 1, 5)], strict=True):
        np.testing.assert_array_equal(column, expected)
    for column, expected in zip((amplitudes, gains, rivals), by_place(here)[2:5], strict=True):
        np.testing.assert_allclose(column, expected, rtol=rtol, atol=1e-3)


def both(problem):
    """What the compiled pursuit finds, after a check that the one on a device finds the same."""
    here, there = pursue(problem.match.copy(), *problem[1:]), rounds.pursue_there(problem)
    assert_alike(here, there)
    return here


def with_spikes(problem, spikes, n_samples, noise=0.0):
    """The filters' output where spikes (unit, sample, amplitude) are all that there is, and some noise of it."""
    n_units, (n_subsample, n_filters, _, n_lags) = len(problem.energy), problem.response.shape
    answer = problem.response[n_subsample // 2].reshape(n_filters**2, n_lags)
    match = np.random.default_rng(0).normal(size=(n_units, n_samples)) * noise * np.sqrt(problem.energy)[:, None]
    start, others, products, _ = problem.neighbours
    for unit, sample, amplitude in spikes:
        for row in range(start[unit], start[unit + 1]):
            lags = np.arange(n_lags) - n_lags // 2 + sample
            there = (lags >= 0) & (lags < n_samples)
            match[others[row], lags[there]] += amplitude * (products[row] @ answer)[there]
    return problem._replace(match=match.astype("float32"))


@pytest.fixture(scope="module")
def few():
    """Eight units that all overlap."""
    return rounds.make_problem(8, 16, 0.1, seed=2, snr=(10.0, 20.0))


@pytest.mark.parametrize(
    ("n_units", "n_channels", "duration_s", "rate_hz", "snr"),
    [
        (60, 96, 0.5, 10.0, (5.0, 25.0)),
        (30, 32, 0.5, 30.0, (3.0, 12.0)),
        (20, 8, 0.5, 20.0, (3.0, 12.0)),
        (4, 4, 0.5, 20.0, (4.0, 15.0)),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_spikes_are_those_of_the_compiled_pursuit(n_units, n_channels, duration_s, rate_hz, snr, seed):
    here = both(rounds.make_problem(n_units, n_channels, duration_s, seed, rate_hz, snr))
    assert len(here[0]) > 10


@pytest.mark.parametrize("seed", range(3))
def test_random_matrices(seed, few):
    """
    Noise that is no filter's output, in which much is beyond the threshold, and random templates: a spike may raise
    another maximum above those that were the best around, and so a few spikes are subtracted in another order.
    """
    rng = np.random.default_rng(seed)
    n_units, n_filters = 12, few.response.shape[1]
    coefficients = rng.normal(size=(n_units, 20, n_filters)).astype("float32")
    energy = (coefficients**2).sum(axis=(1, 2))
    # those at most two places apart overlap
    pairs = [(unit, other) for unit in range(n_units) for other in range(n_units) if abs(unit - other) <= 2]
    products = [(coefficients[other].T @ coefficients[unit] / (1 + abs(unit - other))).ravel() for unit, other in pairs]
    units = np.array(pairs)
    start = np.searchsorted(units[:, 0], np.arange(n_units + 1))
    closeness = 1 / (1 + np.abs(units[:, 0] - units[:, 1])).astype("float32")
    neighbours = Neighbours(start, units[:, 1].copy(), np.array(products, "float32"), closeness)
    match = rng.normal(size=(n_units, 2000)) * 3 * np.sqrt(energy)[:, None]
    problem = few._replace(match=match.astype("float32"), energy=energy, neighbours=neighbours)
    found = []
    for columns in (pursue(problem.match.copy(), *problem[1:]), rounds.pursue_there(problem)):
        places = rounds.places_of(columns, 2000)
        found.append(dict(zip(places.tolist(), columns[2].tolist(), strict=True)))
    here, there = found
    same = [place for place in here if abs(here[place] - there.get(place, 0.0)) < 1e-3]
    assert len(here) > 50 and 2 * len(same) >= 0.98 * (len(here) + len(there))


@pytest.mark.parametrize("lag", [0, 1, 4, 9, 20])
def test_two_cells_that_fire_together(few, lag):
    n_found = 0
    for other in range(1, 8):
        here = both(with_spikes(few, [(0, 200, 1.0), (other, 200 + lag, 1.1)], 400, noise=0.3))
        n_found += np.isin([0, other], here[1]).sum()
    # some look like a third one when they come together
    assert n_found >= 8 and (lag < 9 or n_found == 14)


def test_pairs_that_are_fitted_together():
    problem = rounds.make_problem(30, 16, 1.0, 3, 30.0, (4.0, 15.0))
    here = both(problem)
    never = both(problem._replace(rules=problem.rules._replace(pattern=1e9)))
    # there are pairs in it: without them other spikes are found
    places = [set(zip(found[0].tolist(), found[1].tolist(), strict=True)) for found in (here, never)]
    assert len(places[0] ^ places[1]) > 10


def test_a_unit_is_not_looked_for_soon_after_its_spike(few):
    apart = few.rules.refractory
    for lag, n_spikes in ((apart, 1), (2 * apart, 2)):
        here = both(with_spikes(few, [(0, 200, 1.0), (0, 200 + lag, 1.0)], 400))
        assert (here[1] == 0).sum() == n_spikes


def test_what_a_spike_may_leave_behind_is_no_spike():
    problem, counts = rounds.make_problem(30, 32, 0.5, 5, 30.0, (3.0, 30.0)), []
    for unexplained in (0.0, 0.1, 0.5):
        counts.append(len(both(problem._replace(rules=problem.rules._replace(unexplained=unexplained)))[0]))
    assert counts[0] > 1.05 * counts[1] > 1.05 * 1.05 * counts[2]


@pytest.mark.parametrize("n_samples", [1, 2, 3, 4, 20, 36, 80])
def test_edges(few, n_samples):
    spikes = [(unit, int(sample), 1.0) for unit, sample in enumerate(np.linspace(-2, n_samples + 1, 8))]
    here = both(with_spikes(few, spikes, n_samples, noise=0.3))
    assert len(here[0]) > 0 or n_samples < 4


def test_nothing_to_find(few):
    here, there = (one(with_spikes(few, [], 300)) for one in (lambda it: pursue(*it), rounds.pursue_there))
    for column, expected in zip(there, here, strict=True):
        assert len(column) == len(expected) == 0
        assert column.dtype.kind == ("i" if expected.dtype.kind == "i" else "f") or len(expected) == 0
    assert [column.dtype.kind for column in there] == list("iifffi")


def test_small_batches_give_the_same(monkeypatch):
    problem = rounds.make_problem(30, 32, 0.3, 6, 30.0)
    whole, made = rounds.pursue_there(problem), OnDevice.__init__

    def small(self, *args):
        made(self, *args)
        self.sizes = {"maxima": 4, "leaders": 100, "spikes": 3, "places": 1000}

    monkeypatch.setattr(OnDevice, "__init__", small)
    for column, expected in zip(rounds.pursue_there(problem), whole, strict=True):
        np.testing.assert_allclose(column, expected, rtol=1e-4)


def test_blocks_side_by_side_are_searched_like_one_after_the_other():
    problems = [rounds.make_problem(30, 32, 0.3, 7, 30.0)]
    problems.append(problems[0]._replace(match=problems[0].match[:, ::-1].copy()))
    one = rounds.pursue_there
    rows = rows_of_neighbours(problems[0].neighbours.start, problems[0].neighbours.units)
    stage = OnDevice(TORCH_ON_CPU, "assign spikes")
    neighbours = NeighboursOnDevice(
        *(stage.tensor(row) for row in rows),
        *(stage.tensor(column) for column in problems[0].neighbours[2:]),
    )
    answers = stage.tensor(problems[0].response.reshape(8, -1, problems[0].response.shape[3]))
    found = pursue_on_device(
        stage,
        torch.cat([stage.tensor(problem.match.copy()) for problem in problems]),
        torch.cat([stage.tensor(problem.energy) for problem in problems]),
        side_by_side([neighbours, neighbours]),
        answers,
        problems[0].rules,
    )
    for block, problem in enumerate(problems):
        mine = found[1] // 30 == block
        columns = [column[mine] for column in found]
        columns[1] = columns[1] % 30
        assert_alike(one(problem), columns)


def test_blocks_between_jumps_are_of_any_length():
    samples = np.arange(1000, 290000, 500)
    spikes = [(s, waveform(100.0 + 20.0 * s / 300000, 12.0)) for s in samples]
    shank = shank_of(recording_with(spikes), MOVING)
    displacement = 20.0 * samples / 300000
    templates = templates_for(shank.recording, samples, np.zeros(len(samples), int), [100.0], displacement, MOVING)
    space, found = whiten_templates(templates, shank.noise), []
    traces = shank.recording.get_traces(start_frame=0, end_frame=60000)
    for device in ("cpu", TORCH_ON_CPU):
        node = MatchTemplates(shank.recording, space, MOVING, MatchingCriteria(), device)
        node.jumps = [np.array([20000, 20500, 50000])]
        found.append(node.compute(traces, 0, 60000 - 2 * node.margin, 0, node.margin)[0])
    here, there = (np.sort(one, order="sample_index") for one in found)
    assert len(here) > 100
    for name in ("sample_index", "unit_index", "shift"):
        np.testing.assert_array_equal(there[name], here[name])
    np.testing.assert_allclose(there["misfit"], here["misfit"], rtol=2e-3)


def test_chunks_are_long_on_a_device_and_other_job_parameters_stay():
    from spikeinterface_huidurep.stages.matching import assignment

    recording = sc.generate_recording(num_channels=2, durations=[20.0], sampling_frequency=15000.0)
    least = int(assignment.CHUNK_ON_DEVICE_S * 15000)
    for given, size in ({"chunk_duration": "0.5s"}, least), ({"chunk_size": 2 * least}, 2 * least):
        longer = assignment._longer_chunks(recording, {"n_jobs": 1, "progress_bar": False, **given})
        assert longer == {"n_jobs": 1, "progress_bar": False, "chunk_size": size}
