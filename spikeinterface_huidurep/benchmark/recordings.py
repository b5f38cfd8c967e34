"""Recordings with ground truth: named settings, how they are made, and a cache on disk.

>>> from spikeinterface_huidurep.benchmark import get_recording
>>> truth = get_recording("si_static", cache_folder="benchmark-cache")
>>> truth.recording, truth.sorting, truth.motion
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spikeinterface
from spikeinterface.core import BaseRecording, BaseSorting, load
from spikeinterface.core.motion import Motion

from .generator import GeneratorSettings, make_generator_recording
from .lazy_recording import LazyRecording, LazySettings
from .library_recording import LibrarySettings, Made, make_library_recording
from .library_units import library_folder as find_library_folder
from .mearec_recording import MearecSettings, make_mearec_recording, mearec_version
from .short_probes import SHORT_PROBE_RECORDINGS
from .waveform_recordings import MEAREC_RECORDINGS, WAVEFORM_RECORDINGS

logger = logging.getLogger(__name__)

DESCRIPTION = "recording.json"
FORMAT = 3  # of the cached folders and of the code that makes them: another number invalidates every cached recording
Settings = LibrarySettings | GeneratorSettings | MearecSettings | LazySettings


@dataclass(frozen=True)
class GroundTruth:
    """A recording and its ground truth.

    Attributes
    ----------
    name : str
    recording : BaseRecording
        int16 with a gain to uV.
    sorting : BaseSorting
        The true spikes, with the unit property `gt_snr` (trough on the best channel / noise level).
    motion : Motion or None
        The true motion, None without drift.
    folder : Path
        Folder of all this.
    info : dict
        Its settings, and figures measured on it.
    """

    name: str
    recording: BaseRecording
    sorting: BaseSorting
    motion: Motion | None
    folder: Path
    info: dict

    @property
    def recording_path(self) -> Path:
        """What SpikeInterface's `load` finds the recording in: a folder, or the description of a lazy one."""
        description = self.folder / DESCRIPTION
        return description if description.is_file() else self.folder / "recording"


def _named(*settings: Settings) -> dict[str, Settings]:
    return {one.name: one for one in settings}


#: Parts of growing length of one probe's recording, which is made while it is read.
SCALE_RECORDINGS: dict[str, Settings] = _named(
    *(LazySettings(name=f"scale_{minutes}min", duration_s=60.0 * minutes) for minutes in (1, 2, 5, 15, 60))
)

_TWO_COLUMN = LibrarySettings(name="two_column_static", library="neuropixels2-64.npz", n_units=45, duration_s=300)
_TWO_COLUMN_DRIFT = dataclasses.replace(_TWO_COLUMN, library="neuropixels2-64_zdrift.npz", seed=1)

#: All named recordings.
RECORDINGS: dict[str, Settings] = _named(
    _TWO_COLUMN,
    dataclasses.replace(_TWO_COLUMN, name="two_column_30khz", sampling_frequency=30000.0, duration_s=120),
    dataclasses.replace(_TWO_COLUMN, name="two_column_hard", n_units=70, snr_range=(3.0, 9.0), snr_skew=2.0, seed=2),
    dataclasses.replace(
        _TWO_COLUMN_DRIFT, name="two_column_still", snr_range=(4.5, 30.0)
    ),  # the zigzag's units, not moving
    dataclasses.replace(_TWO_COLUMN_DRIFT, name="two_column_zigzag", drift="zigzag", drift_range_um=30.0),
    dataclasses.replace(_TWO_COLUMN_DRIFT, name="two_column_ramp", drift="ramp", drift_range_um=40.0),
    dataclasses.replace(_TWO_COLUMN_DRIFT, name="two_column_bumps", drift="bumps", drift_range_um=40.0),
    dataclasses.replace(
        _TWO_COLUMN_DRIFT, name="two_column_non_rigid", drift="zigzag", drift_range_um=40.0, rigid=False
    ),
    LibrarySettings(
        name="tetrode", library="tetrode.npz", n_units=8, duration_s=120, n_hash=60, snr_range=(4.5, 20.0), seed=3
    ),
    LibrarySettings(name="linear32", library="neuronexus-32.npz", n_units=22, duration_s=60, n_hash=150, seed=4),
    LibrarySettings(
        name="linear32_zigzag",
        library="neuronexus-32_zdrift.npz",
        n_units=22,
        duration_s=120,
        n_hash=150,
        drift="zigzag",
        drift_range_um=30.0,
        drift_period_s=80.0,
        seed=5,
    ),
    LibrarySettings(name="four_column", library="neuropixels-128.npz", n_units=80, duration_s=180, n_hash=400, seed=6),
    LibrarySettings(
        name="four_column_bumps",
        library="neuropixels-128_zdrift.npz",
        n_units=60,
        duration_s=240,
        n_hash=300,
        drift="bumps",
        drift_range_um=40.0,
        seed=7,
    ),
    LibrarySettings(name="grid100", library="sqmea-10-15.npz", n_units=40, duration_s=120, n_hash=200, seed=8),
    LibrarySettings(
        name="neuropixels384",
        library="neuropixels-128.npz",
        n_units=200,
        duration_s=120,
        n_hash=600,
        n_channels=384,
        seed=9,
    ),
    GeneratorSettings(name="si_static", duration_s=240),
    GeneratorSettings(name="si_drift", duration_s=240, drift_range_um=40.0),
    GeneratorSettings(name="si_static_16", duration_s=45, n_units=12, n_channels=16),
    # DREDge, with which most peers correct drift, finds no motion on a shorter probe or with fewer spikes
    GeneratorSettings(
        name="si_drift_24", duration_s=60, n_units=20, n_channels=24, drift_range_um=30.0, drift_period_s=60.0
    ),
    *SHORT_PROBE_RECORDINGS.values(),
    *WAVEFORM_RECORDINGS.values(),
    *MEAREC_RECORDINGS.values(),
    *SCALE_RECORDINGS.values(),
)


