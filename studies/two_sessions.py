"""Two sessions of one piece of tissue, made from a template library: some neurons stay, some go, some come.

Used by `known_units.py`. The second session has other spike trains, rates, noise and background; the probe has moved
against the tissue, and the neurons that stay have another amplitude.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import spikeinterface
from spikeinterface.core import BaseRecording, BaseSorting, NumpySorting
from spikeinterface.generation import NoiseGeneratorRecording
from spikeinterface.preprocessing import bandpass_filter, scale

from spikeinterface_huidurep.benchmark.drift import displacement_at, make_motion
from spikeinterface_huidurep.benchmark.injection import InjectMovingSpikes, MovableTemplates, SpikesToAdd
from spikeinterface_huidurep.benchmark.library_placement import make_probe
from spikeinterface_huidurep.benchmark.library_recording import NOISE_BAND_HZ, as_int16
from spikeinterface_huidurep.benchmark.library_units import (
    HASH_PART,
    HASH_WINDOW_MS,
    LibraryUnits,
    choose_units,
    make_hash,
    read_still_units,
    read_units,
    sorter_band,
)
from spikeinterface_huidurep.benchmark.spike_trains import log_normal_rates, make_spike_trains


@dataclass(frozen=True)
class TwoSessions:
    """What two sessions are made of.

    Attributes
    ----------
    library : str
        File name of a template library; one with displacements where `displacement_um` or `drift_um` is not zero.
    n_units : int
        True neurons of each session.
    n_hash : int
        Far neurons of the background, others in each session.
    shared : float
        Share of a session's neurons that the other has, too.
    displacement_um : float
        How far the tissue has moved along the probe between the sessions.
    drift_um : float
        Range of a zigzag in each session.
    amplitude : float
        Neurons that stay are larger or smaller by up to this fraction in the second session.
    electrode_std : float
        Spread of their amplitude on each electrode by itself, as a fraction: a change of shape.
    snr_range : (float, float)
    duration_s : float
        Of each session.
    seed : int
    """

    library: str
    n_units: int
    n_hash: int
    shared: float = 0.75
    displacement_um: float = 0.0
    drift_um: float = 0.0
    amplitude: float = 0.2
    electrode_std: float = 0.03
    snr_range: tuple[float, float] = (4.5, 30.0)
    duration_s: float = 80.0
    seed: int = 0


def make_sessions(settings: TwoSessions, folder: Path) -> list[tuple[BaseRecording, BaseSorting]]:
    """Recording (int16, uV) and true spikes of both sessions; a neuron has the same unit id in both.

    Parameters
    ----------
    settings : TwoSessions
    folder : Path
        Of the template libraries.
    """
    library = folder / settings.library
    streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(settings.seed).spawn(4)]
    still = read_still_units(library)
    pool = streams[0].permutation(len(still.location))
    n_far = int(HASH_PART * len(pool))
    backgrounds = [_background(settings, library, pool[:n_far], still, day, streams[1 + day]) for day in (0, 1)]
    n_shared = round(settings.shared * settings.n_units)
    n_all = 2 * settings.n_units - n_shared
    candidates = pool[n_far:]
    noise = _noise_level(backgrounds[0])
    chosen = choose_units(
        still.still[candidates], still.location[candidates], noise, still.sampling_frequency, n_all,
        settings.snr_range, streams[3],
    )  # fmt: skip
    order = streams[3].permutation(n_all)
    stays = np.zeros(n_all, dtype=bool)
    stays[order[:n_shared]] = True
    first = order[: settings.n_units]
    second = np.concatenate([order[:n_shared], order[settings.n_units :]])
    gains = [chosen.gain, chosen.gain * np.where(stays, _factors(settings.amplitude, n_all, streams[3]), 1.0)]
    units = candidates[chosen.index]
    sessions = []
    for day, present in enumerate((np.sort(first), np.sort(second))):
        made = _add_units(backgrounds[day], settings, library, units, gains[day], present, day, streams[1 + day])
        made[1].set_property("gt_snr", (chosen.snr * gains[day] / chosen.gain)[present])
        made[1].set_property("stays", stays[present])
        sessions.append(made)
    return sessions


def save_sessions(settings: TwoSessions, library_folder: Path, folder: Path) -> list[tuple[BaseRecording, BaseSorting]]:
    """As `make_sessions`, from a folder where they are kept once made."""
    if not (folder / "day_2" / "sorting").is_dir():
        for day, (recording, truth) in enumerate(make_sessions(settings, library_folder), start=1):
            here = folder / f"day_{day}"
            recording.save(
                folder=here / "recording", overwrite=True, n_jobs=1, chunk_duration="5s", progress_bar=False,
                verbose=False,
            )  # fmt: skip
            truth.save(folder=here / "sorting", overwrite=True)
    names = [folder / f"day_{day}" for day in (1, 2)]
    return [(spikeinterface.load(name / "recording"), spikeinterface.load(name / "sorting")) for name in names]


def _factors(range_: float, n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(1 - range_, 1 + range_, n)


def _displacement(settings: TwoSessions, day: int, times_s: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Of each spike, um."""
    moved = np.full(len(times_s), settings.displacement_um * day)
    if settings.drift_um:
        motion = make_motion(
            "zigzag", settings.duration_s, settings.drift_um, np.array([depths.min(), depths.max()]), True,
            0.7 * settings.duration_s, seed=settings.seed + day,
        )  # fmt: skip
        moved += displacement_at(motion, times_s, depths)
    return moved


