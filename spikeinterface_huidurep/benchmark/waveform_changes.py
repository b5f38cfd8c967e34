"""Changes of a neuron's waveform: from electrode to electrode, in bursts, and over the recording.

Recordings whose settings differ in nothing but :class:`WaveformChanges` have the same neurons, spike times and noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from .injection import ElectrodeFactors, MovableTemplates, SpikesToAdd
from .spike_trains import Bursts, SpikeTrains, make_spike_trains

BURSTING_PART = 0.5  # of the neurons
# Longer bursts than those of the other recordings: the waveform of a neuron then changes by much.
BURSTS = Bursts(lengths=(2, 3, 4, 5, 6), fall=(1.0, 1.0))
# The state of a neuron goes a third of the way to 1 with each spike, and falls to 1/e in 45 ms: to a tenth in 100 ms. A
# burst of six spikes 5 ms apart reaches 0.7.
STATE_RISE = 0.35
STATE_DECAY_MS = 45.0
# Between two templates of neighbouring widths the waveform is interpolated. The error is below 0.2 % of the trough.
WIDTH_STEP = 0.1
# Slow changes begin in the first 30 % of the recording and end in the last 30 %: they are slow, and complete.
AGE_ENDS = 0.3


@dataclass(frozen=True)
class WaveformChanges:
    """How the spikes of one neuron differ from each other; the defaults are the constant waveform.

    Attributes
    ----------
    amplitude_std : float
        Standard deviation of the amplitude of a neuron's spikes, alike on all electrodes.
    electrode_std : float
        The same, for each electrode by itself.
    burst_amplitude, burst_width : float
        Factors on amplitude and width of a neuron that has fired without a pause. A burst of six spikes goes about 0.7
        of the way from 1, and 100 ms later a tenth of that is left. Half of the neurons burst.
    age_amplitude, age_width : float
        Ratios of amplitude and width at one end of the recording to those at the other. The geometric mean of both
        ends is the neuron's own waveform. Each neuron has its own direction and time course.
    """

    amplitude_std: float = 0.05
    electrode_std: float = 0.0
    burst_amplitude: float = 1.0
    burst_width: float = 1.0
    age_amplitude: float = 1.0
    age_width: float = 1.0

    def __post_init__(self) -> None:
        """Refuse factors that are not positive, and standard deviations that are negative or 1 and more."""
        for name in ("burst_amplitude", "burst_width", "age_amplitude", "age_width"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r} and must be a positive number.")
        for name in ("amplitude_std", "electrode_std"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r} and must be at least 0 and below 1.")

    def described(self) -> str:
        """The changes in a few words."""
        words = []
        if self.electrode_std:
            words.append(f"{100 * self.electrode_std:g} % on each electrode by itself")
        if (self.burst_amplitude, self.burst_width) != (1.0, 1.0):
            words.append(f"amplitude to {self.burst_amplitude:g} and width to {self.burst_width:g} in bursts")
        if (self.age_amplitude, self.age_width) != (1.0, 1.0):
            words.append(f"amplitude to {self.age_amplitude:g} and width to {self.age_width:g} over the recording")
        return "waveforms change: " + ", ".join(words) if words else "constant waveforms"


def make_bursting_trains(
    rates_hz: np.ndarray,
    cell_class: np.ndarray,
    amplitude_std: float,
    duration_s: float,
    sampling_frequency: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, SpikeTrains]:
    """Draw the spikes of neurons half of which burst; in bursts, too, all spikes have one amplitude.

    Parameters
    ----------
    rates_hz : np.ndarray, shape (n_units,)
    cell_class : np.ndarray of str, shape (n_units,)
        "E" for excitatory neurons: they are the first of those that burst.
    amplitude_std : float
    duration_s, sampling_frequency : float
    rng : np.random.Generator

    Returns
    -------
    bursting : np.ndarray of bool, shape (n_units,)
    trains : SpikeTrains
    """
    n_bursting = round(BURSTING_PART * rates_hz.size)
    first = np.argsort((cell_class != "E") + rng.random(rates_hz.size))
    bursting = np.zeros(rates_hz.size, dtype=bool)
    bursting[first[:n_bursting]] = True
    noise = np.full(rates_hz.size, amplitude_std)
    return bursting, make_spike_trains(rates_hz, bursting, noise, duration_s, sampling_frequency, rng, BURSTS)


def change_waveforms(
    changes: WaveformChanges,
    templates: MovableTemplates,
    trains: SpikeTrains,
    bursting: np.ndarray,
    sampling_frequency: float,
    n_samples: int,
    n_electrodes: int,
    rng: np.random.Generator,
) -> tuple[MovableTemplates, SpikesToAdd]:
    """Give each spike its own waveform.

    Parameters
    ----------
    changes : WaveformChanges
    templates : MovableTemplates
        Of one displacement.
    trains : SpikeTrains
    bursting : np.ndarray of bool, shape (n_units,)
        The neurons that change in bursts.
    sampling_frequency : float
    n_samples, n_electrodes : int
        Of the recording.
    rng : np.random.Generator
        Of the changes only.

    Returns
    -------
    templates : MovableTemplates
        At all widths that occur; as given if the width does not change.
    spikes : SpikesToAdd
    """
    age_rng, electrode_rng = rng.spawn(2)
    state = burst_state(trains, sampling_frequency) * bursting[trains.unit_index]
    age = slow_course(trains, bursting.size, n_samples, age_rng) - 0.5
    amplitude = 1 + (changes.burst_amplitude - 1) * state
    amplitude *= changes.age_amplitude**age
    width = (1 + (changes.burst_width - 1) * state) * changes.age_width**age
    factors = None
    if changes.electrode_std:
        factors = ElectrodeFactors(changes.electrode_std, n_electrodes, int(electrode_rng.integers(2**31)))
    spikes = SpikesToAdd(
        trains.time, trains.unit_index, (trains.amplitude * amplitude).astype(np.float32), width, factors
    )
    if width.size and np.ptp(width):
        templates = at_widths(templates, float(width.min()), float(width.max()))
    return templates, spikes


def burst_state(trains: SpikeTrains, sampling_frequency: float) -> np.ndarray:
    """How much each unit has fired before each spike, (n_spikes,) float64: 0 after a pause, below 1 in a burst."""
    order = np.lexsort((trains.time, trains.unit_index))
    time, unit_index = trains.time[order], trains.unit_index[order]
    pause = np.diff(time, prepend=0.0)
    pause[np.diff(unit_index, prepend=-1) != 0] = np.inf
    decay = np.exp(-pause / (STATE_DECAY_MS * sampling_frequency / 1000))
    in_order, before = np.zeros(time.size), 0.0
    for spike, remaining in enumerate(decay.tolist()):
        before = (before + STATE_RISE * (1 - before)) * remaining
        in_order[spike] = before
    state = np.zeros(time.size)
    state[order] = in_order
    return state


def slow_course(trains: SpikeTrains, n_units: int, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Where each spike is in its unit's slow change, (n_spikes,) float64, from 0 to 1, or for half of the units back.

    The change is a smooth step, whose start and end each unit draws.
    """
    start = rng.uniform(0, AGE_ENDS, n_units)
    stop = rng.uniform(1 - AGE_ENDS, 1, n_units)
    falls = rng.permutation(n_units) < n_units // 2
    unit = trains.unit_index
    part = np.clip((trains.time / n_samples - start[unit]) / (stop - start)[unit], 0, 1)
    course = part**2 * (3 - 2 * part)
    return np.where(falls[unit], 1 - course, course)


