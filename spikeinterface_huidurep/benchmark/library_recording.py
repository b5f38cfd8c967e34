"""Recordings made from a library of biophysical templates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from spikeinterface.core import BaseRecording, BaseSorting, NumpySorting
from spikeinterface.core.motion import Motion
from spikeinterface.generation import NoiseGeneratorRecording
from spikeinterface.preprocessing import astype, bandpass_filter, scale

from .drift import displacement_at, make_motion
from .injection import InjectMovingSpikes, MovableTemplates, SpikesToAdd
from .library_placement import Placement, make_probe, place_anywhere, place_on_probe
from .library_units import HASH_PART, HASH_WINDOW_MS, choose_units, make_hash, read_still_units, read_units, sorter_band
from .spike_trains import SpikeTrains, log_normal_rates, make_spike_trains
from .waveform_changes import WaveformChanges, change_waveforms, make_bursting_trains

GAIN_UV = 0.195  # uV per bit of Intan's amplifiers
NOISE_BAND_HZ = (150.0, 5000.0)  # with slopes of first order: the noise is not white within the sorters' band
NOISE_TEST_S = 5.0  # of the background, to measure its noise level: more than 100,000 samples a channel


class Made(NamedTuple):
    """A new recording, not yet on disk."""

    recording: BaseRecording
    sorting: BaseSorting
    motion: Motion | None
    figures: dict


@dataclass(frozen=True)
class LibrarySettings:
    """Settings of a recording made from a template library.

    Attributes
    ----------
    name : str
    library : str
        File name of the library; one with displacements where `drift` is set.
    n_units : int
    duration_s : float
    snr_range : (float, float)
        Smallest and largest SNR of the true units.
    snr_skew : float
        1: SNR even on a log scale; larger: more units near the lower end.
    rate_hz : (float, float)
        Central 95 % of the log-normal rates.
    noise_uv, noise_decay_um : float
        Standard deviation of the noise in the sorters' band, and the distance at which its correlation falls to 1/e.
    n_hash : int
        Number of far units, which are background and not part of the ground truth.
    hash_uv, hash_rate_hz : (float, float)
        Ranges of their trough amplitudes and rates.
    drift : str or None
        A kind of :func:`~spikeinterface_huidurep.benchmark.drift.make_motion`.
    drift_range_um, drift_period_s : float
    rigid : bool
    sampling_frequency : float or None
        Hz; None: the library's own.
    n_channels : int or None
        More than the library's: its units are placed at any depth of a longer probe with the same rows.
    seed : int
    contacts : tuple of int or None
        A probe of these of the library's channels, counted in the order of depth; None: of all.
    waveforms : WaveformChanges or None
        How the spikes of a true unit differ from each other, on a probe that does not drift. None: in amplitude only,
        by 6 to 10 % and in the bursts of a part of the excitatory units.
    """

    name: str
    library: str
    n_units: int
    duration_s: float
    snr_range: tuple[float, float] = (4.5, 30.0)
    snr_skew: float = 1.0
    rate_hz: tuple[float, float] = (0.5, 15.0)
    noise_uv: float = 10.0
    noise_decay_um: float = 40.0
    n_hash: int = 250
    hash_uv: tuple[float, float] = (5.0, 18.0)
    hash_rate_hz: tuple[float, float] = (0.5, 6.0)
    drift: str | None = None
    drift_range_um: float = 0.0
    drift_period_s: float = 120.0
    rigid: bool = True
    sampling_frequency: float | None = None
    n_channels: int | None = None
    seed: int = 0
    waveforms: WaveformChanges | None = None
    contacts: tuple[int, ...] | None = None


def make_library_recording(settings: LibrarySettings, library: Path) -> Made:
    """Make a recording from a template library, see :class:`LibrarySettings`.

    Raises
    ------
    ValueError
        If `settings` has drift and the library no displacements or the waveforms change, too, or if the library has
        too few units of this SNR.
    """
    if settings.waveforms is not None and settings.drift is not None:
        raise ValueError(f"The recording '{settings.name}' cannot have both drift and waveforms that change.")
    streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(settings.seed).spawn(6)]
    still = read_still_units(library, settings.sampling_frequency, settings.contacts)
    place = place_on_probe(still, settings.n_channels, streams[0])
    motion = _motion(settings, still.displacement_um, place.channel_locations)

    pool = streams[2].permutation(np.flatnonzero(place.usable))
    n_far = int(HASH_PART * pool.size)
    background = make_noise(settings, place.channel_locations, still.sampling_frequency, streams[1])
    if settings.n_hash:
        background = _add_hash(background, settings, library, pool[:n_far], place, motion, streams[3])
    noise_level = measure_noise_level(background)

    candidates = pool[n_far:]
    chosen = choose_units(
        still.still[place.unit[candidates]],
        place.location[candidates],
        noise_level,
        still.sampling_frequency,
        settings.n_units,
        settings.snr_range,
        streams[4],
        skew=settings.snr_skew,
    )
    order = np.argsort(place.location[candidates[chosen.index], 1], kind="stable")
    index, gain, snr = candidates[chosen.index[order]], chosen.gain[order], chosen.snr[order]
    recording, sorting = _add_units(background, settings, library, index, gain, place, motion, streams[5])
    sorting.set_property("gt_snr", snr)
    figures = {
        "noise_level_uv": round(noise_level, 2),
        "n_spikes": int(sorting.to_spike_vector().size),
        "snr_quartiles": np.round(np.percentile(snr, [0, 25, 50, 75, 100]), 2).tolist(),
        "cell_models": sorted(set(still.cell_model[place.unit[index]].tolist())),
        "sampling_frequency": still.sampling_frequency,
        "n_channels": len(place.channel_locations),
    }
    return Made(as_int16(recording), sorting, motion, figures)


def _motion(settings: LibrarySettings, displacement_um: np.ndarray, locations: np.ndarray) -> Motion | None:
    if settings.drift is None:
        return None
    if displacement_um.size < 2:
        raise ValueError(f"The library {settings.library} has one displacement only, so its units cannot drift.")
    return make_motion(
        settings.drift,
        settings.duration_s,
        settings.drift_range_um,
        locations[:, 1],
        settings.rigid,
        settings.drift_period_s,
        seed=settings.seed,
    )


def make_noise(
    settings: LibrarySettings, locations: np.ndarray, frequency: float, rng: np.random.Generator
) -> BaseRecording:
    """Band-limited noise, correlated in space, of `noise_uv` standard deviation in the sorters' band."""
    distance = np.linalg.norm(locations[:, np.newaxis] - locations, axis=2)
    noise = NoiseGeneratorRecording(
        num_channels=len(locations),
        sampling_frequency=frequency,
        durations=[settings.duration_s],
        cov_matrix=np.exp(-distance / settings.noise_decay_um),
        strategy="on_the_fly",
        noise_block_size=int(frequency),
        seed=int(rng.integers(2**31)),
    )
    noise.set_probe(make_probe(locations))
    noise = bandpass_filter(noise, *NOISE_BAND_HZ, filter_order=1, dtype="float32")
    n_test = min(int(frequency), noise.get_num_samples())
    level = sorter_band(noise.get_traces(start_frame=0, end_frame=n_test), frequency, axis=0).std()
    return scale(noise, gain=settings.noise_uv / level, dtype="float32")


