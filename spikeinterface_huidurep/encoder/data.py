"""Training data: simulated templates as a sorter would see them, and noise to put them in.

A :class:`TemplateBank` is one library on one probe after the sorter's band-pass, at the network's rate; a
:class:`NoisePool` holds noise after the same band-pass. ``sampler`` draws batches of view pairs from them (the changes
are in ``augmentation``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.signal import butter, sosfreqz
from torch import Tensor

from . import augmentation as views
from .augmentation import MARGIN
from .first_look import shifted
from .library import load_factors
from .network import EncoderConfig

_PAD_MS = (1.5, 2.0)
_TROUGH_SEARCH = 12
_MIN_STEP_AMPLITUDE = 0.3


@dataclass(frozen=True)
class BandPass:
    """A zero-phase Butterworth band-pass; the sorter's default is 300-6000 Hz, order 5."""

    low_hz: float = 300.0
    high_hz: float = 6000.0
    order: int = 5

    def response(self, frequencies: np.ndarray, sampling_frequency: float) -> np.ndarray:
        """Gain at ``frequencies`` in Hz: the squared magnitude, since it runs forwards and backwards."""
        high = min(self.high_hz, 0.49 * sampling_frequency)
        sos = butter(self.order, (self.low_hz, high), "bandpass", fs=sampling_frequency, output="sos")
        clipped = np.minimum(frequencies, 0.5 * sampling_frequency)
        return np.abs(sosfreqz(sos, clipped, fs=sampling_frequency)[1]) ** 2


