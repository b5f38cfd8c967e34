"""One call to a SortingAnalyzer that is ready to be looked at and curated."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from spikeinterface.core import (
    BaseRecording,
    BaseSorting,
    SortingAnalyzer,
    create_sorting_analyzer,
    load_sorting_analyzer,
)
from threadpoolctl import threadpool_limits

from ..jobs import resolve_job_kwargs
from ..work import Work
from .extension import EXTENSION_NAME, register_extension
from .traces import curation_traces

logger = logging.getLogger("spikeinterface_huidurep")

# Where `huidurep sort --report` puts the analyzer in its output folder.
ANALYZER_NAME = "analyzer"

# Vectors of principal components are many and slow; with the embeddings beside them few are needed.
N_PRINCIPAL_COMPONENTS = 3

# SpikeInterface's metrics without those of principal components (slow, and the embeddings say more) and synchrony.
QUALITY_METRICS = (
    "num_spikes firing_rate presence_ratio snr isi_violation rp_violation sliding_rp_violation firing_range "
    "amplitude_cv amplitude_cutoff noise_cutoff amplitude_median drift sd_ratio"
).split()

# Extensions that are computed together, those that need others after them, and about the share of the time that they
# take in a recording of some minutes: measured on 60 s of 32 channels with 13 units, where compiling the correlograms
# was half of it. SpikeInterface goes through the recording once for all of a group.
_TOGETHER: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.10, ("random_spikes", "waveforms")),
    (0.03, ("templates", "noise_levels", "unit_locations")),
    (0.10, ("spike_locations", "spike_amplitudes")),
    (0.40, ("correlograms", "isi_histograms", "template_similarity")),
    (0.07, ("principal_components",)),
    (0.05, ("template_metrics", "quality_metrics")),
    (0.25, (EXTENSION_NAME,)),
)


def extension_parameters(seed: int = 0, model: str = "default", device: str = "auto") -> dict[str, dict[str, Any]]:
    """
    The extensions that a curation-ready analyzer has, in the order of their computation, with their parameters.

    Parameters
    ----------
    seed : int
        Chooses the spikes whose waveforms are kept, and the stretches on which the noise is measured.
    model, device : str
        Of the encoder, see `spikeinterface_huidurep.load_encoder`.

    Returns
    -------
    dict of dict
        SpikeInterface's names of the extensions, with the parameters that differ from its defaults.
    """
    return {
        "random_spikes": {"seed": seed},
        "waveforms": {},
        # the GUI shades templates by the spread of their waveforms
        "templates": {"operators": ["average", "std"]},
        "noise_levels": {"random_slices_kwargs": {"seed": seed}},
        "unit_locations": {},
        "spike_locations": {},
        "spike_amplitudes": {},
        "correlograms": {},
        "isi_histograms": {},
        # the measure that SpikeInterface's search for merges wants
        "template_similarity": {"method": "l1"},
        "principal_components": {"n_components": N_PRINCIPAL_COMPONENTS},
        "template_metrics": {},
        "quality_metrics": {"metric_names": list(QUALITY_METRICS)},
        EXTENSION_NAME: {"model": model, "device": device},
    }


def make_analyzer(
    sorting: BaseSorting,
    recording: BaseRecording,
    folder: str | Path | None = None,
    *,
    overwrite: bool = False,
    preprocessing: Mapping[str, Any] | None = None,
    suggest: bool = True,
    model: str = "default",
    device: str = "auto",
    seed: int = 0,
    **job_kwargs: Any,
) -> SortingAnalyzer:
    """
    Make a SortingAnalyzer with all that is wanted for curation, on the traces as the sorter saw them.

    Parameters
    ----------
    sorting : BaseSorting
        Units from any sorter; their properties are kept.
    recording : BaseRecording
        As it was given to the sorter.
    folder : str or Path, optional
        A Zarr archive where the name ends in ``.zarr`` (without principal components, which cannot be read back from
        there), otherwise a folder of binary files; None: in memory.
    overwrite : bool
        Replace an analyzer that is there; nothing else is ever replaced.
    preprocessing : mapping, optional
        The sorter's parameters that were not its defaults.
    suggest : bool
        Look for merges, splits and labels with which `huidurep gui` begins, see `suggest_curation`.
    model, device, seed
        Of the encoder, see `load_encoder`; the seed chooses the spikes whose waveforms are kept.
    **job_kwargs
        SpikeInterface's parameters for parallel processing; by default those of the sorter, all cores in threads. With
        ``progress_bar=True`` a bar is drawn; without, a line is logged after each minute.

    Returns
    -------
    SortingAnalyzer
        With the extensions of `extension_parameters`. Amplitudes are in uV, without gains in the recording's unit.

    Raises
    ------
    FileExistsError
        If `folder` exists and may not be replaced.
    ValueError
        If the Sorting has no units, does not fit the recording, or every channel is silent.
    """
    _check_fit(sorting, recording)
    path = None if folder is None else _make_room(Path(folder), overwrite)
    traces = curation_traces(recording, **(preprocessing or {}))
    sorting = with_known_main_channels(sorting, traces)
    kind = "memory" if path is None else "zarr" if path.suffix == ".zarr" else "binary_folder"
    analyzer = create_sorting_analyzer(
        sorting, traces, format=kind, folder=path, return_in_uV=True, seed=seed, job_kwargs=_resolved(job_kwargs)
    )
    complete_analyzer(analyzer, model=model, device=device, seed=seed, **job_kwargs)
    if suggest:
        _suggest(analyzer, seed, _resolved(job_kwargs), saved=path is not None)
    return analyzer


def with_known_main_channels(sorting, traces):
    """Without the units' main channels where the analyzer does not have all of them: they are found anew."""
    known = sorting.get_property("main_channel_id")
    if known is None or np.isin(known, traces.channel_ids).all():
        return sorting
    sorting = sorting.clone()
    sorting.delete_property("main_channel_id")
    return sorting


