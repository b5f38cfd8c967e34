"""The folder that a command writes into."""

from __future__ import annotations

import shutil
from pathlib import Path


def make_room(output: Path, overwrite: bool, own: set[str]) -> None:
    """Make sure that a command's output folder does not exist.

    Parameters
    ----------
    output : Path
        The folder.
    overwrite : bool
        Remove an earlier output.
    own : set of str
        Names of the command's own files and folders. A folder with anything else in it is never removed.

    Raises
    ------
    FileExistsError
        If the folder exists and may not be removed.
    """
    if not output.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{output} exists: choose another --output, or give --overwrite.")
    if not output.is_dir() or any(entry.name not in own for entry in output.iterdir()):
        raise FileExistsError(f"{output} is not the output of this command alone, it is left as it is.")
    shutil.rmtree(output)
