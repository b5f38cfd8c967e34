"""A small template library and small sortings, made in a moment, for the tests of the benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from spikeinterface.core import BaseSorting, NumpySorting

FREQUENCY = 32000.0
NBEFORE = 32
N_SAMPLES = 96


def spike_shape(n: int = N_SAMPLES, nbefore: int = NBEFORE, width_ms: float = 0.15) -> np.ndarray:
    """A trough of -1 at `nbefore` and a slower positive wave."""
    t_ms = (np.arange(n) - nbefore) / FREQUENCY * 1000
    return -np.exp(-0.5 * (t_ms / width_ms) ** 2) + 0.35 * np.exp(-0.5 * ((t_ms - 0.55) / 0.3) ** 2)


def write_library(path: Path, n_units: int = 40, n_channels: int = 16, displacements: int = 1, seed: int = 0) -> Path:
    """Write a library of `n_units` seen by two columns of channels (x = +-16 um, rows of 20 um)."""
    rng = np.random.default_rng(seed)
    rows = n_channels // 2
    positions = np.array([[0.0, x, 20.0 * row] for x in (-16.0, 16.0) for row in range(rows)])
    steps_um = np.linspace(-30, 30, displacements) if displacements > 1 else np.zeros(1)
    soma = rng.uniform((10, -25, 0), (30, 25, 20 * rows), (n_units, 3))
    widths = rng.uniform(0.1, 0.25, n_units)
    peaks = rng.uniform(60, 250, n_units)
    templates = np.zeros((n_units, displacements, n_channels, N_SAMPLES), dtype=np.float32)
    for unit in range(n_units):
        for step, displacement in enumerate(steps_um):
            moved = soma[unit] + [0, 0, displacement]
            gain = peaks[unit] * (soma[unit, 0] / np.linalg.norm(positions - moved, axis=1)) ** 1.5
            templates[unit, step] = gain[:, np.newaxis] * spike_shape(width_ms=widths[unit])
    content = {
        "cell_model": np.array([f"model_{unit % 4}" for unit in range(n_units)]),
        "cell_class": np.array(["E" if unit % 2 else "I" for unit in range(n_units)]),
        "channel_positions": positions,
        "sampling_frequency": np.array(FREQUENCY),
        "nbefore": np.array(NBEFORE),
        "probe": np.array("test"),
        "seed": np.array(seed),
    }
    if displacements == 1:
        scale = np.abs(templates).max(axis=(1, 2, 3)) / 32767
        packed = np.rint(templates[:, 0] / scale[:, np.newaxis, np.newaxis]).astype(np.int16)
        np.savez(path, templates=packed, scale=scale.astype(np.float32), location=soma, **content)
    else:
        # one component: the gain of each channel at each displacement times the unit's wave
        gains = np.abs(templates).max(axis=3)
        scale = gains.max(axis=(1, 2)) / 32767
        u = np.rint(gains / scale[:, np.newaxis, np.newaxis])[..., np.newaxis].astype(np.int16)
        waves = np.stack([spike_shape(width_ms=width) for width in widths])
        v = np.rint(waves / np.abs(waves).max() * 32767)[:, np.newaxis].astype(np.int16)
        location = soma[:, np.newaxis] + steps_um[:, np.newaxis] * np.array([0, 0, 1.0])
        np.savez(
            path,
            u=u,
            v=v,
            u_scale=scale.astype(np.float32),
            rank=np.ones(n_units, dtype=np.int64),
            location=location,
            displacement=steps_um,
            **content,
        )
    return path


def perturbed(sorting: BaseSorting, missed: float, false: float, seed: int = 0) -> BaseSorting:
    """A copy without a share of the spikes and with a share of wrong ones; the last unit is left out altogether."""
    rng = np.random.default_rng(seed)
    last = max(sorting.get_unit_spike_train(unit).max(initial=0) for unit in sorting.unit_ids)
    trains = {}
    for unit in sorting.unit_ids[:-1]:
        train = sorting.get_unit_spike_train(unit)
        kept = train[rng.random(train.size) >= missed]
        wrong = rng.integers(0, last, int(false * train.size))
        trains[f"found_{unit}"] = np.sort(np.concatenate([kept, wrong]))
    return NumpySorting.from_unit_dict([trains], sorting.sampling_frequency)
