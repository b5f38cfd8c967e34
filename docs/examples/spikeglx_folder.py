"""Writes what SpikeGLX writes for a Neuropixels 1.0 probe, with generated spikes, so that an example can read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from probeinterface.neuropixels_tools import build_neuropixels_probe
from spikeinterface.core import BaseSorting, generate_ground_truth_recording

# int16 steps: +-0.6 V in 10 bits at a gain of 500, as Neuropixels 1.0 records its AP band
AP_GAIN = 500
UV_PER_STEP = 0.6 / 512 / AP_GAIN * 1e6


def write_spikeglx_folder(
    folder: str | Path, n_channels: int = 32, n_units: int = 8, duration_s: float = 20.0, seed: int = 0
) -> tuple[Path, BaseSorting]:
    """
    Write ``run1_g0`` with the AP band of the lowest channels of a Neuropixels 1.0 probe.

    Parameters
    ----------
    folder : str or Path
        Where ``run1_g0`` is made.
    n_channels, n_units : int
        Channels that are saved, and neurons beside them.
    duration_s : float
        s.
    seed : int
        Of the neurons, their spikes and the noise.

    Returns
    -------
    path : Path
        The folder ``run1_g0``.
    truth : BaseSorting
        The true spikes.
    """
    probe = build_neuropixels_probe("NP1000").get_slice(np.arange(n_channels))
    probe.set_device_channel_indices(np.arange(n_channels))
    recording, truth = generate_ground_truth_recording(
        durations=[duration_s],
        sampling_frequency=30000.0,
        num_units=n_units,
        probe=probe,
        noise_kwargs={"noise_levels": 8.0, "strategy": "on_the_fly"},
        seed=seed,
    )
    traces = np.round(recording.get_traces() / UV_PER_STEP).astype("int16")
    # the last channel of a SpikeGLX file is the synchronisation signal
    samples = np.column_stack([traces, np.zeros(len(traces), dtype="int16")])
    path = Path(folder) / "run1_g0" / "run1_g0_imec0"
    path.mkdir(parents=True)
    samples.tofile(path / "run1_g0_t0.imec0.ap.bin")
    text = _meta(n_channels, samples.nbytes, duration_s)
    (path / "run1_g0_t0.imec0.ap.meta").write_text(text, encoding="utf8")
    return path.parent, truth


def _meta(n_channels: int, n_bytes: int, duration_s: float) -> str:
    electrodes = "".join(f"({channel} 0 0 {AP_GAIN} 250 1)" for channel in range(384))
    names = "".join(f"(AP{channel};{channel}:{channel})" for channel in range(n_channels))
    lines = {
        "acqApLfSy": "384,384,1",
        "appVersion": "20230815",
        "fileName": "run1_g0_t0.imec0.ap.bin",
        "fileSizeBytes": n_bytes,
        "fileTimeSecs": duration_s,
        "firstSample": 0,
        "imAiRangeMax": 0.6,
        "imAiRangeMin": -0.6,
        "imDatPrb_pn": "NP1000",
        "imDatPrb_sn": "1",
        "imDatPrb_type": 0,
        "imMaxInt": 512,
        "imSampRate": 30000,
        "nSavedChans": n_channels + 1,
        "snsApLfSy": f"{n_channels},0,1",
        "snsSaveChanSubset": f"0:{n_channels - 1},768",
        "typeThis": "imec",
        "~imroTbl": f"(0,384){electrodes}",
        "~snsChanMap": f"(384,384,1){names}(SY0;768:{n_channels})",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())
