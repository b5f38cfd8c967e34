"""The encoder: a Transformer whose tokens are channels and whose positions are micrometres.

One spike is a set of channels. Each channel gives one token, its waveform through a small MLP plus an
embedding of where the channel lies relative to the spike. The set has no order and no fixed size, so the
same weights read a tetrode, a linear probe, a Neuropixels or a grid. A class token gathers the spike into
``dimensions`` numbers (the representation), the channel tokens are decoded back into clean waveforms.

The training network adds MoCo-v3's pieces (Chen, Xie and He 2021, arXiv 2104.02057): a projector, a
predictor and a momentum copy of encoder and projector. Contrastive learning together with a denoising
autoencoder for spikes is HuiduRep's idea (arXiv 2507.17224).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LARGEST_EXPONENT = 30.0
LOCATION_UNIT_UM = 10.0
DELAY_UNIT = 2.0
_LONGEST_DELAY = 8


@dataclass(frozen=True)
class EncoderConfig:
    """What the network is; stored with its weights.

    Attributes
    ----------
    sampling_frequency : float
        The network's own rate in Hz; waveforms are resampled to it.
    samples, nbefore : int
        Length of a waveform and samples before the detected trough, at the network's rate.
    channels : int
        At most this many channels, the nearest to the spike, become tokens.
    width, layers, heads, feed_forward : int
        Size of the Transformer.
    waveform_features : int
        Hidden units of the MLP that reads a channel's waveform.
    dimensions : int
        Length of the representation.
    compression : float
        Waveforms enter as ``arcsinh(x / compression)``, x in noise units: linear in the noise, logarithmic
        in large spikes, so that neither swamps the loss.
    position_scale_um : float
        Distances are divided by this many um.
    projection : int
        Length of the vectors that the contrastive loss compares.
    """

    sampling_frequency: float = 30_000.0
    samples: int = 64
    nbefore: int = 22
    channels: int = 20
    width: int = 96
    layers: int = 4
    heads: int = 4
    feed_forward: int = 192
    waveform_features: int = 384
    dimensions: int = 32
    compression: float = 2.0
    position_scale_um: float = 50.0
    projection: int = 64

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if not 0 < self.nbefore < self.samples:
            raise ValueError(f"nbefore {self.nbefore} lies outside the window of {self.samples} samples")


def attention(query: Tensor, key: Tensor, value: Tensor, exists: Tensor | None) -> Tensor:
    """Scaled dot-product attention over a dozen tokens, (n, heads, length, size).

    torch's softmax and its fused kernel are slow for rows this short on a CPU. Here the exponentials are summed by the
    same matrix product that mixes the values (with a column of ones added), which is two to four times faster. The
    exponent is bounded, not shifted by its maximum: similarities of normalised tokens stay far below the bound.
    ``exists`` (n, 1, 1, length) is 1 for tokens that exist and 0 for those that do not.
    """
    similarity = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    weight = similarity.clamp(-_LARGEST_EXPONENT, _LARGEST_EXPONENT).exp()
    if exists is not None:
        weight = weight * exists.to(weight.dtype)
    mixed = weight @ torch.cat([value, torch.ones_like(value[..., :1])], dim=-1)
    return mixed[..., :-1] / mixed[..., -1:]


class Encoded(NamedTuple):
    """What the network says of n spikes: representation (n, dimensions), compressed clean waveforms (n, channels,
    samples), and where and when the spike is (n, 3): the offset from the window's centre in ``LOCATION_UNIT_UM``, and
    the trough's delay in ``DELAY_UNIT`` samples."""

    representation: Tensor
    decoded: Tensor
    offset: Tensor


def as_place(offset: Tensor) -> tuple[Tensor, Tensor]:
    """``Encoded.offset`` as um from the window's centre (n, 2) and whole samples after the nominal trough (n,)."""
    place = offset[:, :2].float() * LOCATION_UNIT_UM
    delay = (offset[:, 2].float() * DELAY_UNIT).round().clamp(-_LONGEST_DELAY, _LONGEST_DELAY)
    return place, delay.to(torch.int64)


