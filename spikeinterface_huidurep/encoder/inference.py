"""The trained encoder as the sorter uses it: any probe, any rate, two passes, bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .device import in_batches
from .encoded_spikes import EncodedSpikes, middle
from .first_look import shifted, trough_filter
from .network import EncoderConfig, SpikeEncoder, as_place
from .resampling import required_samples, return_matrix, window_matrix
from .threads import one_torch_thread
from .two_looks import first_centre, second_centre

_LARGEST_AMPLITUDE = 28.0
_TIE_BREAK_UM = (0.011, 0.017)


@dataclass
class Encoder:
    """A trained network with its batching; made by ``load_encoder``.

    Parameters
    ----------
    network : SpikeEncoder
    device : str or torch.device
    facts : dict
        Training facts stored with the weights.
    batch_size : int
        Spikes a forward pass; halved where a GPU has too little memory for so many.
    beside_place : Tensor, (dimensions, dimensions - 2), optional
        Axes of the shape in ``embed``'s vectors (``EncodedSpikes.placed``).
    """

    network: SpikeEncoder
    device: Any = "cpu"
    facts: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 512
    beside_place: Tensor | None = None

    def __post_init__(self) -> None:
        self.device = torch.device(self.device)
        self.network = self.network.to(self.device).eval().requires_grad_(False)

    @property
    def config(self) -> EncoderConfig:
        """The network's configuration."""
        return self.network.config

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        return self.config.dimensions

    @property
    def window_ms(self) -> tuple[float, float]:
        """What the network looks at: ms before and after the trough."""
        config = self.config
        milliseconds = 1e3 / config.sampling_frequency
        return config.nbefore * milliseconds, (config.samples - config.nbefore) * milliseconds

    def required_samples(self, sampling_frequency: float) -> tuple[int, int]:
        """Samples before the trough, and from it on, that waveforms at this rate (Hz) must have."""
        config = self.config
        return required_samples(sampling_frequency, config.sampling_frequency, config.nbefore, config.samples)

    def embed(
        self,
        waveforms: np.ndarray,
        channel_locations: np.ndarray,
        sampling_frequency: float,
        nbefore: int,
        *,
        place: bool = True,
        origin: Sequence[float] | np.ndarray | None = None,
    ) -> np.ndarray:
        """One vector a spike, near to those of the same neuron's: its shape and, by default, its place on the probe.

        With ``place=False`` they are the ``shape_vectors`` of :meth:`encode`.

        Parameters
        ----------
        waveforms, channel_locations, sampling_frequency, nbefore
            As for :meth:`encode`.
        place : bool
            Whether the last two numbers say where the spike is, 1 for ``PLACE_UM`` = 20 um, in place of the two of the
            shape that change most as a neuron moves past a probe's end (``EncodedSpikes.placed``). Two neurons of one
            shape at different places are then told apart, which is what counts within a recording. Without it the
            vector says nothing of the place: to compare recordings between which the probe may have moved.
        origin : (2,) floats, optional
            The point of the probe (um) from which places are measured; by default the middle of ``channel_locations``.
            Give it where windows with their own channels, (n, channels, 2), are embedded in several calls whose
            vectors are compared.

        Returns
        -------
        ndarray, (n, dimensions) float32
            Zeros for a spike without any channel.

        Raises
        ------
        ValueError
            As :meth:`encode`, or if ``origin`` is not a point.
        """
        if origin is not None and (np.shape(origin) != (2,) or not np.isfinite(origin).all()):
            raise ValueError(f"origin must be two finite numbers (um), not {origin!r}")
        spikes = self.encode(waveforms, channel_locations, sampling_frequency, nbefore)
        if not place:
            return spikes.shape_vectors
        return spikes.placed(middle(channel_locations) if origin is None else np.asarray(origin))

    def encode(
        self, waveforms: np.ndarray, channel_locations: np.ndarray, sampling_frequency: float, nbefore: int
    ) -> EncodedSpikes:
        """Shape, location and amplitude of spikes.

        The vectors of the shape do not have the place in them: :meth:`EncodedSpikes.placed` joins the two.

        Parameters
        ----------
        waveforms : array, (n, samples, channels)
            Band-passed waveforms in noise units (each channel divided by its noise level). A channel that holds NaN
            or infinity does not exist for that spike. Any length that covers the network's window.
        channel_locations : array, (channels, 2) or (n, channels, 2)
            um, in the probe's coordinates.
        sampling_frequency : float
            Hz.
        nbefore : int
            Sample of the detected trough.

        Returns
        -------
        EncodedSpikes

        Raises
        ------
        ValueError
            If shapes do not fit together, the window is not covered, or locations are not finite where
            the waveforms are.
        """
        spikes = SpikeWindows(self, waveforms, channel_locations, sampling_frequency, nbefore)
        n = len(spikes)
        shape = np.zeros((n, self.dimensions), dtype=np.float32)
        location = np.full((n, 2), np.nan, dtype=np.float32)
        amplitude = np.zeros(n, dtype=np.float32)
        channels = np.zeros(n, dtype=np.int64)

        def encode_rows(rows):
            batch = spikes.batch(rows)
            clean, centre = self.second_pass(batch)
            seen = batch.present.any(dim=1)
            channels[rows] = batch.present.sum(dim=1).cpu().numpy()
            shape[rows] = torch.where(seen[:, None], batch.representation, 0.0).cpu().numpy()
            location[rows] = torch.where(seen[:, None], centre, float("nan")).cpu().numpy()
            depth = (-clean.amin(dim=(1, 2))).clamp(min=0)
            amplitude[rows] = torch.where(seen, depth, 0.0).cpu().numpy()

        self._in_batches(n, encode_rows)
        axes = None if self.beside_place is None else self.beside_place.numpy()
        return EncodedSpikes(shape, location, amplitude, channels, axes)

    def denoise(
        self, waveforms: np.ndarray, channel_locations: np.ndarray, sampling_frequency: float, nbefore: int
    ) -> np.ndarray:
        """Waveforms without noise and without other neurons' spikes.

        Parameters are :meth:`encode`'s.

        Returns
        -------
        ndarray, (n, samples, channels) float32
            Noise units. Zero outside the network's window and on the channels far from the spike that the network does
            not look at, NaN on channels that do not exist.
        """
        spikes = SpikeWindows(self, waveforms, channel_locations, sampling_frequency, nbefore)
        n, samples, channels = spikes.shape
        config = self.config
        back = torch.from_numpy(
            return_matrix(
                samples, nbefore, sampling_frequency, config.sampling_frequency, config.nbefore, config.samples
            )
        ).to(self.device)
        out = np.zeros((n, samples, channels), dtype=np.float32)

        def denoise_rows(rows):
            batch = spikes.batch(rows)
            clean = self.second_pass(batch)[0] @ back
            target = torch.zeros(len(clean), channels, samples, device=self.device)
            clean = clean * batch.mask[..., None]
            target.scatter_(1, batch.channels[..., None].expand_as(clean), clean)
            target[~batch.present] = float("nan")
            out[rows] = target.transpose(1, 2).cpu().numpy()

        self._in_batches(n, denoise_rows)
        return out

    def _in_batches(self, n: int, work: Callable[[slice], None]) -> None:
        """Do the work on all rows.

        On a CPU torch's threads take a batch each, and none is shared among them: that is faster, does not stall
        where other programs hold a core, and gives the same numbers however many threads there are.
        """
        if self.device.type != "cpu":
            self._one_after_another(slice(0, n), work)
            return
        batches = [slice(first, min(n, first + self.batch_size)) for first in range(0, n, self.batch_size)]
        workers = max(1, min(torch.get_num_threads(), len(batches)))
        with one_torch_thread(), ThreadPoolExecutor(workers) as pool:
            list(pool.map(self._one_after_another, batches, repeat(work)))

    @torch.inference_mode()  # each thread has a mode of its own
    def _one_after_another(self, rows: slice, work: Callable[[slice], None]) -> None:
        """Do the work on some rows; where a GPU's memory is too short for a batch, with smaller ones from then on."""
        self.batch_size = min(in_batches(rows, self.batch_size, work), self.batch_size)

    def second_pass(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Clean waveforms (n, k, T) in noise units and location (n, 2) of the second look (``two_looks``).

        The representation is left in the batch.
        """
        batch.move(*self.first_pass(batch))
        clean, centre = self.forward(batch)
        return batch.unmoved(clean), centre

    def first_pass(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Where (n, 2) um and when (n,) samples the second look is from, for ``Batch.move``."""
        return second_centre(self.network, batch.window(), batch.centre, batch.delay)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Clean waveforms and location of the spikes as they are seen; leaves the representation in the batch."""
        window = batch.window()
        batch.representation, decoded, offset = self.network(*window)
        clean = self.network.expand(decoded.float()) / batch.scale
        if window.mask is not None:
            clean = clean * window.mask[..., None]
        return clean, batch.centre + as_place(offset)[0]


class _Window(NamedTuple):
    """What the network sees in one look (``two_looks.Window``)."""

    waveforms: Tensor
    positions: Tensor
    mask: Tensor | None


class SpikeWindows:
    """Checked input, cut into batches on the encoder's device."""

    def __init__(
        self,
        encoder: Encoder,
        waveforms: np.ndarray,
        channel_locations: np.ndarray,
        sampling_frequency: float,
        nbefore: int,
    ) -> None:
        self.waveforms = _numeric(waveforms, "waveforms")
        self.locations = _numeric(channel_locations, "channel_locations")
        if self.waveforms.ndim != 3:
            raise ValueError(f"waveforms must be (spikes, samples, channels), not {self.waveforms.shape}")
        n, samples, channels = self.shape = self.waveforms.shape
        if channels == 0:
            raise ValueError("waveforms have no channels")
        if self.locations.shape not in ((channels, 2), (n, channels, 2)):
            raise ValueError(
                f"channel_locations must be ({channels}, 2) or ({n}, {channels}, 2) for waveforms of "
                f"shape {self.shape}, not {self.locations.shape}"
            )
        if not np.isfinite(sampling_frequency) or sampling_frequency <= 0:
            raise ValueError(f"sampling_frequency must be a positive number of Hz, not {sampling_frequency}")
        if not 0 <= nbefore < samples:
            raise ValueError(f"nbefore {nbefore} lies outside waveforms of {samples} samples")
        config, self.device = encoder.config, encoder.device
        self.tokens = min(config.channels, channels)
        self.matrix = torch.from_numpy(
            window_matrix(
                samples, int(nbefore), sampling_frequency, config.sampling_frequency, config.nbefore, config.samples
            )
        ).to(self.device)
        filters = trough_filter(config.samples, config.nbefore, config.sampling_frequency).to(self.device)
        self.filters = self.matrix @ filters

    def __len__(self) -> int:
        return self.shape[0]

    def batch(self, rows: slice) -> Batch:
        """Some of the spikes, as the encoder looks at them first."""
        waveforms = torch.from_numpy(np.ascontiguousarray(self.waveforms[rows], dtype=np.float32)).to(self.device)
        present = torch.isfinite(waveforms.sum(dim=1))
        locations = self.locations if self.locations.ndim == 2 else self.locations[rows]
        place = torch.from_numpy(np.ascontiguousarray(locations, dtype=np.float32)).to(self.device)
        place = place.expand(len(waveforms), -1, -1)
        if not bool((torch.isfinite(place).all(dim=2) | ~present).all()):
            raise ValueError("channel_locations are not finite for a channel whose waveforms are")
        place = torch.where(present[..., None], place, 0.0)
        filtered = waveforms.transpose(1, 2) @ self.filters
        exists = None if bool(present.all()) else present
        centre, delay = first_centre(filtered.nan_to_num(0.0, 0.0, 0.0), place, exists)
        return Batch(waveforms, place, present, centre, delay, self.tokens, self.matrix)


class Batch:
    """Spikes of one forward pass, seen from a centre that can be moved."""

    representation: Tensor

    def __init__(
        self,
        waveforms: Tensor,
        locations: Tensor,
        present: Tensor,
        centre: Tensor,
        delay: Tensor,
        tokens: int,
        matrix: Tensor,
    ) -> None:
        self.waveforms, self.locations, self.present = waveforms, locations, present
        self.tokens, self.matrix = tokens, matrix
        self.rows = torch.arange(len(waveforms), device=waveforms.device)[:, None]
        self.everywhere = bool(present.all())
        self.unshifted = waveforms.new_empty(0)
        self.move(centre, delay)

    def move(self, centre: Tensor, delay: Tensor) -> None:
        """Look from ``centre`` (n, 2) at the channels nearest to it, ``delay`` (n,) samples of the network's after the
        detected trough."""
        self.centre, self.delay = centre, delay
        all_channels = self.tokens == self.locations.shape[1]
        if self.unshifted.numel() == 0 or not all_channels:
            offset = self.locations - centre[:, None]
            # equally near channels are told apart by where they lie, not by their order
            distance = offset.square().sum(dim=2) + offset @ offset.new_tensor(_TIE_BREAK_UM)
            if not self.everywhere:
                distance = distance.masked_fill(~self.present, float("inf"))
            if all_channels:
                self.channels = torch.arange(self.tokens, device=centre.device).expand(len(centre), -1)
                windows = self.waveforms.transpose(1, 2)
            else:
                self.channels = distance.topk(self.tokens, dim=1, largest=False, sorted=False).indices
                windows = self.waveforms[self.rows, :, self.channels]
            self.mask = self.present[self.rows, self.channels]
            self.complete = self.everywhere or bool(self.mask.all())
            if not self.complete:
                windows = windows.masked_fill(~self.mask[..., None], 0.0)
            self.unshifted = windows @ self.matrix
        self.windows = shifted(self.unshifted, self.delay)
        self.positions = self.locations[self.rows, self.channels] - centre[:, None]
        # factor by which spikes larger than the training's are shrunk into its range, (n, 1, 1)
        size = self.windows.abs().amax(dim=(1, 2), keepdim=True)
        self.scale = _LARGEST_AMPLITUDE / size.clamp(min=_LARGEST_AMPLITUDE)

    def unmoved(self, waveforms: Tensor) -> Tensor:
        """Waveforms of these windows (n, k, T), at the time at which the spikes were given."""
        return shifted(waveforms, -self.delay)

    def window(self) -> _Window:
        """What the network sees, shrunk to the training's range."""
        return _Window(self.windows * self.scale, self.positions, None if self.complete else self.mask)


def _numeric(values: Any, name: str) -> np.ndarray:
    """An array of real numbers, or a clear error."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be real numbers, not {array.dtype}")
    return array
