"""The templates' matched filters and the products of templates that overlap on a device, where the pursuit follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import fft

from ..device import OnDevice
from ..templates.whitened import WhitenedTemplates
from ..traces.banded import BandedMatrix
from ..traces.banded_torch import BandedOnDevice
from .neighbours_torch import NeighboursOnDevice, rows_of_neighbours, side_by_side
from .pursuit_torch import pursue_on_device
from .rules import PursuitRules

if TYPE_CHECKING:
    from torch import Tensor

# what is found in a block: its whitened traces, and the columns of `pursuit.pursue`
Found = tuple[np.ndarray, tuple[np.ndarray, ...]]


class OnCpu(NamedTuple):
    """What `MatchingOnDevice.spikes` does with a block, on the processor, and the filters' spectra of a length."""

    spikes: Callable[[np.ndarray, Any], Found]
    kernels: Callable[[int], np.ndarray]


class Overlaps(NamedTuple):
    """
    Which units overlap.

    start, units
        See `pursuit.Neighbours`.
    local_maps : list of (unit, other, mine, theirs)
        Each pair of units that share channels, and the places of those in both.
    """

    start: np.ndarray
    units: np.ndarray
    local_maps: list[tuple]


class _Placed(NamedTuple):
    """`assignment.PlacedTemplates` on the device, and the energy of each template."""

    dense: list[Tensor]
    energy: Tensor
    neighbours: NeighboursOnDevice


