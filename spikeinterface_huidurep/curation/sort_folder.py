"""What a sort has left in its folder: the Sorting, its recording, and the sorter's parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spikeinterface.core import BaseRecording, BaseSorting, load

from ..parameters import DEFAULT_PARAMS
from .analyzer import sorter_folder


def load_sort(output: Path) -> tuple[BaseSorting, BaseRecording, dict[str, Any]]:
    """
    Load the results in the output folder of ``huidurep sort``, or in a folder that ``run_sorter`` made.

    Returns
    -------
    sorting, recording : BaseSorting, BaseRecording
    params : dict
        The sorter's parameters that differ from the defaults; of another sorter none.

    Raises
    ------
    FileNotFoundError
        If the sort did not finish, or its recording no longer exists.
    """
    from spikeinterface.sorters import read_sorter_folder

    from ..sorter import HuiduRepSorter

    folder = sorter_folder(output) or output / "sorter"
    recording = HuiduRepSorter.load_recording_from_folder(folder) if _has_finished(output, folder) else None
    if recording is None:
        raise FileNotFoundError(f"There is no sorting in {output}: the sort did not come to an end.")
    name, given = sorter_and_params(folder)
    given = given if name == "huidurep" else {}
    params = {name: value for name, value in given.items() if name in DEFAULT_PARAMS and value != DEFAULT_PARAMS[name]}
    sorting = read_sorter_folder(folder, register_recording=False) if folder == output else load(output / "sorting")
    return sorting, recording, params


def _has_finished(output: Path, folder: Path) -> bool:
    if folder != output:
        return (output / "sorting").is_dir()
    try:
        return not json.loads((folder / "spikeinterface_log.json").read_text(encoding="utf8"))["error"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sorter_and_params(folder: Path) -> tuple[str, dict[str, Any]]:
    """The name of the sorter that has worked in a folder, and its parameters."""
    saved = json.loads((folder / "spikeinterface_params.json").read_text(encoding="utf8"))
    return saved.get("sorter_name", "huidurep"), saved.get("sorter_params", {})