def default_cache_folder() -> Path:
    """The environment variable HUIDUREP_CACHE, else ``~/.cache/huidurep/benchmark``."""
    return Path(os.environ.get("HUIDUREP_CACHE") or Path.home() / ".cache" / "huidurep" / "benchmark")


def recording_key(settings: Settings, library_folder: str | Path | None) -> str:
    """Short digest of everything that affects a recording: settings, the library's contents, versions."""
    chosen = dataclasses.asdict(settings)
    for newer in ("waveforms", "contacts"):
        if chosen.get(newer, "") is None:
            del chosen[newer]  # the digests of recordings older than this setting stay as they are
    parts = {
        "format": FORMAT,
        "kind": type(settings).__name__,
        "settings": chosen,
        "spikeinterface": spikeinterface.__version__,
    }
    if isinstance(settings, MearecSettings):
        parts["mearec"] = mearec_version()
    if isinstance(settings, LibrarySettings | MearecSettings):
        parts["library"] = hashlib.sha256(_library_file(settings, library_folder).read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _library_file(settings: LibrarySettings | MearecSettings, library_folder: str | Path | None) -> Path:
    path = find_library_folder(library_folder) / settings.library
    if not path.is_file():
        raise FileNotFoundError(
            f"The recording '{settings.name}' needs the template library {path}, which does not exist."
        )
    return path


def get_recording(
    recording: str | Settings,
    cache_folder: str | Path | None = None,
    library_folder: str | Path | None = None,
    duration_s: float | None = None,
) -> GroundTruth:
    """Return a recording with ground truth, from the cache or newly made.

    Parameters
    ----------
    recording : str or LibrarySettings or GeneratorSettings or MearecSettings or LazySettings
        A name of :data:`RECORDINGS`, or your own settings.
    cache_folder : str or Path, optional
        Where recordings are kept, by default :func:`default_cache_folder`.
    library_folder : str or Path, optional
        Folder of the template libraries, by default the environment variable HUIDUREP_TEMPLATES; recordings of
        SpikeInterface's generator need none.
    duration_s : float, optional
        Duration in s, instead of the settings'.

    Returns
    -------
    GroundTruth

    Raises
    ------
    ValueError
        If there is no recording of that name.
    FileNotFoundError
        If its template library cannot be found.
    ModuleNotFoundError
        If it is one of MEArec's generator, not in the cache, and MEArec is not installed.
    """
    if isinstance(recording, str):
        if recording not in RECORDINGS:
            raise ValueError(f"There is no recording named '{recording}'; there are {', '.join(RECORDINGS)}.")
        settings = RECORDINGS[recording]
    else:
        settings = recording
    if duration_s is not None:
        settings = dataclasses.replace(settings, duration_s=float(duration_s))
    key = recording_key(settings, library_folder)
    cache_folder = Path(cache_folder) if cache_folder is not None else default_cache_folder()
    folder = cache_folder / f"{settings.name}-{key}"
    if not folder.is_dir():
        logger.info("Making the recording %s (%.0f s) in %s", settings.name, settings.duration_s, folder)
        _make(settings, library_folder, folder)
    return load_ground_truth(folder)


def _make(settings: Settings, library_folder: str | Path | None, folder: Path) -> None:
    """Make a recording in a folder next to `folder`, and rename it when it is complete."""
    unfinished = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
    unfinished.mkdir(parents=True)
    try:
        if isinstance(settings, LibrarySettings):
            made = make_library_recording(settings, _library_file(settings, library_folder))
        elif isinstance(settings, MearecSettings):
            made = make_mearec_recording(settings, _library_file(settings, library_folder))
        elif isinstance(settings, LazySettings):
            made = _described(settings)
        else:
            made = make_generator_recording(settings)
        save_ground_truth(unfinished, made.recording, made.sorting, made.motion, settings, made.figures)
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process has made the same recording meanwhile
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _described(settings: LazySettings) -> Made:
    """A recording that is made while it is read, with its truth."""
    recording = LazyRecording.of(settings)
    sorting = recording.true_sorting()
    figures = {"n_spikes": int(sorting.to_spike_vector().size)}
    return Made(recording, sorting, None, figures)


def save_ground_truth(
    folder: Path,
    recording: BaseRecording,
    sorting: BaseSorting,
    motion: Motion | None,
    settings: Any,
    figures: dict,
) -> None:
    """Write the parts of a :class:`GroundTruth` into an existing folder; the settings are a dataclass with a name."""
    if isinstance(recording, LazyRecording):
        recording.dump_to_json(folder / DESCRIPTION)
    else:
        recording.save(folder=folder / "recording", n_jobs=1, chunk_duration="5s", progress_bar=False, verbose=False)
    sorting.save(folder=folder / "sorting", format="numpy_folder")
    if motion is not None:
        motion.save(folder / "motion")
    info = {"name": settings.name, "settings": dataclasses.asdict(settings), "figures": figures}
    (folder / "info.json").write_text(json.dumps(info, indent=2))


def load_ground_truth(folder: str | Path) -> GroundTruth:
    """Load a folder that :func:`get_recording` made."""
    folder = Path(folder)
    info = json.loads((folder / "info.json").read_text())
    motion = Motion.load(folder / "motion") if (folder / "motion").is_dir() else None
    description = folder / DESCRIPTION
    return GroundTruth(
        name=info["name"],
        recording=load(description if description.is_file() else folder / "recording"),
        sorting=load(folder / "sorting"),
        motion=motion,
        folder=folder,
        info=info,
    )
