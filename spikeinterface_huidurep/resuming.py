"""Going on with a sort that was killed: `resume(folder)`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .sort_header import FREE_PARAMS, RECORDING_FILE, check_header, describe_sort
from .stage_files import HEADER

if TYPE_CHECKING:
    from spikeinterface.core import BaseSorting

_PARAMS_FILE = "spikeinterface_params.json"


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
    from .parameters import check_names

    check_names(changes)
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

    path = folder / RECORDING_FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no {RECORDING_FILE}: only a recording that is described there is read again.")
    try:
        load(path, base_folder=folder)
    except Exception as error:  # any reader's error
        raise ValueError(f"The recording of {folder} cannot be read again ({error}).") from error
