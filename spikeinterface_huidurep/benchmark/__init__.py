"""Compares HuiduRep with other spike sorters, on recordings with and without ground truth.

The modules are imported on first use: each sorter runs in a process that imports this package, and the memory of that
process is measured.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agreement import AgreementResults, compare_sorters
    from .agreement_report import write_agreement_report
    from .days import DaysSettings, make_days
    from .days_benchmark import run_days, write_days
    from .days_recordings import DAYS, get_days
    from .generator import GeneratorSettings
    from .hybrid import make_hybrid
    from .lazy_recording import LazyRecording, LazySettings
    from .library_recording import LibrarySettings
    from .mearec_recording import MearecSettings
    from .measures import Measures, measure
    from .peers import PEERS, Peer
    from .recordings import RECORDINGS, GroundTruth, get_recording, load_ground_truth
    from .report import write_report
    from .runner import BenchmarkResults, run_benchmark
    from .scale import kill_and_resume, scale_table, write_scale
    from .suites import SUITES
    from .waveform_changes import WaveformChanges

__all__ = [
    "DAYS",
    "PEERS",
    "RECORDINGS",
    "SUITES",
    "AgreementResults",
    "BenchmarkResults",
    "DaysSettings",
    "GeneratorSettings",
    "GroundTruth",
    "LazyRecording",
    "LazySettings",
    "LibrarySettings",
    "MearecSettings",
    "Measures",
    "Peer",
    "WaveformChanges",
    "compare_sorters",
    "get_days",
    "get_recording",
    "kill_and_resume",
    "load_ground_truth",
    "make_days",
    "make_hybrid",
    "measure",
    "run_benchmark",
    "run_days",
    "scale_table",
    "write_agreement_report",
    "write_days",
    "write_report",
    "write_scale",
]

_HOMES = {
    "agreement": ("AgreementResults", "compare_sorters"),
    "agreement_report": ("write_agreement_report",),
    "days": ("DaysSettings", "make_days"),
    "days_benchmark": ("run_days", "write_days"),
    "days_recordings": ("DAYS", "get_days"),
    "generator": ("GeneratorSettings",),
    "hybrid": ("make_hybrid",),
    "lazy_recording": ("LazyRecording", "LazySettings"),
    "library_recording": ("LibrarySettings",),
    "mearec_recording": ("MearecSettings",),
    "measures": ("Measures", "measure"),
    "peers": ("PEERS", "Peer"),
    "recordings": ("RECORDINGS", "GroundTruth", "get_recording", "load_ground_truth"),
    "report": ("write_report",),
    "runner": ("BenchmarkResults", "run_benchmark"),
    "scale": ("kill_and_resume", "scale_table", "write_scale"),
    "suites": ("SUITES",),
    "waveform_changes": ("WaveformChanges",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
