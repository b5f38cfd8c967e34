"""What a sort leaves behind besides its result: times in the log and, on request, the arrays of each stage."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")

logger = logging.getLogger("spikeinterface_huidurep")


class Record:
    """
    Times the stages and saves their arrays.

    Parameters
    ----------
    folder : Path or None
        Where arrays are saved (`<name>.npy`) and the times (`timings.json`); None saves nothing.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder
        self.timings: dict[str, float] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Log how long the stage took, and keep it."""
        start = perf_counter()
        yield
        elapsed = perf_counter() - start
        self.timings[name] = self.timings.get(name, 0.0) + elapsed
        logger.info("%s: %.1f s", name, elapsed)
        if self.folder is not None:
            (self.folder / "timings.json").write_text(json.dumps(self.timings, indent=2), encoding="utf8")

    def run(self, name: str, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Run one stage, `function(*args, **kwargs)`, and keep its time and what it returns."""
        with self.stage(name):
            result = function(*args, **kwargs)
        return result

    def save(self, **arrays: Any) -> None:
        """Save arrays by name, and a Motion in a folder of its own."""
        if self.folder is None:
            return
        for name, value in arrays.items():
            if value is None:
                continue
            if isinstance(value, np.ndarray):
                np.save(self.folder / f"{name}.npy", value)
            else:
                value.save(self.folder / name, overwrite=True)

    def part(self, name: str) -> Record:
        """The record of one part of the sort, in a folder of its own."""
        return Record(None if self.folder is None else self.folder / name)
