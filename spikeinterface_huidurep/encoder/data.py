"""Training data: simulated templates as a sorter would see them, and noise to put them in.

A :class:`TemplateBank` is one library on one probe after the sorter's band-pass, at the network's rate; a
:class:`NoisePool` holds noise after the same band-pass. ``sampler`` draws batches of view pairs from them (the changes
are in ``augmentation``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from . import augmentation as views
from .augmentation import MARGIN
from .first_look import shifted
from .library import load_factors
from .network import EncoderConfig
from .template_filter import BandPass, filter_and_resample

_PAD_MS = (1.5, 2.0)
_TROUGH_SEARCH = 12
_MIN_STEP_AMPLITUDE = 0.3
_NEAR_THE_END_UM = 40.0
_SHANK_UM = 200.0
_FURTHEST_BEYOND_UM = 60.0


_Holder = TypeVar("_Holder")


def _moved(holder: _Holder, device: torch.device) -> _Holder:
    """A copy of an object whose tensors are on a device."""
    other = copy.copy(holder)
    for name, value in vars(holder).items():
        if isinstance(value, Tensor):
            setattr(other, name, value.to(device))
    return other


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
    unseen : Tensor, (n, 2), um
        From the centre of mass of the footprint to the neuron's location, where it lies beyond the probe's end.
    gather : callable
        (n, k) channel indices to templates (n, k, W).
    """

    locations: Tensor
    ptp: Tensor
    trough: Tensor
    trough_time: Tensor
    unseen: Tensor
    gather: Callable[[Tensor], Tensor]


