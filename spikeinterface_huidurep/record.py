"""What a sort leaves behind besides its result: times in the log and, on request, the arrays of each stage."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from .progress import PASSES, USUAL, TimeLeft, in_words
from .stage_files import StageFiles, write_result
from .work import Work

Result = TypeVar("Result")

logger = logging.getLogger("spikeinterface_huidurep")


class Record:
    """
    Times the stages, keeps what they return until the sort is done, and saves their arrays.

    Parameters
    ----------
    folder : Path or None
        Where arrays are saved (`<name>.npy`) and the times (`timings.json`); None saves nothing.
    files : StageFiles or None
        Where the stages' results are kept, so that a sort that is killed can go on; None keeps none.

    Attributes
    ----------
    time_left : TimeLeft or None
        From which the log says how long the sort still takes; of all shanks together.
    n_channels : int
        Of the shank that is sorted.
    bars : bool
        Draw a bar for each stage; otherwise long ones are told of once a minute.
    """

    def __init__(self, folder: Path | None = None, files: StageFiles | None = None):
        self.folder = folder
        self.files = files
        self.timings: dict[str, float] = {}
        self.time_left: TimeLeft | None = None
        self.n_channels, self.bars = 0, False
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def scratch(self) -> Path | None:
        """Folder for files that are needed while the sort runs; what a killed sort left there is removed by the next.

        None is the system's folder for temporary files.
        """
        return self.folder if self.files is None else self.files.folder

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show how far the stage is, log how long it took, and keep it."""
        start = perf_counter()
        with self._work(name):
            yield
        elapsed = perf_counter() - start
        self.timings[name] = self.timings.get(name, 0.0) + elapsed
        logger.info("%s: %.1f s", name, elapsed)
        self._say_what_is_left(name, elapsed)
        if self.folder is not None:
            (self.folder / "timings.json").write_text(json.dumps(self.timings, indent=2), encoding="utf8")

    def _work(self, name):
        expected, rest = None, None
        if self.time_left is not None:
            expected = self.time_left.expected(name, self.n_channels)
            rest = partial(self.time_left.after, name, self.n_channels)
        return Work(name, bar=self.bars, passes=PASSES.get(name, 0), expected_s=expected, rest_s=rest)

    def _say_what_is_left(self, name, elapsed):
        if self.time_left is not None and name in USUAL:
            left = self.time_left.finished(name, self.n_channels, elapsed)
            if left is not None and elapsed is not None:
                logger.info("about %s left", in_words(left))

    def run(self, name: str, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Run one stage, `function(*args, **kwargs)`, and keep its time and what it returns.

        A stage that a killed sort had finished does not run again: what it returned then is returned now.
        """
        path = None
        if self.files is not None:
            path = self.files.next_path(name)
            done, kept = self.files.read(path)
            if done:
                logger.info("%s: done before", name)
                self._say_what_is_left(name, None)
                return kept
        with self.stage(name):
            result = function(*args, **kwargs)
            if path is not None:
                write_result(path, result)
        if isinstance(result, np.ndarray) and result.dtype.names:
            # peaks or spikes
            logger.info("%s: %d found", name, len(result))
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

    def part(self, index: int, name: str) -> Record:
        """The record of one part of the sort, in folders of its own.

        Parameters
        ----------
        index : int
            Which part it is.
        name : str
            Names the folder, but for characters that are not safe in a path.
        """
        folder = None if self.folder is None else self.folder / re.sub(r"[^\w\-]+", "_", name)
        part = Record(folder, None if self.files is None else self.files.part(index))
        part.time_left, part.bars = self.time_left, self.bars
        return part
