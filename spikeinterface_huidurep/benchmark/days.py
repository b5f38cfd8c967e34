"""Recordings of several sessions: some neurons are in all, others come and go, and the probe has moved between them.

A neuron's spikes are made of its simulated waveforms at the displacement of that session: it changes them as it does in
tissue. The amplitude, the width and each electrode change from session to session, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from spikeinterface.core import BaseRecording, BaseSorting, NumpySorting

from .drift import displacement_at, make_motion
from .injection import InjectMovingSpikes, MovableTemplates, SpikesToAdd
from .library_placement import find_rows
from .library_recording import LibrarySettings, as_int16, make_noise, measure_noise_level
from .library_units import (
    HASH_PART,
    LibraryUnits,
    choose_units,
    library_folder,
    make_hash,
    read_still_units,
    read_units,
)
from .spike_trains import log_normal_rates, make_spike_trains

AT_REST = np.zeros(1)
NEURON = "neuron"  # the unit property that names a neuron in all sessions
SESSION_RATE_STD = 0.3  # of the logarithm of a neuron's rate from session to session


@dataclass(frozen=True)
class DaysSettings:
    """Settings of several sessions of one probe.

    Attributes
    ----------
    name : str
    library : str
        File name of a template library with displacements.
    n_units : int
        Neurons in each session.
    displacements_um : tuple of float
        Of the tissue against the probe in each session, as many as there are sessions, within the library's range.
    gradient : float
        um of displacement more at the upper end of the probe than at the lower one, for each 100 um of displacement.
    drift_um : float
        Range of a zigzag within each session, beside its displacement.
    shared : float
        Share of a session's neurons that are there in all sessions. Of the others none is in the next session, and half
        are back in the one after that.
    amplitude_change : float
        Amplitudes of a neuron in two sessions differ by a factor within 1 -+ this, as likely up as down.
    width_change : float
        Widths of a neuron's waveform in a session differ from the library's by at most this share.
    electrode_std : float
        Standard deviation of the factor on each electrode, of each neuron and session by itself.
    noise_uv : (float, float)
        Range of the noise of a session.
    duration_s : float
    contacts : tuple of int or None
        Rows and channels of a row that a smaller probe has: (rows, step) takes every `step`-th row. None for the
        library's probe.
    models : tuple of str or None
        Cell models that neurons are taken from; None for all of the library, as where it has none of these.
    snr_range, rate_hz, n_hash, hash_uv, seed
        As of :class:`~spikeinterface_huidurep.benchmark.LibrarySettings`.
    """

    name: str
    library: str
    n_units: int
    displacements_um: tuple[float, ...]
    gradient: float = 0.0
    drift_um: float = 0.0
    shared: float = 0.7
    amplitude_change: float = 0.3
    width_change: float = 0.05
    electrode_std: float = 0.05
    noise_uv: tuple[float, float] = (9.0, 12.0)
    duration_s: float = 90.0
    contacts: tuple[int, int] | None = None
    models: tuple[str, ...] | None = None
    snr_range: tuple[float, float] = (4.5, 25.0)
    rate_hz: tuple[float, float] = (1.0, 12.0)
    n_hash: int = 100
    hash_uv: tuple[float, float] = (5.0, 18.0)
    seed: int = 0


class Neurons(NamedTuple):
    """The neurons of all sessions: as the library has them, with the gains of the sessions; their rates (Hz); which of
    them each session has, (n_sessions, n_neurons) bool; far units of the background; a generator for each session."""

    units: LibraryUnits
    rates: np.ndarray
    present: np.ndarray
    far: LibraryUnits
    generators: list[np.random.Generator]


class Session(NamedTuple):
    """One session: its recording, the true spikes with the unit properties "neuron" and "gt_snr", and what is true of
    its neurons."""

    recording: BaseRecording
    sorting: BaseSorting
    displacement_um: float


def make_days(settings: DaysSettings, templates: str | Path | None = None) -> list[Session]:
    """Make the sessions, see :class:`DaysSettings`.

    Parameters
    ----------
    settings : DaysSettings
    templates : str or Path, optional
        Folder of the template libraries, by default the environment variable HUIDUREP_TEMPLATES.

    Returns
    -------
    list of Session
        Recordings are lazy: save those that are read more than once.

    Raises
    ------
    FileNotFoundError
        If there is no such library.
    ValueError
        If it has no displacements, or too few neurons.
    """
    neurons = choose_neurons(settings, templates)
    return [_make_session(settings, session, neurons) for session in range(len(settings.displacements_um))]


def choose_neurons(settings: DaysSettings, templates: str | Path | None = None) -> Neurons:
    """Choose the neurons of the sessions; parameters and errors are those of :func:`make_days`."""
    path = library_folder(templates) / settings.library
    if not path.is_file():
        raise FileNotFoundError(f"The sessions '{settings.name}' need the library {path}, which does not exist.")
    streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(settings.seed).spawn(5)]
    still = read_still_units(path)
    if still.displacement_um.size < 2:
        raise ValueError(f"The library {settings.library} has one displacement only: no session can be displaced.")
    crop = _crops(settings, still, streams[0])
    seen = crop.of(still)
    candidates = np.arange(len(still.location))
    chosen_models = np.isin(still.cell_model, settings.models or ())
    if chosen_models.any():
        candidates = candidates[chosen_models]
    candidates = streams[1].permutation(candidates)
    n_far = int(HASH_PART * candidates.size)
    far, near = candidates[:n_far], candidates[n_far:]
    present = _who_is_there(settings, streams[2])
    noise = float(np.mean(settings.noise_uv))
    chosen = choose_units(
        seen.still[near], seen.location[near], noise, seen.sampling_frequency, present.shape[1], settings.snr_range,
        streams[3],
    )  # fmt: skip
    index = near[chosen.index]
    units = crop.of(read_units(path, index), index)
    units = replace(units, templates=units.templates * chosen.gain[:, None, None, None].astype(np.float32))
    rates = log_normal_rates(len(index), settings.rate_hz, streams[3])
    far_units = replace(seen, templates=seen.templates[far], location=seen.location[far])
    return Neurons(units, rates, present, far_units, streams[4].spawn(len(settings.displacements_um)))


class _Crop(NamedTuple):
    """The channels of the library's probe that a smaller probe is for each unit, (n_units, n_channels)."""

    channels: np.ndarray | None
    locations: np.ndarray
    origins: np.ndarray

    def of(self, units: LibraryUnits, index: np.ndarray | slice = slice(None)) -> LibraryUnits:
        """The units as the smaller probe sees them; `index` says which of the library's they are."""
        if self.channels is None:
            return units
        channels = self.channels[index]
        templates = np.stack([one[:, :, own] for one, own in zip(units.templates, channels, strict=True)])
        location = units.location - np.column_stack([self.origins[index], np.zeros(len(channels))])
        return replace(units, templates=templates, channel_locations=self.locations, location=location)


