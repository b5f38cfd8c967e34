"""Sessions of the suite `days` as their units' mean waveforms, without recordings: many of them in little time.

Used by `days_model.py`. A unit's mean waveform is its neuron's template of that session, band-passed as sorters do,
with the noise that is left when as many spikes are averaged as the neuron fires.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spikeinterface_huidurep.benchmark.days import SESSION_RATE_STD, DaysSettings, choose_neurons, displaced_templates
from spikeinterface_huidurep.benchmark.library_recording import LibrarySettings, make_noise
from spikeinterface_huidurep.benchmark.library_units import sorter_band
from spikeinterface_huidurep.matching.half_templates import PARTS, SessionUnits, with_templates
from spikeinterface_huidurep.matching.sessions import MAX_SPIKES, WINDOW_MS

NOISE_S = 6.0  # from which the noise of all means of a session is drawn
SEEN_UM = 100.0  # from its main channel a unit's waveforms are read, as SpikeInterface's analyzers do
FAR_UNITS = 1.15  # the noise with far units against the noise alone
SPIKE_STD = 0.08  # of a neuron's amplitudes within a session
FOUND = 3.5  # a smaller neuron, in units of noise, has no unit
LATE, EARLY = 60, 20  # samples from the library's trough within which the sorters' peak may lie
PAD = 400  # samples around a template for the filter


class Means(NamedTuple):
    """A session: its units and their halves as of `matching.sessions.Session`, and which neuron each unit is."""

    units: SessionUnits
    early: SessionUnits
    late: SessionUnits
    neuron: np.ndarray


def mean_waveforms(settings: DaysSettings, templates: Path, encoder: Any) -> list[Means]:
    """
    Units of each session, as `match_units` has them after reading.

    Parameters
    ----------
    settings : DaysSettings
    templates : Path
        Folder of the template libraries.
    encoder : Encoder

    Returns
    -------
    list of Means
    """
    chosen = choose_neurons(settings, templates)
    return [_session(settings, session, chosen, encoder) for session in range(len(settings.displacements_um))]


def _session(settings, session, chosen, encoder):
    neurons, rng = chosen.units, chosen.generators[session]
    rate, places = neurons.sampling_frequency, neurons.channel_locations.astype(np.float64)
    index = np.flatnonzero(chosen.present[session])
    shapes = displaced_templates(settings, session, neurons, index, rng)[:, 0]
    shapes = sorter_band(np.pad(shapes, ((0, 0), (PAD, PAD), (0, 0))), rate, axis=1)
    level = rng.uniform(*settings.noise_uv) * FAR_UNITS
    noise = _noise(settings, places, rate, rng)
    before, after = (int(ms * rate / 1000) for ms in WINDOW_MS)
    firing = chosen.rates[index] * np.exp(rng.normal(0, SESSION_RATE_STD, len(index)))
    rows: list[tuple[Any, ...]] = []
    for number, shape, hz in zip(index, shapes / level, firing, strict=True):
        main = int(np.abs(shape).max(axis=0).argmax())
        start = PAD + neurons.nbefore - EARLY
        trough = start + int(np.abs(shape[start : start + EARLY + LATE, main]).argmax())
        waveform = shape[trough - before : trough + after]
        if np.abs(waveform).max() < FOUND:
            continue
        seen = np.linalg.norm(places - places[main], axis=1) <= SEEN_UM
        count = max(int(min(MAX_SPIKES, hz * settings.duration_s)) // PARTS, 1)
        means = [_mean(waveform, noise, count, rng) for _ in range(PARTS)]
        rows.append((number, np.where(seen, means, 0.0), seen, np.full(PARTS, count)))
    neuron, parts, seen, counts = (np.array(column) for column in zip(*rows, strict=True))
    empty = np.zeros((len(neuron), 2, 0), np.float32)
    parts = parts.astype(np.float32)
    units = SessionUnits(
        f"session_{session}", np.arange(len(neuron)), parts, seen, counts, places, float(rate), before, empty, empty
    )
    half = PARTS // 2
    early = with_templates(units, parts[:, :half], counts[:, :half], encoder)
    late = with_templates(units, parts[:, half:], counts[:, half:], encoder)
    halves = parts.reshape(len(neuron), 2, half, *parts.shape[2:]).mean(axis=2)
    whole = with_templates(units, halves, counts.reshape(len(neuron), 2, half).sum(axis=2), encoder)
    return Means(whole, early, late, neuron)


def _noise(settings, places, rate, rng):
    """Noise as the suite's recordings have it, in the sorters' band, (n_samples, n_channels), of variance one."""
    own = LibrarySettings(name=settings.name, library=settings.library, n_units=1, duration_s=NOISE_S)
    noise = sorter_band(make_noise(own, places, rate, rng).get_traces(), rate, axis=0)
    return noise / noise.std()


def _mean(waveform, noise, count, rng):
    """The mean of some spikes: its waveform, of a mean amplitude, and what is left of the noise."""
    starts = rng.integers(0, len(noise) - len(waveform), count)
    left = noise[starts[:, None] + np.arange(len(waveform))].mean(axis=0)
    return waveform * (1 + rng.normal(0, SPIKE_STD) / np.sqrt(count)) + left
