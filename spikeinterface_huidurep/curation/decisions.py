"""The decisions of a sort in plain sentences, from the log that it leaves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

# A line of the log: its level and what it says.
_LINE = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ (INFO|WARNING|ERROR) (.*)$")
_BEGIN = re.compile(r"the sort (begins|is resumed): ")
# Times of stages, and what a page says elsewhere.
_SILENT = re.compile(
    r"recording: |parameters that are not|jobs: |the sort (?:begins|is resumed)|result: |[a-z ]+: done before$"
    r"|about .* left$|[a-z ]+: at work for "
    r"|(?!detect peaks|assign spikes)[a-z ]+: (?:[\d.]+ s|\d+ found)$|(?:detect peaks|assign spikes): [\d.]+ s$"
)
# What a line says, and the sentence that tells it; \1 and so on are the line's numbers.
_SENTENCES = tuple(
    (re.compile(pattern), sentence)
    for pattern, sentence in (
        (r"(\d+) silent channel\(s\) left out: (.*)", r"Silent channels were left out (\1): \2."),
        (r"(\d+) nearly silent channel\(s\), kept: (.*)", r"Channels that are nearly silent were kept (\1): \2."),
        (r"the recording stands still on all channels", r"The recording stands still on all channels."),
        (
            r"blanks on (\d+) channel\(s\) are filled, up to ([\d.]+) % of the time \(channel (.*)\)",
            r"Blanks on some channels (\1) were filled in, up to \2 % of the time on channel \3.",
        ),
        (
            r"(\d+) channel\(s\) that stand still for a part of the time left out: (.*)",
            r"Channels that stand still for a part of the time were left out (\1): \2.",
        ),
        (
            r"distant channels' noise has a correlation of ([-\d.]+)",
            r"The noise of distant channels has a correlation of \1; from 0.3 on, what they share is subtracted.",
        ),
        (r"the filtered traces are not cached: (.*)", r"The filtered traces were not kept on disk: \1."),
        (r"detect peaks: (\d+) found", r"\1 peaks were detected."),
        (r"known units: (.*)", r"Known units: \1."),
        (r"motion: the given one is used", r"The given motion was used."),
        (r"motion: not corrected, (.*)", r"Motion was not corrected: \1."),
        (r"motion: corrected, (.*)", r"Motion was corrected: \1."),
        (
            r"(\d+) clusters, (\d+) after splitting, (\d+) units",
            r"The peaks lay in \1 clusters, which made \2 candidates when split; \3 of them were left after dropping "
            r"and joining.",
        ),
        (r"dropping: (\d+) of (\d+) units, (.*)", r"\1 of \2 candidates were dropped: \3."),
        (
            r"joining: (\d+) of (\d+) units are late copies of another, (\d+) after joining",
            r"\1 of \2 candidates were late copies of another and dropped; \3 were left after joining.",
        ),
        (
            r"joining: (\d+) pairs of units are two neurons each, (.*)",
            r"\1 pairs of candidates that are alike were kept apart: \2.",
        ),
        (
            r"refining: (\d+) of (\d+) units are real, (\d+) after splitting, (\d+) units",
            r"Matched against the traces, \1 of \2 candidates held; splitting made \3 of them, joining \4.",
        ),
        (
            r"alike units: (\d+) pairs of templates that the noise hardly tells apart, "
            r"(\d+) of them with a gap (.*), so that they are two neurons",
            r"\1 pairs of templates are hardly told apart by the noise; \2 of them are two neurons, with a gap \3.",
        ),
        (r"assign spikes: (\d+) found", r"Template matching found \1 spikes."),
        (
            r"variability of one neuron, from (\d+) clear ones: amplitude ([\d.]+) %, width ([\d.]+) %, "
            r"each electrode ([\d.]+) %",
            r"The waveforms of one neuron vary beyond the noise by \2 % in amplitude, \3 % in width and \4 % on each "
            r"electrode (measured on \1 units).",
        ),
        (
            r"grouping: (\d+) pairs of templates are of one place at different displacements",
            r"\1 pairs of templates are of one place in the tissue, at different displacements of the probe: each is "
            r"one neuron.",
        ),
        (
            r"grouping: (\d+) templates are (\d+) neurons', (\d+) of which have several",
            r"The \1 templates belong to \2 neurons, \3 of which have several.",
        ),
        (
            r"grouping: of (\d+) spikes (\d+) are found by two templates of a neuron",
            r"\2 of \1 spikes were found by two templates of one neuron; each is counted once.",
        ),
        (
            r"cleaning: of (\d+) spikes (\d+) doubtful and (\d+) repeated ones dropped",
            r"Of \1 spikes, \2 were doubtful and \3 found twice; they were left out.",
        ),
        (r"cleaning: (\d+) of (\d+) units dropped that (.*)", r"\1 of \2 units were left out that \3."),
        (
            r"labels: (\d+) of (\d+) good units are hardly one neuron's",
            r"Of \2 units that look good \1 are labelled mua: they are hardly one neuron's.",
        ),
        (r"no units: (.*)", r"No units were found: \1."),
        (r"group (.*): (\d+) channels", r"Shank \1 (\2 channels):"),
        (r"the sort ends after ([\d.]+) s", r"The sort took \1 s."),
    )
)


class Decision(NamedTuple):
    """One sentence, and whether it is a warning."""

    sentence: str
    warning: bool


def read_decisions(log: str | Path) -> list[Decision]:
    """
    Tell what a sort has decided, line by line of its log.

    Parameters
    ----------
    log : str or Path
        The file `huidurep.log` of the sorter's folder.

    Returns
    -------
    list of Decision
        Those of the last sort in the log, with what came before it where it was resumed; empty where there is no log.
        Lines that are not known are given as they are.
    """
    path = Path(log)
    if not path.is_file():
        return []
    found: list[Decision] = []
    for text in path.read_text(encoding="ascii", errors="replace").splitlines():
        line = _LINE.match(text)
        if line is None:
            continue  # of a traceback
        level, message = line.groups()
        begin = _BEGIN.match(message)
        if begin is not None and begin.group(1) == "begins":
            found = []
        if not _SILENT.match(message):
            found.append(Decision(_sentence(message), level != "INFO"))
    return found


def _sentence(message: str) -> str:
    for pattern, sentence in _SENTENCES:
        match = pattern.fullmatch(message)
        if match is not None:
            return _grouped(match.expand(sentence)).replace(" um", " µm")
    return message


def _grouped(sentence: str) -> str:
    """Large counts with separators of thousands; numbers after a point stay as they are."""
    return re.sub(r"(?<![\d.#])\d{5,}(?![\d.])", lambda number: f"{int(number.group()):,}", sentence)
