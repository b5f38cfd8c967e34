"""
How many rounds the pursuit on a device needs, and whether it finds the spikes of the compiled one.

    python benchmarks/pursuit_rounds.py
    python benchmarks/pursuit_rounds.py --seeds 5

Units at random places of a probe with two columns fire at random; noise is white. No sort is run: the templates are the
true ones. Computes with PyTorch's code for the processor. For each case, mean of the seeds:
spikes found; the share of them that are the compiled pursuit's, at the same samples; rounds, and the spikes of the
first, the middle and the last tenth of them; kernels, the operations that a GPU is given one by one (views are none).
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
import spikeinterface.core as sc
import torch
from probeinterface import Probe
from scipy.signal import oaconvolve
from torch.utils._python_dispatch import TorchDispatchMode

from spikeinterface_huidurep.stages.device import OnDevice
from spikeinterface_huidurep.stages.matching.assignment import MatchingCriteria, MatchTemplates
from spikeinterface_huidurep.stages.matching.neighbours_torch import NeighboursOnDevice, rows_of_neighbours
from spikeinterface_huidurep.stages.matching.pursuit import Neighbours, pursue
from spikeinterface_huidurep.stages.matching.pursuit_torch import pursue_on_device
from spikeinterface_huidurep.stages.matching.rules import UNEXPLAINED_STILL, PursuitRules
from spikeinterface_huidurep.stages.templates.drifting import DriftingUnitTemplates
from spikeinterface_huidurep.stages.templates.whitened import whiten_templates
from spikeinterface_huidurep.stages.traces.noise import NoiseModel

RATE, NBEFORE, NAFTER, N_LOCAL = 15000.0, 12, 24, 24
ORDINARY, LOUD, SMALL = (5.0, 25.0), (4.0, 30.0), (3.0, 12.0)
# units, channels, seconds, median rate (Hz), SNR; the last two are as dense as hardly any recording
CASES = [
    (250, 384, 0.5, 5.0, ORDINARY),
    (250, 384, 4.0, 5.0, ORDINARY),
    (60, 64, 1.0, 40.0, LOUD),
    (60, 16, 1.0, 20.0, SMALL),
]


class Problem(NamedTuple):
    """What `pursue` takes."""

    match: np.ndarray
    energy: np.ndarray
    neighbours: Neighbours
    response: np.ndarray
    rules: PursuitRules


def make_problem(
    n_units: int,
    n_channels: int,
    duration_s: float,
    seed: int,
    rate_hz: float = 5.0,
    snr: tuple[float, float] = ORDINARY,
) -> Problem:
    """
    Output of matched filters where units fire at random in white noise.

    Parameters
    ----------
    n_units, n_channels, duration_s, seed
    rate_hz : float
        Median of the units' rates.
    snr : (float, float)
        Of their troughs, even on a log scale.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(n_channels) // 2
    places = np.column_stack([32.0 * (np.arange(n_channels) % 2), 15.0 * rows])
    templates = _make_templates(rng, places, n_units, snr)
    traces = rng.normal(size=(int(duration_s * RATE), n_channels)).astype("float32")
    for unit, rate in enumerate(np.exp(rng.normal(np.log(rate_hz), 0.8, n_units))):
        for sample in rng.integers(NBEFORE, len(traces) - NAFTER, rng.poisson(rate * duration_s)):
            spike = templates.waveforms[unit, 0] * rng.normal(1, 0.12)
            traces[sample - NBEFORE : sample + NAFTER, templates.channels[unit]] += spike
    recording = sc.NumpyRecording([traces], RATE)
    probe = Probe(ndim=2)
    probe.set_contacts(places)
    probe.set_device_channel_indices(np.arange(n_channels))
    recording.set_probe(probe)
    white = NoiseModel(np.eye(n_channels, dtype="float32"), np.eye(1, NBEFORE + NAFTER)[0])
    space = whiten_templates(templates, white)
    node = MatchTemplates(recording, space, None, MatchingCriteria(unexplained=UNEXPLAINED_STILL))
    placed = node.still
    assert placed is not None, "the probe stands still"
    energy = (placed.coefficients**2).sum(axis=(1, 2))
    match = np.zeros((n_units, len(traces) - NBEFORE - NAFTER + 1), dtype="float32")
    for k, one in enumerate(space.filters):
        filtered = oaconvolve(traces.T, one[None, ::-1], mode="valid", axes=1)
        for unit in range(n_units):
            match[unit] += placed.coefficients[unit, :, k] @ filtered[space.channels[unit]]
    return Problem(match, energy, placed.neighbours, space.response, node.rules)