def measure_noise_level(background: BaseRecording) -> float:
    """Median over channels of the MAD noise level in the sorters' band, uV."""
    n_test = min(int(NOISE_TEST_S * background.sampling_frequency), background.get_num_samples())
    traces = sorter_band(background.get_traces(start_frame=0, end_frame=n_test), background.sampling_frequency, axis=0)
    return float(np.median(np.median(np.abs(traces), axis=0)) / 0.6745)


def _add_hash(background, settings, library, pool, place: Placement, motion, rng) -> BaseRecording:
    """Add the far units of the background: units of `pool`, often several times, each at its own depth."""
    frequency = background.sampling_frequency
    index = np.sort(rng.choice(pool, settings.n_hash, replace=settings.n_hash > pool.size))
    units = read_units(
        library, place.unit[index], settings.sampling_frequency, window_ms=HASH_WINDOW_MS, contacts=settings.contacts
    )
    if motion is None:
        units = units.at_rest()
    place = Placement(
        place.channel_locations,
        place.unit[index],
        place.location[index],
        place.first_channel[index],
        place.usable[index],
    )
    place = place_anywhere(units, place, rng)
    templates = make_hash(units, place.first_channel, settings.hash_uv, rng)
    rates = log_normal_rates(index.size, settings.hash_rate_hz, rng)
    bursting, noise = np.zeros(index.size, dtype=bool), np.full(index.size, 0.1)
    trains = make_spike_trains(rates, bursting, noise, settings.duration_s, frequency, rng)
    return InjectMovingSpikes(background, templates, _moving(trains, place.location, motion, frequency))


