"""The spike encoder: waveforms to vectors, locations and clean waveforms. Importing it does not import torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .library import load_library

if TYPE_CHECKING:
    from .adaptation import adapt_encoder
    from .encoded_spikes import EncodedSpikes
    from .inference import Encoder
    from .weights import load_encoder, save_encoder

_LAZY = {
    "Encoder": ".inference",
    "EncodedSpikes": ".encoded_spikes",
    "adapt_encoder": ".adaptation",
    "load_encoder": ".weights",
    "save_encoder": ".weights",
}

__all__ = ["EncodedSpikes", "Encoder", "adapt_encoder", "load_encoder", "load_library", "save_encoder"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
