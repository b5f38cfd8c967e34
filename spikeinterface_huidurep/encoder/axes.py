"""The coordinates in which a trained representation is exported."""

from __future__ import annotations

import torch
from torch import Tensor

PLACE_AXES = 2


def principal_axes(representation: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and principal axes (d, d) of vectors (n, d), for :meth:`SpikeEncoder.turn`.

    By falling variance, and scaled, all alike, to a mean variance of 1.
    """
    mean = representation.mean(dim=0)
    variance, axes = torch.linalg.eigh((representation - mean).T.double().cov())
    scale = variance.mean().clamp(min=1e-12).sqrt()
    return mean, (axes.flip(1) / scale).to(mean.dtype)


def axes_without(representation: Tensor, left_out: Tensor) -> Tensor:
    """Principal axes (d, d - k) of vectors (n, d) from which the orthonormal directions ``left_out`` (d, k) are taken.

    By falling variance, orthonormal.
    """
    left_out = left_out.double()
    rest = torch.eye(len(left_out)).to(left_out) - left_out @ left_out.T
    axes = torch.linalg.eigh(rest @ representation.T.double().cov() @ rest).eigenvectors.flip(1)
    return axes[:, : axes.shape[1] - left_out.shape[1]].to(representation.dtype)


def hidden_side_axes(hidden: tuple[Tensor, Tensor], whole: tuple[Tensor, Tensor], count: int = PLACE_AXES) -> Tensor:
    """The directions in which hiding a side of a neuron's footprint moves its vectors most, (d, count).

    At the end of a shank a neuron that moves loses a part of its footprint, and its vectors lie along a curve, most of
    it in two directions; a mixture of Gaussians then parts it into two. Nuisance directions that are found from pairs
    and left out: nuisance attribute projection (Solomonoff, Campbell and Boardman 2005, of speakers' channels).

    Parameters
    ----------
    hidden : two Tensors, (n, d)
        Vectors of two views of the same spikes, in each of which a side may be hidden.
    whole : two Tensors, (m, d)
        The same of views without hidden sides; what these differ by (noise, drift, jitter) does not count.
    count : int
    """
    spread = [(first - second).T.double().cov() for first, second in (hidden, whole)]
    return torch.linalg.eigh(spread[0] - spread[1]).eigenvectors.flip(1)[:, :count]
