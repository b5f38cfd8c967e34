"""The two losses that train the encoder together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(queries: Tensor, keys: Tensor, temperature: float, units: Tensor | None = None) -> Tensor:
    """InfoNCE: each query must find its own key among the keys of the batch (van den Oord 2018).

    Parameters
    ----------
    queries, keys : Tensor, (n, dimensions)
        Unit vectors; row i of both is the same spike.
    temperature : float
        Divides the similarities. The loss is multiplied by it, as in MoCo-v3, which keeps gradients of one size.
    units : Tensor, (n,), optional
        The unit of each spike. Other spikes of the same unit are not negatives and are left out.

    Returns
    -------
    Tensor
        Mean loss, scalar.
    """
    similarity = queries @ keys.T / temperature
    if units is not None:
        same = units[:, None] == units[None, :]
        same.fill_diagonal_(False)
        similarity = similarity.masked_fill(same, float("-inf"))
    target = torch.arange(len(queries), device=queries.device)
    return F.cross_entropy(similarity, target) * temperature


def symmetric_info_nce(queries: Tensor, keys: Tensor, temperature: float, units: Tensor | None = None) -> Tensor:
    """MoCo-v3's loss: the queries of the first view against the keys of the second, and the reverse.

    ``queries`` and ``keys`` are (2 n, dimensions): n first views, then the n second views of the same spikes.
    """
    first, second = queries.chunk(2)
    first_keys, second_keys = keys.chunk(2)
    return info_nce(first, second_keys, temperature, units) + info_nce(second, first_keys, temperature, units)


def location_loss(offset: Tensor, true: Tensor) -> Tensor:
    """Huber loss of the spike's offset from the window's centre, both as in ``Encoded``.

    Nearly an absolute error, so that the network gives the median of where a noisy spike may be, not its mean.
    """
    return F.smooth_l1_loss(offset.float(), true, beta=0.1)


def denoising_loss(decoded: Tensor, clean: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of the decoded waveforms on the network's compressed scale, over existing channels.

    Parameters
    ----------
    decoded, clean : Tensor, (n, channels, samples)
        Both compressed (``SpikeEncoder.compress``).
    mask : Tensor of bool, (n, channels), optional
        True where the channel exists.
    """
    error = (decoded.float() - clean).square().mean(dim=-1)
    return error.mean() if mask is None else (error * mask).sum() / mask.sum().clamp(min=1)