class Block(nn.Module):
    """Pre-norm Transformer block: self-attention over the channels, then an MLP on each (ReLU: a fifth of the
    time of GELU on a CPU)."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, feed_forward)
        self.contract = nn.Linear(feed_forward, width)

    def forward(self, tokens: Tensor, exists: Tensor | None) -> Tensor:
        n, length, width = tokens.shape
        qkv = self.qkv(self.attention_norm(tokens)).view(n, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = attention(query, key, value, exists)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        return tokens + self.contract(F.relu(self.expand(self.mlp_norm(tokens))))


class PositionEmbedding(nn.Module):
    """Embeds (dx, dy) in um: the vector, its length, and sines over four wavelengths.

    The sines let the network tell positions a few um apart, which a plain MLP on coordinates smooths over.
    """

    WAVELENGTHS_UM = (40.0, 80.0, 160.0, 320.0)

    def __init__(self, width: int, scale_um: float) -> None:
        super().__init__()
        self.scale_um = scale_um
        # not divided as tensors: arithmetic on the "meta" device, on which sizes are checked, loads torch's compiler
        frequency = torch.tensor([2 * math.pi / wavelength for wavelength in self.WAVELENGTHS_UM])
        self.register_buffer("frequency", frequency, persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(3 + 4 * len(self.WAVELENGTHS_UM), width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, positions: Tensor) -> Tensor:
        scaled = positions / self.scale_um
        phase = (positions[..., None] * self.frequency).flatten(-2)
        features = torch.cat([scaled, scaled.norm(dim=-1, keepdim=True), phase.sin(), phase.cos()], dim=-1)
        return self.layers(features.to(self.layers[0].weight.dtype))


class FootprintSum(nn.Module):
    """Sums features of the channels with weights that depend on where they lie: matched filters over the probe.

    Such a product of feature and position is the best that can be done with a known shape in noise, and what attention,
    whose weights are positive and sum to one, and a token that adds the two approach only through many layers. It
    starts at zero, so that what else the network does is found first. It is a sum, not a mean, in parts of
    ``USUAL_CHANNELS``: where a channel is missing, or more are looked at, the part of the others stays as it is.
    """

    USUAL_CHANNELS = 12

    def __init__(self, features: int, outputs: int, scale_um: float) -> None:
        super().__init__()
        self.weight = PositionEmbedding(features, scale_um)
        self.out = nn.Linear(features, outputs, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, features: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """``features`` (n, channels, features) to (n, outputs)."""
        weighted = features * self.weight(positions)
        if mask is not None:
            weighted = weighted * mask[..., None]
        return self.out(weighted.sum(dim=1) / self.USUAL_CHANNELS)


class SpikeEncoder(nn.Module):
    """Spikes to representations and clean waveforms.

    Inputs of :meth:`forward`: waveforms (n, channels, samples) in noise units at the network's rate, positions
    (n, channels, 2) in um relative to the spike's location, and a mask (n, channels), True where the
    channel exists, or None where all do.
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        width = config.width
        hidden = config.waveform_features
        self.waveform = nn.Sequential(nn.Linear(config.samples, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.position = PositionEmbedding(width, config.position_scale_um)
        scale_um = config.position_scale_um
        self.modulate = PositionEmbedding(width, scale_um)
        nn.init.zeros_(self.modulate.layers[-1].weight)
        nn.init.zeros_(self.modulate.layers[-1].bias)
        self.linear = nn.Linear(config.samples, width, bias=False)
        self.enter = FootprintSum(width, width, scale_um)
        self.gather = FootprintSum(width, config.dimensions, scale_um)
        token = torch.empty(1, 1, width)
        # see PositionEmbedding
        self.spike_token = nn.Parameter(token if token.is_meta else nn.init.normal_(token, std=0.02))
        self.blocks = nn.ModuleList(Block(width, config.heads, config.feed_forward) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.represent = nn.Linear(width, config.dimensions)
        self.decode = nn.Linear(width, config.samples)
        self.locate = nn.Linear(width, 3)
        nn.init.zeros_(self.locate.weight)  # an untrained network leaves the spike where the detector saw it
        nn.init.zeros_(self.locate.bias)
        # the location starts from a mean of the channels' positions with weights of its own: the form of what is to be
        # estimated, which takes thousands of steps to find otherwise
        self.weigh = nn.Linear(width, 1)

    def compress(self, waveforms: Tensor) -> Tensor:
        """Noise units to the network's scale (arcsinh; written out, since torch.asinh is 15 times slower on a CPU)."""
        size = (waveforms / self.config.compression).abs()
        return torch.copysign(torch.log(size + torch.sqrt(size * size + 1.0)), waveforms)

    def expand(self, compressed: Tensor) -> Tensor:
        """The network's scale back to noise units."""
        return torch.sinh(compressed) * self.config.compression

    def tokens(self, waveforms: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        """The spike token followed by one token a channel, (n, 1 + channels, width)."""
        return self.compressed_tokens(self.compress(waveforms), positions, mask)

    def compressed_tokens(self, compressed: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        """:meth:`tokens` for waveforms that are already compressed."""
        compressed = compressed.to(self.waveform[0].weight.dtype)
        tokens, first = self.waveform(compressed), self.spike_token.expand(len(compressed), -1, -1)
        tokens = tokens * (1 + self.modulate(positions))
        first = first + self.enter(self.linear(compressed), positions, mask)[:, None]
        tokens = torch.cat([first.to(tokens.dtype), tokens + self.position(positions)], dim=1)
        exists = None if mask is None else F.pad(mask, (1, 0), value=True)[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens, exists)
        return self.norm(tokens)

    def forward(self, waveforms: Tensor, positions: Tensor, mask: Tensor | None = None) -> Encoded:
        """Representation, clean waveforms and location."""
        tokens = self.tokens(waveforms, positions, mask)
        offset = self.spike_offset(tokens, positions, mask)
        return Encoded(self.representation(tokens, positions, mask), self.decode(tokens[:, 1:]), offset)

    def representation(self, tokens: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """The representation (n, dimensions), from the last tokens."""
        return self.represent(tokens[:, 0]) + self.gather(tokens[:, 1:], positions, mask)

    @torch.no_grad()
    def turn(self, mean: Tensor, axes: Tensor) -> None:
        """Express the representation in other coordinates from now on: ``(representation - mean) @ axes``."""
        self.represent.bias.copy_((self.represent.bias - mean) @ axes)
        self.represent.weight.copy_(axes.T @ self.represent.weight)
        self.gather.out.weight.copy_(axes.T @ self.gather.out.weight)

    def spike_offset(self, tokens: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Offset of the spike from the window's centre, in place and time (``Encoded``), from the last tokens."""
        offset = self.locate(tokens[:, 0])
        score = self.weigh(tokens[:, 1:])[..., 0].float()
        if mask is not None:
            score = score.masked_fill(~mask, -1e4)
        mean = (score.softmax(dim=1)[..., None] * positions).sum(dim=1)
        return offset + F.pad(mean / LOCATION_UNIT_UM, (0, 1))

    def embed(self, waveforms: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        """The representation alone."""
        return self.representation(self.tokens(waveforms, positions, mask), positions, mask)


#: Makes an encoder of a configuration, with random weights: :class:`SpikeEncoder`, or a subclass to compare with.
BuildEncoder = Callable[[EncoderConfig], SpikeEncoder]


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Three layers with batch normalisation, MoCo-v3's head."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )


class ContrastiveNetwork(nn.Module):
    """The encoder with the heads and the momentum copies that it is trained with."""

    def __init__(self, config: EncoderConfig | None = None, build: BuildEncoder = SpikeEncoder) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        self.encoder = build(config)
        self.projector = perceptron(config.dimensions, 256, config.projection)
        self.predictor = perceptron(config.projection, 256, config.projection)
        self.momentum_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.momentum_projector = copy.deepcopy(self.projector).requires_grad_(False)

    @torch.no_grad()
    def update_momentum(self, momentum: float) -> None:
        """Move the momentum copies towards the trained weights by 1 - ``momentum``."""
        for mine, theirs in ((self.momentum_encoder, self.encoder), (self.momentum_projector, self.projector)):
            torch._foreach_lerp_(list(mine.parameters()), list(theirs.parameters()), 1.0 - momentum)

    def queries(self, representation: Tensor) -> Tensor:
        """Unit vectors that the trained branch predicts, (n, projection)."""
        return F.normalize(self.predictor(self.projector(representation)).float(), dim=1)

    @torch.no_grad()
    def keys(self, waveforms: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Unit vectors of the momentum branch, (n, projection); carries no gradient."""
        representation = self.momentum_encoder.embed(waveforms, positions, mask)
        return F.normalize(self.momentum_projector(representation).float(), dim=1)
