"""The views: what may happen to a spike without it becoming another neuron's.

A training pair is two views of one spike of a simulated neuron. Every function here makes one change
that the representation must not see, and says why. They work on batches on one probe, take a
``torch.Generator``, on whose device they work, and touch no global random state. Shapes: n spikes, k tokens (the
channels nearest to the spike), W template samples (the network's window with ``MARGIN`` samples on both sides), T
network samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MARGIN = 16
SUBSAMPLE_STEPS = 16
MAX_SHIFT = 8
LARGEST_STEP = MAX_SHIFT * SUBSAMPLE_STEPS
_MISSED_TROUGH = 6


def uniform(low: float, high: float, *shape: int, generator: torch.Generator) -> Tensor:
    """Uniform random numbers between ``low`` and ``high``."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    """Standard normal random numbers."""
    return torch.randn(shape, generator=generator, device=generator.device)


def whole(low: int, high: int, *shape: int, generator: torch.Generator) -> Tensor:
    """Whole random numbers from ``low`` to below ``high``, int64."""
    return torch.randint(low, high, shape, generator=generator, device=generator.device)


def some(probability: float | Tensor, n: int, generator: torch.Generator) -> Tensor:
    """True with the given probability for each of ``n``, (n,) bool."""
    return torch.rand(n, generator=generator, device=generator.device) < probability


def chance(probability: float, generator: torch.Generator) -> bool:
    """True with the given probability."""
    return bool(torch.rand((), generator=generator) < probability)


@dataclass(frozen=True)
class ViewConfig:
    """How strong each view is, and switches (set to 0 or False) to leave one out.

    Attributes
    ----------
    snr : (float, float)
        Peak amplitude over noise, drawn log-uniform for each unit.
    snr_skew : float
        Above 1 small amplitudes are drawn more often: the logarithm's place in its range is raised to this power.
    narrow_snr : float
        Share of batches in which all units have similar amplitudes, so that amplitude alone tells no neighbours apart.
    noise : float
        Standard deviation of the added noise, noise units.
    collision : float
        Probability that another neuron fires within the window.
    amplitude_jitter, burst : float
        Spread of a unit's amplitude, and the share of spikes at 0.5-1 of it.
    change : float
        Share of views of another form of the neuron's spike than its usual one (in a burst, of another age, narrower or
        broader), each view's form drawn by itself, where the bank has such forms.
    electrode : float
        Spread of each spike's amplitude on each electrode by itself.
    shift : int
        Detection jitter in samples; sub-sample shifts come on top.
    drift_um : float
        Typical displacement between two views of a unit, where the library has displacements.
    recentre : float
        Share of spikes whose views stay where the network's first pass looks from, to train it. The windows of the
        others are centred at the location that the network itself estimates; at 1 none are.
    location_jitter_um : float
        Spread that is added to the location that the network estimates.
    missing : float
        Share of batches with broken channels.
    thin : float
        Share of batches in which a part of a dense probe's channels is used.
    cut : float
        Share of a shank's batches in which it is cut into pieces, and many neurons lie at an end.
    hide : float
        Share of a shank's spikes, in each view by itself, of which one side is hidden, as beyond the probe's end.
    random_probe : float
        Share of dense-grid batches that are seen by a random probe, interpolated from the grid.
    symmetry : bool
        Mirror and rotate the probe.
    gain : float
        Spread of the channels' gains.
    stretch : float
        Time is stretched by up to this factor for a whole batch: other temperatures, species, clocks.
    widen : float
        Distances are stretched or shrunk by up to this factor, along each axis by itself, for a whole batch.
    """

    snr: tuple[float, float] = (2.5, 25.0)
    snr_skew: float = 1.4
    narrow_snr: float = 0.5
    noise: float = 1.0
    collision: float = 0.3
    amplitude_jitter: float = 0.08
    burst: float = 0.15
    change: float = 0.5
    electrode: float = 0.0
    shift: int = 3
    drift_um: float = 16.0
    recentre: float = 0.25
    location_jitter_um: float = 1.0
    missing: float = 0.2
    thin: float = 0.25
    cut: float = 0.0
    hide: float = 0.0
    random_probe: float = 0.35
    symmetry: bool = True
    gain: float = 0.08
    stretch: float = 0.12
    widen: float = 0.0


def choose_snr(n: int, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """Peak amplitude of each unit in noise units, (n,).

    Half of the batches span less than a factor of two, since real neighbours often have the same amplitude and
    a network that always sees a wide range learns to lean on it.
    """
    low, high = (math.log(value) for value in config.snr)
    if chance(config.narrow_snr, generator):
        width = math.log(1.8)
        place = float(uniform(0.0, 1.0, generator=generator)) ** config.snr_skew
        low = low + place * max(0.0, high - 2 * width - low)
        return uniform(low, low + width, n, generator=generator).exp()
    return (low + (high - low) * uniform(0.0, 1.0, n, generator=generator).pow(config.snr_skew)).exp()


def amplitude_factor(n: int, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """Amplitude of each spike relative to its unit's, (n,): a few per cent of jitter, and bursts down to a half,
    because a bursting neuron's later spikes shrink and must stay in its cluster."""
    factor = 1.0 + config.amplitude_jitter * normal(n, generator=generator)
    bursting = some(config.burst, n, generator)
    shrunk = uniform(0.5, 1.0, n, generator=generator)
    return factor.clamp(0.6, 1.4) * torch.where(bursting, shrunk, 1.0)


