"""Units for other programs: a folder for Phy, a file in the NWB format."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from spikeinterface.core import SortingAnalyzer

from .suggestions import given_labels
from .traces import channel_property, in_microvolts

logger = logging.getLogger("spikeinterface_huidurep")

# Unit properties that Phy shows as columns, in addition to SpikeInterface's metrics and "channel_group", the shank.
_PHY_PROPERTIES = ("confidence",)
# Unit properties that are written to NWB's table of units: column and description.
_NWB_PROPERTIES = {
    "confidence": ("confidence", "mean confidence of the sorter in the unit's spikes, from 0 to 1"),
    "group": ("shank", "shank of the unit"),
}
# Least share of channels that units have in common for a quick ("soft") merge; below it, SpikeInterface computes the
# merged unit anew from the traces. Lower than SpikeInterface's default (0.75): the pieces into which drift cuts a
# neuron lie on partly different channels.
_SPARSITY_OVERLAP = 0.5


def curated_analyzer(
    analyzer: SortingAnalyzer, curation: dict[str, Any] | None = None, *, accept_suggestions: bool = False
) -> SortingAnalyzer:
    """
    Apply a curation to an analyzer: returns one in memory, with the extensions of the merged and split units.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        It is not changed.
    curation : dict, optional
        In SpikeInterface's curation format; by default the one saved for the analyzer.
    accept_suggestions : bool
        Where none was saved, apply all suggestions, which nobody has looked at.

    Returns
    -------
    SortingAnalyzer

    Raises
    ------
    FileNotFoundError
        If no curation is given and none was saved.
    """
    from spikeinterface.curation import apply_curation

    from .curation_file import decided_curation, forget_probability

    if curation is None:
        curation = decided_curation(analyzer, accept_suggestions)
    groups = [merge["unit_ids"] for merge in curation.get("merges") or []]
    sparse = groups and analyzer.sparsity is not None
    shared = analyzer.are_units_mergeable(groups, sparsity_overlap=_SPARSITY_OVERLAP) if sparse else {}
    mode = "soft" if all(shared.values()) else "hard"
    curated = apply_curation(
        analyzer.copy(), curation, censor_ms=0.5, merging_mode=mode, sparsity_overlap=_SPARSITY_OVERLAP
    )
    forget_probability(curated.sorting, analyzer.unit_ids)
    return curated


def drop_labels(analyzer: SortingAnalyzer, labels: Sequence[str]) -> SortingAnalyzer:
    """
    Remove the units with certain labels (unit property "quality", case ignored) from an analyzer.

    Raises
    ------
    ValueError
        If no unit is left.
    """
    dropped = {label.lower() for label in labels}
    kept = [unit for unit, label in given_labels(analyzer).items() if label.lower() not in dropped]
    if not kept:
        raise ValueError(f"All units have one of the labels {', '.join(labels)}: there is nothing left to write.")
    return analyzer if len(kept) == len(analyzer.unit_ids) else analyzer.select_units(kept)


def export_phy(analyzer: SortingAnalyzer, folder: str | Path, *, copy_traces: bool = True, **job_kwargs: Any) -> Path:
    """
    Write the units for Phy (``phy template-gui params.py``), with SpikeInterface's exporter.

    The labels good, MUA and noise become Phy's groups, so that the curation can be continued there.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With one segment.
    folder : str or Path
        New folder to write.
    copy_traces : bool
        Write the filtered traces as well (float32, in units of noise); without them Phy shows no traces.
    **job_kwargs
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    Path
        The file ``params.py``.

    Raises
    ------
    FileExistsError
        If the folder exists.
    ValueError
        If there are several segments, which Phy cannot open.
    """
    from spikeinterface.exporters import export_to_phy

    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists: choose another folder for Phy.")
    if analyzer.get_num_segments() != 1:
        raise ValueError(f"Phy knows recordings of one segment only, and this one has {analyzer.get_num_segments()}.")
    try:
        export_to_phy(
            analyzer,
            folder,
            copy_binary=copy_traces,
            compute_pc_features=analyzer.has_extension("principal_components"),
            additional_properties=list(_PHY_PROPERTIES),
            use_relative_path=True,
            verbose=False,
            **job_kwargs,
        )
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    labels = [label.lower() or "unsorted" for label in given_labels(analyzer).values()]
    groups = pd.DataFrame({"cluster_id": np.arange(len(labels)), "group": labels})
    groups.to_csv(folder / "cluster_group.tsv", sep="\t", index=False)
    return folder / "params.py"


def export_nwb(
    analyzer: SortingAnalyzer,
    path: str | Path,
    *,
    session_start_time: datetime,
    session_description: str = "Spike sorting by HuiduRep",
    identifier: str | None = None,
) -> Path:
    """
    Write the units as a file in the NWB format, with PyNWB (extra "nwb").

    Each unit has its spike times (s), the mean and the standard deviation of its waveform on the channels near it (V
    where the recording has gains), its electrodes, its label as `quality`, and its quality metrics. NWB needs waveforms
    of one shape: a unit with fewer channels than others is padded with NaN. Segments follow each other in time. The
    traces are not written; NeuroConv writes those of the recording.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extension "templates".
    path : str or Path
        File to write.
    session_start_time : datetime
        Start of the recording, which NWB requires. Without a time zone, this machine's is assumed.
    session_description : str
    identifier : str, optional
        Unique name of the session; by default a random one.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModuleNotFoundError
        If PyNWB is not installed.
    FileExistsError
        If the file exists.
    """
    if find_spec("pynwb") is None:
        raise ModuleNotFoundError("NWB files need pynwb: pip install 'spikeinterface-huidurep[nwb]' installs it.")
    from uuid import uuid4

    from pynwb import NWBFile

    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists: choose another file for the units.")
    if session_start_time.tzinfo is None:
        session_start_time = session_start_time.astimezone()
    file = NWBFile(
        session_description=session_description,
        identifier=identifier or str(uuid4()),
        session_start_time=session_start_time,
    )
    _add_electrodes(file, analyzer)
    _add_units(file, analyzer)
    _write_nwb(file, path)
    return path


def _write_nwb(file: Any, path: Path) -> None:
    from pynwb import NWBHDF5IO

    try:
        with NWBHDF5IO(path, "w") as io:
            io.write(file)
    except BaseException:
        path.unlink(missing_ok=True)  # an incomplete file would block the next attempt
        raise


def _add_electrodes(file: Any, analyzer: SortingAnalyzer) -> None:
    device = file.create_device(name="probe", description="see the electrodes' relative positions")
    shanks = channel_property(analyzer, "group")
    shanks = np.zeros(analyzer.get_num_channels(), dtype=int) if shanks is None else shanks
    groups = {
        shank: file.create_electrode_group(
            name=f"shank {shank}", description="electrodes of one shank", location="unknown", device=device
        )
        for shank in dict.fromkeys(shanks)
    }
    file.add_electrode_column("channel_name", "name of the channel in the recording")
    locations = analyzer.get_channel_locations()
    for channel, shank, location in zip(analyzer.channel_ids, shanks, locations, strict=True):
        file.add_electrode(
            group=groups[shank],
            location="unknown",
            rel_x=float(location[0]),
            rel_y=float(location[1]),
            channel_name=str(channel),
        )


def _add_units(file: Any, analyzer: SortingAnalyzer) -> None:
    sorting = analyzer.sorting
    labels = given_labels(analyzer)
    columns = {name: sorting.get_property(name) for name in _NWB_PROPERTIES}
    columns = {name: values for name, values in columns.items() if values is not None}
    metrics = analyzer.get_extension("quality_metrics")
    table = metrics.get_data() if metrics is not None else pd.DataFrame(index=analyzer.unit_ids)
    file.add_unit_column("unit_name", "name of the unit in the sorting")
    file.add_unit_column("quality", "good, MUA (several neurons) or noise; empty without a label")
    for name in columns:
        file.add_unit_column(*_NWB_PROPERTIES[name])
    for name in table:
        file.add_unit_column(str(name), "quality metric, see SpikeInterface's documentation")

    templates = analyzer.get_extension("templates")
    # NWB's unit is V
    factor = 1e-6 if in_microvolts(analyzer) else 1.0
    average = factor * templates.get_templates(operator="average")
    spread = factor * templates.get_templates(operator="std") if "std" in templates.params["operators"] else None
    shape = (len(analyzer.unit_ids), analyzer.get_num_channels())
    is_near = np.ones(shape, dtype=bool) if analyzer.sparsity is None else analyzer.sparsity.mask
    for index, unit in enumerate(analyzer.unit_ids):
        near = np.flatnonzero(is_near[index])
        padding = ((0, 0), (0, int(is_near.sum(axis=1).max()) - len(near)))
        waveforms = {"waveform_mean": np.pad(average[index][:, near], padding, constant_values=np.nan)}
        if spread is not None:
            waveforms["waveform_sd"] = np.pad(spread[index][:, near], padding, constant_values=np.nan)
        file.add_unit(
            spike_times=_spike_times(analyzer, unit),
            electrodes=near.tolist(),
            unit_name=str(unit),
            quality=labels[unit],
            **waveforms,
            **{_NWB_PROPERTIES[name][0]: _plain(values[index]) for name, values in columns.items()},
            **{str(name): float(table[name].iloc[index]) for name in table},
        )


def _spike_times(analyzer: SortingAnalyzer, unit: Any) -> np.ndarray:
    """Times of a unit's spikes in all segments, in s; each segment begins where the one before it ends."""
    times, offset = [], 0.0
    for segment in range(analyzer.get_num_segments()):
        samples = analyzer.sorting.get_unit_spike_train(unit, segment_index=segment)
        times.append(offset + samples / analyzer.sampling_frequency)
        offset += analyzer.get_num_samples(segment) / analyzer.sampling_frequency
    return np.concatenate(times)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