def _suggest(analyzer, seed, jobs, saved):
    from .curation_file import save_suggestions
    from .suggestions import suggest_curation

    with Work("suggest a curation", bar=jobs["progress_bar"]):
        curation = suggest_curation(analyzer, seed=seed, **{**jobs, "progress_bar": True})
    if saved:
        save_suggestions(analyzer, curation)


def complete_analyzer(
    analyzer: SortingAnalyzer, *, model: str = "default", device: str = "auto", seed: int = 0, **job_kwargs: Any
) -> SortingAnalyzer:
    """
    Compute what an analyzer lacks for curation; what it has is left as it is.

    Works on the analyzer of any sorting, and on one whose computation was interrupted.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With its recording.
    model, device, seed, **job_kwargs
        As in `make_analyzer`.

    Returns
    -------
    SortingAnalyzer
        The same object.

    Raises
    ------
    ValueError
        If something is missing that has to be read from a recording, and the recording is not there.
    """
    register_extension()
    missing = {
        name: params
        for name, params in extension_parameters(seed, model, device).items()
        if not analyzer.has_extension(name)
    }
    if analyzer.format == "zarr":
        # SpikeInterface keeps the fitted model as a pickle, which Zarr (numcodecs) refuses to read for safety
        missing.pop("principal_components", None)
    if missing and not (analyzer.has_recording() or analyzer.has_temporary_recording()):
        raise ValueError(f"The analyzer's recording cannot be found, and without it there are no {', '.join(missing)}.")
    if missing:
        logger.info("computing %s", ", ".join(missing))
        _compute(analyzer, missing, _resolved(job_kwargs))
    return analyzer


def _compute(analyzer: SortingAnalyzer, extensions: dict[str, dict], jobs: dict[str, Any]) -> None:
    bar, counted = jobs["progress_bar"], {**jobs, "progress_bar": True}
    groups = [(share, {name: extensions[name] for name in names if name in extensions}) for share, names in _TOGETHER]
    groups = [(share, these) for share, these in groups if these]
    total, done = sum(share for share, _ in groups), 0.0
    # many small matrices: more threads than cores that are free slow the principal components down tenfold
    with warnings.catch_warnings(), threadpool_limits(1), Work("make the analyzer", bar=bar) as work:
        # SpikeInterface warns of each metric for which a recording is too short: they are NaN, which says enough
        for beginning in ("Bin duration of", "Amplitude cutoff set to NaN", "Drift metrics could not be computed"):
            warnings.filterwarnings("ignore", message=beginning)
        for share, these in groups:
            work.part(done / total, (done + share) / total)
            if "principal_components" in these:
                # several jobs would be processes here, which cost more than they save
                analyzer.compute(these, **{**jobs, "n_jobs": 1, "progress_bar": False})
            else:
                analyzer.compute(these, **counted)
            done += share


