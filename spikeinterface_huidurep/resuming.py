"""Going on with a sort that was killed: `resume(folder)`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .stage_files import HEADER, StageFiles

if TYPE_CHECKING:
    from spikeinterface.core import BaseSorting

# parameters that change where and how fast a sort runs, not what it finds: they may be changed to go on
FREE_PARAMS = ("job_kwargs", "n_jobs", "max_cache_gb", "save_intermediate")
_PARAMS_FILE, _RECORDING_FILE = "spikeinterface_params.json", "spikeinterface_recording.json"


def resume(folder: str | Path, *, verbose: bool = False, **changes: Any) -> BaseSorting:
    """
    Go on with a sort that was killed or failed, from the last stage that it had finished.

    Parameters
    ----------
    folder : str or Path
        The folder that was given to ``run_sorter("huidurep", recording, folder=folder)``.
    verbose : bool
        Whether to show progress.
    **changes
        New values of parameters that do not change what is found: `job_kwargs`, `n_jobs`, `max_cache_gb` and
        `save_intermediate`.

    Returns
    -------
    BaseSorting
        What ``run_sorter`` would have returned had nothing happened; ``read_sorter_folder(folder)`` finds it, too. The
        run time in its log is that of the last part.

    Raises
    ------
    ValueError
        If the folder is not of a sort by this sorter, or that sort had other parameters, another recording, other
        weights or another version of the package than what would go on now, or another parameter is to be changed.
    SpikeSortingError
        If the sort fails again.
    """
    from .sorter import HuiduRepSorter

    folder = Path(folder).expanduser().absolute()
    params = _changed(read_params(folder), changes)
    if is_finished(folder):
        return HuiduRepSorter.get_result_from_folder(folder)
    from .parameters import check_params

    check_params(params)
    output = folder / "sorter_output"
    if (output / "stages" / HEADER).is_file():
        check_header(output / "stages", describe_sort(output, params))
    _check_recording_file(folder)
    if changes:
        _write_params(folder, params)
    HuiduRepSorter.run_from_folder(folder, raise_error=True, verbose=verbose)
    return HuiduRepSorter.get_result_from_folder(folder)


def is_finished(folder: Path) -> bool:
    """Whether the folder of a sort holds its result and a log without an error."""
    log = folder / "spikeinterface_log.json"
    if not log.is_file() or not (folder / "sorter_output" / "sorting").is_dir():
        return False
    try:
        return json.loads(log.read_text(encoding="utf8"))["error"] is False
    except (ValueError, KeyError, TypeError):
        return False  # killed while it was written


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
    """All that the stages' results depend on: version, parameters, recording, weights; for JSON."""
    import spikeinterface

    from . import __version__
    from .encoder.weights import find_weights

    recording = sorter_output_folder.parent / _RECORDING_FILE
    fixed = {name: value for name, value in params.items() if name not in FREE_PARAMS}
    return {
        "version": __version__,
        "spikeinterface": spikeinterface.__version__,
        "parameters": json.loads(json.dumps(fixed, default=str)),
        "recording": _digest(recording) if recording.is_file() else None,
        "weights": _digest(find_weights(params["model"])),
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


def read_params(folder: Path) -> dict[str, Any]:
    """
    The parameters of the sort in a folder, all of them.

    Raises
    ------
    ValueError
        If the folder is not that of a sort by this version of the sorter.
    """
    from .parameters import DEFAULT_PARAMS

    path = folder / _PARAMS_FILE
    if not path.is_file():
        raise ValueError(f"{folder} is not the folder of a sort: it has no {_PARAMS_FILE}.")
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        name, params = content["sorter_name"], content["sorter_params"]
        complete = set(params) == set(DEFAULT_PARAMS)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} does not hold a sorter's parameters.") from error
    if name != "huidurep":
        raise ValueError(f"{folder} is the folder of a sort by {name!r}, not by 'huidurep'.")
    if not isinstance(params, dict) or not complete:
        raise ValueError(f"{path} does not hold the parameters of this version of huidurep: sort anew.")
    return params


def _changed(params, changes):
    for name in changes:
        if name not in FREE_PARAMS:
            raise ValueError(f"{name} cannot be changed to go on with a sort; only {', '.join(FREE_PARAMS)} can.")
    return {**params, **changes}


def _write_params(folder, params):
    """SpikeInterface runs a sorter with what the folder's file says."""
    path = folder / _PARAMS_FILE
    content = json.loads(path.read_text(encoding="utf8"))
    content["sorter_params"] = params
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=4), encoding="utf8")
    partial.replace(path)


def _check_recording_file(folder):
    """The recording must be one that can be read again, and without a pickle, which could run any code."""
    from spikeinterface.core import load

    path = folder / _RECORDING_FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no {_RECORDING_FILE}: only a recording that is described there is read again.")
    try:
        load(path, base_folder=folder)
    except Exception as error:  # any reader's error
        raise ValueError(f"The recording of {folder} cannot be read again ({error}).") from error


def _digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
