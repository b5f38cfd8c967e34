"""Peak detection: threshold crossings that are the largest in their neighbourhood."""

from __future__ import annotations

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.sortingcomponents.peak_detection import detect_peaks as si_detect_peaks


def detect_peaks(
    recording: BaseRecording,
    *,
    peak_sign: str = "neg",
    detect_threshold: float = 5.0,
    exclude_sweep_ms: float = 0.4,
    radius_um: float = 60.0,
    margin_samples: int = 0,
    job_kwargs: dict | None = None,
) -> np.ndarray:
    """
    Find the peaks: local extrema beyond the threshold, one within the radius and the sweep.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    peak_sign : {"neg", "pos", "both"}
        Which extrema are spikes.
    detect_threshold : float
        Threshold, in units of noise.
    exclude_sweep_ms, radius_um : float
        Of the peaks within this time (ms) and distance (um) of each other only the largest is kept.
    margin_samples : int
        Peaks nearer than this to a segment's start or end are dropped: their waveform is cut.
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    peaks : (n_peaks,) structured array
        `sample_index`, `channel_index`, `amplitude` (noise units), `segment_index`; sorted by segment and sample.
    """
    peaks = si_detect_peaks(
        recording,
        method="locally_exclusive",
        method_kwargs=dict(
            peak_sign=peak_sign,
            detect_threshold=detect_threshold,
            exclude_sweep_ms=exclude_sweep_ms,
            radius_um=radius_um,
            noise_levels=np.ones(recording.get_num_channels(), dtype="float32"),
        ),
        job_kwargs=job_kwargs,
    )
    n_samples = np.array([recording.get_num_samples(i) for i in range(recording.get_num_segments())])
    inside = (peaks["sample_index"] >= margin_samples) & (
        peaks["sample_index"] < n_samples[peaks["segment_index"]] - margin_samples
    )
    return peaks[inside]
