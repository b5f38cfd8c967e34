"""The products of `banded`, on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..device import OnDevice
from .banded import BandedMatrix

if TYPE_CHECKING:
    from torch import Tensor

# up to so many channels the whole matrix is one product: a GPU has done it sooner than it starts those of the blocks
DENSE_CHANNELS = 1024


class BandedOnDevice:
    """
    A banded matrix on a device.

    Parameters
    ----------
    matrix : BandedMatrix
    stage : OnDevice
        Whose device it is.
    """

    def __init__(self, matrix: BandedMatrix, stage: OnDevice):
        self.blocks = [(outputs, inputs, stage.tensor(block)) for outputs, inputs, block in matrix.blocks]
        n_channels = self.blocks[-1][0].stop
        self.dense = None
        if n_channels <= DENSE_CHANNELS:
            self.dense = self.blocks[0][2].new_zeros((n_channels, n_channels))
            for outputs, inputs, block in self.blocks:
                self.dense[inputs, outputs] = block

    def of(self, traces: Tensor) -> Tensor:
        """`traces @ matrix` of traces (..., n_channels) float32."""
        import torch

        if self.dense is not None:
            return traces @ self.dense
        product = torch.empty_like(traces)
        for outputs, inputs, block in self.blocks:
            product[..., outputs] = traces[..., inputs] @ block
        return product

    def transposed_of(self, traces: Tensor) -> Tensor:
        """`(traces @ matrix).T` of traces (n_samples, n_channels) float32: a row a channel."""
        import torch

        if self.dense is not None:
            return (traces @ self.dense).T.contiguous()
        product = traces.new_empty(traces.shape[::-1])
        for outputs, inputs, block in self.blocks:
            torch.matmul(block.T, traces[:, inputs].T, out=product[outputs])
        return product