def choose_forms(n: int, forms: int, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """The form of each spike, (n,): the usual one, 0, or one of the others, because a neuron's waveform changes within
    a burst and over the hours and must stay in its cluster."""
    other = whole(1, forms, n, generator=generator)
    return torch.where(some(config.change, n, generator), other, 0)


def _footprint_weight(size: Tensor, allowed: Tensor) -> Tensor:
    """Squared sizes of the channels less a tenth of the largest, (n, channels); zero where not allowed."""
    weight = size.square() * allowed
    return (weight - 0.1 * weight.amax(dim=1, keepdim=True)).clamp(min=0)


def estimated_location(ptp: Tensor, locations: Tensor, allowed: Tensor) -> Tensor:
    """Centre of mass of the squared peak-to-peak amplitudes above a tenth of the largest, (n, 2) um.

    The tenth is subtracted, so that the centre moves smoothly where a channel fades in or out.

    ``ptp`` (n, channels), ``locations`` (channels, 2), ``allowed`` (channels,) or (n, channels) bool.
    """
    weight = _footprint_weight(ptp, allowed)
    return weight @ locations / weight.sum(dim=1, keepdim=True).clamp(min=1e-12)


def trough_time(trough: Tensor, time: Tensor, allowed: Tensor) -> Tensor:
    """When the spike is, (n,) samples: the mean time of the channels' troughs, weighted by their squared depth.

    The largest channel's own time would jump where another one becomes the largest. ``trough`` and ``time``
    (n, channels), ``allowed`` (channels,) bool.
    """
    weight = _footprint_weight(trough, allowed)
    return (weight * time).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-12)


def choose_channel(trough: Tensor, allowed: Tensor, generator: torch.Generator) -> Tensor:
    """The channel on which each spike is detected, (n,): one on which it has at least half of its largest trough.

    A detector takes the largest one most of the time and another large one now and then: without these views one unit
    becomes one cluster a channel. ``trough`` (n, channels), ``allowed`` (channels,) bool.
    """
    trough = trough * allowed
    largest = trough.amax(dim=1, keepdim=True)
    candidates = (trough >= 0.5 * largest) & (largest > 0)
    weight = candidates * (trough / largest.clamp(min=1e-9)).pow(4) + 1e-9 * allowed
    return torch.multinomial(weight, 1, generator=generator)[:, 0]


