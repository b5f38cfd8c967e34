"""Draws training batches: pairs of views of the same spikes.

The probe, the units and the amplitudes of a batch are drawn on the CPU; its views are made on the training's device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from . import augmentation as views
from .augmentation import ViewConfig
from .data import Footprints, NoisePool, TemplateBank, View
from .network import EncoderConfig

_STRETCH_LEVELS = 5
_GRID_MARGIN_UM = 20.0
# a view has so many channels more than there are tokens: the window may be centred on another channel than the detected
# one
_SPARE_CHANNELS = 8
# a view in which less than this part of the spike's amplitude is left is not used: a detector would miss the spike
_FAINTEST = 0.4


@dataclass
class Source:
    """A template bank, noise filtered with the same band-pass, and the source's weight when sources are drawn."""

    bank: TemplateBank
    noise: NoisePool
    weight: float = 1.0

    def to(self, device: torch.device) -> Source:
        """The source on another device."""
        return replace(self, bank=self.bank.to(device), noise=self.noise.to(device))

    @property
    def dense_grid(self) -> bool:
        """Whether random probes can be interpolated from the bank: its pitch is at most 20 um, its span over 80 um."""
        locations = self.bank.locations
        pitch = torch.cdist(locations, locations).fill_diagonal_(1e9).amin(dim=1).max()
        fine = self.bank.steps == 1 or self.bank.forms > 1  # drifting libraries of cell models are not interpolated
        return fine and bool(pitch <= 20) and bool((locations.amax(0) - locations.amin(0) > 80).all())


@dataclass
class _Scene:
    """What the two views of a batch share: units, amplitudes, probe, and by how much the filter is stretched."""

    source: Source
    units: Tensor
    step: Tensor
    snr: Tensor
    allowed: Tensor
    whole: Tensor
    sites: Tensor | None
    matrices: Tensor
    turn: Tensor
    gain: Tensor
    tokens: int
    drop: bool
    drift_steps: float

    def to(self, device: torch.device) -> _Scene:
        """The scene on another device."""
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors)