def at_widths(templates: MovableTemplates, narrowest: float, widest: float) -> MovableTemplates:
    """Stretch templates in time about their trough.

    Parameters
    ----------
    templates : MovableTemplates
        Of one displacement; they begin and end at zero.
    narrowest, widest : float
        Factors on the width.

    Returns
    -------
    MovableTemplates
        At all widths of the range in steps of 0.1, 1 among them. In memory this takes as many times the size of
        `templates` as there are widths, times the largest of them.
    """
    low = int(np.floor((min(narrowest, 1.0) - 1) / WIDTH_STEP))
    high = int(np.ceil((max(widest, 1.0) - 1) / WIDTH_STEP))
    widths = 1 + WIDTH_STEP * np.arange(low, high + 1)
    n_units, _, n_samples, n_channels = templates.templates.shape
    before = int(np.ceil(templates.nbefore * widths[-1]))
    after = int(np.ceil((n_samples - templates.nbefore) * widths[-1]))
    source = np.arange(-before, after) / widths[:, np.newaxis] + templates.nbefore
    inside = (source >= 0) & (source <= n_samples - 1)
    bank = np.zeros((n_units, widths.size, before + after, n_channels), dtype=np.float32)
    for unit in range(n_units):
        bank[unit][inside] = CubicSpline(np.arange(n_samples), templates.templates[unit, 0])(source[inside])
    return MovableTemplates(bank, templates.first_channel, widths, before)