def _background(
    settings: TwoSessions, library: Path, pool: np.ndarray, still: LibraryUnits, day: int, rng: np.random.Generator
) -> BaseRecording:
    """Noise of 10 uV in the sorters' band, and far neurons."""
    locations, frequency = still.channel_locations, still.sampling_frequency
    distance = np.linalg.norm(locations[:, None] - locations, axis=2)
    noise = NoiseGeneratorRecording(
        num_channels=len(locations), sampling_frequency=frequency, durations=[settings.duration_s],
        cov_matrix=np.exp(-distance / 40.0), strategy="on_the_fly", noise_block_size=int(frequency),
        seed=int(rng.integers(2**31)),
    )  # fmt: skip
    noise.set_probe(make_probe(locations))
    noise = bandpass_filter(noise, *NOISE_BAND_HZ, filter_order=1, dtype="float32")
    level = sorter_band(noise.get_traces(start_frame=0, end_frame=int(frequency)), frequency, axis=0).std()
    noise = scale(noise, gain=10.0 / level, dtype="float32")
    index = np.sort(rng.choice(pool, settings.n_hash, replace=settings.n_hash > pool.size))
    units = _movable(read_units(library, index, None, window_ms=HASH_WINDOW_MS), settings)
    templates = make_hash(units, np.zeros(len(index), dtype=np.int64), (5.0, 18.0), rng)
    rates = log_normal_rates(index.size, (0.5, 6.0), rng)
    trains = make_spike_trains(
        rates, np.zeros(index.size, dtype=bool), np.full(index.size, 0.1), settings.duration_s, frequency, rng
    )
    moved = _displacement(settings, day, trains.time / frequency, units.location[trains.unit_index, 1])
    return InjectMovingSpikes(noise, templates, SpikesToAdd(trains.time, trains.unit_index, trains.amplitude, moved))


def _noise_level(background: BaseRecording) -> float:
    """Median over channels of the MAD noise level in the sorters' band, uV."""
    frequency = background.sampling_frequency
    traces = sorter_band(background.get_traces(start_frame=0, end_frame=int(5 * frequency)), frequency, axis=0)
    return float(np.median(np.median(np.abs(traces), axis=0)) / 0.6745)


def _movable(units: LibraryUnits, settings: TwoSessions) -> LibraryUnits:
    return units if settings.displacement_um or settings.drift_um else units.at_rest()


def _add_units(
    background: BaseRecording, settings: TwoSessions, library: Path, units: np.ndarray, gain: np.ndarray,
    present: np.ndarray, day: int, rng: np.random.Generator,
) -> tuple[BaseRecording, BaseSorting]:  # fmt: skip
    frequency = background.sampling_frequency
    here = _movable(read_units(library, units[present], None), settings)
    scaled = here.templates * gain[present, None, None, None].astype("float32")
    if day:
        scaled *= rng.normal(1.0, settings.electrode_std, (len(present), 1, 1, scaled.shape[3])).astype("float32")
    templates = MovableTemplates(scaled, np.zeros(len(present), dtype=np.int64), here.displacement_um, here.nbefore)
    bursting = (here.cell_class == "E") & (rng.random(len(present)) < 0.5)
    rates = log_normal_rates(len(present), (0.5, 15.0), rng)
    noise = rng.uniform(0.06, 0.10, len(present))
    trains = make_spike_trains(rates, bursting, noise, settings.duration_s, frequency, rng)
    moved = _displacement(settings, day, trains.time / frequency, here.location[trains.unit_index, 1])
    spikes = SpikesToAdd(trains.time, trains.unit_index, trains.amplitude, moved)
    truth = NumpySorting.from_samples_and_labels(
        [np.rint(trains.time).astype(np.int64)], [present[trains.unit_index]], frequency, unit_ids=present
    )
    truth.set_property("gt_depth", here.location[:, 1])
    return as_int16(InjectMovingSpikes(background, templates, spikes)), truth
