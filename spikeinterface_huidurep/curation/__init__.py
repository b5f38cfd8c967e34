"""From a Sorting to curated units: analyzer, suggestions, GUI, exports and pictures. Importing it costs nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analyzer import complete_analyzer, load_analyzer, make_analyzer
    from .extension import HuiduRepEmbeddings
    from .suggestions import suggest_curation

_LAZY = {
    "HuiduRepEmbeddings": ".extension",
    "complete_analyzer": ".analyzer",
    "load_analyzer": ".analyzer",
    "make_analyzer": ".analyzer",
    "suggest_curation": ".suggestions",
}

__all__ = ["HuiduRepEmbeddings", "complete_analyzer", "load_analyzer", "make_analyzer", "suggest_curation"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
