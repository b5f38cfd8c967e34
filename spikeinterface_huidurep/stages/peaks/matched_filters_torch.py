"""Matched filters and the extrema of their output, on a device: what comes back are the peaks alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from spikeinterface.core.base import base_peak_dtype

from ..device import OnDevice
from ..traces.banded import BandedMatrix
from ..traces.banded_torch import BandedOnDevice
from .exclusion import largest_nearby
from .matched_filters import BLOCK, BestOutput, distinct


class Exclusion(NamedTuple):
    """
    What is a peak of the filters' output.

    peak_sign {"neg", "pos", "both"}; threshold, in units of noise; near (n_channels, n_channels) bool, the channels of
    which only the largest peak counts; sweep, the samples within which it does.
    """

    peak_sign: str
    threshold: float
    near: np.ndarray
    sweep: int


class PeaksOnDevice(OnDevice):
    """
    `matched_filters.BestOutput` and SpikeInterface's locally exclusive detection on a device.

    Parameters
    ----------
    filters : BestOutput
    footprints : (n_time_courses, n_footprints, n_channels, n_channels) float32
        Of the bank that it was made of.
    exclusion : Exclusion
    on_cpu : callable
        Does the same on the processor.
    device : str
        As `compute_device` has it.
    """

    def __init__(
        self,
        filters: BestOutput,
        footprints: np.ndarray,
        exclusion: Exclusion,
        on_cpu: Callable[[np.ndarray], np.ndarray],
        device: str,
    ):
        OnDevice.__init__(self, device, "detect peaks")
        self.on_cpu = on_cpu
        self.exclusion, self.nbefore, self.length = exclusion, filters.nbefore, filters.length
        self.order, self.place = self.tensor(filters.order), self.tensor(filters.place)
        self.toeplitz = self.tensor(filters.toeplitz)
        self.footprints = [
            [BandedOnDevice(BandedMatrix(shape, filters.order), self) for shape in distinct(shapes)]
            for shapes in footprints
        ]

    def __call__(self, traces: np.ndarray) -> np.ndarray:
        """
        Find the peaks of the filters' output.

        Parameters
        ----------
        traces : (n_samples, n_channels) float32

        Returns
        -------
        (n_peaks,) structured array
            `sample_index`, `channel_index` and `amplitude`, the output there.
        """
        return self.attempt(self._peaks, self.on_cpu, traces)

    def _peaks(self, traces):
        samples, channels, values = (self.array(part) for part in self._extrema(self.best(traces)))
        sweep = self.exclusion.sweep
        kept = largest_nearby(samples, channels, np.abs(values), self.exclusion.near, sweep)
        kept &= (samples >= sweep + 1) & (samples < len(traces) - sweep - 1)
        found = np.zeros(np.count_nonzero(kept), dtype=base_peak_dtype)
        found["sample_index"], found["channel_index"], found["amplitude"] = samples[kept], channels[kept], values[kept]
        return found

    def best(self, traces: np.ndarray):
        """Output furthest on the wanted side of zero, (n_samples, n_channels), on the device."""
        n_samples, n_channels = traces.shape
        n_blocks = -(-n_samples // BLOCK)
        there = self.tensor(traces)
        padded = there.new_zeros((n_blocks * BLOCK + self.length, n_channels))
        padded[self.nbefore : self.nbefore + n_samples] = there[:, self.order]
        windows = padded.unfold(0, BLOCK + self.length - 1, BLOCK)[:n_blocks].transpose(1, 2)
        best = there.new_empty((n_blocks, BLOCK, n_channels))

        def filter_blocks(blocks):
            best[blocks] = self._best(windows[blocks])

        self.in_batches("blocks", n_blocks, filter_blocks)
        return best.view(-1, n_channels)[:n_samples, self.place]

    def _best(self, windows):
        """(n_blocks, BLOCK, n_channels) of windows (n_blocks, BLOCK + length - 1, n_channels)."""
        import torch

        low = high = None
        filtered = self.toeplitz @ windows
        for index, products in enumerate(self.footprints):
            one = filtered[:, index * BLOCK : (index + 1) * BLOCK]
            for product in products:
                output = product.of(one)
                if self.exclusion.peak_sign != "pos":
                    low = output if low is None else torch.minimum(low, output)
                if self.exclusion.peak_sign != "neg":
                    high = output if high is None else torch.maximum(high, output)
        if low is None or high is None:
            return high if low is None else low
        return torch.where(-low > high, low, high)

    def _extrema(self, score):
        """Samples, channels and values of the extrema beyond the threshold, in the order of the samples."""
        import torch

        threshold = self.exclusion.threshold
        before, at, after = score[:-2], score[1:-1], score[2:]
        found = torch.zeros_like(at, dtype=torch.bool)
        if self.exclusion.peak_sign != "pos":
            found |= (at <= -threshold) & (at < before) & (at <= after)
        if self.exclusion.peak_sign != "neg":
            found |= (at >= threshold) & (at > before) & (at >= after)
        samples, channels = torch.nonzero(found, as_tuple=True)
        return samples + 1, channels, at[samples, channels]
