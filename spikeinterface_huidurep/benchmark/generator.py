"""Recordings of SpikeInterface's generator, which need no template library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from spikeinterface.core import BaseRecording, Templates
from spikeinterface.core.motion import Motion
from spikeinterface.generation import generate_drifting_recording

from .drift import DISPLACEMENT_FREQUENCY_HZ
from .library_recording import NOISE_TEST_S, Made, as_int16
from .library_units import sorter_band


@dataclass(frozen=True)
class GeneratorSettings:
    """Settings of a recording made by :func:`spikeinterface.generation.generate_drifting_recording`.

    Attributes
    ----------
    name : str
    duration_s : float
    n_units, n_channels : int
        The probe has two columns 32 um apart and rows of 15 um.
    drift_range_um, drift_period_s : float
        Range and period of the zigzag; a range of 0 means no drift, with the same units and spikes.
    amplitude_std : float
        Standard deviation of the spikes' amplitude factor.
    seed : int
    """

    name: str
    duration_s: float
    n_units: int = 50
    n_channels: int = 64
    drift_range_um: float = 0.0
    drift_period_s: float = 120.0
    amplitude_std: float = 0.07
    seed: int = 0


def make_generator_recording(settings: GeneratorSettings) -> Made:
    """Make a still or drifting recording with SpikeInterface's generator; both have the same units and spikes."""
    half = 0.5 * (settings.drift_range_um or 2.0)
    still, drifting, sorting, extra = generate_drifting_recording(
        num_units=settings.n_units,
        duration=settings.duration_s,
        generate_probe_kwargs={
            "num_columns": 2,
            "num_contact_per_column": settings.n_channels // 2,
            "xpitch": 32,
            "ypitch": 15,
            "contact_shapes": "circle",
            "contact_shape_params": {"radius": 6},
        },
        generate_displacement_vector_kwargs={
            "displacement_sampling_frequency": DISPLACEMENT_FREQUENCY_HZ,
            "drift_start_um": [0, half],
            "drift_stop_um": [0, -half],
            "drift_step_um": 1,
            "motion_list": [
                {
                    "drift_mode": "zigzag",
                    "non_rigid_gradient": None,
                    "t_start_drift": 0.1 * settings.duration_s,
                    "t_end_drift": None,
                    "period_s": settings.drift_period_s,
                }
            ],
        },
        generate_sorting_kwargs={"firing_rates": (0.5, 10.0), "refractory_period_ms": 3.0},
        amplitude_std=settings.amplitude_std,
        extra_outputs=True,
        seed=settings.seed,
    )
    motion = None
    if settings.drift_range_um:
        displacement = extra["displacement_vectors"][:, 1, 0]
        times_s = np.arange(displacement.size) / DISPLACEMENT_FREQUENCY_HZ
        depth = still.get_channel_locations()[:, 1]
        motion = Motion([displacement[:, np.newaxis]], [times_s], np.array([depth.mean()]), direction="y")
    noise_level = float(np.mean(_noise_levels(still)))
    templates = extra["templates"]
    dense = templates.get_dense_templates() if isinstance(templates, Templates) else np.asarray(templates)
    band = sorter_band(np.pad(dense, ((0, 0), (200, 200), (0, 0))), still.sampling_frequency, axis=1)
    snr = -band.min(axis=(1, 2)) / noise_level
    sorting.set_property("gt_snr", snr)
    sorting.set_property("gt_depth", np.asarray(extra["unit_locations"])[:, 1])
    figures = {
        "noise_level_uv": round(noise_level, 2),
        "n_spikes": int(sorting.to_spike_vector().size),
        "snr_quartiles": np.round(np.percentile(snr, [0, 25, 50, 75, 100]), 2).tolist(),
        "sampling_frequency": float(still.sampling_frequency),
        "n_channels": settings.n_channels,
    }
    return Made(as_int16(drifting if motion is not None else still), sorting, motion, figures)


def _noise_levels(recording: BaseRecording) -> np.ndarray:
    """MAD noise level of each channel in the sorters' band over the first seconds, uV."""
    n_test = min(int(NOISE_TEST_S * recording.sampling_frequency), recording.get_num_samples())
    traces = sorter_band(recording.get_traces(start_frame=0, end_frame=n_test), recording.sampling_frequency, axis=0)
    return np.median(np.abs(traces), axis=0) / 0.6745
