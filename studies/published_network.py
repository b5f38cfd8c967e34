"""The published network, to compare with: one token a sample, channels in a fixed order.

After the description of HuiduRep (arXiv 2507.17224): two convolutions over time turn the channels into 64 features a
sample, sinusoidal positions are added, 15 Transformer layers of 4 heads and 128 hidden units read the samples, their
mean is mapped to 32 dimensions, and a small Transformer decodes the clean waveforms from the tokens. It has the
interface of ``SpikeEncoder``, so it trains and is evaluated with the same views:
``Trainer(..., build=PublishedEncoder)`` and ``read_network(path, PublishedEncoder)``. Channels are sorted by their
distance to the spike. The published network does not estimate a location; the centre of mass of the denoised waveforms
takes its place, without a gradient. Dropout acts on the layers' outputs and not on the attention's weights, where it
would make a training step on a CPU much longer.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeinterface_huidurep.encoder.network import LOCATION_UNIT_UM, Encoded, EncoderConfig, SpikeEncoder

#: Settings of the network as it was published, for ``EncoderConfig``.
PUBLISHED = {"layers": 15, "width": 64, "feed_forward": 128}
_DROPOUT = 0.1
_DECODER_LAYERS = 2
_THRESHOLD = 0.1  # of the largest channel's weight: what lies below has no part in the centre of mass


class PublishedEncoder(SpikeEncoder):
    """HuiduRep's sample-token Transformer behind the interface of ``SpikeEncoder``."""

    def __init__(self, config: EncoderConfig) -> None:
        nn.Module.__init__(self)
        self.config = config
        width = config.width
        self.first = nn.Conv1d(config.channels, width, 5, padding=2)
        self.second = nn.Conv1d(width, width, 3, padding=1)
        self.encoder = self._transformer(config, config.layers)
        self.decoder = self._transformer(config, _DECODER_LAYERS)
        self.represent = nn.Linear(width, config.dimensions)
        self.decode = nn.Linear(width, config.channels)
        time = torch.arange(config.samples)[:, None]
        rate = torch.exp(-math.log(10_000.0) * torch.arange(0, width, 2) / width)
        sines = torch.stack([torch.sin(time * rate), torch.cos(time * rate)], dim=-1).reshape(config.samples, width)
        self.sines: Tensor
        self.register_buffer("sines", sines, persistent=False)

    @staticmethod
    def _transformer(config: EncoderConfig, layers: int) -> nn.TransformerEncoder:
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, config.feed_forward, dropout=_DROPOUT, batch_first=True
        )
        layer.self_attn.dropout = 0.0
        return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def compressed_tokens(self, compressed: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        """One token a sample, (n, samples, width)."""
        order = reading_order(positions, mask)
        ordered = compressed.gather(1, order[..., None].expand_as(compressed))
        ordered = F.pad(ordered, (0, 0, 0, self.config.channels - ordered.shape[1]))
        features = F.relu(self.second(F.relu(self.first(ordered))))
        return self.encoder(features.transpose(1, 2) + self.sines)

    def decoded(self, tokens: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Compressed clean waveforms (n, channels, samples), in the order in which the channels were given."""
        order = reading_order(positions, mask)
        decoded = self.decode(self.decoder(tokens)).transpose(1, 2)[:, : order.shape[1]]
        return torch.empty_like(decoded).scatter(1, order[..., None].expand_as(decoded), decoded)

    def forward(self, waveforms: Tensor, positions: Tensor, mask: Tensor | None = None) -> Encoded:
        """Representation, clean waveforms, and the centre of mass of these."""
        tokens = self.tokens(waveforms, positions, mask)
        decoded = self.decoded(tokens, positions, mask)
        return Encoded(self.representation(tokens, positions, mask), decoded, self._offset(decoded, positions, mask))

    def representation(self, tokens: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """The representation (n, dimensions): of the mean token."""
        return self.represent(tokens.mean(dim=1))

    @torch.no_grad()
    def turn(self, mean: Tensor, axes: Tensor) -> None:
        """Express the representation in other coordinates from now on: ``(representation - mean) @ axes``."""
        self.represent.bias.copy_((self.represent.bias - mean) @ axes)
        self.represent.weight.copy_(axes.T @ self.represent.weight)

    def spike_offset(self, tokens: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Centre of mass of the denoised waveforms, (n, 3); the delay is zero."""
        return self._offset(self.decoded(tokens, positions, mask), positions, mask)

    @torch.no_grad()
    def _offset(self, decoded: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        clean = self.expand(decoded.float())
        weight = (clean.amax(dim=2) - clean.amin(dim=2)).square()
        if mask is not None:
            weight = weight * mask
        weight = (weight - _THRESHOLD * weight.amax(dim=1, keepdim=True)).clamp(min=0)
        mean = (weight[..., None] * positions).sum(dim=1) / weight.sum(dim=1, keepdim=True).clamp(min=1e-9)
        return F.pad(mean / LOCATION_UNIT_UM, (0, 1))


def reading_order(positions: Tensor, mask: Tensor | None) -> Tensor:
    """The channels (n, channels) by their distance to the window's centre; those that do not exist come last."""
    distance = positions.square().sum(dim=2)
    if mask is not None:
        distance = distance.masked_fill(~mask, float("inf"))
    return distance.argsort(dim=1)
