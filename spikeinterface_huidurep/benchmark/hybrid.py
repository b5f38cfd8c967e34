"""Hybrid recordings: the user's own recording with units of known spikes added to it."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from spikeinterface.core import BaseRecording, BaseSorting, Templates, get_noise_levels
from spikeinterface.core.generate import generate_unit_locations
from spikeinterface.core.motion import Motion
from spikeinterface.generation import (
    DriftingTemplates,
    InjectDriftingTemplatesRecording,
    generate_hybrid_recording,
    generate_sorting,
    generate_templates,
)
from spikeinterface.preprocessing import bandpass_filter, compute_motion

from .drift import DISPLACEMENT_FREQUENCY_HZ, displacement_at
from .library_units import SORTER_BAND_HZ, sorter_band
from .recordings import GroundTruth, load_ground_truth
from .spike_trains import TRUE_REFRACTORY_MS

TEMPLATE_MS = (1.5, 3.0)  # before and after the trough: room for the slow return of the generator's waveforms
HYBRID_AMPLITUDE_STD = 0.08  # the middle of the amplitude variation of the library recordings' units (0.06 to 0.10)


def make_hybrid(
    recording: BaseRecording,
    folder: str | Path,
    n_units: int = 10,
    snr_range: tuple[float, float] = (4.0, 20.0),
    rate_hz: tuple[float, float] = (1.0, 10.0),
    motion: Motion | str | None = None,
    name: str = "hybrid",
    seed: int = 0,
) -> GroundTruth:
    """Add units to a recording with SpikeInterface's hybrid tools, and save it with the added units as ground truth.

    Parameters
    ----------
    recording : BaseRecording
        Raw, with a probe.
    folder : str or Path
        New folder to write.
    n_units, seed : int
    snr_range : (float, float)
        Smallest and largest SNR of the units (trough between 300 and 6,000 Hz / noise level), even on a log scale.
    rate_hz : (float, float)
        Smallest and largest mean firing rate, drawn uniformly.
    motion : Motion, "estimate" or None
        Motion of the added units: a given one, SpikeInterface's estimate for the recording (preset "dredge_fast"), or
        none, which is right only where the recording itself does not drift.
    name : str
        Of the recording in a report.

    Returns
    -------
    GroundTruth
        Not exhaustive: the recording's own units are unknown, so found units without a match do not count as false.

    Raises
    ------
    ValueError
        If the recording has no probe, or `motion` is anything else.
    FileExistsError
        If `folder` exists.
    """
    folder = Path(folder)
    motion = _checked(recording, folder, motion)
    rng = np.random.default_rng(seed)
    added = _AddedUnits.draw(recording, n_units, snr_range, rng)
    hybrid, sorting = _inject(recording, added, motion, rate_hz, rng)
    sorting.set_property("gt_snr", added.snr)
    info = {
        "name": name,
        "exhaustive": False,
        "drifts": motion is not None,
        "source": f"a recording of {recording.get_num_channels()} channels with {n_units} units added",
        "settings": {"n_units": n_units, "seed": seed},
        "figures": {
            "n_spikes": int(sorting.to_spike_vector().size),
            "snr_quartiles": np.round(np.percentile(added.snr, [0, 25, 50, 75, 100]), 2).tolist(),
        },
    }
    _save(folder, hybrid, sorting, motion, info)
    return load_ground_truth(folder)


def _checked(recording: BaseRecording, folder: Path, motion: Motion | str | None) -> Motion | None:
    """Refuse arguments that cannot work; returns the motion that the added units follow."""
    if folder.exists():
        raise FileExistsError(f"The folder {folder} exists already.")
    if not recording.has_probe():
        raise ValueError("A hybrid recording needs channel locations: attach a probe first.")
    if isinstance(motion, str) and motion == "estimate":
        motion = compute_motion(recording, preset="dredge_fast")
    if motion is not None and not isinstance(motion, Motion):
        raise ValueError(f"motion is {motion!r} and must be a Motion, 'estimate' or None.")
    return motion


def _save(folder: Path, hybrid: BaseRecording, sorting: BaseSorting, motion: Motion | None, info: dict) -> None:
    """Write everything into a folder next to `folder`, and rename it when it is complete."""
    unfinished = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
    unfinished.mkdir(parents=True)
    try:
        hybrid.save(folder=unfinished / "recording", n_jobs=1, progress_bar=False, verbose=False)
        sorting.save(folder=unfinished / "sorting", format="numpy_folder")
        if motion is not None:
            motion.save(unfinished / "motion")
        (unfinished / "info.json").write_text(json.dumps(info, indent=2))
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@dataclass(frozen=True)
class _AddedUnits:
    """Units of SpikeInterface's generator in the unit of the recording's traces; `gain` scales them to `snr`."""

    recording: BaseRecording
    locations: np.ndarray
    gain: np.ndarray
    snr: np.ndarray
    seed: int

    @classmethod
    def draw(
        cls, recording: BaseRecording, n_units: int, snr_range: tuple[float, float], rng: np.random.Generator
    ) -> _AddedUnits:
        """Draw somata near the probe and the gain of each."""
        seed = int(rng.integers(2**31))
        locations = generate_unit_locations(
            n_units,
            recording.get_probe().contact_positions,
            margin_um=10.0,
            minimum_z=5.0,
            maximum_z=40.0,
            minimum_distance=15.0,
            distance_strict=False,
            seed=seed,
        )
        snr = np.exp(rng.permutation(np.linspace(np.log(snr_range[0]), np.log(snr_range[1]), n_units)))
        unscaled = cls(recording, locations, np.ones(n_units), snr, seed)
        filtered = bandpass_filter(recording, *SORTER_BAND_HZ, dtype="float32")
        noise = get_noise_levels(filtered, return_in_uV=False, n_jobs=1, progress_bar=False)
        margin = int(0.01 * recording.sampling_frequency)
        padded = np.pad(unscaled.at(np.zeros(2)), ((0, 0), (margin, margin), (0, 0)))
        troughs = -sorter_band(padded, recording.sampling_frequency, axis=1).min(axis=1) / noise
        return replace(unscaled, gain=snr / troughs.max(axis=1))

    @property
    def nbefore(self) -> int:
        return int(TEMPLATE_MS[0] * self.recording.sampling_frequency / 1000)

    def at(self, displacement_um: np.ndarray) -> np.ndarray:
        """Templates (n_units, n_samples, n_channels) float32 of the units moved by (x, y) um."""
        moved = self.locations + np.append(displacement_um, 0.0)
        templates = generate_templates(
            self.recording.get_probe().contact_positions,
            moved,
            self.recording.sampling_frequency,
            *TEMPLATE_MS,
            seed=self.seed,  # the same seed draws the same units wherever they are
            dtype="float32",
            mode="ellipsoid",
        )
        return templates * self.gain[:, np.newaxis, np.newaxis].astype("float32")

    def still_templates(self) -> Templates:
        frequency, probe = self.recording.sampling_frequency, self.recording.get_probe()
        return Templates(self.at(np.zeros(2)), frequency, self.nbefore, is_in_uV=False, probe=probe)


def _inject(
    recording: BaseRecording,
    added: _AddedUnits,
    motion: Motion | None,
    rate_hz: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[BaseRecording, BaseSorting]:
    """Draw the spikes of the added units and add them, still or moving; returns the recording and the true spikes."""
    n_units = len(added.snr)
    sorting_kwargs = {
        "num_units": n_units,
        "firing_rates": rng.uniform(*rate_hz, n_units),
        "refractory_period_ms": TRUE_REFRACTORY_MS,
    }
    if motion is not None:
        return _inject_moving(recording, added, motion, sorting_kwargs, rng)
    return generate_hybrid_recording(
        recording,
        templates=added.still_templates(),
        are_templates_scaled=False,
        amplitude_std=HYBRID_AMPLITUDE_STD,
        generate_sorting_kwargs=sorting_kwargs,
        seed=int(rng.integers(2**31)),
    )


def _inject_moving(
    recording: BaseRecording, added: _AddedUnits, motion: Motion, sorting_kwargs: dict, rng: np.random.Generator
) -> tuple[BaseRecording, BaseSorting]:
    """Inject units that move: their templates are generated for every um of displacement.

    SpikeInterface's generate_hybrid_recording interpolates templates between channels instead. This loses units at the
    ends of the probe, and does not work where all channels lie on a line.
    """
    frequency, n_units = recording.sampling_frequency, len(added.snr)
    n_samples = [recording.get_num_samples(segment) for segment in range(recording.get_num_segments())]
    durations = [count / frequency for count in n_samples]
    sorting = generate_sorting(
        durations=durations, sampling_frequency=frequency, seed=int(rng.integers(2**31)), **sorting_kwargs
    )
    vectors = []
    for segment, duration_s in enumerate(durations):
        times_s = np.arange(int(np.ceil(duration_s * DISPLACEMENT_FREQUENCY_HZ)) + 1) / DISPLACEMENT_FREQUENCY_HZ
        vector = np.zeros((times_s.size, 2, n_units))
        for unit, depth in enumerate(added.locations[:, motion.dim]):
            vector[:, motion.dim, unit] = displacement_at(motion, times_s, np.full(times_s.size, depth), segment)
        vectors.append(vector)
    low = int(np.floor(min(vector.min() for vector in vectors)))
    high = int(np.ceil(max(vector.max() for vector in vectors)))
    steps_um = np.zeros((high - low + 1, 2))
    steps_um[:, motion.dim] = np.arange(low, high + 1)
    templates = DriftingTemplates.from_precomputed_templates(
        templates_array_moved=np.stack([added.at(step) for step in steps_um]),
        displacements=steps_um,
        sampling_frequency=frequency,
        nbefore=added.nbefore,
        probe=recording.get_probe(),
    )
    hybrid = InjectDriftingTemplatesRecording(
        sorting=sorting,
        drifting_templates=templates,
        displacement_vectors=vectors,
        displacement_sampling_frequency=DISPLACEMENT_FREQUENCY_HZ,
        displacement_unit_factor=np.eye(n_units),
        parent_recording=recording,
        num_samples=n_samples,
        amplitude_factor=rng.normal(1.0, HYBRID_AMPLITUDE_STD, sorting.to_spike_vector().size),
    )
    return hybrid, sorting