def nearest_channels(centre: Tensor, locations: Tensor, allowed: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` allowed channels nearest to each centre, (n, k)."""
    distance = torch.cdist(centre, locations).masked_fill(~allowed, float("inf"))
    return distance.topk(k, dim=1, largest=False, sorted=False).indices


def shift_matrices(samples: int, stretch: float = 1.0) -> Tensor:
    """Interpolation matrices for every shift, (shifts, W, T): ``template @ matrix`` is the shifted window.

    Row ``(shift + MAX_SHIFT) * SUBSAMPLE_STEPS`` shifts by ``shift`` samples; Hann-windowed sinc of 8 samples a side.
    Time is stretched about the trough's nominal sample, a third into the window.
    """
    total = samples + 2 * MARGIN
    shifts = torch.arange(-MAX_SHIFT * SUBSAMPLE_STEPS, MAX_SHIFT * SUBSAMPLE_STEPS + 1) / SUBSAMPLE_STEPS
    pivot = samples / 3.0
    source = MARGIN + pivot + (torch.arange(samples) - pivot) / stretch
    lag = source[None, None, :] - shifts[:, None, None] - torch.arange(total)[None, :, None]
    taper = torch.where(lag.abs() < 8, 0.5 + 0.5 * torch.cos(math.pi * lag / 8), torch.zeros(()))
    return torch.sinc(lag) * taper


def choose_shift(snr: Tensor, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """Detection jitter of spikes of that SNR (n,) in steps of 1 / SUBSAMPLE_STEPS sample, (n,) int64.

    The trough found in noise is off by a sample or two, and the true trough lies between samples. At an SNR of 3
    a tenth of them is off by 4 and more: the noise has a deeper one nearby.
    """
    n = len(snr)
    if config.shift <= 0:
        return torch.zeros(n, dtype=torch.int64, device=snr.device)
    samples = (normal(n, generator=generator) * (0.4 * config.shift)).clamp(-config.shift, config.shift)
    missed = some((0.8 / snr).clamp(max=0.4), n, generator)
    anywhere = uniform(-_MISSED_TROUGH, _MISSED_TROUGH, n, generator=generator)
    samples = torch.where(missed, anywhere, samples)
    fine = uniform(-0.5, 0.5, n, generator=generator)
    return ((samples.round() + fine) * SUBSAMPLE_STEPS).round().long()


def apply_shift(templates: Tensor, steps: Tensor, matrices: Tensor) -> Tensor:
    """Shift templates (n, k, W) by ``steps`` (n,) and cut them to the network's window, (n, k, T)."""
    return torch.bmm(templates, matrices[steps.clamp(-LARGEST_STEP, LARGEST_STEP) + LARGEST_STEP])


def collision_delay(n: int, samples: int, generator: torch.Generator) -> Tensor:
    """Delay of the second spike in samples, (n,), 8 to half a window either way: closer ones the detector merges
    into one peak of the larger spike, farther ones leave only a tail in the window."""
    delay = whole(8, samples * 2 // 3, n, generator=generator)
    return delay * (2 * whole(0, 2, n, generator=generator) - 1)


def delay_templates(templates: Tensor, delay: Tensor) -> Tensor:
    """Move templates (n, k, W) by ``delay`` (n,) samples, zeros coming in, cut to the window, (n, k, T)."""
    n, k, total = templates.shape
    samples = total - 2 * MARGIN
    source = torch.arange(samples, device=delay.device)[None] + MARGIN - delay[:, None]
    inside = (source >= 0) & (source < total)
    moved = templates.gather(2, source.clamp(0, total - 1)[:, None].expand(n, k, samples))
    return moved * inside[:, None]


def noise_covariance(positions: Tensor, generator: torch.Generator, largest_share: float = 0.9) -> Tensor:
    """Covariance over channels (n, k, k) of noise that neighbours share.

    Several channels record the same far neurons and the noise of the recording system. The correlation is a share that
    falls exponentially with distance, and a white rest; both the share and the decay differ between probes and so
    between batches. ``positions`` (n, k, 2) um.
    """
    decay = uniform(math.log(12.0), math.log(90.0), generator=generator).exp()
    share = uniform(0.2, largest_share, generator=generator)
    return exponential_covariance(positions, decay, share)


def exponential_covariance(positions: Tensor, decay_um: float | Tensor, share: float | Tensor) -> Tensor:
    """Covariance (n, k, k) of noise of which ``share`` is shared at no distance, falling over ``decay_um``."""
    covariance = share * torch.exp(-torch.cdist(positions, positions) / decay_um)
    covariance.diagonal(dim1=1, dim2=2).fill_(1.0 + 1e-4)
    return covariance


def correlated_noise(white: Tensor, covariance: Tensor) -> Tensor:
    """Mix independent channels (n, k, T) to noise of that covariance (n, k, k)."""
    return torch.linalg.cholesky(covariance) @ white


def symmetry_matrix(generator: torch.Generator) -> Tensor:
    """A mirror and, in a third of the batches, a rotation of the probe, (2, 2): physics has no left and right, and
    probes go in at all angles."""
    flip = torch.diag(torch.where(torch.rand(2, generator=generator) < 0.5, -1.0, 1.0))
    if not chance(0.33, generator):
        return flip
    angle = float(uniform(0.0, 2 * math.pi, generator=generator))
    return flip @ torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def widening_matrix(widen: float, generator: torch.Generator) -> Tensor:
    """Stretches distances across and along the probe by a factor each, up to 1 + ``widen`` or its inverse, (2, 2): the
    simulated cells are few and have one size each, and a footprint twice as wide on a probe of twice the pitch is
    another cell's."""
    return torch.diag(uniform(-math.log1p(widen), math.log1p(widen), 2, generator=generator).exp())


def thin_channels(locations: Tensor, generator: torch.Generator) -> Tensor:
    """A part of a dense probe's channels, (channels,) bool: every second row, one column, or a random two thirds, so
    that a few simulated probes stand for many pitches."""
    rows = torch.unique(locations[:, 1].round(), return_inverse=True)[1]
    columns = torch.unique(locations[:, 0].round(), return_inverse=True)[1]
    kind = int(torch.randint(4, (), generator=generator))
    if kind == 0:
        return rows % 2 == int(torch.randint(2, (), generator=generator))
    if kind == 1:
        return columns == int(torch.randint(int(columns.max()) + 1, (), generator=generator))
    if kind == 2:
        return (rows + columns) % 2 == int(torch.randint(2, (), generator=generator))
    return torch.rand(len(locations), generator=generator) < 0.67


def cut_shank(locations: Tensor, generator: torch.Generator) -> Tensor:
    """Pieces of 150-300 um with 100-140 um between them, (channels,) bool: near an end a neuron shows half of its
    footprint, and another half when the probe has moved, which few neurons of a whole shank teach."""
    piece = float(uniform(150.0, 300.0, generator=generator))
    period = piece + float(uniform(100.0, 140.0, generator=generator))
    begin = float(uniform(0.0, period, generator=generator))
    return (locations[:, 1] - locations[:, 1].min() + begin) % period < piece


def hide_side(location: Tensor, locations: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """The channels that each spike is left with, (n, channels) bool, where a share of the spikes lose one side.

    They lose all channels beyond a line across the shank, from 20 um on this side of the neuron to 60 um on the other.

    Two views of a neuron at the end of a shank lack the same side, so that what is missing marks the neuron. Views that
    lose a side each by itself say how the vectors move with it.

    Parameters
    ----------
    location : Tensor, (n, 2), um
    locations : Tensor, (channels, 2), um
    share : float
    generator : torch.Generator
    """
    n = len(location)
    hidden = some(share, n, generator)
    side = 2.0 * whole(0, 2, n, generator=generator) - 1
    line = uniform(-20.0, 60.0, n, generator=generator)
    beyond = side[:, None] * (locations[None, :, 1] - location[:, 1:]) > line[:, None]
    return ~(hidden[:, None] & beyond)


def break_channels(allowed: Tensor, generator: torch.Generator) -> Tensor:
    """Switch off 3-15 % of the channels for the whole batch: every probe has dead ones."""
    share = float(uniform(0.03, 0.15, generator=generator))
    return allowed & (torch.rand(len(allowed), generator=generator) >= share)


def drop_tokens(n: int, k: int, generator: torch.Generator) -> Tensor:
    """Mask (n, k) with a tenth of the tokens missing, independent in the two views; never all of a spike's."""
    mask = uniform(0.0, 1.0, n, k, generator=generator) >= 0.1
    kept = whole(0, k, n, generator=generator)
    return mask.index_put((torch.arange(n, device=mask.device), kept), torch.ones_like(mask[:, 0]))


def random_sites(generator: torch.Generator) -> Tensor:
    """Contact sites of a probe that no library holds, (sites, 2) um about the origin: a tetrode, a line, two staggered
    columns or a polytrode, with its own pitch and angle."""
    kind = int(torch.randint(4, (), generator=generator))
    pitch = float(uniform(14.0, 32.0, generator=generator))
    if kind == 0:
        sites = torch.tensor([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]) * pitch
    elif kind == 1:
        sites = torch.stack([torch.zeros(9), torch.arange(9) - 4.0], dim=1) * pitch
    else:
        columns = 2 if kind == 2 else 3
        gap = float(uniform(14.0, 32.0, generator=generator))
        column, row = torch.meshgrid(torch.arange(float(columns)), torch.arange(9) - 4.0, indexing="ij")
        stagger = float(uniform(0.0, 1.0, generator=generator)) * (column % 2)
        sites = torch.stack([(column - (columns - 1) / 2) * gap, (row + stagger) * pitch], dim=-1).reshape(-1, 2)
    angle = float(uniform(0.0, 2 * math.pi, generator=generator))
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return sites @ turn.T
