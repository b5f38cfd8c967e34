"""From a Sorting to curated units: analyzer, suggestions, GUI, exports and figures. Modules load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analyzer import complete_analyzer, load_analyzer, make_analyzer
    from .curation_file import curated_sorting, read_curation, read_suggestions, save_curation, save_suggestions
    from .export import curated_analyzer, export_nwb, export_phy
    from .extension import HuiduRepEmbeddings
    from .gui import open_gui
    from .pictures import draw_embedding, draw_motion, draw_probe, draw_quality, draw_templates
    from .report_page import report
    from .splits import find_splits, split_candidates
    from .suggestions import merge_candidates, suggest_curation, suggest_labels

# Public names by module; a module is imported on first use.
_NAMES = {
    "analyzer": ("complete_analyzer", "load_analyzer", "make_analyzer"),
    "curation_file": ("curated_sorting", "read_curation", "read_suggestions", "save_curation", "save_suggestions"),
    "export": ("curated_analyzer", "export_nwb", "export_phy"),
    "extension": ("HuiduRepEmbeddings",),
    "gui": ("open_gui",),
    "pictures": ("draw_embedding", "draw_motion", "draw_probe", "draw_quality", "draw_templates"),
    "report_page": ("report",),
    "splits": ("find_splits", "split_candidates"),
    "suggestions": ("merge_candidates", "suggest_curation", "suggest_labels"),
}
_LAZY = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "HuiduRepEmbeddings",
    "complete_analyzer",
    "curated_analyzer",
    "curated_sorting",
    "draw_embedding",
    "draw_motion",
    "draw_probe",
    "draw_quality",
    "draw_templates",
    "export_nwb",
    "export_phy",
    "find_splits",
    "load_analyzer",
    "make_analyzer",
    "merge_candidates",
    "open_gui",
    "read_curation",
    "read_suggestions",
    "report",
    "save_curation",
    "save_suggestions",
    "split_candidates",
    "suggest_curation",
    "suggest_labels",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