def load_analyzer(folder: str | Path) -> SortingAnalyzer:
    """
    Load an analyzer with its extensions, the embeddings among them.

    Parameters
    ----------
    folder : str or Path
        As it was given to `make_analyzer`, made by SpikeInterface, or the folder of a sort of which ``huidurep sort
        --report`` or ``huidurep report`` has made one.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `folder`, or a sort without an analyzer.
    ValueError
        If it is something else than a SortingAnalyzer.
    """
    register_extension()
    path = find_analyzer(Path(folder).expanduser())
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}.")
    if not is_analyzer(path):
        raise _why_no_analyzer(path)
    return load_sorting_analyzer(path)


def _why_no_analyzer(path):
    sorts = [folder for folder in (path, *path.parents[:3]) if _is_of_the_sort_in(folder, path)]
    sorts = sorts or [path] * (path / "sorting").is_dir()
    if sorts:
        return FileNotFoundError(f"{sorts[-1]} holds a sort without an analyzer: huidurep report {sorts[-1]} makes it.")
    parts = sorted(part for part in path.iterdir() if sorter_folder(part) is not None) if path.is_dir() else []
    if parts:
        return ValueError(f"{path} holds several sorts: give the folder of one of them, such as {parts[0]}.")
    return ValueError(f"{path} is not a SortingAnalyzer.")


def _is_of_the_sort_in(folder, path):
    """Whether a path is the folder of a sort, or lies in what the sort wrote there."""
    sorter = sorter_folder(folder)
    return sorter is not None and (path == folder or any(map(path.is_relative_to, (sorter, folder / "sorting"))))


def sorter_folder(folder: Path) -> Path | None:
    """Where run_sorter has worked: in this folder or, called by ``huidurep sort``, in one inside; else None."""
    for place in (folder, folder / "sorter"):
        if (place / "sorter_output").is_dir():
            return place
    return None


def find_analyzer(folder: Path) -> Path:
    """The folder itself, or the analyzer in the folder of a sort where that is what was given."""
    return folder / ANALYZER_NAME if not is_analyzer(folder) and is_analyzer(folder / ANALYZER_NAME) else folder


def is_analyzer(folder: Path) -> bool:
    """Whether SpikeInterface has saved a SortingAnalyzer there, as binary files or as a Zarr archive."""
    try:
        if (folder / "spikeinterface_info.json").is_file():
            info = json.loads((folder / "spikeinterface_info.json").read_text(encoding="utf8"))
        else:
            attributes = json.loads((folder / ".zattrs").read_text(encoding="utf8"))
            info = attributes.get("spikeinterface_info", {})
    except (OSError, ValueError):
        return False
    return isinstance(info, dict) and info.get("object") == "SortingAnalyzer"


def _resolved(job_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Job parameters as the sorter takes them."""
    return resolve_job_kwargs({"job_kwargs": job_kwargs, "n_jobs": None}, bool(job_kwargs.get("progress_bar", False)))


def _check_fit(sorting: BaseSorting, recording: BaseRecording) -> None:
    if len(sorting.unit_ids) == 0:
        raise ValueError("The Sorting has no units: there is nothing to curate.")
    if sorting.get_num_segments() != recording.get_num_segments():
        raise ValueError(
            f"The Sorting has {sorting.get_num_segments()} segments and the recording {recording.get_num_segments()}."
        )
    if not np.isclose(sorting.sampling_frequency, recording.sampling_frequency, rtol=1e-4):
        raise ValueError(
            f"The Sorting was made at {sorting.sampling_frequency:g} Hz, the recording at "
            f"{recording.sampling_frequency:g} Hz."
        )


def _make_room(path: Path, overwrite: bool) -> Path:
    """The path, at which there is nothing now."""
    if not path.exists():
        return path
    if not is_analyzer(path):
        raise FileExistsError(f"{path} exists and is not an analyzer, it is left as it is: choose another folder.")
    if not overwrite:
        raise FileExistsError(
            f"{path} exists: load it with spikeinterface_huidurep.curation.load_analyzer (complete_analyzer goes on "
            "where an interrupted computation stopped), or give overwrite=True."
        )
    shutil.rmtree(path)
    return path