def _crops(settings: DaysSettings, units: LibraryUnits, rng: np.random.Generator) -> _Crop:
    """Choose for each unit where on the library's probe the smaller one lies: its rows around the unit's own."""
    if settings.contacts is None:
        return _Crop(None, units.channel_locations, np.zeros((len(units.location), 2)))
    rows = find_rows(units.channel_locations)
    if rows is None:
        raise ValueError(f"The probe of {settings.library} does not consist of equal rows: no smaller one can be made.")
    per_row, row_um = rows
    n_rows, step = settings.contacts
    own = np.arange(n_rows) * step
    last = len(units.channel_locations) // per_row - 1 - own[-1]
    middle = (units.location[:, 1] - units.channel_locations[0, 1]) / row_um - own[-1] / 2
    first = np.clip(np.rint(middle + rng.uniform(-1.5, 1.5, len(middle))), 0, last).astype(np.int64)
    channels = ((first[:, None] + own)[:, :, None] * per_row + np.arange(per_row)).reshape(len(first), -1)
    origins = np.column_stack([np.zeros(len(first)), first * row_um])
    base = units.channel_locations[channels[0]] - origins[0]
    return _Crop(channels, base, origins)


def _who_is_there(settings: DaysSettings, rng: np.random.Generator) -> np.ndarray:
    """Which neurons each session has, (n_sessions, n_neurons) bool."""
    n_sessions = len(settings.displacements_um)
    n_always = int(round(settings.shared * settings.n_units))
    n_others = settings.n_units - n_always
    others: list[list[int]] = []
    n_neurons = n_always
    for session in range(n_sessions):
        back = others[session - 2][-(n_others // 2) :] if session >= 2 and n_others > 1 else []
        new = list(range(n_neurons, n_neurons + n_others - len(back)))
        others.append(back + new)
        n_neurons += len(new)
    present = np.zeros((n_sessions, n_neurons), dtype=bool)
    present[:, :n_always] = True
    for session, here in enumerate(others):
        present[session, here] = True
    # neurons are chosen by falling order of an even sequence of SNR: mix who is shared
    return present[:, rng.permutation(present.shape[1])]


def _make_session(settings: DaysSettings, session: int, chosen: Neurons) -> Session:
    neurons, rng = chosen.units, chosen.generators[session]
    frequency, locations = neurons.sampling_frequency, neurons.channel_locations
    index = np.flatnonzero(chosen.present[session])
    around = _around(settings, neurons.displacement_um)
    templates = displaced_templates(settings, session, neurons, index, rng, around)
    noise = LibrarySettings(
        name=settings.name, library=settings.library, n_units=index.size, duration_s=settings.duration_s,
        noise_uv=float(rng.uniform(*settings.noise_uv)),
    )  # fmt: skip
    background = make_noise(noise, locations, frequency, rng)
    if settings.n_hash:
        background = _add_far(background, settings, chosen.far, rng)
    level = measure_noise_level(background)
    # each session's rates and trains are its own
    own_rates = chosen.rates[index] * np.exp(rng.normal(0, SESSION_RATE_STD, index.size))
    bursting = neurons.cell_class[index] == "E"
    amplitude_noise = np.full(index.size, 0.08)
    trains = make_spike_trains(own_rates, bursting, amplitude_noise, settings.duration_s, frequency, rng)
    movable = MovableTemplates(templates, np.zeros(index.size, np.int64), around, neurons.nbefore)
    moved = _drift(settings, session, trains.time / frequency, neurons.location[index[trains.unit_index], 1])
    spikes = SpikesToAdd(trains.time, trains.unit_index, trains.amplitude, moved)
    recording = as_int16(InjectMovingSpikes(background, movable, spikes))
    sorting = NumpySorting.from_samples_and_labels(
        [np.rint(trains.time).astype(np.int64)], [trains.unit_index], frequency, unit_ids=np.arange(index.size)
    )
    sorting.set_property(NEURON, index)
    sorting.set_property("gt_snr", np.abs(templates[:, len(around) // 2].min(axis=(1, 2))) / level)
    sorting.set_property("cell_model", neurons.cell_model[index])
    return Session(recording, sorting, float(settings.displacements_um[session]))


def _around(settings: DaysSettings, known_um: np.ndarray) -> np.ndarray:
    """Displacements around a session's own at which templates are made, um: one where nothing drifts."""
    step = float(known_um[1] - known_um[0])
    n_steps = int(np.ceil(settings.drift_um / step))
    return step * np.arange(-n_steps, n_steps + 1)


def _drift(settings: DaysSettings, session: int, times_s: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Displacement of each spike within its session, um."""
    if settings.drift_um == 0:
        return np.zeros(times_s.size)
    motion = make_motion(
        "zigzag", settings.duration_s, settings.drift_um, np.array([depths.min(), depths.max()]), True,
        0.7 * settings.duration_s, seed=settings.seed + session,
    )  # fmt: skip
    return displacement_at(motion, times_s, depths)


def displaced_templates(
    settings: DaysSettings, session: int, neurons: LibraryUnits, index: np.ndarray, rng: np.random.Generator,
    around_um: np.ndarray = AT_REST,
) -> np.ndarray:  # fmt: skip
    """Waveforms of some neurons in a session, displaced and changed, uV: (n, n_around, samples, channels) float32, at
    the session's displacement and `around_um` from it."""
    depth = neurons.channel_locations[:, 1]
    along = (neurons.location[index, 1] - depth.mean()) / max(np.ptp(depth), 1.0)
    displacement = settings.displacements_um[session] * (1 + settings.gradient * along / 100)
    known = neurons.displacement_um
    wanted = displacement[:, None] + around_um
    position = np.clip((wanted - known[0]) / (known[1] - known[0]), 0, known.size - 1.001)
    step = position.astype(int)
    weight = (position - step)[:, :, None, None].astype(np.float32)
    rows = index[:, None]
    templates = neurons.templates[rows, step] * (1 - weight) + neurons.templates[rows, step + 1] * weight
    half = np.log1p(settings.amplitude_change) / 2
    amplitude = np.exp(rng.uniform(-half, half, index.size))[:, None, None, None]
    electrodes = 1 + settings.electrode_std * rng.standard_normal((index.size, 1, 1, templates.shape[3]))
    widths = 1 + rng.uniform(-1, 1, index.size) * settings.width_change
    stretched = [
        [_stretched(one, neurons.nbefore, width) for one in of_unit]
        for of_unit, width in zip(templates, widths, strict=True)
    ]
    return (np.array(stretched) * amplitude * electrodes).astype(np.float32)


def _stretched(template: np.ndarray, nbefore: int, width: float) -> np.ndarray:
    """A template (samples, channels) made wider by a factor around its trough."""
    samples = np.arange(len(template))
    source = np.clip(nbefore + (samples - nbefore) / width, 0, len(template) - 1)
    return CubicSpline(samples, template)(source)


def _add_far(background: BaseRecording, settings: DaysSettings, far: LibraryUnits, rng) -> BaseRecording:
    """Far units, other ones in each session: what is too small to be sorted is not what days have in common."""
    index = rng.choice(len(far.templates), settings.n_hash)
    units = replace(far, templates=far.templates[index])
    templates = make_hash(units, np.zeros(index.size, np.int64), settings.hash_uv, rng)
    rates = log_normal_rates(index.size, (0.5, 6.0), rng)
    frequency = background.sampling_frequency
    quiet = np.zeros(index.size, dtype=bool)
    trains = make_spike_trains(rates, quiet, np.full(index.size, 0.1), settings.duration_s, frequency, rng)
    # one position: the displacement of the tissue says nothing of neurons that nobody follows
    at_rest = replace(templates, positions=np.zeros(1))
    spikes = SpikesToAdd(trains.time, trains.unit_index, trains.amplitude, np.zeros(trains.time.size))
    return InjectMovingSpikes(background, at_rest, spikes)
