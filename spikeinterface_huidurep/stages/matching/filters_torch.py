"""The templates' matched filters, and the products of templates that overlap, on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import fft

from ..device import OnDevice
from ..templates.whitened import WhitenedTemplates
from ..traces.banded import BandedMatrix
from ..traces.banded_torch import BandedOnDevice


class OnCpu(NamedTuple):
    """What `FiltersOnDevice` does, on the processor, `match` and `overlap`, and the filters' spectra of a length."""

    match: Callable[[np.ndarray, Any], tuple[np.ndarray, np.ndarray]]
    overlap: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    kernels: Callable[[int], np.ndarray]


class FiltersOnDevice(OnDevice):
    """
    What `assignment.MatchTemplates` has a device do: all but the pursuit.

    Parameters
    ----------
    templates : WhitenedTemplates
    groups : list of (units, first, last)
        Units at like depths, and the range of channels (ranked by depth) that they cover.
    local_maps : list of (unit, other, mine, theirs)
        Each pair of units that share channels, and the places of those in both.
    whitening : BandedMatrix
    on_cpu : OnCpu
    device : str
        As `compute_device` has it.
    """

    def __init__(
        self,
        templates: WhitenedTemplates,
        groups: list[tuple],
        local_maps: list[tuple],
        whitening: BandedMatrix,
        on_cpu: OnCpu,
        device: str,
    ):
        OnDevice.__init__(self, device, "assign spikes")
        self.templates, self.on_cpu = templates, on_cpu
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

    def match(self, traces: np.ndarray, placed: Any) -> tuple[np.ndarray, np.ndarray]:
        """
        Whiten a block of traces and filter it.

        Parameters
        ----------
        traces : (n_samples, n_channels) float32
            Channels by depth.
        placed : assignment.PlacedTemplates

        Returns
        -------
        whitened : (n_channels, n_samples) float32
        match : (n_units, n_samples - filter length + 1) float32
        """
        return self.attempt(self._match, self.on_cpu.match, traces, placed)

    def overlap(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """
        Compare templates that overlap.

        Parameters
        ----------
        coefficients : (n_units, n_local, n_filters) float32

        Returns
        -------
        products : (n_pairs, n_filters * n_filters) float32
        closeness : (n_pairs,) float32
            See `pursuit.Neighbours`.
        """
        return self.attempt(self._overlap, self.on_cpu.overlap, coefficients)

    def _match(self, traces, placed):
        import torch

        whitened = self.whitening.transposed_of(self.tensor(traces))
        n_samples = len(traces)
        n_fft = fft.next_fast_len(n_samples, real=True)
        if n_fft not in self.kernels:
            self.kernels[n_fft] = self.tensor(self.on_cpu.kernels(n_fft))
        kernels = self.kernels[n_fft]
        spectrum = torch.fft.rfft(whitened, n=n_fft)
        product = spectrum.new_zeros((self.templates.n_units, n_fft // 2 + 1))
        dense = [self.tensor(rows) for rows in placed.dense]

        def sum_bins(bins):
            # the coefficients are real: half of the work of a complex product
            part = torch.view_as_real(spectrum[:, bins].contiguous()).flatten(1)
            kernel = kernels[:, bins]
            for (units, first, last), rows in zip(self.groups, dense, strict=True):
                summed = (rows @ part[first:last]).view(len(units), len(kernel), -1, 2)
                product[units, bins] = (torch.view_as_complex(summed) * kernel).sum(dim=1)

        self.in_batches("frequencies", kernels.shape[1], sum_bins)
        length = self.templates.filters.shape[1]
        match = torch.fft.irfft(product, n=n_fft)[:, : n_samples - length + 1]
        return self.array(whitened), self.array(match)

    def _overlap(self, coefficients):
        import torch

        n_units, n_local, n_filters = coefficients.shape
        there = self.tensor(coefficients)
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
        return self.array(products), self.array(closeness)
