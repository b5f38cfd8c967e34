"""The recursive filter of `recursion`, on a device: as products of matrices, for blocks of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_discrete_lyapunov
from scipy.signal import sosfilt

from ..device import OnDevice

if TYPE_CHECKING:
    from torch import Tensor

# samples of a block: within one the recursion is a product with its impulse response
SAMPLES_A_BLOCK = 64
# kinds of devices without double precision
SINGLE_ONLY = ("mps",)


class SectionsOnDevice(OnDevice):
    """
    `bandpass.filter_both_ways` on a device, with the same beginning and end.

    A recursion is one step after the other. Cut into blocks, the output is that of the block's own samples from rest,
    and what the state at its start makes of itself. States follow from block to block by the same law; with jumps of 1,
    2, 4 ... blocks all are known after a few steps. The filter must let nothing of a constant through: the first value
    is taken off, as it has always been there.

    Parameters
    ----------
    sections : (n_sections, 6) float64
        Second-order sections.
    on_cpu : callable
        Does the same on the processor.
    device : str
        As `compute_device` has it.
    """

    def __init__(self, sections: np.ndarray, on_cpu: Callable[[np.ndarray], np.ndarray], device: str):
        OnDevice.__init__(self, device, "band-pass")
        self.on_cpu, self.mirrored = on_cpu, 3 * (2 * len(sections) + 1)
        n_states = 2 * len(sections)

        # what each sample of a block, and each state at its start, makes of its samples and of the state at its end
        at_rest = np.zeros((len(sections), 2, SAMPLES_A_BLOCK))
        each = np.eye(n_states).reshape(len(sections), 2, n_states)
        own, entered = sosfilt(sections, np.eye(SAMPLES_A_BLOCK), axis=0, zi=at_rest)
        answer, left = sosfilt(sections, np.zeros((SAMPLES_A_BLOCK, n_states)), axis=0, zi=each)
        entered, left = entered.reshape(n_states, SAMPLES_A_BLOCK), left.reshape(n_states, n_states)
        # in coordinates in which a state is as large as what it makes of itself: single precision, too, holds these. No
        # smaller parts of the energy are told apart than double precision does
        values, vectors = np.linalg.eigh(solve_discrete_lyapunov(left.T, answer.T @ answer))
        size = np.sqrt(np.maximum(values, np.finfo(values.dtype).eps * values.max()))
        there, back = size[:, None] * vectors.T, vectors / size
        self.own, self.entered = self._matrix(own), self._matrix(there @ entered)
        self.answer, self.left = self._matrix(answer @ back), there @ left @ back
        self.jumps: list[Tensor] = []

    def __call__(self, traces: np.ndarray) -> np.ndarray:
        """Filter traces (n_samples, n_channels) forward and backward: (n_samples, n_channels) float32."""
        if len(traces) == 0:
            return self.on_cpu(traces)
        return self.attempt(self._both_ways, self.on_cpu, traces)

    def _both_ways(self, traces):
        import torch

        n_samples, n_channels = traces.shape
        edge = min(self.mirrored, n_samples - 1)
        filtered = np.empty((n_samples, n_channels), dtype="float32")

        def filter_channels(channels):
            values = self.tensor(traces[:, channels]).float()
            before = 2 * values[:1] - values[1 : edge + 1].flip(0)
            after = 2 * values[-1:] - values[n_samples - 1 - edge : n_samples - 1].flip(0)
            values = torch.cat([before, values, after])
            values = self._run(self._run(values).flip(0)).flip(0)
            filtered[:, channels] = self.array(values[edge : edge + n_samples])

        self.in_batches("channels", n_channels, filter_channels)
        return filtered

    def _run(self, values):
        """Forward, from the state in which the first sample has always been there; (n, n_channels)."""
        import torch

        n, n_channels = values.shape
        n_blocks = -(-n // SAMPLES_A_BLOCK)
        blocks = torch.zeros((n_blocks * SAMPLES_A_BLOCK, n_channels), dtype=self.own.dtype, device=values.device)
        blocks[:n] = values
        # a constant leaves nothing
        blocks[:n] -= values[:1]
        blocks = blocks.view(n_blocks, SAMPLES_A_BLOCK, n_channels)
        states = self.entered @ blocks
        for jump, matrix in self._jumps(n_blocks):
            states[jump:] = states[jump:] + matrix @ states[:-jump]
        output = self.own @ blocks
        output[1:] += self.answer @ states[:-1]
        return output.view(-1, n_channels)[:n].float()

    def _matrix(self, values):
        """On the device, in double precision where it has that: the sums are then those of the processor."""
        import torch

        dtype = torch.float32 if self.torch_device.type in SINGLE_ONLY else torch.float64
        return torch.as_tensor(values, dtype=dtype).to(self.torch_device)

    def _jumps(self, n_blocks):
        """Numbers of blocks, and what a state becomes in so many."""
        jump = 1
        while jump < n_blocks:
            place = jump.bit_length() - 1
            if place == len(self.jumps):
                self.jumps.append(self._matrix(np.linalg.matrix_power(self.left, jump)))
            yield jump, self.jumps[place]
            jump *= 2
