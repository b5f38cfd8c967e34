"""Spike trains with log-normal rates, a refractory period, and bursts whose amplitude falls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from spikeinterface.core.generate import synthesize_poisson_spike_vector

# Longer than the periods that quality metrics and labels test (1.5 ms), shorter than the intervals of bursts.
TRUE_REFRACTORY_MS = 2.5
# Bursts of cortical pyramidal cells: 2 to 4 spikes at 140 to 330 Hz.
BURST_INTERVAL_MS = (3.0, 7.0)
BURST_LENGTHS = (2, 3, 4)
BURST_PROBABILITY = 0.25  # of an event of a bursting unit: most events are single spikes


@dataclass(frozen=True)
class Bursts:
    """Bursts of the units that burst.

    Attributes
    ----------
    lengths : tuple of int
        Numbers of spikes in a burst, each as likely.
    fall : (float, float)
        Range from which each unit draws the amplitude of a spike relative to the one before it in a burst.
    """

    lengths: tuple[int, ...] = BURST_LENGTHS
    fall: tuple[float, float] = (0.78, 0.92)


@dataclass(frozen=True)
class SpikeTrains:
    """Spikes of all units, sorted by time.

    Attributes
    ----------
    time : np.ndarray, shape (n_spikes,), float64
        Time of the trough in samples, with its fraction.
    unit_index : np.ndarray, shape (n_spikes,), int64
    amplitude : np.ndarray, shape (n_spikes,), float32
        Factor on the unit's template.
    """

    time: np.ndarray
    unit_index: np.ndarray
    amplitude: np.ndarray


def log_normal_rates(n_units: int, rate_hz: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Draw (n_units,) rates in Hz from a log-normal law whose central 95 % is `rate_hz`, clipped to it."""
    low, high = np.log(rate_hz)
    return np.exp(np.clip(rng.normal(0.5 * (low + high), 0.25 * (high - low), n_units), low, high))


def make_spike_trains(
    rates_hz: np.ndarray,
    bursting: np.ndarray,
    amplitude_noise: np.ndarray,
    duration_s: float,
    sampling_frequency: float,
    rng: np.random.Generator,
    bursts: Bursts | None = None,
) -> SpikeTrains:
    """Draw the spikes of all units.

    Parameters
    ----------
    rates_hz : np.ndarray, shape (n_units,)
        Mean rates.
    bursting : np.ndarray, shape (n_units,), bool
        A quarter of a bursting unit's events are bursts, whose spikes are 3-7 ms apart.
    amplitude_noise : np.ndarray, shape (n_units,)
        Standard deviation of the amplitude factor of each unit.
    duration_s, sampling_frequency : float
        Of the recording, in s and Hz.
    rng : np.random.Generator
        Source of all random numbers.
    bursts : Bursts, optional
        By default 2 to 4 spikes, each smaller than the last.

    Returns
    -------
    SpikeTrains
        Spikes of a unit are never closer than the refractory period (2.5 ms).
    """
    bursts = bursts or Bursts()
    mean_length = 1 + BURST_PROBABILITY * (np.mean(bursts.lengths) - 1)
    event_rates = np.where(bursting, rates_hz / mean_length, rates_hz)
    frames, units = synthesize_poisson_spike_vector(
        num_units=rates_hz.size,
        sampling_frequency=sampling_frequency,
        duration=duration_s,
        refractory_period_ms=TRUE_REFRACTORY_MS,
        firing_rates=event_rates,
        seed=int(rng.integers(2**31)),
    )
    time, unit_index = frames + rng.uniform(-0.5, 0.5, frames.size), units.astype(np.int64)
    burst_fall = rng.uniform(*bursts.fall, rates_hz.size)
    event, rank, elapsed = _spikes_of_events(bursting[unit_index], bursts.lengths, sampling_frequency, rng)
    time, unit_index = time[event] + elapsed, unit_index[event]
    amplitude = burst_fall[unit_index] ** rank * (1 + amplitude_noise[unit_index] * rng.standard_normal(time.size))

    order = np.lexsort((time, unit_index))
    time, unit_index, amplitude = time[order], unit_index[order], amplitude[order]
    kept = _respect_refractory_period(time, unit_index, TRUE_REFRACTORY_MS * sampling_frequency / 1000)
    kept &= (time >= 0) & (np.rint(time) < int(duration_s * sampling_frequency))
    time, unit_index, amplitude = time[kept], unit_index[kept], amplitude[kept]
    order = np.lexsort((unit_index, np.rint(time)))
    return SpikeTrains(time[order], unit_index[order], np.maximum(amplitude[order], 0.2).astype(np.float32))


def _spikes_of_events(
    can_burst: np.ndarray, lengths: tuple[int, ...], sampling_frequency: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw which events are bursts; returns each spike's event, its rank in it, and the samples since its first spike.

    `can_burst`, (n_events,) bool: the event's unit is a bursting one.
    """
    is_burst = can_burst & (rng.random(can_burst.size) < BURST_PROBABILITY)
    n_spikes = np.where(is_burst, rng.choice(lengths, can_burst.size), 1)
    event = np.repeat(np.arange(can_burst.size), n_spikes)
    first = np.cumsum(n_spikes) - n_spikes
    rank = np.arange(event.size) - first[event]
    gaps = rng.uniform(*BURST_INTERVAL_MS, rank.size) * sampling_frequency / 1000
    gaps[rank == 0] = 0
    elapsed = np.cumsum(gaps)
    return event, rank, elapsed - elapsed[first[event]]


def _respect_refractory_period(time: np.ndarray, unit_index: np.ndarray, period: float) -> np.ndarray:
    """Mask of the spikes (sorted by unit, then time) to keep: no two of a unit closer than `period` samples."""
    kept = np.ones(time.size, dtype=bool)
    last_time, last_unit = -np.inf, -1
    for i, (t, unit) in enumerate(zip(time.tolist(), unit_index.tolist(), strict=True)):
        if unit == last_unit and np.rint(t) - np.rint(last_time) < period:
            kept[i] = False
        else:
            last_time, last_unit = t, unit
    return kept