class MatchingOnDevice(OnDevice):
    """
    What `assignment.MatchTemplates` has a device do: all but the misfits.

    Parameters
    ----------
    templates : WhitenedTemplates
    groups : list of (units, first, last)
        Units at like depths, and the range of channels (ranked by depth) that they cover.
    overlaps : Overlaps
    whitening : BandedMatrix
    rules : PursuitRules
    on_cpu : OnCpu
    device : str
        As `compute_device` has it.
    """

    def __init__(
        self,
        templates: WhitenedTemplates,
        groups: list[tuple],
        overlaps: Overlaps,
        whitening: BandedMatrix,
        rules: PursuitRules,
        on_cpu: OnCpu,
        device: str,
    ):
        OnDevice.__init__(self, device, "assign spikes")
        self.templates, self.rules, self.on_cpu = templates, rules, on_cpu
        local_maps = overlaps.local_maps
        self.rows = [self.tensor(rows) for rows in rows_of_neighbours(overlaps.start, overlaps.units)]
        # the templates on the device, and of which they are: those of a still probe are the same for all blocks
        self.last: tuple[Any, _Placed] | None = None
        n_subsample, n_filters, _, n_lags = templates.response.shape
        self.answers = self.tensor(templates.response.reshape(n_subsample, n_filters * n_filters, n_lags))
        self.groups = [(self.tensor(units), int(first), int(last)) for units, first, last in groups]
        self.whitening = BandedOnDevice(whitening, self)
        self.kernels: dict[int, Any] = {}
        n_local = templates.channels.shape[1]
        # pairs share different numbers of channels: the missing ones are one behind the last, where all is zero
        n_shared = max((len(mine) for _, _, mine, _ in local_maps), default=0)
        shared = np.full((2, len(local_maps), n_shared), n_local)
        for row, (_, _, mine, theirs) in enumerate(local_maps):
            shared[0, row, : len(mine)], shared[1, row, : len(mine)] = mine, theirs
        self.mine, self.theirs = self.tensor(shared[0]), self.tensor(shared[1])
        units = np.array([(unit, other) for unit, other, _, _ in local_maps], dtype="int64").reshape(-1, 2)
        self.units, self.others = self.tensor(units[:, 0]), self.tensor(units[:, 1])

    def spikes(self, blocks: list[np.ndarray], placed: list[Any]) -> list[Found]:
        """
        Whiten blocks of traces, filter them and find the spikes in them.

        Parameters
        ----------
        blocks : list of (n_samples, n_channels) float32
            Of one length. Channels by depth.
        placed : list of assignment.PlacedTemplates
            For each block.

        Returns
        -------
        list of (whitened, columns)
            For each block, (n_channels, n_samples) float32, and what `pursuit.pursue` returns.
        """

        def on_cpu(blocks, placed):
            return [self.on_cpu.spikes(*each) for each in zip(blocks, placed, strict=True)]

        return self.attempt(self._spikes, on_cpu, blocks, placed)

    def _spikes(self, blocks, placed):
        import torch

        found: dict[int, Found] = {}

        def search(rows):
            there = [self._placed(one) for one in placed[rows]]
            filtered = [self._match(traces, one) for traces, one in zip(blocks[rows], there, strict=True)]
            columns = pursue_on_device(
                self,
                torch.cat([match for _, match in filtered]),
                torch.cat([one.energy for one in there]),
                side_by_side([one.neighbours for one in there]),
                self.answers,
                self.rules,
            )
            # the blocks' units are side by side
            block, units = np.divmod(columns[1], self.templates.n_units)
            columns = (columns[0], units, *columns[2:])
            for index, (whitened, _) in enumerate(filtered):
                mine = tuple(column[block == index] for column in columns)
                found[rows.start + index] = self.array(whitened), mine

        self.in_batches("blocks of traces", len(blocks), search)
        return [found[index] for index in range(len(blocks))]

    def _placed(self, placed):
        """Templates at one position of the probe."""
        if self.last is None or self.last[0] is not placed:
            there = self.tensor(placed.coefficients)
            neighbours = NeighboursOnDevice(*self.rows, *self._overlap(there))
            dense = [self.tensor(rows) for rows in placed.dense]
            self.last = placed, _Placed(dense, (there**2).sum(dim=(1, 2)), neighbours)
        return self.last[1]

    def _match(self, traces, placed):
        """The whitened traces, and the output of each unit's matched filter."""
        import torch

        whitened = self.whitening.transposed_of(self.tensor(traces))
        n_samples = len(traces)
        n_fft = fft.next_fast_len(n_samples, real=True)
        if n_fft not in self.kernels:
            self.kernels[n_fft] = self.tensor(self.on_cpu.kernels(n_fft))
        kernels = self.kernels[n_fft]
        spectrum = torch.fft.rfft(whitened, n=n_fft)
        product = spectrum.new_zeros((self.templates.n_units, n_fft // 2 + 1))

        def sum_bins(bins):
            # the coefficients are real: half of the work of a complex product
            part = torch.view_as_real(spectrum[:, bins].contiguous()).flatten(1)
            kernel = kernels[:, bins]
            for (units, first, last), rows in zip(self.groups, placed.dense, strict=True):
                summed = (rows @ part[first:last]).view(len(units), len(kernel), -1, 2)
                product[units, bins] = (torch.view_as_complex(summed) * kernel).sum(dim=1)

        self.in_batches("frequencies", kernels.shape[1], sum_bins)
        length = self.templates.filters.shape[1]
        match = torch.fft.irfft(product, n=n_fft)[:, : n_samples - length + 1]
        return whitened, match.contiguous()

    def _overlap(self, there):
        """Products of the coefficients of each pair of neighbours, and how close they are (see `Neighbours`)."""
        import torch

        n_units, n_local, n_filters = there.shape
        padded = there.new_zeros((n_units, n_local + 1, n_filters))
        padded[:, :n_local] = there
        size = torch.linalg.vector_norm(padded, dim=2)
        size = size / torch.linalg.vector_norm(size, dim=1, keepdim=True).clamp(min=1e-9)
        products = there.new_empty((len(self.units), n_filters * n_filters))
        closeness = there.new_empty(len(self.units))

        def multiply(pairs):
            unit, other = self.units[pairs, None], self.others[pairs, None]
            mine, theirs = self.mine[pairs], self.theirs[pairs]
            product = padded[other, theirs].transpose(1, 2) @ padded[unit, mine]
            products[pairs] = product.flatten(1)
            closeness[pairs] = (size[other, theirs] * size[unit, mine]).sum(dim=1) ** 2

        self.in_batches("pairs", len(self.units), multiply)
        return products, closeness
