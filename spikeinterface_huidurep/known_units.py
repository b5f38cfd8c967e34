"""What a sort leaves for the next: the templates of its units, in the file `known_units.npz` of its folder."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording

from .shanks import shank_locations
from .stage_files import save_arrays
from .stages.known.follow import KnownUnits
from .stages.templates.drifting import DriftingUnitTemplates
from .stages.templates.placing import SessionTemplates
from .version import __version__

FILE = "known_units.npz"
FORMAT = 1
# parameters on which the waveforms depend
WAVEFORM_PARAMS = (
    "apply_preprocessing",
    "freq_min",
    "freq_max",
    "ms_before",
    "ms_after",
    "peak_sign",
    "sort_by_group",
    "time_scale",
    "distance_scale",
)
# contacts nearer than this are one, um
SAME_PLACE_UM = 0.1
# what numpy, zipfile and json raise on a file that is none of ours
_UNREADABLE = (
    AttributeError, EOFError, IndexError, KeyError, NotImplementedError, OSError, RecursionError, TypeError, ValueError,
    zipfile.BadZipFile,
)  # fmt: skip
_ARRAYS = ("waveforms", "channels", "displacements", "locations", "counts")


def describe_session(recording: BaseRecording, params: Mapping[str, Any]) -> dict[str, Any]:
    """All that two sorts must have in common for one to start from the other's units; for JSON."""
    shanks = shank_locations(recording, params["sort_by_group"])
    return {
        "sampling_frequency": float(recording.sampling_frequency),
        "gains": recording.get_channel_gains() is not None,
        "groups": [str(label) for label in shanks],
        "channel_locations": [np.asarray(places, dtype="float64").tolist() for places in shanks.values()],
        "parameters": {name: params[name] for name in WAVEFORM_PARAMS},
    }


def write_known_units(path: Path, shanks: list[KnownUnits], session: Mapping[str, Any]) -> None:
    """
    Write the file, whole or not at all.

    Parameters
    ----------
    path : Path
    shanks : list of KnownUnits
        In the order of the recording's groups.
    session : dict
        From `describe_session`.
    """
    arrays: dict[str, Any] = {}
    for index, known in enumerate(shanks):
        mine, templates = known.session, known.session.templates
        values = {name: getattr(templates, name) for name in _ARRAYS}
        # where no spike was seen the waveform is not used; half precision is a thousandth of a value
        seen = (templates.counts > 0)[:, :, None, None]
        values["waveforms"] = np.where(seen, values["waveforms"], 0).astype("float16")
        values |= dict(channel_locations=mine.channel_locations, noise_level=mine.noise_level)
        values |= dict(unit_ids=known.unit_ids, lag=known.lag, nbefore=np.array(templates.nbefore))
        arrays |= {f"shank_{index}_{name}": np.asarray(value) for name, value in values.items()}
    next_id = max(known.next_id for known in shanks)
    described = {**session, "format": FORMAT, "version": __version__, "next_id": next_id}
    arrays["header"] = np.array(json.dumps(described))
    save_arrays(path, arrays, compressed=True)


def find_known_units(folder: str | Path) -> Path:
    """
    The file in the folder of a finished sort: `run_sorter`'s, or that of `huidurep sort`.

    Raises
    ------
    ValueError
        One sentence, if it is not the folder of a finished sort of this sorter, or one without the file.
    """
    given = Path(folder).expanduser()
    if not given.is_dir():
        raise ValueError(f"known_units: there is no folder {str(folder)!r}.")
    output = next((one for one in (given / "sorter_output", given / "sorter" / "sorter_output") if one.is_dir()), None)
    if output is None:
        raise ValueError(f"known_units: {str(folder)!r} is not the folder of a sort (it has no 'sorter_output').")
    _check_sorter(output.parent / "spikeinterface_params.json", folder)
    if not (output / "sorting").is_dir():
        raise ValueError(f"known_units: the sort in {str(folder)!r} is not finished; `resume` it first.")
    path = output / FILE
    if not path.is_file():
        raise ValueError(
            f"known_units: the sort in {str(folder)!r} has no {FILE}: it is of an older version, sort it anew."
        )
    return path


