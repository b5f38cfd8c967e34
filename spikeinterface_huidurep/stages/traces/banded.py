"""Products with matrices over the channels that join only channels near to each other: cost grows with the channels."""

from __future__ import annotations

import numpy as np

# output channels of one product
BLOCK = 32


class BandedMatrix:
    """
    A matrix over channels as blocks of neighbours along the probe.

    Parameters
    ----------
    matrix : (n_channels, n_channels) float
        Zero between channels that are far from each other.
    order : (n_channels,) int
        The channels from one end of the probe to the other; products take and give channels in this order.
    """

    def __init__(self, matrix: np.ndarray, order: np.ndarray):
        matrix = np.asarray(matrix, dtype="float32")[np.ix_(order, order)]
        self.blocks = []
        for start in range(0, len(matrix), BLOCK):
            stop = min(start + BLOCK, len(matrix))
            used = np.flatnonzero(matrix[:, start:stop].any(axis=1))
            first, last = (used[0], used[-1] + 1) if len(used) else (start, start + 1)
            block = np.ascontiguousarray(matrix[first:last, start:stop])
            self.blocks.append((slice(start, stop), slice(first, last), block))

    def of(self, traces: np.ndarray) -> np.ndarray:
        """`traces @ matrix` of traces (..., n_channels) float32."""
        product = np.empty(traces.shape, dtype="float32")
        for outputs, inputs, block in self.blocks:
            np.matmul(traces[..., inputs], block, out=product[..., outputs])
        return product

    def transposed_of(self, traces: np.ndarray) -> np.ndarray:
        """`(traces @ matrix).T` of traces (n_samples, n_channels) float32: a row a channel."""
        product = np.empty(traces.shape[::-1], dtype="float32")
        for outputs, inputs, block in self.blocks:
            np.matmul(block.T, traces[:, inputs].T, out=product[outputs])
        return product