def filter_and_resample(
    waveforms: np.ndarray,
    band: BandPass | None,
    sampling_frequency: float,
    nbefore: float,
    target_frequency: float,
    target_nbefore: int,
    samples: int,
) -> np.ndarray:
    """Band-pass (unless ``band`` is None) and resample waveforms that start and end at zero, in the frequency domain.

    Parameters
    ----------
    waveforms : ndarray, (..., samples_in)
    sampling_frequency, nbefore : float
        Of the input, Hz and samples.
    target_frequency, target_nbefore, samples :
        Of the output.

    Returns
    -------
    ndarray, (..., samples) float32
    """
    step = int(round(sampling_frequency / np.gcd(int(round(sampling_frequency)), int(round(target_frequency)))))
    length = -(-max(1024, 2 * waveforms.shape[-1]) // step) * step
    length_out = int(round(length * target_frequency / sampling_frequency))
    frequencies = np.fft.rfftfreq(length, 1 / sampling_frequency)
    start = nbefore / sampling_frequency - target_nbefore / target_frequency
    gain = np.exp(2j * np.pi * frequencies * start)
    if band is not None:
        gain = gain * band.response(frequencies, sampling_frequency)
    gain = (gain * (length_out / length)).astype(np.complex64)
    flat = waveforms.reshape(-1, waveforms.shape[-1])
    out = np.empty((len(flat), samples), dtype=np.float32)
    for first in range(0, len(flat), 8192):
        spectrum = np.fft.rfft(flat[first : first + 8192], n=length)
        out[first : first + 8192] = np.fft.irfft((spectrum * gain)[:, : length_out // 2 + 1], n=length_out)[:, :samples]
    return out.reshape(*waveforms.shape[:-1], samples)


@dataclass
class Footprints:
    """A batch of units as one probe sees them.

    Attributes
    ----------
    locations : Tensor, (channels, 2), um
    ptp, trough : Tensor, (n, channels)
        Peak-to-peak amplitude and depth of the trough, in parts of the unit's trough.
    trough_time : Tensor, (n, channels), int64
        Sample of the trough after the nominal one.
    gather : callable
        (n, k) channel indices to templates (n, k, W).
    """

    locations: Tensor
    ptp: Tensor
    trough: Tensor
    trough_time: Tensor
    gather: Callable[[Tensor], Tensor]


def _at_network_rate(
    waveforms: np.ndarray, rate: float, nbefore: float, config: EncoderConfig, band: BandPass | None
) -> np.ndarray:
    """Waveforms (..., samples) filtered and resampled to the network's window with its margins."""
    window = (config.sampling_frequency, config.nbefore + MARGIN, config.samples + 2 * MARGIN)
    return filter_and_resample(waveforms, band, rate, nbefore, *window)


def _fall_to_zero(waveforms: np.ndarray, size: int) -> np.ndarray:
    """Let the last axis fall from its first and last values to zero within ``size`` samples added on both sides."""
    fall = 0.5 + 0.5 * np.cos(np.pi * (np.arange(size) + 0.5) / max(size, 1))
    ends = waveforms[..., :1] * fall[::-1], waveforms[..., -1:] * fall
    return np.concatenate([ends[0], waveforms, ends[1]], axis=-1).astype(np.float32)


def footprint_statistics(templates: Tensor, nominal: int) -> tuple[Tensor, Tensor, Tensor]:
    """Peak-to-peak, trough depth and trough time of templates (..., W), the trough near sample ``nominal``."""
    inner = templates[..., MARGIN:-MARGIN]
    ptp = inner.amax(dim=-1) - inner.amin(dim=-1)
    near = templates[..., nominal - _TROUGH_SEARCH : nominal + _TROUGH_SEARCH + 1]
    trough, time = near.min(dim=-1)
    return ptp, (-trough).clamp(min=0), time - _TROUGH_SEARCH


class TemplateBank:
    """Templates of many units on one probe at the network's rate, after one band-pass.

    Made by :meth:`from_library` or :meth:`from_templates`.

    Parameters
    ----------
    blocks : iterable of ndarray, (steps, channels, W) float32
        Each unit's templates at its displacements, with ``MARGIN`` samples around the network's window. Amplitudes are
        divided by the trough at the middle displacement.
    locations : ndarray, (channels, 2) float32, um
    config : EncoderConfig
    name : str
    cell_model : ndarray of str, (units,), optional
    displacement : ndarray, (steps,), um, optional
        3.3 um a step where it is not given.
    """

    def __init__(
        self,
        blocks: Iterable[np.ndarray],
        locations: np.ndarray,
        config: EncoderConfig,
        name: str = "",
        cell_model: np.ndarray | None = None,
        displacement: np.ndarray | None = None,
    ) -> None:
        self.name, self.cell_model = name, cell_model
        self.nominal = config.nbefore + MARGIN
        self.samples = config.samples
        self.locations = torch.from_numpy(np.ascontiguousarray(locations, dtype=np.float32))
        units = [self._unit(torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))) for block in blocks]
        self.templates, self.ptp, self.trough, self.trough_time, self.peak = (
            torch.stack(parts) for parts in zip(*units, strict=True)
        )
        self.step_um = 10 / 3 if displacement is None else float(np.diff(displacement).mean())
        middle = self.templates.shape[1] // 2
        everywhere = torch.ones(len(self.locations), dtype=torch.bool)
        self.location = views.estimated_location(self.ptp[:, middle], self.locations, everywhere)
        self.neighbours = self._neighbours()

    @classmethod
    def from_library(
        cls,
        path: str | Path,
        config: EncoderConfig,
        band: BandPass | None = None,
        exclude: Iterable[str] = (),
        only: Iterable[str] | None = None,
    ) -> TemplateBank:
        """Read a template library and band-pass it.

        Parameters
        ----------
        path : str or Path
        config : EncoderConfig
        band : BandPass, optional
            The sorter's default where none is given.
        exclude : iterable of str
            Cell models to leave out: units whose ``cell_model`` contains one of these strings.
        only : iterable of str, optional
            The reverse: keep these cell models alone.
        """
        factors = load_factors(path, pad_ms=_PAD_MS)
        names = factors.cell_model
        keep = np.array([not any(part in name for part in exclude) for name in names], dtype=bool)
        if only is not None:
            keep &= np.array([any(part in name for part in only) for name in names], dtype=bool)
        if not keep.any():
            raise ValueError(f"no unit of {path} is left after leaving out cell models")
        rate, nbefore = factors.facts["sampling_frequency"], factors.facts["nbefore"]
        filtered = _at_network_rate(factors.temporal[keep], rate, nbefore, config, band or BandPass())
        if factors.spatial is None:
            blocks: Iterable[np.ndarray] = (block[None] for block in filtered)
        else:
            blocks = (space @ time for space, time in zip(factors.spatial[keep], filtered, strict=True))
        displacement = factors.facts.get("displacement")
        return cls(blocks, factors.planar_locations(), config, Path(path).stem, names[keep], displacement)

    @classmethod
    def from_templates(
        cls,
        templates: np.ndarray,
        channel_locations: np.ndarray,
        sampling_frequency: float,
        nbefore: int,
        config: EncoderConfig,
    ) -> TemplateBank:
        """A bank of a recording's own unit templates (units, samples, channels), band-passed as the recording is."""
        size = int(round(1e-3 * sampling_frequency))
        padded = _fall_to_zero(templates.transpose(0, 2, 1).astype(np.float32), size)
        resampled = _at_network_rate(padded, sampling_frequency, nbefore + size, config, None)
        return cls((block[None] for block in resampled), channel_locations, config, "recording")

    def _unit(self, block: Tensor) -> tuple[Tensor, ...]:
        """Half-precision templates relative to the trough, their statistics and the trough itself."""
        _, trough, _ = footprint_statistics(block, self.nominal)
        peak = trough[len(trough) // 2].max().clamp(min=1e-6)
        block = block / peak
        return block.half(), *footprint_statistics(block, self.nominal), peak

    def _neighbours(self, radius_um: float = 80.0, count: int = 32) -> Tensor:
        """For each unit, ``count`` others within ``radius_um`` (with repeats where there are fewer)."""
        close = (torch.cdist(self.location, self.location) < radius_um).float()
        close.fill_diagonal_(0)
        alone = close.sum(dim=1) == 0
        close[alone] = 1.0
        generator = torch.Generator().manual_seed(0)
        return torch.multinomial(close, count, replacement=True, generator=generator)

    def __len__(self) -> int:
        return len(self.templates)

    @property
    def steps(self) -> int:
        """Number of displacements, 1 for still units."""
        return self.templates.shape[1]

    def footprints(self, units: Tensor, steps: Tensor) -> Footprints:
        """The given units, each at a displacement step."""
        return Footprints(
            self.locations,
            self.ptp[units, steps],
            self.trough[units, steps],
            self.trough_time[units, steps],
            lambda channels: self.templates[units[:, None], steps[:, None], channels].float(),
        )

    def interpolated(self, units: Tensor, sites: Tensor) -> Footprints:
        """The units of a dense grid as contacts at ``sites`` (sites, 2) um would see them.

        Gaussian weights of the grid's pitch, normalised; contact sizes average over a few um in any case.
        """
        distance = torch.cdist(sites, self.locations)
        pitch = torch.cdist(self.locations, self.locations).fill_diagonal_(1e9).amin()
        weight = torch.softmax(-0.5 * (distance / (0.45 * pitch)) ** 2, dim=1)
        templates = weight @ self.templates[units, self.steps // 2].float()
        statistics = footprint_statistics(templates, self.nominal)
        rows = torch.arange(len(units))[:, None]
        return Footprints(sites, *statistics, lambda channels: templates[rows, channels])


class NoisePool:
    """Long noise traces after a band-pass, from which pieces are cut.

    Between white and 1/f before the filter, and a third of the traces with the small spikes of far neurons. Each
    trace has unit median absolute deviation (as noise levels are measured). Channels are mixed by
    ``augmentation.correlated_noise``. ``plain`` noise is white before the filter and holds no spikes.
    """

    def __init__(
        self,
        band: BandPass,
        config: EncoderConfig,
        generator: torch.Generator,
        traces: int = 24,
        length: int = 1 << 15,
        samples: int | None = None,
        plain: bool = False,
    ) -> None:
        rate = config.sampling_frequency
        frequencies = np.fft.rfftfreq(length, 1 / rate)
        gain = torch.from_numpy(band.response(frequencies, rate)).float()
        slope = views.uniform(0.0, 0.0 if plain else 1.0, traces, 1, generator=generator)
        colour = (torch.from_numpy(frequencies).float().clamp(min=100.0) / 1000.0)[None] ** (-slope / 2)
        source = torch.randn(traces, length, generator=generator)
        spectrum = torch.fft.rfft(source) * gain * colour
        noise = torch.fft.irfft(spectrum, n=length)
        noise = noise / noise.std(dim=1, keepdim=True)
        if not plain:
            hash_rows = torch.arange(traces) % 3 == 0
            noise[hash_rows] += self._far_spikes(int(hash_rows.sum()), length, rate, gain, generator)
        deviation = noise.abs().median(dim=1, keepdim=True).values / 0.6745
        self.pieces = (noise / deviation).unfold(1, samples or config.samples, 1)

    @staticmethod
    def _far_spikes(rows: int, length: int, rate: float, gain: Tensor, generator: torch.Generator) -> Tensor:
        """Band-passed small spikes at random times, 200 a second, root mean square about the noise's half."""
        events = (torch.rand(rows, length, generator=generator) < 200.0 / rate).float()
        events = events * views.uniform(0.2, 1.5, rows, length, generator=generator)
        time = torch.arange(64) / rate * 1e3
        shape = -torch.exp(-(((time - 0.7) / 0.15) ** 2)) + 0.35 * torch.exp(-(((time - 1.1) / 0.3) ** 2))
        spikes = torch.fft.irfft(torch.fft.rfft(events) * torch.fft.rfft(shape, n=length) * gain, n=length)
        return 0.5 * spikes / spikes.std(dim=1, keepdim=True).clamp(min=1e-6)

    def draw(self, n: int, k: int, generator: torch.Generator) -> Tensor:
        """Independent channels, (n, k, samples); a spike's channels come from traces of any colour."""
        trace = torch.randint(self.pieces.shape[0], (n, k), generator=generator)
        offset = torch.randint(self.pieces.shape[1], (n, k), generator=generator)
        return self.pieces[trace, offset]


@dataclass
class View:
    """One view of a batch: what the network sees, and the truth.

    ``waveforms`` (n, k, T) noise units, ``positions`` (n, k, 2) um from the window's centre, ``mask`` (n, k) bool or
    None, ``clean`` (n, k, T) noise units, ``offset`` (n, 2) um of the spike's true location from the centre, ``delay``
    (n,) samples of its true trough after the nominal one.
    """

    waveforms: Tensor
    positions: Tensor
    mask: Tensor | None
    clean: Tensor
    offset: Tensor
    delay: Tensor

    def seen_from(self, centre: Tensor, tokens: int, delay: Tensor | None = None) -> View:
        """The view from other centres (n, 2), um from the present ones, and ``delay`` (n,) samples later: the
        ``tokens`` channels nearest to them."""
        if delay is not None:
            later = replace(
                self,
                waveforms=shifted(self.waveforms, delay),
                clean=shifted(self.clean, delay),
                delay=self.delay - delay,
            )
            return later.seen_from(centre, tokens)
        positions = self.positions - centre[:, None]
        if tokens >= positions.shape[1]:
            return replace(self, positions=positions, offset=self.offset - centre)
        nearest = positions.square().sum(dim=2).topk(tokens, dim=1, largest=False, sorted=False).indices
        rows = torch.arange(len(nearest), device=nearest.device)[:, None]
        mask = None if self.mask is None else self.mask[rows, nearest]
        return View(
            self.waveforms[rows, nearest], positions[rows, nearest], mask, self.clean[rows, nearest],
            self.offset - centre, self.delay,
        )  # fmt: skip

    def to(self, device: torch.device) -> View:
        """The view on another device."""
        return View(*(None if part is None else part.to(device) for part in vars(self).values()))
