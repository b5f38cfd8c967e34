"""The training loop: contrastive learning and denoising together, resumable, on a CPU or a GPU."""

from __future__ import annotations

import copy
import csv
import json
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .axes import axes_without, hidden_side_axes, principal_axes
from .data import View
from .first_look import trough_filter
from .losses import denoising_loss, location_loss, symmetric_info_nce
from .network import DELAY_UNIT, LOCATION_UNIT_UM, BuildEncoder, ContrastiveNetwork, SpikeEncoder
from .sampler import ViewSampler
from .training_config import TrainingConfig, check_licence
from .two_looks import first_centre, second_centre

logger = logging.getLogger(__name__)

# largest distance of a spike's location from the detected channel, um along each axis: an untrained network's estimate
# may be far off
_FURTHEST_UM = 60.0
_LOG_COLUMNS = ("step", "seconds", "contrastive", "denoising", "location", "learning_rate", "momentum", "gradient_norm")
# the axes of the exported vectors are measured on so many spikes, drawn in batches of so many: each has its own probe
_AXES_SPIKES, _AXES_BATCH = 4096, 64
_OTHER_NETWORK = "the weights to begin with are those of another network: give its settings with encoder.NAME"
CHECKPOINT_VERSION = 1


class Trainer:
    """Trains a :class:`ContrastiveNetwork`, writes a log, checkpoints and a loss figure into a folder.

    Parameters
    ----------
    config : TrainingConfig
    sampler : ViewSampler
    folder : str or Path
        Output folder. If it holds a checkpoint, :meth:`resume` goes on from there exactly.
    device : str
    build : callable
        Makes the encoder from its configuration; by default a :class:`SpikeEncoder`.
    """

    def __init__(
        self,
        config: TrainingConfig,
        sampler: ViewSampler,
        folder: str | Path,
        device: str = "cpu",
        build: BuildEncoder = SpikeEncoder,
    ) -> None:
        self.config, self.sampler = config, sampler
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.device = torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)  # layers draw their first weights from the global generator
            self.network = ContrastiveNetwork(config.encoder, build)
        self.network.to(self.device).train()
        self.optimizer = torch.optim.AdamW(self._groups(), lr=config.learning_rate, fused=True)
        self.step = 0
        self.seconds = 0.0
        self.trained_on = {source.bank.name: source.bank.licence for source in sampler.sources}

    def begin_with(self, encoder: SpikeEncoder, trained_on: Mapping[str, str] | None = None) -> None:
        """Start from the weights of a trained encoder; ``trained_on`` gives the licence of each of its sources.

        Raises a ValueError if the weights do not fit, or if the settings do not allow one of the licences.
        """
        self._goes_on_from(trained_on)
        weights, mine = encoder.state_dict(), self.network.encoder.state_dict()
        if _shapes(weights) != _shapes(mine):
            raise ValueError(_OTHER_NETWORK)
        for network in (self.network.encoder, self.network.momentum_encoder):
            network.load_state_dict(weights)

    def begin_with_network(self, path: str | Path) -> None:
        """Start from the network (encoder and heads) of another run's checkpoint, with a new optimiser, at step 0.

        Raises a ValueError if the network does not fit, or if the settings do not allow a licence of its sources.
        """
        content = read_checkpoint(path)
        weights, mine = content["network"], self.network.state_dict()
        self._goes_on_from(content.get("trained_on"))
        if _shapes(weights) != _shapes(mine):
            raise ValueError(_OTHER_NETWORK)
        self.network.load_state_dict(weights)

    def _goes_on_from(self, trained_on: Mapping[str, str] | None) -> None:
        """Record what the weights were trained on before. Files of earlier versions do not say it."""
        before = dict(trained_on or {"an earlier training": "not stated"})
        for name, licence in before.items():
            check_licence(name, licence, self.config)
        self.trained_on = before | self.trained_on

    def _groups(self) -> list[dict[str, Any]]:
        """Matrices decay; biases, norms and the class token do not."""
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        return [
            {"params": [p for p in trained if p.ndim == 2], "weight_decay": self.config.weight_decay},
            {"params": [p for p in trained if p.ndim != 2], "weight_decay": 0.0},
        ]

    def schedule(self) -> tuple[float, float]:
        """Learning rate and momentum of the current step."""
        config = self.config
        progress = min(1.0, self.step / max(1, config.steps))
        falling = 0.5 + 0.5 * math.cos(math.pi * progress)
        warm = min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        return config.learning_rate * (0.01 + 0.99 * falling) * warm, 1 - (1 - config.momentum) * falling

    def located(self, view: View, tokens: int, stay: Tensor) -> View:
        """The view as the second pass sees it: centred on the location and time that the first pass estimates.

        The momentum encoder estimates them from the view itself, so that the error is that of this spike's noise, as in
        a sort. An independent error would tell the network something about the location that a sort does not know.
        Spikes that ``stay`` (n,) are left as the first pass sees them, so that the first pass is trained, too.
        """
        jitter = self.sampler.choose_jitter(len(view.positions)).to(self.device)
        centre, delay = self._first_look(view)
        first = view.seen_from(centre, tokens, delay)
        network = self.network.momentum_encoder
        if bool(stay.all()):
            return first
        move = ~stay

        def as_trained(offset: Tensor, late: Tensor) -> tuple[Tensor, Tensor]:
            offset = offset.clamp(-_FURTHEST_UM, _FURTHEST_UM) + jitter
            return offset * move[:, None], late * move

        with torch.no_grad(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config.autocast):
            centre, delay = second_centre(network, first, centre, delay, as_trained)
        return view.seen_from(centre, tokens, delay)

    def _first_look(self, view: View) -> tuple[Tensor, Tensor]:
        """Location and time of the first pass: those of the likeliest trough."""
        config = self.config.encoder
        filters = trough_filter(config.samples, config.nbefore, config.sampling_frequency).to(self.device)
        return first_centre(view.waveforms @ filters, view.positions, view.mask)

    def losses(self, first: View, second: View, units: Tensor, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
        """Contrastive, denoising and location loss of a batch."""
        config, network = self.config, self.network
        stay = self.sampler.choose_stay(len(units)).to(self.device)
        views = [self.located(view.to(self.device), tokens, stay) for view in (first, second)]
        waveforms, positions, clean = (
            torch.cat([getattr(view, name) for view in views]) for name in ("waveforms", "positions", "clean")
        )
        masks = [view.mask for view in views if view.mask is not None]
        mask = torch.cat(masks) if masks else None
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=config.autocast):
            representation, decoded, offset = network.encoder(waveforms, positions, mask)
            contrastive = torch.zeros((), device=self.device)
            if config.contrastive_weight > 0:
                queries = network.queries(representation)
                seen = waveforms if config.key_noise == 1 else torch.lerp(clean, waveforms, config.key_noise)
                keys = network.keys(seen, positions, mask)
                # a sort uses the vectors of the second pass only: those of the first pass are not compared
                compared = torch.ones_like(stay) if bool(stay.all()) else ~stay
                pairs = compared.repeat(2)
                units = units.to(self.device)[compared]
                contrastive = symmetric_info_nce(queries[pairs], keys[pairs], config.temperature, units)
        true = torch.cat([torch.cat([v.offset / LOCATION_UNIT_UM, v.delay[:, None] / DELAY_UNIT], 1) for v in views])
        denoising = denoising_loss(decoded, network.encoder.compress(clean), mask)
        return contrastive, denoising, location_loss(offset, true)

    def train_step(self) -> dict[str, float]:
        """Train on one batch; returns the values for the log."""
        learning_rate, momentum = self.schedule()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        config = self.config
        contrastive, denoising, location = self.losses(*self.sampler.draw(config.batch_size))
        loss = config.contrastive_weight * contrastive + config.denoising_weight * denoising
        loss = loss + config.location_weight * location
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.step < config.heads_first:
            self.network.encoder.zero_grad(set_to_none=True)  # AdamW does not change parameters without a gradient
        norm = nn.utils.clip_grad_norm_(
            [p for g in self.optimizer.param_groups for p in g["params"]], config.gradient_clip
        )
        if not torch.isfinite(norm):
            logger.warning("step %d is skipped: its gradient is not finite", self.step)
        else:
            self.optimizer.step()
            self.network.update_momentum(momentum)
        self.step += 1
        return {
            "contrastive": contrastive.item(),
            "denoising": denoising.item(),
            "location": location.item(),
            "learning_rate": learning_rate,
            "momentum": momentum,
            "gradient_norm": norm.item(),
        }

    def run(
        self, log_every: int = 25, checkpoint_every: int = 200, progress: bool = True, minutes: float | None = None
    ) -> None:
        """Train up to ``config.steps``, or for so many ``minutes``; :meth:`resume` continues from there."""
        bar = _progress_bar(self.config.steps, self.step, progress)
        began, before = time.monotonic(), self.seconds
        window: list[dict[str, float]] = []
        for _ in range(self.step, self.config.steps):
            window.append(self.train_step())
            self.seconds = before + time.monotonic() - began
            if self.step % log_every == 0 or self.step == self.config.steps:
                means = {key: sum(row[key] for row in window) / len(window) for key in window[0]}
                window = []
                self._log({"step": self.step, "seconds": self.seconds, **means})
                bar.set_postfix(contrastive=f"{means['contrastive']:.3f}", denoising=f"{means['denoising']:.4f}")
            bar.update()
            if self.step % checkpoint_every == 0:
                self.save_checkpoint()
            if minutes is not None and time.monotonic() - began > 60 * minutes:
                break
        bar.close()
        self.save_checkpoint()
        draw_losses(self.folder)

    def _log(self, row: dict[str, float]) -> None:
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            if new:
                writer.writerow(_LOG_COLUMNS)
            writer.writerow([f"{row[key]:.6g}" for key in _LOG_COLUMNS])

    def _trim_log(self) -> None:
        """Remove the rows after the last checkpoint: the resumed run writes them again."""
        path = self.folder / "log.csv"
        if path.is_file():
            header, *rows = path.read_text().splitlines()
            kept = [row for row in rows if float(row.split(",")[0]) <= self.step]
            path.write_text("\n".join([header, *kept]) + "\n")

    @property
    def checkpoint_path(self) -> Path:
        """The newest checkpoint."""
        return self.folder / "checkpoint.pt"

    def save_checkpoint(self) -> None:
        """Write weights, optimiser, random state and step. If this is interrupted, the previous file stays intact."""
        content = {
            "version": CHECKPOINT_VERSION,
            "config": json.dumps(asdict(self.config)),
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.sampler.state,
            "trained_on": self.trained_on,
        }
        partial = self.checkpoint_path.with_suffix(".partial")
        torch.save(content, partial)
        partial.replace(self.checkpoint_path)

    def export(self, path: str | Path, facts: dict[str, Any] | None = None) -> Path:
        """Write the trained encoder, without the heads that only training needs.

        The exported encoder is the momentum copy, an average over the last steps: a mixture model finds units in its
        vectors better than in those of the last step's weights (studies/encoder_diary.md). Its vectors are rotated to
        principal axes, so that the first values vary most over training spikes. The file also holds the axes to which
        ``embed`` adds the location.
        """
        from .weights import save_encoder

        encoder = copy.deepcopy(self.network.momentum_encoder).eval()
        state = self.sampler.state
        vectors, _ = self.representations(encoder)
        mean, axes = principal_axes(vectors)
        encoder.turn(mean, axes)
        left_out = self._moved_at_ends(encoder)
        beside_place = None if left_out is None else axes_without((vectors - mean) @ axes, left_out)
        self.sampler.state = state  # exporting does not change what training draws next
        made = {
            "steps": self.step,
            "seconds": round(self.seconds),
            "date": time.strftime("%Y-%m-%d"),
            "config": asdict(self.config),
            "trained_on": self.trained_on,
        }
        return save_encoder(path, encoder, {**made, **(facts or {})}, beside_place)

    @torch.no_grad()
    def representations(self, encoder: SpikeEncoder, sampler: ViewSampler | None = None) -> tuple[Tensor, Tensor]:
        """Second-pass vectors of an encoder, (n, dimensions), for the first and the second view of the same spikes."""
        pairs: list[tuple[Tensor, ...]] = []
        for _ in range(_AXES_SPIKES // _AXES_BATCH):
            *views, units, tokens = (sampler or self.sampler).draw(_AXES_BATCH)
            stay = torch.zeros_like(units, dtype=torch.bool)
            seen = [self.located(view.to(self.device), tokens, stay) for view in views]
            pairs.append(tuple(encoder.embed(one.waveforms, one.positions, one.mask).float() for one in seen))
        first, second = (torch.cat(rows) for rows in zip(*pairs, strict=True))
        return first, second

    def _moved_at_ends(self, encoder: SpikeEncoder) -> Tensor | None:
        """Directions in which vectors change most near a shank's end; None if no probe is a shank."""
        shanks = [source for source in self.sampler.sources if source.bank.shank]
        if not shanks:
            return None
        hidden, whole = (self.representations(encoder, self.sampler.of(shanks, hide=share)) for share in (1.0, 0.0))
        return hidden_side_axes(hidden, whole)

    def resume(self, path: str | Path | None = None) -> None:
        """Continue from a checkpoint exactly as the interrupted run would have."""
        content = read_checkpoint(path or self.checkpoint_path)
        self._goes_on_from(content.get("trained_on"))
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        state = content["generator"]
        self.sampler.state = [state] if isinstance(state, Tensor) else state
        self.step, self.seconds = content["step"], content["seconds"]
        self._trim_log()
        logger.info("resumed at step %d", self.step)


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a training checkpoint. Only tensors and plain values are loaded, never code."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on a foreign file
        raise ValueError(f"{path} is not a training checkpoint") from error
    if not isinstance(content, dict) or content.get("version") != CHECKPOINT_VERSION:
        raise ValueError(f"{path} is not a training checkpoint of version {CHECKPOINT_VERSION}")
    return content


def checkpoint_config(content: dict[str, Any]) -> TrainingConfig:
    """The configuration of the run that wrote a checkpoint."""
    return TrainingConfig.from_dict(json.loads(content["config"]))


def read_log(folder: str | Path) -> dict[str, list[float]]:
    """The columns of a run's log, by name."""
    with (Path(folder) / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [float(row[name]) for row in rows] for name in _LOG_COLUMNS}


def draw_losses(folder: str | Path) -> Path | None:
    """Draw the three losses of the log into ``losses.png``; returns None if matplotlib or the log is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    if not (Path(folder) / "log.csv").is_file():
        return None
    log = read_log(folder)
    figure = Figure(figsize=(10, 3), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, name in zip(figure.subplots(1, 3), ("contrastive", "denoising", "location"), strict=True):
        axis.plot(log["step"], log[name], lw=0.8)
        axis.set(xlabel="step", title=f"{name} loss", yscale="linear" if name == "contrastive" else "log")
    path = Path(folder) / "losses.png"
    figure.savefig(path, dpi=120)
    return path


def _progress_bar(total: int, initial: int, enabled: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, initial=initial, disable=not enabled, desc="training", mininterval=5)
