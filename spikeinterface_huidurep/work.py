"""What is being done, and how far it is: one bar for each piece of work or, where none is drawn, a line a minute."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any

from spikeinterface.core import job_tools
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from .progress import in_words

logger = logging.getLogger("spikeinterface_huidurep")

# seconds from one line to the next, and between two looks at a bar
LINE_EVERY_S, BAR_EVERY_S = 60.0, 0.5
# least part of a piece of work from which the time of the rest is told, and the most that its usual time can say of it
LEAST_TOLD, MOST_EXPECTED = 0.03, 0.95
_BAR = "{desc:<20}{percentage:3.0f}%|{bar:25}| {elapsed}{postfix}"


class Work:
    """
    A piece of work that may take minutes; used in a `with` statement.

    How much of it is done is known from the chunks that SpikeInterface goes through, from `share`, or else guessed from
    the time that it usually takes.

    Parameters
    ----------
    name : str
        What is done, as it is written.
    bar : bool
        Draw a bar; otherwise a warning is logged after each minute, since a minute without a word looks like a fault.
    passes : int
        How often SpikeInterface goes through the chunks of the recording meanwhile; 0 where that is not known.
    expected_s : float, optional
        Seconds that the work is expected to take.
    rest_s : callable, optional
        Of the seconds that the work takes in all, how many what follows will take, or None.

    Attributes
    ----------
    share : float
        The part that is done, from 0 to 1; to be set by those who know.
    """

    def __init__(
        self,
        name: str,
        *,
        bar: bool = False,
        passes: int = 0,
        expected_s: float | None = None,
        rest_s: Callable[[float], float | None] | None = None,
    ):
        self.name, self.bar, self.passes = name, bar, passes
        self.expected_s, self.rest_s = expected_s, rest_s
        self.share = 0.0
        self._start, self._done, self._chunk = 0.0, 0, 0.0
        self._part, self._part_start = (0.0, 1.0), 0.0
        self._ended, self._stack = threading.Event(), ExitStack()

    def __enter__(self) -> Work:
        self._start, self._thread = perf_counter(), threading.get_ident()
        self._stack.enter_context(_counted_for(self))
        self._bar = None
        if self.bar:
            self._stack.enter_context(logging_redirect_tqdm())
            self._bar = tqdm(total=1.0, desc=self.name, bar_format=_BAR, leave=True)
        self._watch = threading.Thread(target=self._look, name=f"progress of {self.name}", daemon=True)
        self._watch.start()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._ended.set()
        self._watch.join()
        if self._bar is not None:
            self._draw(self._bar, 1.0 if kind is None else self._bar.n, "")
            self._bar.close()
        self._stack.close()

    def part(self, begin: float, end: float, passes: int = 1) -> None:
        """From here on this part of the work is done, between two shares of it, with so many passes."""
        self.share, self._part, self.passes, self._done, self._chunk = begin, (begin, end), passes, 0, 0.0
        self._part_start = perf_counter()

    def known_share(self) -> float | None:
        """The part that is done; None where nothing tells."""
        begin, end = self._part
        counted = (self._done + self._chunk) / self.passes if self.passes else 0.0
        if counted == 0 and begin > 0:
            # no chunk is done: by the time that the parts before took
            usual = (self._part_start - self._start) / begin * (end - begin)
            counted = min((perf_counter() - self._part_start) / max(usual, 1e-9), MOST_EXPECTED)
        share = max(self.share, begin + (end - begin) * min(counted, 1.0))
        if not self._is_guessed():
            return share
        if not self.expected_s:
            return None
        return min((perf_counter() - self._start) / self.expected_s, MOST_EXPECTED)

    def _is_guessed(self):
        return self.share == 0 and not self.passes

    def says(self) -> str:
        """How far the work is, in words; "" where nothing is known."""
        share, elapsed = self.known_share(), perf_counter() - self._start
        if share is None or not LEAST_TOLD <= share < 1:
            return ""
        if self._is_guessed() and share >= MOST_EXPECTED:
            return "longer than expected"
        total = elapsed / share
        said = f"about {in_words(total - elapsed)} left"
        after = None if self.rest_s is None else self.rest_s(total)
        return said if not after else f"{said}, {in_words(total - elapsed + after)} to the end"

    def _look(self) -> None:
        while not self._ended.wait(BAR_EVERY_S if self.bar else LINE_EVERY_S):
            if self._bar is not None:
                self._draw(self._bar, self.known_share() or 0.0, self.says())
            elif logger.isEnabledFor(logging.WARNING):
                self._log()

    def _draw(self, bar, share, says):
        bar.n = min(max(share, 0.0), 1.0)
        # tqdm puts a comma before it
        bar.set_postfix_str(says, refresh=False)
        bar.refresh()

    def _log(self):
        elapsed, share, says = perf_counter() - self._start, self.known_share(), self.says()
        done = "" if share is None or not says else f", {100 * share:.0f} % done, {says}"
        message = f"{self.name}: at work for {in_words(elapsed)}{done}"
        record = logger.makeRecord(logger.name, logging.WARNING, __file__, 0, message, (), None)
        # it goes into the log of the sort whose work this is, not into those of others in this process
        record.thread = self._thread
        logger.handle(record)

    def chunks(self, done: int, total: int) -> None:
        """So many chunks of a pass are done."""
        self._chunk = min(done / max(total, 1), 1.0)

    def end_pass(self) -> None:
        """A pass is done."""
        self._done, self._chunk = self._done + 1, 0.0


class _Pass:
    """Stands in for a bar of SpikeInterface: counts its steps for the work that is being done."""

    def __init__(self, work: Work, iterable: Iterable | None = None, total: int | None = None):
        self.work, self.iterable, self.done = work, iterable, 0
        self.total = total or (len(iterable) if isinstance(iterable, Sized) else 1)

    def __iter__(self) -> Iterator:
        for item in self.iterable or ():
            yield item
            self.update(1)
        self.close()

    def update(self, n: int = 1) -> None:
        self.done += n
        self.work.chunks(self.done, self.total)

    def close(self) -> None:
        self.work.end_pass()


_at_work: dict[int, list[Work]] = {}
_changing = threading.Lock()


def _bar_or_count(iterable: Iterable | None = None, **kwargs: Any) -> Any:
    """In place of `job_tools.tqdm`: in a thread that is at work chunks are counted, elsewhere bars are drawn."""
    works = _at_work.get(threading.get_ident())
    if works:
        return _Pass(works[-1], iterable, kwargs.get("total"))
    return tqdm(iterable, **kwargs)


@contextmanager
def _counted_for(work: Work) -> Iterator[None]:
    """Let the chunks that SpikeInterface goes through in this thread count; it has no other way to ask for them."""
    thread = threading.get_ident()
    with _changing:
        if not _at_work:
            job_tools.tqdm = _bar_or_count
        _at_work.setdefault(thread, []).append(work)
    try:
        yield
    finally:
        with _changing:
            _at_work[thread].remove(work)
            if not _at_work[thread]:
                del _at_work[thread]
            if not _at_work:
                job_tools.tqdm = tqdm
