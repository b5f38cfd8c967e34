"""Named sets of sessions for the suite `days`, and their cache on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
import uuid
from pathlib import Path

import spikeinterface

from .days import DaysSettings, make_days
from .library_units import library_folder as find_library_folder
from .recordings import GroundTruth, default_cache_folder, load_ground_truth, save_ground_truth

logger = logging.getLogger(__name__)

FORMAT = 1  # of the code that makes sessions: another number makes them anew

# Of the nine cell models of the training libraries the model of pairs was fitted to the other five
# (studies/days_model.py). A library of other models is used whole.
HELD_OUT = ("L5_ChC_cACint209_1", "L5_LBC_bAC217_1", "L5_SBC_bNAC219_1", "L5_UTPC_cADpyr232_1")

_TWO = DaysSettings(
    "days_64", "neuropixels2-64_zdrift.npz", 30, (0.0, 22.0, -20.0), gradient=10.0, models=HELD_OUT, seed=300
)
_FOUR = dataclasses.replace(
    _TWO, name="days_128", library="neuropixels-128_zdrift.npz", n_units=40, displacements_um=(-12.0, 18.0),
    gradient=-10.0, n_hash=160, seed=310,
)  # fmt: skip
_LINEAR = dataclasses.replace(
    _TWO, name="days_linear32", library="neuronexus-32_zdrift.npz", n_units=18, displacements_um=(10.0, -15.0, 5.0),
    n_hash=60, seed=320,
)  # fmt: skip
# Four contacts of the two-column probe, two rows 30 um apart. A tetrode that moves by 60 um has lost its neurons.
_TETRODE = dataclasses.replace(
    _TWO, name="days_tetrode", n_units=8, displacements_um=(0.0, 6.0, -4.0, 2.0, 8.0), gradient=0.0, n_hash=24,
    contacts=(2, 2), seed=330,
)  # fmt: skip

#: Sessions of the suite `days` by name.
DAYS: dict[str, DaysSettings] = {
    one.name: one
    for one in (
        _TWO,
        dataclasses.replace(_TWO, name="days_64_far", displacements_um=(-30.0, 30.0), seed=301),
        dataclasses.replace(_TWO, name="days_64_still", displacements_um=(0.0, 0.0), seed=302),
        _FOUR,
        dataclasses.replace(_FOUR, name="days_128_far", displacements_um=(-28.0, 22.0), gradient=20.0, seed=311),
        _LINEAR,
        dataclasses.replace(_LINEAR, name="days_linear32_far", displacements_um=(-25.0, 25.0), seed=321),
        _TETRODE,
        dataclasses.replace(_TETRODE, name="days_tetrode_2", displacements_um=(-4.0, 4.0, 10.0), seed=331),
        dataclasses.replace(_TETRODE, name="days_tetrode_3", displacements_um=(0.0, -8.0, 3.0), seed=332),
    )
}


def get_days(
    days: str | DaysSettings,
    cache_folder: str | Path | None = None,
    library_folder: str | Path | None = None,
    duration_s: float | None = None,
) -> list[GroundTruth]:
    """Return the sessions, from the cache or newly made.

    Parameters
    ----------
    days : str or DaysSettings
        A name of :data:`DAYS`, or your own settings.
    cache_folder, library_folder, duration_s
        As of :func:`~spikeinterface_huidurep.benchmark.get_recording`.

    Returns
    -------
    list of GroundTruth
        In the order of time; `sorting` has the unit property "neuron".

    Raises
    ------
    ValueError
        If there are none of that name.
    FileNotFoundError
        If the template library cannot be found.
    """
    if isinstance(days, str):
        if days not in DAYS:
            raise ValueError(f"There are no sessions named '{days}'; there are {', '.join(DAYS)}.")
        days = DAYS[days]
    if duration_s is not None:
        days = dataclasses.replace(days, duration_s=float(duration_s))
    cache = Path(cache_folder) if cache_folder is not None else default_cache_folder()
    folder = cache / f"{days.name}-{_key(days, library_folder)}"
    if not folder.is_dir():
        logger.info("Making the sessions %s in %s", days.name, folder)
        _make(days, library_folder, folder)
    return [load_ground_truth(folder / f"session_{k}") for k in range(len(days.displacements_um))]


def _key(days: DaysSettings, library_folder: str | Path | None) -> str:
    path = find_library_folder(library_folder) / days.library
    if not path.is_file():
        raise FileNotFoundError(f"The sessions '{days.name}' need the library {path}, which does not exist.")
    parts = {
        "format": FORMAT,
        "settings": dataclasses.asdict(days),
        "spikeinterface": spikeinterface.__version__,
        "library": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _make(days: DaysSettings, library_folder: str | Path | None, folder: Path) -> None:
    unfinished = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
    unfinished.mkdir(parents=True)
    try:
        for k, session in enumerate(make_days(days, library_folder)):
            part = unfinished / f"session_{k}"
            part.mkdir()
            own = dataclasses.replace(days, name=f"{days.name}_{k}")
            figures = {"displacement_um": session.displacement_um, "days": days.name, "session": k}
            save_ground_truth(part, session.recording, session.sorting, None, own, figures)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
