"""How long a sort still takes: from what its stages have taken so far, and what they usually take beside each other."""

from __future__ import annotations

import math

# seconds that a stage takes for a channel and a second of recording, and the length from which on it takes no longer,
# s: measured on 300 s of 64 channels (docs/speed.md). Only their proportions count.
USUAL = {
    "cache traces": (1.9e-4, math.inf),
    "detect peaks": (1.6e-4, math.inf),
    "embed spikes": (2.3e-4, 300.0),
    "estimate motion": (0.4e-4, math.inf),
    "cluster": (0.4e-4, 300.0),
    "measure noise": (1.7e-4, 20.0),
    "make units": (0.5e-4, 300.0),
    "refine units": (5.5e-4, 60.0),
    "assign spikes": (2.2e-4, math.inf),
}
# a stage that takes less than this part of it had nothing to do (no cache), and says nothing of the machine
SKIPPED = 1e-3
# stages that go through the recording once
PASSES = {"cache traces": 1, "detect peaks": 1, "embed spikes": 1, "assign spikes": 1}


class TimeLeft:
    """
    Expects what is left of a sort.

    Parameters
    ----------
    n_channels : list of int
        Of the shanks, which are sorted one after the other.
    duration_s : float
        Of the recording, s.
    """

    def __init__(self, n_channels: list[int], duration_s: float):
        self.duration_s = duration_s
        self.left = sum(self._usual(stage, n) for n in n_channels for stage in USUAL)
        self.usual_so_far, self.so_far = 0.0, 0.0

    def finished(self, stage: str, n_channels: int, seconds: float | None) -> float | None:
        """
        What is left after a stage.

        Parameters
        ----------
        stage : str
        n_channels : int
            Of the shank.
        seconds : float or None
            That it took; None where a sort that was killed had finished it.

        Returns
        -------
        float or None
            Seconds; None where nothing is known yet, or nothing is left.
        """
        usual = self._usual(stage, n_channels)
        self.left -= usual
        if seconds is not None and usual > 0 and seconds > SKIPPED * usual:
            self.usual_so_far += usual
            self.so_far += seconds
        if self.usual_so_far == 0 or self.left <= 1e-9:
            return None
        return self.left * self.so_far / self.usual_so_far

    def expected(self, stage: str, n_channels: int) -> float | None:
        """Seconds that a stage which begins now will take; None where nothing is known yet."""
        usual = self._usual(stage, n_channels)
        return usual * self.so_far / self.usual_so_far if usual and self.usual_so_far else None

    def after(self, stage: str, n_channels: int, seconds: float) -> float | None:
        """What will be left after a stage that takes so many seconds; None where nothing is known."""
        usual = self._usual(stage, n_channels)
        if usual == 0:
            return None
        return max(self.left - usual, 0.0) * (self.so_far + seconds) / (self.usual_so_far + usual)

    def _usual(self, stage, n_channels):
        each, longest = USUAL.get(stage, (0.0, 0.0))
        return each * n_channels * min(self.duration_s, longest)


def in_words(seconds: float) -> str:
    """A time as one says it: "40 s", "12 min", "1.5 h"."""
    if seconds < 90:
        return f"{max(10 * math.ceil(seconds / 10), 10):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