def _check_sorter(path, folder):
    try:
        name = json.loads(path.read_text(encoding="utf8"))["sorter_name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # moved or edited: the file itself says whether it can be used
    if name != "huidurep":
        raise ValueError(f"known_units: {str(folder)!r} is the folder of a sort by {name!r}, not by 'huidurep'.")


def read_known_units(folder: str | Path) -> list[KnownUnits]:
    """
    Read the units of a finished sort, those of each shank, in the order of the recording's groups.

    Raises
    ------
    ValueError
        One sentence, as `find_known_units`, or if the file is damaged or of another format.
    """
    return _read(folder)[0]


def _read(folder):
    """The units of each shank, and the header."""
    path = find_known_units(folder)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop("header").item())
        if header["format"] != FORMAT:
            raise KeyError(f"format {header['format']!r}, this version reads {FORMAT}")
        shanks = [_shank(arrays, index, int(header["next_id"])) for index in range(len(header["groups"]))]
    except _UNREADABLE as error:
        raise ValueError(f"known_units: {path} cannot be read ({error}): sort that recording anew.") from error
    return shanks, header


def _shank(arrays, index, next_id):
    prefix = f"shank_{index}_"
    mine = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
    values = {name: mine[name] for name in _ARRAYS}
    values["waveforms"] = values["waveforms"].astype("float32")
    templates = DriftingUnitTemplates(**values, nbefore=int(mine["nbefore"]))
    session = SessionTemplates(templates, mine["channel_locations"], mine["noise_level"])
    return KnownUnits(session, mine["unit_ids"], mine["lag"], next_id)


def check_known_units(folder: str | Path, recording: BaseRecording, params: Mapping[str, Any]) -> None:
    """
    Raise an error if the units of a sort cannot be looked for in a recording.

    Raises
    ------
    ValueError
        One sentence: see `read_known_units`; or the sort has no unit, or was of another probe, other groups, another
        sampling frequency, or with other parameters on which waveforms depend.
    """
    shanks, before = _read(folder)
    now = describe_session(recording, params)
    if not any(len(known.unit_ids) for known in shanks):
        raise ValueError(f"known_units: the sort in {str(folder)!r} has no units; sort without known_units.")
    if before["sampling_frequency"] != now["sampling_frequency"]:
        raise ValueError(
            f"known_units: that sort was at {before['sampling_frequency']:g} Hz, and this recording is at "
            f"{now['sampling_frequency']:g} Hz."
        )
    if before["gains"] != now["gains"]:
        raise ValueError("known_units: one of the two recordings has gains to uV, and the other none.")
    for name, value in now["parameters"].items():
        if before["parameters"][name] != value:
            raise ValueError(
                f"known_units: that sort was with {name}={before['parameters'][name]!r}, not {value!r}: waveforms "
                "differ."
            )
    if len(before["groups"]) != len(now["groups"]) or (len(now["groups"]) > 1 and before["groups"] != now["groups"]):
        raise ValueError(
            f"known_units: that sort was of the groups {', '.join(before['groups'])}, and this recording has "
            f"{', '.join(now['groups'])}."
        )
    for label, one, other in zip(now["groups"], before["channel_locations"], now["channel_locations"], strict=True):
        if not _same_places(np.array(one), np.array(other)):
            of_group = f" of group {label}" if len(now["groups"]) > 1 else ""
            raise ValueError(f"known_units: that sort was of another probe, the channel locations{of_group} differ.")


def _same_places(one, other):
    """Whether each contact has its place in the other, whatever the order."""
    if one.shape != other.shape:
        return False
    distance = np.linalg.norm(one[:, None] - other[None], axis=2)
    return bool((distance.min(axis=1) < SAME_PLACE_UM).all() and (distance.min(axis=0) < SAME_PLACE_UM).all())
