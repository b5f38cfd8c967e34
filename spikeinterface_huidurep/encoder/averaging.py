"""The mean of several trained encoders, itself an encoder."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from .network import SpikeEncoder


@torch.no_grad()
def mean_encoder(encoders: Sequence[SpikeEncoder]) -> SpikeEncoder:
    """The encoder whose weights are the mean of several encoders' weights.

    Encoders that go on from the same weights, each with other data, views or learning rates, lie in one valley of the
    loss, and their mean can be better on data that none of them saw than any of them (model soups: Wortsman et al.
    2022, arXiv 2203.05482). Each exported encoder has coordinates of its own (``SpikeEncoder.turn``): their
    representations are first turned towards the first one's.

    Parameters
    ----------
    encoders : sequence of SpikeEncoder
        Of one configuration; they stay as they are. Encoders trained from different random weights have no useful mean.

    Returns
    -------
    SpikeEncoder

    Raises
    ------
    ValueError
        If there are none, or they differ in their configuration.
    """
    if not encoders:
        raise ValueError("a mean needs at least one encoder")
    first, *others = encoders
    if any(other.config != first.config for other in others):
        raise ValueError("only encoders of one configuration have a mean, and these differ in theirs")
    turned = [first, *(_turned_towards(first, other) for other in others)]
    states = [encoder.state_dict() for encoder in turned]
    mean = copy.deepcopy(first)
    mean.load_state_dict({key: torch.stack([state[key] for state in states]).mean(dim=0) for key in states[0]})
    return mean


def _turned_towards(first: SpikeEncoder, other: SpikeEncoder) -> SpikeEncoder:
    """A copy of ``other`` whose representation is rotated so that its last weights come nearest to the first one's
    (the orthogonal Procrustes problem: Schonemann 1966)."""
    left, _, right = torch.linalg.svd(_last_weights(first) @ _last_weights(other).T)
    turned = copy.deepcopy(other)
    turned.turn(torch.zeros(other.config.dimensions), (left @ right).T)
    return turned


def _last_weights(encoder: SpikeEncoder) -> Tensor:
    """The weights that make the representation of the last tokens, (dimensions, inputs)."""
    return torch.cat([encoder.represent.weight, encoder.gather.out.weight], dim=1)
