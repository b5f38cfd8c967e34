"""The stages' criteria, from the sorter's parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from .stages.matching.assignment import MatchingCriteria
from .stages.matching.rules import UNEXPLAINED_MOVING, UNEXPLAINED_STILL
from .stages.peaks.clustering import least_cluster_size
from .stages.peaks.detection import DetectionCriteria
from .stages.result.cleaning import CleaningCriteria
from .stages.units.loop import UnitCriteria

# peaks of a channel that are encoded: of five minutes 600 show as many units as all; the longer the recording, the
# rarer are spikes of one neuron among those that are drawn
PEAKS_PER_SECOND, FEWEST_PEAKS, MOST_PEAKS = 0.5, 600, 1500


def detection_criteria(params: dict[str, Any]) -> DetectionCriteria:
    """What counts as a peak."""
    return DetectionCriteria(
        peak_sign=params["peak_sign"],
        threshold=params["detect_threshold"],
        exclude_sweep_ms=params["exclude_sweep_ms"],
        radius_um=params["detection_radius_um"],
    )


def most_peaks(params: dict[str, Any], duration_s: float) -> int:
    """Most peaks of a channel that are encoded."""
    return params["max_peaks_per_channel"] or int(np.clip(PEAKS_PER_SECOND * duration_s, FEWEST_PEAKS, MOST_PEAKS))


def cluster_size(params: dict[str, Any], n_peaks: int) -> int:
    """Least number of peaks of a cluster."""
    return params["min_cluster_size"] or least_cluster_size(n_peaks)


def unit_criteria(params: dict[str, Any], *, n_peaks: int) -> UnitCriteria:
    """What makes a unit."""
    return UnitCriteria(
        distance=params["merge_threshold"],
        min_size=cluster_size(params, n_peaks),
        amplitude_std=params["amplitude_std"],
        detect_threshold=params["detect_threshold"],
        matching_threshold=params["assignment_threshold"],
    )


def matching_criteria(params: dict[str, Any], *, moving: bool) -> MatchingCriteria:
    """What counts as a spike of a unit; `moving` where the templates follow a motion."""
    unexplained = UNEXPLAINED_MOVING if moving else UNEXPLAINED_STILL
    return MatchingCriteria(
        threshold=params["assignment_threshold"],
        amplitude_std=params["amplitude_std"],
        refractory_ms=params["censored_period_ms"],
        unexplained=unexplained,
        forgiven=unexplained,
    )


def cleaning_criteria(params: dict[str, Any], *, sampling_frequency: float, duration_s: float) -> CleaningCriteria:
    """Which spikes and units are kept, in a recording of this rate (Hz) and duration."""
    return CleaningCriteria.in_samples(
        sampling_frequency,
        censored_period_ms=params["censored_period_ms"],
        min_confidence=params["min_confidence"],
        min_spikes=max(params["min_spikes"], params["min_firing_rate"] * duration_s),
    )
