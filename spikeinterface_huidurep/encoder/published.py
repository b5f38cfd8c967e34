"""The published network, to compare with: one token a sample, channels in a fixed order.

After the description of HuiduRep (arXiv 2507.17224): two convolutions over time turn the channels into 64 features a
sample, sinusoidal positions are added, 15 Transformer layers of 4 heads and 128 hidden units read the samples, their
mean is mapped to 32 dimensions, and a small Transformer decodes the clean waveforms from the tokens. Selected with
``EncoderConfig(architecture="samples", layers=15)``; it has the interface of ``SpikeEncoder``, so it trains and is
evaluated with the same views. Channels are sorted by their distance to the spike, and positions are used for
nothing else. Dropout acts on the layers' outputs and not on the attention's weights, where it would make a training
step on a CPU much longer.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import Encoded, EncoderConfig, SpikeEncoder

_DROPOUT = 0.1
_DECODER_LAYERS = 2


class PublishedEncoder(SpikeEncoder):
    """HuiduRep's sample-token Transformer behind the interface of :class:`SpikeEncoder`."""

    def __init__(self, config: EncoderConfig) -> None:
        nn.Module.__init__(self)
        self.config = config
        width = config.width
        self.locate = self.gather = None  # the published network has no location
        self.first = nn.Conv1d(config.channels, width, 5, padding=2)
        self.second = nn.Conv1d(width, width, 3, padding=1)
        self.encoder = self._transformer(config, config.layers)
        self.decoder = self._transformer(config, _DECODER_LAYERS)
        self.represent = nn.Linear(width, config.dimensions)
        self.decode = nn.Linear(width, config.channels)
        time = torch.arange(config.samples)[:, None]
        rate = torch.exp(-math.log(10_000.0) * torch.arange(0, width, 2) / width)
        sines = torch.stack([torch.sin(time * rate), torch.cos(time * rate)], dim=-1).reshape(config.samples, width)
        self.register_buffer("sines", sines, persistent=False)

    @staticmethod
    def _transformer(config: EncoderConfig, layers: int) -> nn.TransformerEncoder:
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, config.feed_forward, dropout=_DROPOUT, batch_first=True
        )
        layer.self_attn.dropout = 0.0
        return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def _samples(self, waveforms: Tensor, positions: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens (n, samples, width), and the order in which the channels were read (n, channels)."""
        distance = positions.square().sum(dim=2)
        if mask is not None:
            distance = distance.masked_fill(~mask, float("inf"))
        order = distance.argsort(dim=1)
        compressed = self.compress(waveforms.gather(1, order[..., None].expand_as(waveforms)))
        compressed = F.pad(compressed, (0, 0, 0, self.config.channels - compressed.shape[1]))
        features = F.relu(self.second(F.relu(self.first(compressed))))
        return self.encoder(features.transpose(1, 2) + self.sines), order

    def forward(self, waveforms: Tensor, positions: Tensor, mask: Tensor | None = None) -> Encoded:
        """Representation and clean waveforms; the published network has no location."""
        tokens, order = self._samples(waveforms, positions, mask)
        decoded = self.decode(self.decoder(tokens)).transpose(1, 2)[:, : order.shape[1]]
        back = torch.empty_like(decoded).scatter(1, order[..., None].expand_as(decoded), decoded)
        return Encoded(self.represent(tokens.mean(dim=1)), back, None)

    def embed(self, waveforms: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        """The representation alone."""
        return self.represent(self._samples(waveforms, positions, mask)[0].mean(dim=1))