def at_network_rate(
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
    places : ndarray, (units, steps, 2), um, optional
        Where each neuron is at its displacements.
    """

    licence = "not stated"  # terms of the neurons

    def __init__(
        self,
        blocks: Iterable[np.ndarray],
        locations: np.ndarray,
        config: EncoderConfig,
        name: str = "",
        cell_model: np.ndarray | None = None,
        places: np.ndarray | None = None,
    ) -> None:
        self.nominal = config.nbefore + MARGIN
        units = [self._unit(torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))) for block in blocks]
        self.templates, *statistics, self.peak = (torch.stack(parts) for parts in zip(*units, strict=True))
        self._describe(statistics, locations, config, name, cell_model, places)

    def _describe(
        self,
        statistics: Sequence[Tensor],
        locations: np.ndarray,
        config: EncoderConfig,
        name: str,
        cell_model: np.ndarray | None,
        places: np.ndarray | None,
    ) -> None:
        """Keep what is asked of every bank, from the statistics (units, steps, channels) of its footprints."""
        self.name, self.cell_model = name, cell_model
        self.ptp, self.trough, self.trough_time = statistics
        self.samples = config.samples
        self.locations = torch.from_numpy(np.ascontiguousarray(locations, dtype=np.float32))
        moves = torch.zeros(0) if places is None else torch.from_numpy(places).diff(dim=1)
        self.step_um = float(moves.norm(dim=2).mean()) if moves.numel() else 10 / 3
        everywhere = torch.ones(len(self.locations), dtype=torch.bool)
        seen = torch.stack([views.estimated_location(ptp, self.locations, everywhere) for ptp in self.ptp])
        self.location = seen[:, self.steps // 2]
        self.unseen = torch.zeros_like(seen) if places is None else self._unseen(seen, torch.from_numpy(places))
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
        filtered = at_network_rate(factors.temporal[keep], rate, nbefore, config, band or BandPass())
        if factors.spatial is None:
            blocks: Iterable[np.ndarray] = (block[None] for block in filtered)
        else:
            blocks = (space @ time for space, time in zip(factors.spatial[keep], filtered, strict=True))
        places = factors.planar_places()
        places = None if places is None else places[keep]
        bank = cls(blocks, factors.planar_locations(), config, Path(path).stem, names[keep], places)
        bank.licence = str(factors.facts.get("licence", bank.licence))
        return bank

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
        resampled = at_network_rate(padded, sampling_frequency, nbefore + size, config, None)
        return cls((block[None] for block in resampled), channel_locations, config, "recording")

    def _unit(self, block: Tensor) -> tuple[Tensor, ...]:
        """Half-precision templates relative to the trough, their statistics and the trough itself."""
        _, trough, _ = footprint_statistics(block, self.nominal)
        peak = trough[len(trough) // 2].max().clamp(min=1e-6)
        block = block / peak
        return block.half(), *footprint_statistics(block, self.nominal), peak

    @property
    def shank(self) -> bool:
        """Whether the probe is so long that most neurons do not lie at its ends."""
        depth = self.locations[:, 1]
        return bool(depth.max() - depth.min() > _SHANK_UM)

    def _unseen(self, seen: Tensor, places: Tensor) -> Tensor:
        """How far each neuron's location lies from the centre of mass ``seen`` (units, steps, 2), same shape.

        Beyond the end of a shank the centre of mass stays behind the neuron, and so it does, by a few um, between the
        rows. A drifting unit's location is what it is inside the shank, and moves as the neuron does. A still one's is
        its soma where it is near the end.
        """
        if not self.shank:
            return torch.zeros_like(seen)
        low, high = self.locations[:, 1].min(), self.locations[:, 1].max()
        depth = torch.minimum(seen[..., 1] - low, high - seen[..., 1])
        if self.steps == 1:
            beyond = (places - seen) * torch.tensor([0.0, 1.0]) * (depth < _NEAR_THE_END_UM)[..., None]
        else:
            inside = depth >= depth.amax(dim=1, keepdim=True).clamp(max=_NEAR_THE_END_UM)
            usual = (seen - places).masked_fill(~inside[..., None], float("nan")).nanmedian(dim=1, keepdim=True).values
            beyond = places + usual - seen
        return beyond.clamp(-_FURTHEST_BEYOND_UM, _FURTHEST_BEYOND_UM)

    def _neighbours(self, radius_um: float = 80.0, count: int = 32) -> Tensor:
        """For each unit, ``count`` others within ``radius_um`` (with repeats where there are fewer)."""
        close = (torch.cdist(self.location, self.location) < radius_um).float()
        close.fill_diagonal_(0)
        alone = close.sum(dim=1) == 0
        close[alone] = 1.0
        generator = torch.Generator().manual_seed(0)
        return torch.multinomial(close, count, replacement=True, generator=generator)

    def __len__(self) -> int:
        return len(self.trough)

    def to(self, device: torch.device) -> TemplateBank:
        """The bank on another device."""
        return _moved(self, device)

    @property
    def steps(self) -> int:
        """Number of displacements, 1 for still units."""
        return self.trough.shape[1]

    @property
    def forms(self) -> int:
        """How many forms the spike of each neuron has; the first is the usual one."""
        return 1

    @property
    def length(self) -> int:
        """Samples of a template: the network's window and its margins."""
        return self.samples + 2 * MARGIN

    def steps_within(self, drift_um: float) -> int:
        """How many displacements lie within ``drift_um`` on either side of the middle one."""
        return min(self.steps // 2, int(drift_um / self.step_um + 1e-3))

    def footprints(self, units: Tensor, steps: Tensor, forms: Tensor | None = None) -> Footprints:
        """The given units, each at a displacement step and in one of its forms; the usual one if not given."""
        return Footprints(
            self.locations,
            self.ptp[units, steps],
            self.trough[units, steps],
            self.trough_time[units, steps],
            self.unseen[units, steps],
            lambda channels: self.templates[units[:, None], steps[:, None], channels].float(),
        )

    def interpolated(self, units: Tensor, sites: Tensor, forms: Tensor | None = None) -> Footprints:
        """The units of a dense grid, each in one of its forms, as contacts at ``sites`` (sites, 2) um would see them.

        Gaussian weights of the grid's pitch, normalised; contact sizes average over a few um in any case.
        """
        distance = torch.cdist(sites, self.locations)
        pitch = torch.cdist(self.locations, self.locations).fill_diagonal_(1e9).amin()
        weight = torch.softmax(-0.5 * (distance / (0.45 * pitch)) ** 2, dim=1)
        middle = torch.full_like(units, self.steps // 2)
        everywhere = torch.arange(len(self.locations), device=units.device).expand(len(units), -1)
        templates = weight @ self.footprints(units, middle, forms).gather(everywhere)
        statistics = footprint_statistics(templates, self.nominal)
        rows = torch.arange(len(units), device=sites.device)[:, None]
        nowhere = torch.zeros(len(units), 2, device=sites.device)
        return Footprints(sites, *statistics, nowhere, lambda channels: templates[rows, channels])


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
        self.traces = noise / deviation
        self.samples = samples or config.samples

    def to(self, device: torch.device) -> NoisePool:
        """The pool on another device."""
        return _moved(self, device)

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
        pieces = self.traces.unfold(1, self.samples, 1)
        trace = views.whole(0, pieces.shape[0], n, k, generator=generator)
        offset = views.whole(0, pieces.shape[1], n, k, generator=generator)
        return pieces[trace, offset]


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