def _make_templates(rng, places, n_units, snr):
    n_local = min(N_LOCAL, len(places))
    depths = rng.uniform(places[:, 1].min(), places[:, 1].max(), n_units)
    locations = np.column_stack([rng.uniform(0, 32, n_units), depths])
    distances = np.linalg.norm(places[None] - locations[:, None], axis=2)
    channels = np.sort(np.argsort(distances, axis=1)[:, :n_local], axis=1)
    near = np.take_along_axis(distances, channels, axis=1)
    waveforms = np.zeros((n_units, 1, NBEFORE + NAFTER, n_local), dtype="float32")
    for unit in range(n_units):
        width, late = rng.uniform(1.5, 4), rng.uniform(4, 9)
        footprint = np.exp(-near[unit] / rng.uniform(20, 45))
        time = np.arange(-NBEFORE, NAFTER)[:, None] - near[unit] / rng.uniform(40, 200)
        shape = -np.exp(-((time / width) ** 2))
        shape += rng.uniform(0.2, 0.5) * np.exp(-(((time - late) / (2 * width)) ** 2))
        waveforms[unit, 0] = np.exp(rng.uniform(*np.log(snr))) * shape * footprint / footprint.max()
    counts = np.ones((n_units, 1), dtype=int)
    return DriftingUnitTemplates(waveforms, channels, np.zeros(1), locations, counts, NBEFORE)


def pursue_there(problem: Problem, device: str = "cpu:torch") -> tuple[np.ndarray, ...]:
    """What the pursuit on a device finds."""
    stage = OnDevice(device, "assign spikes")
    neighbours, (n_subsample, n_filters, _, n_lags) = problem.neighbours, problem.response.shape
    rows = rows_of_neighbours(neighbours.start, neighbours.units)
    arrays = (*rows, neighbours.products, neighbours.closeness)
    there = NeighboursOnDevice(*(stage.tensor(array) for array in arrays))
    answers = stage.tensor(problem.response.reshape(n_subsample, n_filters * n_filters, n_lags))
    match, energy = stage.tensor(problem.match.copy()), stage.tensor(problem.energy)
    with torch.inference_mode():
        return pursue_on_device(stage, match, energy, there, answers, problem.rules)


def places_of(found: tuple[np.ndarray, ...], n_samples: int) -> np.ndarray:
    """Unit and sample of each spike, as one number."""
    return found[1] * n_samples + found[0]


class Kernels(TorchDispatchMode):
    """Counts the operations that make values, and the spikes that each round takes."""

    def __init__(self, rules: PursuitRules):
        super().__init__()
        self.count, self.blocked = 0, 2 * rules.refractory + 1
        self.rounds: list[int] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        # once a round so many samples are blocked for each of its spikes
        if function is torch.ops.aten.index_fill_.int_Scalar:
            self.rounds.append(args[2].numel() // self.blocked)
        return function(*args, **(kwargs or {}))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    print("| units, channels | Hz | s | spikes | the same | rounds | spikes in first, middle, last tenth | kernels |")
    print("|---|---|---|---|---|---|---|---|")
    for n_units, n_channels, duration_s, rate_hz, snr in CASES:
        rows = []
        for seed in range(options.seeds):
            problem = make_problem(n_units, n_channels, duration_s, seed, rate_hz, snr)
            with Kernels(problem.rules) as kernels:
                there = pursue_there(problem)
            here = pursue(problem.match.copy(), *problem[1:])
            n_samples = problem.match.shape[1]
            same = np.intersect1d(places_of(here, n_samples), places_of(there, n_samples))
            taken = kernels.rounds
            parts = taken[0], taken[len(taken) // 2], taken[len(taken) - len(taken) // 10 - 1]
            share = 2 * len(same) / (len(here[0]) + len(there[0]))
            rows.append([len(there[0]), share, len(taken), *parts, kernels.count])
        spikes, share, rounds, first, middle, last, count = np.mean(rows, axis=0)
        print(
            f"| {n_units}, {n_channels} | {rate_hz:g} | {duration_s:g} | {spikes:.0f} | {share:.5f} | {rounds:.0f} "
            f"| {first:.0f}, {middle:.0f}, {last:.0f} | {count:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
