"""The products of `banded`, on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..device import OnDevice
from .banded import BandedMatrix

if TYPE_CHECKING:
    from torch import Tensor


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

    def of(self, traces: Tensor) -> Tensor:
        """`traces @ matrix` of traces (..., n_channels) float32."""
        import torch

        product = torch.empty_like(traces)
        for outputs, inputs, block in self.blocks:
            product[..., outputs] = traces[..., inputs] @ block
        return product

    def transposed_of(self, traces: Tensor) -> Tensor:
        """`(traces @ matrix).T` of traces (n_samples, n_channels) float32: a row a channel."""
        import torch

        product = traces.new_empty(traces.shape[::-1])
        for outputs, inputs, block in self.blocks:
            torch.matmul(block.T, traces[:, inputs].T, out=product[outputs])
        return product
