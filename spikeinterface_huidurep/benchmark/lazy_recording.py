"""A long recording of a large probe that lies nowhere: its traces, with known spikes, are made when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from spikeinterface.core import BaseRecording, BaseRecordingSegment, NumpySorting
from spikeinterface.core.core_tools import ms_to_samples
from spikeinterface.core.generate import generate_templates, generate_unit_locations

from .library_placement import make_probe
from .spike_trains import TRUE_REFRACTORY_MS, log_normal_rates

GAIN_UV = 0.195
# spikes are drawn, and noise is put together, for so long at a time
BLOCK_S = 1.0
BEFORE_MS, AFTER_MS = 1.0, 3.0
# a unit is on so many channels around its own: beyond, its largest spikes are less than a tenth of the noise
CHANNELS_OF_A_UNIT = 48
ROW_UM, COLUMN_UM = 15.0, 32.0
NOISE_UV, AMPLITUDE_STD = 10.0, 0.07
# noise is read from a table of so many values, each channel and block from a place of its own; two of 384 channels of
# an hour that start at the same place are as rare as one in a hundred blocks
TABLE = 2**22
# upper edge of the noise's spectrum, with a slope of first order, and what a channel has of each neighbour's noise
NOISE_HZ, OF_NEIGHBOUR = 5000.0, 0.35


@dataclass(frozen=True)
class LazySettings:
    """
    Settings of a recording that is made while it is read.

    Attributes
    ----------
    name : str
    duration_s : float
        In all.
    n_segments : int
        Into which it is cut, of like length.
    n_units, n_channels : int
        The probe has two columns 32 um apart and rows of 15 um.
    snr_range : (float, float)
        Of the units: trough on the best channel over the noise, even on a log scale.
    rate_hz : (float, float)
        Central 95 % of the log-normal rates.
    seed : int
    """

    name: str
    duration_s: float
    n_segments: int = 1
    n_units: int = 250
    n_channels: int = 384
    snr_range: tuple[float, float] = (4.5, 20.0)
    rate_hz: tuple[float, float] = (0.5, 12.0)
    seed: int = 0


class _Units(NamedTuple):
    """
    templates (n_units, n_samples, n_local) float32, uV; first (n_units,) int, the first of the channels that each is
    on; rates (n_units,) float, Hz; snr (n_units,) float.
    """

    templates: np.ndarray
    first: np.ndarray
    rates: np.ndarray
    snr: np.ndarray


class _Spikes(NamedTuple):
    """samples (n_spikes,) int64, ascending, in the segment; units (n_spikes,) int64; amplitudes (n_spikes,) float32."""

    samples: np.ndarray
    units: np.ndarray
    amplitudes: np.ndarray


class LazyRecording(BaseRecording):
    """
    Traces, int16, of a probe among neurons that fire at random, made anew whenever they are read, and always the same.

    Its description is a few numbers: hours of it need no disk. Noise and spikes are drawn for one second after the
    other, from the seed, the segment and the second, so that any part can be made by itself.

    Parameters
    ----------
    durations : list of float
        Of the segments, s.
    n_channels, n_units, snr_range, rate_hz, seed
        See `LazySettings`.
    sampling_frequency : float
        Hz.
    """

    name = "lazy"

    def __init__(
        self,
        durations: list[float],
        n_channels: int = 384,
        n_units: int = 250,
        snr_range: tuple[float, float] = (4.5, 20.0),
        rate_hz: tuple[float, float] = (0.5, 12.0),
        sampling_frequency: float = 30000.0,
        seed: int = 0,
    ):
        BaseRecording.__init__(self, sampling_frequency, [str(channel) for channel in range(n_channels)], "int16")
        rows = -(-n_channels // 2)
        places = np.stack(np.meshgrid([0.0, COLUMN_UM], ROW_UM * np.arange(rows), indexing="xy"), axis=-1)
        self.set_probe(make_probe(places.reshape(-1, 2)[:n_channels]))
        self.set_channel_gains(GAIN_UV)
        self.set_channel_offsets(0.0)
        self.units = _make_units(self.get_channel_locations(), n_units, snr_range, rate_hz, sampling_frequency, seed)
        table = _noise_table(sampling_frequency, seed)
        for index, duration in enumerate(durations):
            self.add_recording_segment(_LazySegment(self, index, round(duration * sampling_frequency), table, seed))
        self._kwargs = dict(
            durations=[float(duration) for duration in durations],
            n_channels=n_channels,
            n_units=n_units,
            snr_range=list(snr_range),
            rate_hz=list(rate_hz),
            sampling_frequency=sampling_frequency,
            seed=seed,
        )

    @classmethod
    def of(cls, settings: LazySettings) -> LazyRecording:
        """The recording of some settings."""
        durations = [settings.duration_s / settings.n_segments] * settings.n_segments
        numbers = dict(n_channels=settings.n_channels, n_units=settings.n_units, seed=settings.seed)
        return cls(durations, snr_range=settings.snr_range, rate_hz=settings.rate_hz, **numbers)

    def true_sorting(self) -> NumpySorting:
        """The spikes of all units, with the unit property `gt_snr`."""
        samples, units = [], []
        for segment in self.segments:
            parts = [segment.spikes_of(block) for block in range(segment.n_blocks)]
            samples.append(np.concatenate([part.samples for part in parts]))
            units.append(np.concatenate([part.units for part in parts]))
        names = np.arange(len(self.units.rates))
        sorting = NumpySorting.from_samples_and_labels(samples, units, self.sampling_frequency, unit_ids=names)
        sorting.set_property("gt_snr", self.units.snr)
        return sorting


class _LazySegment(BaseRecordingSegment):
    def __init__(self, recording, index, n_samples, table, seed):
        rate = recording.sampling_frequency
        BaseRecordingSegment.__init__(self, sampling_frequency=rate)
        self.units, self.index, self.n_samples, self.table, self.seed = recording.units, index, n_samples, table, seed
        self.n_channels, self.block = recording.get_num_channels(), int(BLOCK_S * rate)
        self.n_blocks = -(-n_samples // self.block)
        self.nbefore, self.refractory = ms_to_samples(BEFORE_MS, rate), ms_to_samples(TRUE_REFRACTORY_MS, rate)
        self.intervals = rate / recording.units.rates

    def get_num_samples(self) -> int:
        return self.n_samples

    def get_traces(self, start_frame, end_frame, channel_indices):
        start, end = start_frame or 0, self.n_samples if end_frame is None else end_frame
        traces = np.empty((self.n_channels, end - start), dtype="float32")
        for block in range(start // self.block, -(-end // self.block)):
            first, last = max(start, block * self.block), min(end, (block + 1) * self.block)
            traces[:, first - start : last - start] = self._noise(block, first, last)
        n_template = self.units.templates.shape[1]
        beyond = max(start - n_template, 0), min(end + n_template, self.n_samples)
        for block in range(beyond[0] // self.block, -(-beyond[1] // self.block)):
            self._add(traces, start, self.spikes_of(block))
        traces *= 1 / GAIN_UV
        steps = np.rint(traces, out=traces).T.astype("int16")
        return steps if channel_indices is None else steps[:, channel_indices]

    def _noise(self, block, first, last):
        """Of all channels in a part of a block, (n_channels, n_samples) float32, uV."""
        rng = np.random.default_rng([self.seed, 0, self.index, block])
        places = rng.integers(0, len(self.table) - self.block, self.n_channels + 2) + first - block * self.block
        own = np.stack([self.table[place : place + last - first] for place in places.tolist()])
        noise = own[:-2] + own[2:]
        noise *= OF_NEIGHBOUR
        noise += own[1:-1]
        return noise

    def _add(self, traces, start, spikes):
        """Add the spikes to the traces from the sample `start` on."""
        _, n_template, n_local = self.units.templates.shape
        n_samples = traces.shape[1]
        starts = (spikes.samples - self.nbefore - start).tolist()
        for at, unit, amplitude in zip(starts, spikes.units.tolist(), spikes.amplitudes, strict=True):
            low, high = max(at, 0), min(at + n_template, n_samples)
            if low < high:
                channel = self.units.first[unit]
                template = self.units.templates[unit, low - at : high - at]
                traces[channel : channel + n_local, low:high] += (amplitude * template).T

    def spikes_of(self, block: int) -> _Spikes:
        """The spikes of a block; no unit has two within its refractory period, nor has it one at the block's end."""
        rng = np.random.default_rng([self.seed, 1, self.index, block])
        length = min(self.block, self.n_samples - block * self.block) - self.refractory
        free = np.maximum(self.intervals - self.refractory, self.refractory)
        most = int(np.ceil(2.5 * self.block / self.intervals.min())) + 5
        steps = rng.exponential(free[:, None], (len(free), most))
        steps[:, 1:] += self.refractory
        times = np.cumsum(steps, axis=1)
        units, columns = np.nonzero(times < length)
        samples = times[units, columns].astype("int64") + block * self.block
        amplitudes = rng.normal(1.0, AMPLITUDE_STD, len(samples)).astype("float32")
        order = np.lexsort((units, samples))
        return _Spikes(samples[order], units[order], amplitudes[order])


