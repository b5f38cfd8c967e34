"""What a sort's stages were made from, in a file beside them: only the same sort goes on with them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .stage_files import HEADER, StageFiles

# parameters that change where and how fast a sort runs, not what it finds: they may be changed to go on
FREE_PARAMS = ("job_kwargs", "n_jobs", "max_cache_gb", "save_intermediate")
# SpikeInterface's name in the folder of a sort
RECORDING_FILE = "spikeinterface_recording.json"


def open_stages(sorter_output_folder: Path, params: dict[str, Any]) -> StageFiles:
    """
    The stages' files of a sort, those of a killed sort included.

    Raises
    ------
    ValueError
        If the killed sort was another one.
    """
    description = describe_sort(sorter_output_folder, params)
    files = StageFiles(sorter_output_folder / "stages")
    header = files.folder / HEADER
    if header.is_file():
        check_header(files.folder, description)
    else:
        partial = header.with_suffix(".partial")
        partial.write_text(json.dumps(description, indent=2), encoding="utf8")
        partial.replace(header)
    return files


def describe_sort(sorter_output_folder: Path, params: dict[str, Any]) -> dict[str, Any]:
    """All that the stages' results depend on: version, parameters, recording, weights, known units; for JSON."""
    import spikeinterface

    from .encoder.weights import find_weights
    from .known_units import find_known_units
    from .version import __version__

    recording = sorter_output_folder.parent / RECORDING_FILE
    known = params["known_units"]
    fixed = {name: value for name, value in params.items() if name not in FREE_PARAMS}
    return {
        "version": __version__,
        "spikeinterface": spikeinterface.__version__,
        "parameters": json.loads(json.dumps(fixed, default=str)),
        "recording": _digest(recording) if recording.is_file() else None,
        "weights": _digest(find_weights(params["model"])),
        "known units": _digest(find_known_units(known)) if known else None,
    }


def check_header(folder: Path, description: dict[str, Any]) -> None:
    """Raise a ValueError, one sentence, if the stages in the folder are not of the sort that is described."""
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf8"))
        before, now = header["parameters"], description["parameters"]
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        differing = [key for key, value in description.items() if key != "parameters" and header[key] != value]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / HEADER} does not describe a sort: delete the folder and sort anew.") from error
    if changed:
        name = changed[0]
        raise ValueError(
            f"The sort was started with {name}={before.get(name)!r}, not {now.get(name)!r}: it cannot be resumed with "
            "other parameters."
        )
    if differing:
        key = differing[0]
        detail = f" ({header[key]}, now {description[key]})" if key in ("version", "spikeinterface") else ""
        what = {"version": "version of this package", "spikeinterface": "version of SpikeInterface"}.get(key, key)
        raise ValueError(f"The sort was started with another {what}{detail}: sort anew.")


def _digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