def _add_units(background, settings, library, index, gain, place: Placement, motion, rng):
    """Add the true units; returns the recording and the true sorting."""
    frequency = background.sampling_frequency
    units = read_units(library, place.unit[index], settings.sampling_frequency, contacts=settings.contacts)
    if motion is None:
        units = units.at_rest()
    scaled = units.templates * gain[:, np.newaxis, np.newaxis, np.newaxis].astype(np.float32)
    templates = MovableTemplates(scaled, place.first_channel[index], units.displacement_um, units.nbefore)
    location = place.location[index]
    if settings.waveforms is None:
        bursting, trains = _amplitude_trains(settings, units.cell_class, frequency, rng)
        spikes = _moving(trains, location, motion, frequency)
    else:
        rates = log_normal_rates(index.size, settings.rate_hz, rng)
        amplitude_std = settings.waveforms.amplitude_std
        bursting, trains = make_bursting_trains(
            rates, units.cell_class, amplitude_std, settings.duration_s, frequency, rng
        )
        n_samples, n_electrodes = background.get_num_samples(), background.get_num_channels()
        # a generator of its own: with another change the neurons fire at the same times
        templates, spikes = change_waveforms(
            settings.waveforms, templates, trains, bursting, frequency, n_samples, n_electrodes, rng.spawn(1)[0]
        )
    recording = InjectMovingSpikes(background, templates, spikes)
    sorting = NumpySorting.from_samples_and_labels(
        [np.rint(trains.time).astype(np.int64)], [trains.unit_index], frequency, unit_ids=np.arange(index.size)
    )
    sorting.set_property("gt_x", location[:, 0])
    sorting.set_property("gt_depth", location[:, 1])
    sorting.set_property("cell_class", units.cell_class)
    sorting.set_property("cell_model", units.cell_model)
    sorting.set_property("bursting", bursting)
    return recording, sorting


def _amplitude_trains(
    settings: LibrarySettings, cell_class: np.ndarray, frequency: float, rng: np.random.Generator
) -> tuple[np.ndarray, SpikeTrains]:
    """Draw which units burst, (n_units,) bool, and the spikes of all units, which differ in amplitude only."""
    rates = log_normal_rates(cell_class.size, settings.rate_hz, rng)
    bursting = (cell_class == "E") & (rng.random(cell_class.size) < 0.5)
    amplitude_noise = rng.uniform(0.06, 0.10, cell_class.size)
    return bursting, make_spike_trains(rates, bursting, amplitude_noise, settings.duration_s, frequency, rng)


def _moving(trains: SpikeTrains, location: np.ndarray, motion: Motion | None, frequency: float) -> SpikesToAdd:
    """Give each spike the displacement of its unit at its time."""
    displacement = np.zeros(trains.time.size)
    if motion is not None:
        displacement = displacement_at(motion, trains.time / frequency, location[trains.unit_index, 1])
    return SpikesToAdd(trains.time, trains.unit_index, trains.amplitude, displacement)


def as_int16(recording: BaseRecording) -> BaseRecording:
    """Round a recording in uV to int16 with a gain of 0.195 uV per bit."""
    recording = astype(scale(recording, gain=1 / GAIN_UV, dtype="float32"), "int16", round=True)
    recording.set_channel_gains(GAIN_UV)
    recording.set_channel_offsets(0.0)
    return recording
