"""A shank: its traces and what is known of them, which every stage after the noise needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording
from spikeinterface.core.core_tools import ms_to_samples
from spikeinterface.core.motion import Motion

from .device import CPU
from .motion.estimation import displacement_at, displacement_grid
from .traces.noise import NoiseModel


@dataclass(frozen=True)
class Shank:
    """
    One shank of a recording.

    Attributes
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    noise : NoiseModel
    nbefore, nafter : int
        Samples of a template before and after the spike's.
    motion : Motion or None
        Displacement of the probe over time and depth; None for a still probe.
    seed : int
        Of every random choice.
    job_kwargs : dict
        SpikeInterface's parameters for parallel processing.
    device : str
        Where the heavy stages compute, as `compute_device` has it.
    """

    recording: BaseRecording
    noise: NoiseModel
    nbefore: int
    nafter: int
    motion: Motion | None = None
    seed: int = 0
    job_kwargs: dict[str, Any] = field(default_factory=dict)
    device: str = CPU

    @property
    def displacements(self) -> np.ndarray:
        """Displacements for which templates are made, (n_displacements,) um."""
        return displacement_grid(self.motion)

    def displacement_of(self, spikes: np.ndarray, depths: np.ndarray) -> np.ndarray:
        """Displacement of the probe at each spike, given its registered depth (um), (n_spikes,) um."""
        return displacement_at(self.motion, self.recording, spikes, depths)

    def samples(self, time_ms: float) -> int:
        """A time in ms as a number of samples."""
        return ms_to_samples(time_ms, self.recording.sampling_frequency)
