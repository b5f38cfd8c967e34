"""Where the encoder looks first: the channel and the sample around which a spike's trough is the likeliest.

The deepest sample of a noisy window is a poor guide. At an SNR of 3 to 5 it lies more than 60 um from the spike in one
of fifty windows, and a network that first looks from there often does not find the spike. A matched filter, whose
template is a trough that lasts a fraction of a millisecond and spreads over some tens of um, errs that far a third as
often (``studies/encoder_first_look.py``).
"""

from __future__ import annotations

import torch
from torch import Tensor

_TROUGH_MS = 0.13
_SPREAD_UM = 17.0
_REACH_MS = 1 / 6
_CANDIDATES = 12


def search_reach(sampling_frequency: float) -> int:
    """How many samples around the detected trough are searched either way."""
    return int(round(_REACH_MS * 1e-3 * sampling_frequency))


def trough_filter(samples: int, nbefore: int, sampling_frequency: float) -> Tensor:
    """Matched filters of a Gaussian trough at every sample that is searched.

    Parameters
    ----------
    samples, nbefore : int
        Length of the waveforms and sample of the detected trough.
    sampling_frequency : float
        Hz.

    Returns
    -------
    Tensor, (samples, 2 reach + 1) float32
        ``waveform @ filter`` is negative where there is a trough. Columns have unit norm.
    """
    reach = search_reach(sampling_frequency)
    times = torch.arange(samples)[:, None] - (nbefore + torch.arange(-reach, reach + 1))[None]
    shape = torch.exp(-0.5 * (times / (_TROUGH_MS * 1e-3 * sampling_frequency)) ** 2)
    return shape / shape.norm(dim=0, keepdim=True)


def likeliest_trough(filtered: Tensor, locations: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
    """The channel and the sample of the deepest trough, its neighbours taken together.

    Parameters
    ----------
    filtered : Tensor, (n, channels, 2 reach + 1)
        Waveforms after :func:`trough_filter`.
    locations : Tensor, (n, channels, 2), um
    present : Tensor of bool, (n, channels), or None
        Channels that exist; None where all do.

    Returns
    -------
    channel : Tensor, (n,) int64
    delay : Tensor, (n,) int64
        Samples after the detected trough.
    """
    alone = filtered.amin(dim=2)
    if present is not None:
        filtered = filtered * present[..., None]
        alone = alone.masked_fill(~present, float("inf"))
    candidates = alone.topk(min(_CANDIDATES, alone.shape[1]), dim=1, largest=False, sorted=False).indices
    rows = torch.arange(len(candidates), device=candidates.device)[:, None]
    weight = torch.exp(-0.5 * (torch.cdist(locations[rows, candidates], locations) / _SPREAD_UM) ** 2)
    if present is not None:
        weight = weight * present[:, None]
    response = (weight / weight.norm(dim=2, keepdim=True).clamp(min=1e-6)) @ filtered
    if present is not None:
        response = response.masked_fill(~present[rows, candidates][..., None], float("inf"))
    best = response.flatten(1).argmin(dim=1)
    times = filtered.shape[2]
    return candidates[rows[:, 0], best // times], best % times - times // 2


def shifted(waveforms: Tensor, delay: Tensor) -> Tensor:
    """Waveforms (n, channels, samples) from ``delay`` (n,) samples later on, zero where they had not been recorded."""
    samples = waveforms.shape[2]
    source = torch.arange(samples, device=waveforms.device) + delay[:, None]
    inside = (source >= 0) & (source < samples)
    taken = waveforms.gather(2, source.clamp(0, samples - 1)[:, None].expand_as(waveforms))
    return taken * inside[:, None]