class ViewSampler:
    """Endless view pairs from several template banks.

    Parameters
    ----------
    sources : sequence of Source
    config : EncoderConfig
    view_config : ViewConfig
    generator : torch.Generator
        On the CPU. All random numbers come from it, so that a run can be resumed exactly from :attr:`state`.
    device : str or torch.device
        Where views are made. On a GPU the random numbers are others than on the CPU.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        config: EncoderConfig,
        view_config: ViewConfig,
        generator: torch.Generator,
        device: str | torch.device = "cpu",
    ) -> None:
        if not sources:
            raise ValueError("no template library to train on")
        self.device = torch.device(device)
        self.sources = [source.to(self.device) for source in sources]
        self.config, self.views = config, view_config
        self.generator = self.device_generator = generator
        if self.device.type != "cpu":
            self.device_generator = torch.Generator(self.device).manual_seed(self._pick(0, 2**31))
        self.weights = torch.tensor([source.weight for source in sources])
        stretch = torch.linspace(-1, 1, _STRETCH_LEVELS) * view_config.stretch
        self.matrices = [views.shift_matrices(config.samples, float(1 + value)).to(self.device) for value in stretch]
        self.locations = [source.bank.locations.cpu() for source in sources]
        self.dense = [source.dense_grid for source in sources]

    @property
    def state(self) -> list[Tensor]:
        """The states of the random generators: that of the CPU, then that of the other device, if there is one."""
        generators = [self.generator] if self.device.type == "cpu" else [self.generator, self.device_generator]
        return [generator.get_state() for generator in generators]

    @state.setter
    def state(self, states: Sequence[Tensor]) -> None:
        self.generator.set_state(states[0])
        if self.device.type != "cpu":
            if len(states) > 1:
                self.device_generator.set_state(states[1])
            else:  # the state was saved by a run on the CPU
                self.device_generator.manual_seed(self._pick(0, 2**31))

    def draw(self, batch_size: int) -> tuple[View, View, Tensor, int]:
        """Two views of the same ``batch_size`` spikes, their units (batch_size,), and the number of tokens.

        The views are centred on the channel on which the spike was detected. They hold more channels than there are
        tokens, so that they can be centred anew on the location that the network estimates (``View.seen_from``).
        """
        scene = self._scene(batch_size)
        return self._view(scene), self._view(scene), scene.units, scene.tokens

    def of(self, sources: Sequence[Source], **changes: Any) -> ViewSampler:
        """A sampler of some of the sources, with some view settings changed and its own random generator."""
        generator = torch.Generator().manual_seed(0)
        return ViewSampler(sources, self.config, replace(self.views, **changes), generator, self.device)

    def choose_stay(self, n: int) -> Tensor:
        """Which windows stay centred on the detected channel, (n,) bool."""
        return views.some(self.views.recentre, n, self.device_generator)

    def choose_jitter(self, n: int) -> Tensor:
        """Random offsets to add to the estimated locations, (n, 2) um."""
        return self.views.location_jitter_um * views.normal(n, 2, generator=self.device_generator)

    def _pick(self, low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=self.generator))

    def _scene(self, batch_size: int) -> _Scene:
        g, config = self.generator, self.views
        index = int(torch.multinomial(self.weights, 1, generator=g))
        source = self.sources[index]
        bank = source.bank
        rounds = -(-batch_size // len(bank))
        units = torch.cat([torch.randperm(len(bank), generator=g) for _ in range(rounds)])[:batch_size]
        step = views.whole(0, bank.steps, len(units), generator=g)
        sites = None
        if self.dense[index] and views.chance(config.random_probe, g):
            sites = views.random_sites(g)
            inside = self.locations[index].abs().amax(dim=0) + _GRID_MARGIN_UM
            sites = sites[(sites.abs() <= inside).all(dim=1)]
        locations = self.locations[index] if sites is None else sites
        allowed = torch.ones(len(locations), dtype=torch.bool)
        if sites is None and len(allowed) >= 32 and views.chance(config.thin, g):
            allowed = views.thin_channels(locations, g)
        if len(allowed) > 4 and views.chance(config.missing, g):
            allowed = views.break_channels(allowed, g)
        if int(allowed.sum()) < 4:
            allowed = torch.ones_like(allowed)
        whole = allowed
        if sites is None and bank.shank and views.chance(config.cut, g):
            allowed = allowed & views.cut_shank(locations, g)
            allowed = allowed if int(allowed.sum()) >= 4 else whole
        tokens = min(self.config.channels, int(allowed.sum()))
        if tokens > 4 and views.chance(0.15, g):
            tokens = self._pick(4, tokens)
        spread = config.drift_um * (0.3, 1.0, 2.0)[self._pick(0, 3)] / bank.step_um
        return _Scene(
            source,
            units,
            step,
            views.choose_snr(len(units), config, g),
            allowed,
            whole,
            sites,
            self.matrices[self._pick(0, len(self.matrices))],
            self._turn(),
            (config.gain * views.normal(len(locations), generator=g)).exp(),
            tokens,
            views.chance(0.5 * config.missing, g),
            spread,
        ).to(self.device)

    def _turn(self) -> Tensor:
        """Matrix (2, 2) by which all positions of a batch are turned, mirrored or widened."""
        g, config = self.generator, self.views
        turn = views.symmetry_matrix(g) if config.symmetry else torch.eye(2)
        return views.widening_matrix(config.widen, g) @ turn if config.widen > 0 else turn

    def _displaced(self, scene: _Scene) -> tuple[Footprints, Tensor]:
        """Footprints of the units at this view's displacement, and the factors (n,) that bring them to noise units."""
        g, bank = self.device_generator, scene.source.bank
        n = len(scene.units)
        if scene.sites is not None:
            offset = self.views.drift_um * 0.5 * views.normal(2, generator=g)
            forms = None
            if bank.forms > 1 and self.views.change > 0:
                forms = views.choose_forms(n, bank.forms, self.views, g)
            prints = bank.interpolated(scene.units, scene.sites + offset, forms)
            prints.locations = scene.sites
            amplitude = (prints.trough * scene.allowed).amax(dim=1)
            return prints, scene.snr / amplitude.clamp(min=0.05)
        reference = (bank.trough[scene.units, scene.step] * scene.allowed).amax(dim=1).clamp(min=0.05)
        step = scene.step
        if bank.steps > 1 and self.views.drift_um > 0:
            move = (scene.drift_steps * views.normal(n, generator=g)).round().long()
            moved = (step + move).clamp(0, bank.steps - 1)
            seen = (bank.trough[scene.units, moved] * scene.allowed).amax(dim=1) >= _FAINTEST * reference
            step = torch.where(seen, moved, step)
        prints = bank.footprints(scene.units, step)
        if bank.forms > 1 and self.views.change > 0:
            forms = views.choose_forms(n, bank.forms, self.views, g)
            changed = bank.footprints(scene.units, step, forms)
            seen = (changed.trough * scene.allowed).amax(dim=1) >= _FAINTEST * reference
            prints = bank.footprints(scene.units, step, torch.where(seen, forms, 0))
        return prints, scene.snr / reference

    def _view(self, scene: _Scene) -> View:
        g, config = self.device_generator, self.views
        prints, factor = self._displaced(scene)
        n = len(factor)
        location = views.estimated_location(prints.ptp, prints.locations, scene.whole) + prints.unseen
        count = min(scene.tokens + _SPARE_CHANNELS, int(scene.allowed.sum()))
        allowed = self._seen(scene, prints, location, count)
        detected = views.choose_channel(prints.trough, allowed, g)
        centre = prints.locations[detected]
        channels = views.nearest_channels(centre, prints.locations, allowed, count)
        late = prints.trough_time.gather(1, detected[:, None])[:, 0].clamp(-5, 5)
        steps = views.choose_shift(scene.snr, config, g) - late * views.SUBSAMPLE_STEPS
        steps = steps.clamp(-views.LARGEST_STEP, views.LARGEST_STEP)
        delay = steps / views.SUBSAMPLE_STEPS + views.trough_time(prints.trough, prints.trough_time, allowed)
        amplitude = factor * views.amplitude_factor(n, config, g)
        gain = scene.gain[channels][..., None]
        if config.electrode > 0:
            gain = gain * (1 + config.electrode * views.normal(n, channels.shape[1], 1, generator=g))
        clean = views.apply_shift(prints.gather(channels), steps, scene.matrices) * amplitude[:, None, None] * gain
        waveforms = clean
        if config.collision > 0:
            waveforms = clean + self._collisions(scene, channels, n) * gain
        positions = prints.locations[channels] - centre[:, None]
        if config.noise > 0:
            white = scene.source.noise.draw(n, channels.shape[1], g)
            covariance = views.noise_covariance(positions, g, largest_share=1.0)
            waveforms = waveforms + config.noise * views.correlated_noise(white, covariance)
        mask = views.drop_tokens(n, channels.shape[1], g) if scene.drop and channels.shape[1] > 4 else None
        if mask is not None:
            waveforms = waveforms * mask[..., None]
        return View(waveforms, positions @ scene.turn, mask, clean, (location - centre) @ scene.turn, delay)

    def _seen(self, scene: _Scene, prints: Footprints, location: Tensor, count: int) -> Tensor:
        """The channels that exist for each spike of this view, (n, channels) or (channels,) bool."""
        if self.views.hide <= 0 or scene.sites is not None or not scene.source.bank.shank:
            return scene.allowed
        left = scene.allowed & views.hide_side(location, prints.locations, self.views.hide, self.device_generator)
        before = (prints.trough * scene.allowed).amax(dim=1)
        # channels are hidden only where enough are left, and a detector would still find the spike
        sound = (left.sum(dim=1) >= count) & ((prints.trough * left).amax(dim=1) >= _FAINTEST * before)
        return torch.where(sound[:, None], left, scene.allowed)

    def _collisions(self, scene: _Scene, channels: Tensor, n: int) -> Tensor:
        """Spikes of neighbouring neurons that overlap with the units', (n, k, T); zero in the other windows.

        Their amplitudes are at most those of the unit's own spike, and in some windows up to twice as large.
        """
        g, bank = self.device_generator, scene.source.bank
        out = torch.zeros(n, channels.shape[1], self.config.samples, device=self.device)
        hit = torch.nonzero(views.some(self.views.collision, n, g))[:, 0]
        if len(hit) == 0:
            return out
        choice = views.whole(0, bank.neighbours.shape[1], len(hit), generator=g)
        other = bank.neighbours[scene.units[hit], choice]
        if scene.sites is None:
            prints = bank.footprints(other, scene.step[hit])
        else:
            prints = bank.interpolated(other, scene.sites)
        strongest = (prints.trough * scene.allowed).amax(dim=1).clamp(min=0.05)
        relative = views.uniform(0.1, 1.0, len(hit), generator=g)
        relative = torch.where(views.some(0.15, len(hit), g), 2 * relative, relative)
        amplitude = (scene.snr[hit] * relative / strongest)[:, None, None]
        delay = views.collision_delay(len(hit), self.config.samples, g)
        out[hit] = views.delay_templates(prints.gather(channels[hit]), delay) * amplitude
        return out
