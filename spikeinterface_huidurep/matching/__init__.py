"""Which units of several sessions are the same neuron. Modules load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .match import match_units
    from .result import UnitMatches
    from .review import make_review, read_groups

_LAZY = {"match_units": "match", "UnitMatches": "result", "make_review": "review", "read_groups": "review"}

__all__ = ["UnitMatches", "make_review", "match_units", "read_groups"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
