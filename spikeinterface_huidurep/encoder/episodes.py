"""Evaluation episodes: the spikes of a few neighbouring neurons, detected and cut out as a sorter would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from . import augmentation as views
from .augmentation import MARGIN
from .data import Footprints, NoisePool, TemplateBank
from .network import EncoderConfig
from .template_filter import BandPass

_SPARE = 6  # samples beyond the network's window on both sides, so that the trough can be found again
_SEARCH = 6
_PLAIN_DECAY_UM = 25.0
_PLAIN_SHARE = 0.7


@dataclass(frozen=True)
class EpisodeConfig:
    """One row of the evaluation table.

    Attributes
    ----------
    library : str
        File stem of the template library.
    snr : (float, float)
        Peak amplitude over noise of the units, log-uniform.
    units, spikes : int
        Units an episode and spikes a unit.
    radius_um : float
        The units lie within so many um of the first of them.
    drift_um : float
        Each spike at a displacement drawn from +- this.
    second_channel : bool
        Half of the spikes are detected on the unit's second largest channel.
    collision : float
        Share of spikes with a spike of another of the episode's units in the window, up to its own amplitude.
    amplitude_jitter : float
        Spread of a unit's amplitude.
    change : float
        Share of spikes of another form than the neuron's usual one (in a burst, of another age, of another width), of
        banks whose neurons change.
    plain : bool
        Whether noise is white before the filter, correlated alike in all episodes and free of spikes, and spikes are
        found on their largest channel within two samples of their trough. Otherwise noise is coloured, of random
        correlation, with far neurons' spikes in it, and a spike is found where its noisy trough is.
    """

    library: str = "neuropixels2-64"
    snr: tuple[float, float] = (4.0, 10.0)
    units: int = 6
    spikes: int = 150
    radius_um: float = 60.0
    drift_um: float = 0.0
    second_channel: bool = False
    collision: float = 0.0
    amplitude_jitter: float = 0.08
    change: float = 0.0
    plain: bool = False


_ROWS = {
    "two-column, SNR 4-10": EpisodeConfig(),
    "two-column, SNR 3-5": EpisodeConfig(snr=(3.0, 5.0)),
    "two-column within 30 um": EpisodeConfig(radius_um=30.0),
    "two-column, SNR 4-10, a tenth collide": EpisodeConfig(collision=0.1),
    "two-column, drift +-30 um": EpisodeConfig("neuropixels2-64_zdrift", drift_um=30.0),
    "two largest channels": EpisodeConfig(second_channel=True),
    "tetrode, 4 units": EpisodeConfig("tetrode", units=4),
    "linear 32": EpisodeConfig("neuronexus-32"),
    "grid 100": EpisodeConfig("sqmea-10-15"),
    "four-column 128": EpisodeConfig("neuropixels-128"),
}
_REALISTIC_ONLY = ("two-column within 30 um", "two-column, SNR 4-10, a tenth collide")
TABLE = _ROWS | {
    f"{name}, plain noise": replace(config, plain=True) for name, config in _ROWS.items() if name not in _REALISTIC_ONLY
}


@dataclass(eq=False)  # compared by identity, so that an episode can be a key
class Episode:
    """Spikes of one episode.

    Attributes
    ----------
    waveforms : ndarray, (n, samples, channels) float32
        Noise units, cut at the detected trough.
    clean : ndarray, same shape
        The same without noise and collisions.
    channel_locations : ndarray, (channels, 2), um
    detected : ndarray, (n,)
        Channel on which the spike was detected.
    labels : ndarray, (n,)
    nbefore : int
    units : ndarray, (units,)
        The bank's unit that each label stands for.
    """

    waveforms: np.ndarray
    clean: np.ndarray
    channel_locations: np.ndarray
    detected: np.ndarray
    labels: np.ndarray
    nbefore: int
    units: np.ndarray


def _neighbours(bank: TemplateBank, config: EpisodeConfig, generator: torch.Generator) -> Tensor:
    """Units whose locations lie within ``radius_um``, the nearest ones where too few do."""
    if config.units > len(bank):
        raise ValueError(f"{bank.name} has {len(bank)} units left, an episode needs {config.units}")
    first = int(torch.randint(len(bank), (), generator=generator))
    distance = (bank.location - bank.location[first]).norm(dim=1)
    order = distance.argsort()
    enough = max(config.units, int((distance <= config.radius_um).sum()))
    return order[:enough][torch.randperm(enough, generator=generator)[: config.units]]


def _displacement_steps(bank: TemplateBank, units: Tensor, drift_um: float, generator: torch.Generator) -> Tensor:
    n, middle = len(units), bank.steps // 2
    reach = bank.steps_within(drift_um)
    steps = middle + torch.randint(-reach, reach + 1, (n,), generator=generator)
    # a neuron that drifted beyond the probe's end is not detected
    trough = bank.trough.amax(dim=2)
    return torch.where(trough[units, steps] >= 0.5 * trough[units, middle], steps, torch.full_like(steps, middle))


def draw_episodes(
    bank: TemplateBank, config: EpisodeConfig, network: EncoderConfig, episodes: int, seed: int
) -> Iterator[Episode]:
    """A row's episodes, in noise of their own; the same ones for a seed, whatever is done with them."""
    generator = torch.Generator().manual_seed(seed)
    samples = bank.samples + 2 * MARGIN
    noise = NoisePool(BandPass(), network, generator, samples=samples, plain=config.plain)
    for _ in range(episodes):
        yield make_episode(bank, noise, config, generator)


