"""Banks of random neurons: each at many displacements, and in several forms of its spike."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from .augmentation import MARGIN
from .data import Footprints, TemplateBank, footprint_statistics
from .network import EncoderConfig
from .random_neurons import LICENCE
from .random_neurons.placement import RATE, PlacedNeuron, place_neurons
from .template_filter import BandPass, filter_and_resample

_RANK = 14
_SPARE = 40  # samples around the window in which the trough is looked for, before the window is cut about it
_CENTRE_MS = 1.0  # the trough is within so much of the peak of the soma's potential


class ChangingBank(TemplateBank):
    """Neurons whose spikes come in several forms; a template is space times time.

    Parameters
    ----------
    factors : iterable of (ndarray, ndarray)
        Of each neuron: space (steps, channels, rank) and time (forms, rank, W), both float32.
    locations : ndarray, (channels, 2), um
    config : EncoderConfig
    name : str
    cell_model : ndarray of str, (units,)
    places : ndarray, (units, steps, 2), um
    """

    licence = LICENCE

    def __init__(
        self,
        factors: Iterable[tuple[np.ndarray, np.ndarray]],
        locations: np.ndarray,
        config: EncoderConfig,
        name: str,
        cell_model: np.ndarray,
        places: np.ndarray,
    ) -> None:
        self.nominal = config.nbefore + MARGIN
        parts = [self._form_statistics(*(torch.from_numpy(part) for part in unit)) for unit in factors]
        self.space, self.time, self.form_ptp, self.form_trough, self.form_time, self.peak = (
            torch.stack(one) for one in zip(*parts, strict=True)
        )
        usual = self.form_ptp[:, 0].float(), self.form_trough[:, 0].float(), self.form_time[:, 0].long()
        self._describe(usual, locations, config, name, cell_model, places)

    def _form_statistics(self, space: Tensor, time: Tensor) -> tuple[Tensor, ...]:
        """Both factors relative to the usual form's trough, and the statistics of all forms, small."""
        templates = space[None] @ time[:, None]
        ptp, trough, late = footprint_statistics(templates, self.nominal)
        peak = trough[0, trough.shape[1] // 2].max().clamp(min=1e-6)
        size = space.abs().amax().clamp(min=1e-9)
        half = (space / size).half(), (time * size / peak).half()
        return *half, (ptp / peak).half(), (trough / peak).half(), late.to(torch.int8), peak

    @property
    def templates(self) -> Tensor:
        """The usual form, (units, steps, channels, W)."""
        return (self.space.float() @ self.time[:, 0, None].float()).half()

    @property
    def forms(self) -> int:
        """Forms of each neuron's spike; the first is the usual one."""
        return self.time.shape[1]

    def footprints(self, units: Tensor, steps: Tensor, forms: Tensor | None = None) -> Footprints:
        """The given units, each at a displacement step and in a form."""
        forms = torch.zeros_like(units) if forms is None else forms
        return Footprints(
            self.locations,
            self.form_ptp[units, forms, steps].float(),
            self.form_trough[units, forms, steps].float(),
            self.form_time[units, forms, steps].long(),
            self.unseen[units, steps],
            lambda channels: (
                self.space[units[:, None], steps[:, None], channels].float() @ self.time[units, forms].float()
            ),
        )


def random_bank(
    channel_locations: np.ndarray,
    config: EncoderConfig,
    seed: int,
    units: int = 300,
    displacement: np.ndarray | None = None,
    band: BandPass | None = None,
    name: str = "random neurons",
) -> ChangingBank:
    """Draw neurons around a probe, seen at displacements along its second axis.

    Neurons whose largest deflection is positive are turned upside down, as the sorter shows them.

    Parameters
    ----------
    channel_locations : ndarray, (channels, 2), um
    config : EncoderConfig
    seed : int
    units : int
    displacement : ndarray, (steps,), optional
        um, equally spaced; -48 to 48 by default.
    band : BandPass, optional
        The sorter's default where none is given.
    name : str

    Returns
    -------
    ChangingBank
        Takes about 0.03 s a neuron on a probe of 64 channels.
    """
    rng = np.random.default_rng([seed, 34])
    band = band or BandPass()
    steps = np.linspace(-48.0, 48.0, 17) if displacement is None else displacement
    contacts = np.c_[np.asarray(channel_locations, dtype=np.float64), np.zeros(len(channel_locations))]
    moves = np.zeros((len(steps), 3))
    moves[:, 1] = steps
    placed = list(place_neurons(contacts, units, rng))
    factors = (_factors(one, contacts, moves, config, band) for one in placed)
    places = np.array([one.place[:2] + moves[:, :2] for one in placed], dtype=np.float32)
    kinds = np.array([one.neuron.kind for one in placed])
    return ChangingBank(factors, channel_locations, config, name, kinds, places)


def _factors(
    placed: PlacedNeuron, contacts: np.ndarray, moves: np.ndarray, config: EncoderConfig, band: BandPass
) -> tuple[np.ndarray, np.ndarray]:
    """Space (steps, channels, rank) and time (forms, rank, W) of one neuron.

    Each form is aligned to its own trough on its largest channel at the middle displacement, as a detector finds it.
    """
    total, nominal = config.samples + 2 * MARGIN, config.nbefore + MARGIN
    window = (config.sampling_frequency, nominal + _SPARE, total + 2 * _SPARE)
    transfer = placed.transfer(contacts, moves)
    middle = transfer[len(moves) // 2]
    sign, courses = 0.0, []
    for change in placed.neuron.changes:
        currents = filter_and_resample(placed.currents(change), band, RATE, placed.nbefore, *window)
        template = middle @ currents
        around = int(_CENTRE_MS * 1e-3 * config.sampling_frequency)
        near = template[:, nominal + _SPARE - around : nominal + _SPARE + around + 1]
        if sign == 0:
            sign = -1.0 if near.max() > -near.min() else 1.0
        trough = int((sign * near).min(axis=0).argmin()) - around
        begin = min(max(_SPARE + trough, 0), 2 * _SPARE)
        courses.append(sign * currents[:, begin : begin + total])
    return low_rank(transfer, np.stack(courses))


def low_rank(transfer: np.ndarray, courses: np.ndarray, rank: int = _RANK) -> tuple[np.ndarray, np.ndarray]:
    """Space (steps, channels, rank) and time (forms, rank, W) whose product is nearest to transfer times courses.

    Parameters
    ----------
    transfer : ndarray, (steps, channels, segments)
    courses : ndarray, (forms, segments, W)
    rank : int

    Returns
    -------
    (ndarray, ndarray), float32
        ``rank`` wide, with zeros where less is enough.
    """
    forms, segments, total = courses.shape
    flat = transfer.reshape(-1, segments)
    along = courses.transpose(1, 0, 2).reshape(segments, -1)
    # the product's singular vectors from the factors' Gram matrices: segments are fewer than contacts or samples
    values, vectors = np.linalg.eigh(flat.T @ flat)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    left, strength, right = np.linalg.svd(root.T @ along, full_matrices=False)
    keep = min(rank, len(strength))
    inverse = np.where(values > 1e-10 * values.max(), 1 / np.sqrt(np.maximum(values, 1e-30)), 0.0)
    space = np.zeros((flat.shape[0], rank), dtype=np.float32)
    time = np.zeros((rank, forms * total), dtype=np.float32)
    space[:, :keep] = (flat @ (vectors * inverse)) @ left[:, :keep]
    time[:keep] = strength[:keep, None] * right[:keep]
    return space.reshape(*transfer.shape[:2], rank), np.ascontiguousarray(
        time.reshape(rank, forms, total).transpose(1, 0, 2)
    )
