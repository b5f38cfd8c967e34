"""Hybrid recordings: the user's own recording with units of known spikes added to it."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

import numpy as np
from spikeinterface.core import BaseRecording, Templates, get_noise_levels
from spikeinterface.core.generate import generate_unit_locations
from spikeinterface.core.motion import Motion
from spikeinterface.generation import generate_hybrid_recording, generate_templates
from spikeinterface.preprocessing import bandpass_filter, compute_motion

from .recordings import GroundTruth, load_ground_truth
from .units import SORTER_BAND_HZ, sorter_band

TEMPLATE_MS = (1.5, 3.0)


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
    """Add units to a recording with SpikeInterface's hybrid tools, and save it with what was added.

    Parameters
    ----------
    recording : BaseRecording
        Raw, with a probe.
    folder : str or Path
        To be made.
    n_units : int
    snr_range : (float, float)
        Troughs of the units between 300 and 6,000 Hz / the noise level, even on a log scale.
    rate_hz : (float, float)
        Between which mean rates are drawn.
    motion : Motion, "estimate" or None
        How the added units move: as a given motion, as SpikeInterface estimates the recording to move (preset
        "dredge_fast"), or not at all, which is right only where the recording itself does not drift.
    name : str
        Of the recording in a report.
    seed : int

    Returns
    -------
    GroundTruth
        Not exhaustive: what else the recording holds is unknown, so units out that match none are not counted as false.

    Raises
    ------
    ValueError
        If the recording has no probe or `motion` is an unknown word.
    FileExistsError
        If `folder` exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"The folder {folder} exists already.")
    if not recording.has_probe():
        raise ValueError("A hybrid recording needs channel locations: attach a probe first.")
    if isinstance(motion, str):
        if motion != "estimate":
            raise ValueError(f"motion is '{motion}' and must be a Motion, 'estimate' or None.")
        motion = compute_motion(recording, preset="dredge_fast")
    rng = np.random.default_rng(seed)
    templates, snr = _scaled_templates(recording, n_units, snr_range, rng)
    hybrid, sorting = generate_hybrid_recording(
        recording,
        templates=templates,
        motion=motion,
        are_templates_scaled=False,
        amplitude_std=0.08,
        generate_sorting_kwargs={
            "num_units": n_units,
            "firing_rates": rng.uniform(*rate_hz, n_units),
            "refractory_period_ms": 2.5,
        },
        seed=int(rng.integers(2**31)),
    )
    sorting.set_property("gt_snr", snr)
    info = {
        "name": name,
        "exhaustive": False,
        "drifts": motion is not None,
        "source": f"a recording of {recording.get_num_channels()} channels with {n_units} units added",
        "settings": {"n_units": n_units, "seed": seed},
        "figures": {
            "n_spikes": int(sorting.to_spike_vector().size),
            "snr_quartiles": np.round(np.percentile(snr, [0, 25, 50, 75, 100]), 2).tolist(),
        },
    }
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
    return load_ground_truth(folder)


def _scaled_templates(
    recording: BaseRecording, n_units: int, snr_range: tuple[float, float], rng: np.random.Generator
) -> tuple[Templates, np.ndarray]:
    """Templates of SpikeInterface's generator in the recording's own unit, scaled to SNRs even on a log scale."""
    frequency, probe = recording.sampling_frequency, recording.get_probe()
    seed = int(rng.integers(2**31))
    locations = generate_unit_locations(
        n_units,
        probe.contact_positions,
        margin_um=10.0,
        minimum_z=5.0,
        maximum_z=40.0,
        minimum_distance=15.0,
        distance_strict=False,
        seed=seed,
    )
    array = generate_templates(
        probe.contact_positions, locations, frequency, *TEMPLATE_MS, seed=seed, dtype="float32", mode="ellipsoid"
    )
    filtered = bandpass_filter(recording, *SORTER_BAND_HZ, dtype="float32")
    noise = get_noise_levels(filtered, return_in_uV=False, n_jobs=1, progress_bar=False)
    margin = int(0.01 * frequency)
    band = sorter_band(np.pad(array, ((0, 0), (margin, margin), (0, 0))), frequency, axis=1)
    troughs = -band.min(axis=1) / noise
    low, high = np.log(snr_range)
    snr = np.exp(rng.permutation(np.linspace(low, high, n_units)))
    array = array * (snr / troughs.max(axis=1))[:, np.newaxis, np.newaxis].astype("float32")
    nbefore = int(TEMPLATE_MS[0] * frequency / 1000)
    return Templates(array, frequency, nbefore, is_in_uV=False, probe=probe), snr
