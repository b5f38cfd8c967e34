"""Small recordings in formats of acquisition systems, for tests that read them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def write_openephys_folder(folder: Path, traces: dict[str, np.ndarray], sampling_frequency: float = 30000.0) -> None:
    """Write Open Ephys' binary format: traces, (samples, channels) int16, by the name of their stream."""
    recording = folder / "Record Node 101" / "experiment1" / "recording1"
    streams = []
    for name, samples in traces.items():
        stream = recording / "continuous" / name
        stream.mkdir(parents=True)
        samples.tofile(stream / "continuous.dat")
        np.save(stream / "sample_numbers.npy", np.arange(len(samples)))
        np.save(stream / "timestamps.npy", np.arange(len(samples)) / sampling_frequency)
        channels = [
            {"channel_name": f"CH{channel + 1}", "bit_volts": 0.195, "units": "uV"}
            for channel in range(samples.shape[1])
        ]
        streams.append(
            {
                "folder_name": f"{name}/",
                "sample_rate": sampling_frequency,
                "num_channels": len(channels),
                "channels": channels,
            }
        )
    structure = {"GUI version": "0.6.7", "continuous": streams, "events": [], "spikes": []}
    (recording / "structure.oebin").write_text(json.dumps(structure), encoding="utf8")


def write_nwb_file(path: Path, traces: np.ndarray, locations: np.ndarray, sampling_frequency: float = 30000.0) -> None:
    """Write an NWB file with one ElectricalSeries, (samples, channels) int16, and the contacts' places (um)."""
    import datetime

    from pynwb import NWBHDF5IO, NWBFile
    from pynwb.ecephys import ElectricalSeries

    start = datetime.datetime(2026, 5, 4, tzinfo=datetime.timezone.utc)
    file = NWBFile("a recording", "session", start)
    device = file.create_device("probe")
    group = file.create_electrode_group("shank", description="contacts", location="unknown", device=device)
    for x, y in locations:
        file.add_electrode(group=group, location="unknown", rel_x=float(x), rel_y=float(y))
    table = file.create_electrode_table_region(list(range(len(locations))), "all contacts")
    series = ElectricalSeries("ElectricalSeries", traces, table, rate=sampling_frequency, conversion=0.195e-6)
    file.add_acquisition(series)
    with NWBHDF5IO(path, "w") as io:
        io.write(file)