def _make_units(places, n_units, snr_range, rate_hz, rate, seed):
    rng = np.random.default_rng([seed, 2])
    local = min(CHANNELS_OF_A_UNIT, len(places))
    where = generate_unit_locations(
        n_units, places, margin_um=10.0, minimum_z=5.0, maximum_z=35.0, minimum_distance=15.0, seed=seed
    )
    where = where[np.argsort(where[:, 1], kind="stable")]
    nearest = np.linalg.norm(places[None] - where[:, None, :2], axis=2).argmin(axis=1)
    first = np.clip(nearest - local // 2, 0, len(places) - local)
    low, high = np.log(snr_range)
    snr = np.exp(rng.uniform(low, high, n_units))
    # one by one: on all channels of a probe they would be a hundred megabytes
    templates = np.stack(
        [
            generate_templates(
                places[a : a + local], where[unit : unit + 1], rate, BEFORE_MS, AFTER_MS, seed=seed + unit
            )[0]
            for unit, a in enumerate(first.tolist())
        ]
    )
    trough = -templates.min(axis=(1, 2))
    templates *= (snr * NOISE_UV / trough)[:, None, None].astype("float32")
    return _Units(templates, first, log_normal_rates(n_units, rate_hz, rng), snr)


def _noise_table(rate, seed):
    """Noise of one channel, (TABLE,) float32; with those of its neighbours it has a standard deviation of NOISE_UV."""
    white = np.random.default_rng([seed, 3]).standard_normal(TABLE, dtype="float32")
    spectrum = np.fft.rfft(white)
    spectrum /= np.sqrt(1 + (np.fft.rfftfreq(TABLE, 1 / rate) / NOISE_HZ) ** 2)
    table = np.fft.irfft(spectrum, n=TABLE)
    table *= NOISE_UV / np.sqrt(1 + 2 * OF_NEIGHBOUR**2) / table.std()
    return table.astype("float32")