def make_episode(bank: TemplateBank, noise: NoisePool, config: EpisodeConfig, generator: torch.Generator) -> Episode:
    """Draw units near each other and their spikes in noise; find each spike's trough as a detector does.

    Parameters
    ----------
    bank : TemplateBank
        Of the units to evaluate on.
    noise : NoisePool
        Made for windows of ``bank.samples + 2 * MARGIN`` samples, and plain where the configuration says so.
    config : EpisodeConfig
    generator : torch.Generator

    Returns
    -------
    Episode
    """
    chosen = _neighbours(bank, config, generator)
    labels = torch.arange(config.units).repeat_interleave(config.spikes)
    units = chosen[labels]
    n, channels = len(units), len(bank.locations)
    everywhere = torch.arange(channels).expand(n, -1)
    steps = _displacement_steps(bank, units, config.drift_um, generator)
    prints = bank.footprints(units, steps, _forms(bank, config))
    reference = bank.trough[units, bank.steps // 2].amax(dim=1)
    low, high = (float(np.log(value)) for value in config.snr)
    snr = views.uniform(low, high, config.units, generator=generator).exp()[labels]
    factor = snr / reference * (1 + config.amplitude_jitter * torch.randn(n, generator=generator))
    fine = _subsample(prints.gather(everywhere) * factor[:, None, None], generator)
    full = fine + _collisions(bank, units, chosen, steps, snr, config, generator)
    white = noise.draw(n, channels, generator)
    places = bank.locations.expand(n, -1, -1)
    covariance = (
        views.exponential_covariance(places, _PLAIN_DECAY_UM, _PLAIN_SHARE)
        if config.plain
        else views.noise_covariance(places, generator)
    )
    full = full + views.correlated_noise(white, covariance)
    detected, times = _detect(full, prints, config, bank.nominal, generator)
    length = bank.samples + 2 * _SPARE
    start = times - (bank.nominal - MARGIN) - _SPARE
    index = (start[:, None] + torch.arange(length))[:, None].expand(n, channels, length)
    return Episode(
        full.gather(2, index).transpose(1, 2).numpy(),
        fine.gather(2, index).transpose(1, 2).numpy(),
        bank.locations.numpy(),
        detected.numpy(),
        labels.numpy(),
        bank.nominal - MARGIN + _SPARE,
        chosen.numpy(),
    )


def _forms(bank: TemplateBank, config: EpisodeConfig) -> Tensor:
    """The form of each spike, (n,); nothing is drawn, so that an episode is the same but for them without any."""
    spike = torch.arange(config.spikes)
    others = 1 + spike % max(1, bank.forms - 1)
    forms = torch.where(spike < round(config.change * config.spikes), others, 0) % bank.forms
    return forms.repeat(config.units)


def _subsample(templates: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by a part of a sample, each spike by its own."""
    spectrum = torch.fft.rfft(templates)
    frequency = torch.fft.rfftfreq(templates.shape[-1])
    shift = views.uniform(-0.5, 0.5, len(templates), 1, generator=generator)
    phase = torch.polar(torch.ones(len(templates), len(frequency)), -2 * torch.pi * frequency * shift)
    return torch.fft.irfft(spectrum * phase[:, None], n=templates.shape[-1])


def _collisions(
    bank: TemplateBank,
    units: Tensor,
    chosen: Tensor,
    steps: Tensor,
    snr: Tensor,
    config: EpisodeConfig,
    generator: torch.Generator,
) -> Tensor:
    """Spikes of the episode's other units in a share of the windows, up to the unit's own amplitude."""
    n, total = len(units), bank.length
    out = torch.zeros(n, len(bank.locations), total)
    hit = torch.nonzero(torch.rand(n, generator=generator) < config.collision)[:, 0]
    if len(hit) == 0:
        return out
    other = chosen[torch.randint(len(chosen), (len(hit),), generator=generator)]
    prints = bank.footprints(other, steps[hit])
    amplitude = snr[hit] * views.uniform(0.1, 1.0, len(hit), generator=generator)
    amplitude = amplitude / prints.trough.amax(dim=1).clamp(min=0.05)
    templates = prints.gather(torch.arange(len(bank.locations)).expand(len(hit), -1)) * amplitude[:, None, None]
    padded = torch.nn.functional.pad(templates, (MARGIN, MARGIN))
    out[hit] = views.delay_templates(padded, views.collision_delay(len(hit), bank.samples, generator))
    return out


def _detect(
    full: Tensor, prints: Footprints, config: EpisodeConfig, nominal: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Channel and sample of the trough, (n,) each: the deepest of the noisy window (in plain noise the clean spike's,
    give or take two samples), or on the second largest channel of the clean unit for every other spike."""
    near = full[..., nominal - _SEARCH : nominal + _SEARCH + 1]
    depth, time = near.min(dim=2)
    trough = prints.trough
    two = trough.topk(min(2, trough.shape[1]), dim=1)
    close = trough >= 0.5 * two.values[:, :1]
    detected = two.indices[:, 0] if config.plain else depth.masked_fill(~close, float("inf")).argmin(dim=1)
    if config.second_channel:
        every_other = torch.arange(len(full)) % 2 == 1
        detected = torch.where(every_other, two.indices[:, -1], two.indices[:, 0])
    if config.plain:
        time = prints.trough_time.clamp(-_SEARCH + 2, _SEARCH - 2) + _SEARCH
        time = time + torch.randint(-2, 3, (len(full), 1), generator=generator)
    return detected, nominal - _SEARCH + time.gather(1, detected[:, None])[:, 0]
