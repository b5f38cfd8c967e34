"""The folder that a command writes into."""

from __future__ import annotations

import shutil
from pathlib import Path


def make_room(output: Path, overwrite: bool, own: set[str]) -> None:
    """See to it that a command's output folder does not exist.

    Parameters
    ----------
    output : Path
        The folder.
    overwrite : bool
        Whether an earlier output may be removed.
    own : set of str
        Names that the command gives to what it writes there. A folder with anything else in it is never removed.

    Raises
    ------
    FileExistsError
        If something is there that may not be removed.
    """
    if not output.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{output} exists: choose another --output, or give --overwrite.")
    if not output.is_dir() or any(entry.name not in own for entry in output.iterdir()):
        raise FileExistsError(f"{output} is not the output of this command alone, it is left as it is.")
    shutil.rmtree(output)
