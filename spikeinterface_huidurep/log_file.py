"""The log that a sort leaves in its folder: `huidurep.log`."""

from __future__ import annotations

import logging
import os
import platform
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

from spikeinterface.core import BaseRecording, BaseSorting

from .parameters import DEFAULT_PARAMS
from .version import __version__

# SpikeInterface puts the lines of a file of this name into its own log, spikeinterface_log.json
LOG_NAME = "huidurep.log"
PACKAGES = ("spikeinterface", "numpy", "torch", "scipy", "scikit-learn", "hdbscan", "numba")

_logger = logging.getLogger("spikeinterface_huidurep")


class SortLog:
    """
    The open log of a sort.

    Parameters
    ----------
    path : Path
        Written to from its end on: a sort that is resumed goes on in its log.
    """

    def __init__(self, path: Path):
        self.thread = threading.get_ident()
        # SpikeInterface reads the file in the encoding of the system
        self.handler = logging.FileHandler(path, mode="a", encoding="ascii", errors="backslashreplace")
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def note(self, message: str, level: int = logging.INFO, error: BaseException | None = None) -> None:
        """Write a line into this log only, and the traceback of an error where one is given."""
        traced = None if error is None else (type(error), error, error.__traceback__)
        self.handler.handle(_logger.makeRecord(_logger.name, level, "", 0, message, (), traced))

    def note_sort(self, recording: BaseRecording, params: Mapping[str, Any], job_kwargs: Mapping[str, Any]) -> None:
        """Write what is sorted, with which parameters, and how it is run in parallel."""
        n_segments, rate = recording.get_num_segments(), recording.sampling_frequency
        self.note(
            f"recording: {recording.get_num_channels()} channels, {rate:g} Hz, "
            f"{recording.get_total_samples() / rate:.1f} s in {n_segments} segment(s), {recording.get_dtype()}"
        )
        given = [f"{name}={value!r}" for name, value in params.items() if value != DEFAULT_PARAMS[name]]
        self.note(f"parameters that are not the default: {', '.join(given) or 'none'}")
        self.note(f"jobs: {', '.join(f'{name}={value!r}' for name, value in job_kwargs.items())}")

    def note_result(self, sorting: BaseSorting) -> None:
        """Write how many units and spikes were found."""
        self.note(f"result: {len(sorting.unit_ids)} units, {sorting.count_total_num_spikes()} spikes")

    def close(self) -> None:
        """Close the file."""
        # a full disk: the sort itself says so
        with suppress(OSError):
            self.handler.close()


@contextmanager
def open_log(folder: Path) -> Iterator[SortLog]:
    """
    Keep a log in a folder while a sort runs: what this package logs from INFO on, and warnings of any package.

    The console shows what it would show without. Several sorts may run at once in threads of one process: what a
    sort's own thread logs goes into its log, and what another thread logs, such as one of a pool of workers, goes into
    every log that is open. What a worker process logs is not in it, unless that process was forked.

    Parameters
    ----------
    folder : Path
        `LOG_NAME` is written there. The file is closed before this ends.

    Yields
    ------
    SortLog
    """
    path = folder / LOG_NAME
    resumed = path.is_file()
    log = SortLog(path)
    begin = perf_counter()
    log.note(f"the sort {'is resumed' if resumed else 'begins'}: {describe_versions()}")
    _listener.add(log)
    try:
        yield log
    except BaseException as error:
        log.note(f"the sort failed after {perf_counter() - begin:.1f} s", logging.ERROR, error)
        raise
    else:
        log.note(f"the sort ends after {perf_counter() - begin:.1f} s")
    finally:
        _listener.remove(log)
        log.close()


def describe_versions() -> str:
    """The versions of this package, of those that a sort depends on, and of Python, and the platform."""
    found = [f"spikeinterface-huidurep {__version__}"]
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join([*found, f"Python {platform.python_version()}", platform.platform(), f"{os.cpu_count()} cores"])


class _Listener(logging.Handler):
    """
    Hands what is logged to the open logs, and to the program's handlers what they would get without this one.

    For the logs the package's logger has to let INFO pass. Its records then go to no other handler by themselves; this
    one passes those on that the logger's own level lets pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logs: tuple[SortLog, ...] = ()
        self.others: list[logging.Handler] = []
        self.level_before, self.shown, self.propagated = logging.NOTSET, logging.WARNING, True
        self.changing = threading.Lock()
        self.show_before = warnings.showwarning

    def add(self, log: SortLog) -> None:
        with self.changing:
            if not self.logs:
                self._attach()
            self.logs = (*self.logs, log)

    def remove(self, log: SortLog) -> None:
        with self.changing:
            self.logs = tuple(other for other in self.logs if other is not log)
            if not self.logs:
                self._detach()

    def _attach(self) -> None:
        self.level_before, self.shown = _logger.level, _logger.getEffectiveLevel()
        self.propagated, self.others = _logger.propagate, list(_logger.handlers)
        for handler in self.others:
            handler.addFilter(self._is_shown)
        _logger.propagate = False
        _logger.addHandler(self)
        _logger.setLevel(min(self.shown, logging.INFO))
        if warnings.showwarning is not _show_warning:
            self.show_before, warnings.showwarning = warnings.showwarning, _show_warning

    def _detach(self) -> None:
        _logger.removeHandler(self)
        _logger.setLevel(self.level_before)
        _logger.propagate = self.propagated
        for handler in self.others:
            handler.removeFilter(self._is_shown)
        # where it is another one, somebody has put back what was there before, or set one since
        if warnings.showwarning is _show_warning:
            warnings.showwarning = self.show_before

    def _is_shown(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self.shown

    def of_thread(self, thread: int | None) -> tuple[SortLog, ...]:
        """The logs of the sorts in a thread; all where it sorts nothing itself."""
        return tuple(log for log in self.logs if log.thread == thread) or self.logs

    def handle(self, record: logging.LogRecord) -> bool:
        # each file has a lock; one more, held while the program's handlers work, could be waited for for ever
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        for log in self.of_thread(record.thread):
            if record.levelno >= logging.INFO:
                log.handler.handle(record)
        parent = _logger.parent
        if not self.propagated or parent is None or not self._is_shown(record):
            return
        # without any handler logging shows warnings itself
        if parent.hasHandlers() or not self.others:
            parent.callHandlers(record)


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """In place of `warnings.showwarning`: the warning goes into the logs, and is shown as it would be without."""
    if file is None:
        for log in _listener.of_thread(threading.get_ident()):
            log.note(f"{category.__name__}: {message} ({Path(filename).name}:{lineno})", logging.WARNING)
    _listener.show_before(message, category, filename, lineno, file, line)


_listener = _Listener()
