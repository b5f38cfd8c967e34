"""What each stage found, on disk, so that a sort that was killed goes on from the last stage that it had finished."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import shutil
import zipfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from spikeinterface.core.motion import Motion

logger = logging.getLogger("spikeinterface_huidurep")

HEADER = "sort.json"
STRUCTURE = "structure"
# the only classes that a file may name: what the stages return
_CLASSES_FROM = f"{__package__}.stages."
# what numpy, zipfile, json and the stages' classes raise on a file that is none of ours
_UNREADABLE = (
    AssertionError, AttributeError, EOFError, ImportError, KeyError, NotImplementedError, OSError, RecursionError,
    TypeError, ValueError, zipfile.BadZipFile,
)  # fmt: skip


class StageFiles:
    """
    One .npz file a stage, in the order in which they ran. No file holds pickled objects.

    A file is written under another name and renamed once it lies on the disk: whatever kills the sort, a file of a
    stage's name is whole.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.order = 0
        self.resuming = True
        folder.mkdir(parents=True, exist_ok=True)
        # what the killed sort was about to write, or had written of the traces
        for leftover in folder.iterdir():
            if leftover.suffix == ".partial":
                leftover.unlink()
            elif leftover.is_dir() and leftover.name.startswith("huidurep_traces_"):
                shutil.rmtree(leftover)

    def part(self, index: int) -> StageFiles:
        """The files of one shank, in a folder of their own."""
        return StageFiles(self.folder / f"shank_{index}")

    def next_path(self, name: str) -> Path:
        """Path of the file of the stage that comes next."""
        self.order += 1
        return self.folder / f"{self.order:02d}_{re.sub(r'[^a-z0-9]+', '_', name.lower())}.npz"

    def read(self, path: Path) -> tuple[bool, Any]:
        """(True, the stage's result), or (False, None) where this stage, or one before it, was not finished."""
        if not self.resuming:
            return False, None
        if path.is_file():
            try:
                return True, read_result(path)
            except ValueError as error:
                logger.warning("%s; the stage runs again", error)
        # what later stages found belongs to a result that is not known any more
        self.resuming = False
        return False, None


def write_result(path: Path, result: Any) -> None:
    """
    Write what a stage returned.

    Parameters
    ----------
    path : Path
        An .npz file.
    result : object
        Arrays without objects, plain values, SpikeInterface's Motion, and lists, tuples, dictionaries, named tuples
        and dataclasses of the stages made of these.

    Raises
    ------
    TypeError
        If there is anything else in the result.
    OSError
        If the disk is full; nothing is left behind.
    """
    arrays: dict[str, Any] = {}
    arrays[STRUCTURE] = np.array(json.dumps(_pack(result, arrays)))
    save_arrays(path, arrays)


def save_arrays(path: Path, arrays: dict[str, Any], *, compressed: bool = False) -> None:
    """Write arrays into a file of numpy's npz form, whole or not at all."""
    partial = path.with_suffix(".partial")
    save = np.savez_compressed if compressed else np.savez
    try:
        with partial.open("wb") as file:
            save(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_result(path: Path) -> Any:
    """
    Read what `write_result` wrote.

    Raises
    ------
    ValueError
        If the file is not one of these.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return _unpack(json.loads(arrays[STRUCTURE].item()), arrays)
    except _UNREADABLE as error:
        raise ValueError(f"{path} is not the file of a finished stage ({error})") from error


def _pack(value, arrays):
    """A description of the value for JSON; its arrays go into `arrays`."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"is": "value", "value": value}
    if isinstance(value, (np.ndarray, np.generic)):
        name = f"array_{len(arrays)}"
        arrays[name] = np.asarray(value)
        if arrays[name].dtype.hasobject:
            raise TypeError("An array of objects cannot be kept for a resumed sort.")
        return {"is": "array" if isinstance(value, np.ndarray) else "scalar", "name": name}
    if isinstance(value, Motion):
        parts = (value.displacement, value.temporal_bins_s, value.spatial_bins_um)
        items = [_pack(list(part) if isinstance(part, tuple) else part, arrays) for part in parts]
        return {"is": "motion", "items": [*items, _pack([value.direction, value.interpolation_method], arrays)]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _pack_class(value, value._fields, arrays)
    if is_dataclass(value):
        return _pack_class(value, [field.name for field in fields(value)], arrays)
    if isinstance(value, (list, tuple)):
        return {"is": type(value).__name__, "items": [_pack(item, arrays) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"is": "dict", "items": {key: _pack(item, arrays) for key, item in value.items()}}
    raise TypeError(f"{type(value).__name__} cannot be kept for a resumed sort.")


def _pack_class(value, names, arrays):
    kind = type(value)
    if not kind.__module__.startswith(_CLASSES_FROM):
        raise TypeError(f"{kind.__name__} cannot be kept for a resumed sort.")
    items = {name: _pack(getattr(value, name), arrays) for name in names}
    return {"is": "class", "module": kind.__module__, "name": kind.__name__, "items": items}


def _unpack(description, arrays):
    kind = description["is"]
    if kind == "value":
        return description["value"]
    if kind in ("array", "scalar"):
        array = arrays[description["name"]]
        return array if kind == "array" else array[()]
    if kind == "class":
        parts = {name: _unpack(item, arrays) for name, item in description["items"].items()}
        return _find_class(description["module"], description["name"])(**parts)
    if kind == "dict":
        return {key: _unpack(item, arrays) for key, item in description["items"].items()}
    items = [_unpack(item, arrays) for item in description["items"]]
    if kind == "motion":
        *bins, (direction, interpolation_method) = items
        return Motion(*bins, direction=direction, interpolation_method=interpolation_method)
    if kind in ("list", "tuple"):
        return items if kind == "list" else tuple(items)
    raise ValueError(f"unknown kind {kind!r}")


def _find_class(module, name):
    if not module.startswith(_CLASSES_FROM):
        raise ValueError(f"{module} is no module of the stages")
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, type) or not (is_dataclass(found) or hasattr(found, "_fields")):
        raise ValueError(f"{name} is no result of a stage")
    return found
