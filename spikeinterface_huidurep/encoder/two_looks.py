"""The two looks at a spike, alike in training and use: where each one looks from.

The first look is from the channel and the sample of the likeliest trough (``first_look``). The network only says from
there where and when the spike is. The second look is from that place and time, so that nothing jumps when noise decides
which channel is the deepest; vectors and clean waveforms are taken from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .first_look import likeliest_trough
from .network import SpikeEncoder, as_place


class Window(Protocol):
    """What the network sees in one look.

    ``waveforms`` (n, k, T) noise units, ``positions`` (n, k, 2) um from where the look is from, and ``mask`` (n, k),
    True where the channel exists, or None where all do.
    """

    @property
    def waveforms(self) -> Tensor: ...

    @property
    def positions(self) -> Tensor: ...

    @property
    def mask(self) -> Tensor | None: ...


def first_centre(filtered: Tensor, locations: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where and when the first look is from.

    Parameters
    ----------
    filtered, locations, present
        As for :func:`likeliest_trough`.

    Returns
    -------
    centre : Tensor, (n, 2)
        Location of the channel with the likeliest trough, um.
    delay : Tensor, (n,) int64
        Samples after the detected trough.
    """
    channel, delay = likeliest_trough(filtered, locations, present)
    return locations[torch.arange(len(channel), device=channel.device), channel], delay


def second_centre(
    network: SpikeEncoder,
    window: Window,
    centre: Tensor,
    delay: Tensor,
    change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Where and when the second look is from: where and when the network says in the first one that the spike is.

    Parameters
    ----------
    network : SpikeEncoder
        Only its location head is computed.
    window : Window
        Of the first look.
    centre, delay : Tensor
        Of the first look, as from :func:`first_centre`.
    change : callable, optional
        Changes what the network says before it is used: offset (n, 2) um and delay (n,) samples, to the same.

    Returns
    -------
    centre : Tensor, (n, 2)
        um, in the coordinates of the first look's.
    delay : Tensor, (n,) int64
        Samples after the detected trough.
    """
    tokens = network.tokens(window.waveforms, window.positions, window.mask)
    offset, late = as_place(network.spike_offset(tokens, window.positions, window.mask))
    if change is not None:
        offset, late = change(offset, late)
    return centre + offset, delay + late
