"""Spike sorting with a self-supervised spike encoder, as a SpikeInterface sorter.

Importing this package registers the sorter "huidurep" and the SortingAnalyzer extension "huidurep_embeddings" in
SpikeInterface. PyTorch and hdbscan are imported only when something is sorted or embedded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .curation.extension import register_extension
from .registration import register
from .version import __version__

if TYPE_CHECKING:
    from .curation.analyzer import make_analyzer
    from .encoder import load_encoder
    from .parameters import MUSCLE_PARAMS
    from .resuming import resume
    from .sorter import HuiduRepSorter

__all__ = ["MUSCLE_PARAMS", "HuiduRepSorter", "__version__", "load_encoder", "make_analyzer", "register", "resume"]

# Public names that are imported on first use, with the module that holds each.
_LAZY_NAMES = {
    "MUSCLE_PARAMS": ".parameters",
    "HuiduRepSorter": ".sorter",
    "load_encoder": ".encoder",
    "make_analyzer": ".curation.analyzer",
    "resume": ".resuming",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY_NAMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY_NAMES])


register()
register_extension()
