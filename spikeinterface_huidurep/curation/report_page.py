"""The report of a sort: its pictures, and one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from spikeinterface.core import SortingAnalyzer
from spikeinterface.core.motion import Motion

from .. import page as html
from ..work import Work
from . import interactive, pictures, report_pairs, unit_cards
from .decisions import read_decisions
from .extension import EXTENSION_NAME
from .picture_data import EmbeddingMap, amplitude_unit, make_raster, map_embedding
from .splits import split_candidates
from .suggestions import given_labels, good_probabilities

logger = logging.getLogger("spikeinterface_huidurep")

DPI = 120
# what is done of a report after its map and after its figures; the units' cards are the rest
_SHARES = {"map": 0.25, "figures": 0.5}


class ReportFiles(NamedTuple):
    """What `report` writes."""

    html: Path
    pictures: list[Path]


class _Part(NamedTuple):
    """A part of the page with a picture."""

    name: str
    title: str
    text: str
    needed: tuple[str, ...]


_PARTS = (
    _Part(
        "motion",
        "Spikes and motion",
        "Each point is a spike, at its time and depth; darker spikes are larger. A probe that moves against the tissue "
        "lets all of them wander together; after the correction they lie on straight lines.",
        ("spike_locations", "spike_amplitudes", "unit_locations"),
    ),
    _Part(
        "probe",
        "Units on the probe",
        "Circles are units, squares contacts. The area grows with the amplitude.",
        ("unit_locations", "templates"),
    ),
    _Part(
        "templates",
        "Templates",
        "Mean waveform of each unit on its main channel, with the standard deviation of its spikes.",
        ("templates", "unit_locations"),
    ),
    _Part(
        "embedding",
        "Embedding",
        "Each point is a spike; spikes with similar HuiduRep vectors lie together (t-SNE). Two units in one group may "
        "be one neuron. How far groups lie apart, and how large they are, means little.",
        (EXTENSION_NAME,),
    ),
    _Part(
        "quality",
        "Quality",
        "Every point is a unit. Good units have a high SNR and next to no refractory violations.",
        ("quality_metrics", "unit_locations"),
    ),
)


_TABLE_TEXT = (
    "Click on a head to sort, on a unit to go to it. <i>One neuron</i>: the probability that the unit has an accuracy "
    "of 0.8 and more, that is, that four fifths of all spikes of the unit and of one neuron are spikes of both. "
    "<i>Contamination</i>: the share of foreign spikes by the refractory period. <i>Confidence</i>: how "
    "sure its spikes are its own, on average."
)
# parts of the page without a picture of their own
_OTHER_TITLES = {"merges": "What to merge", "splits": "What to split", "decisions": "Decisions", "units": "Each unit"}


def report(
    analyzer: SortingAnalyzer,
    folder: str | Path,
    *,
    motion: Motion | Mapping[Any, Motion | None] | None = None,
    title: str = "Spike sorting report",
    facts: Mapping[str, Any] | None = None,
    log: str | Path | None = None,
    progress_bar: bool = False,
) -> ReportFiles:
    """
    Save the pictures of a sort, and one HTML page with all of them, each unit, and what to merge and to split.

    Where bokeh is installed (extra `report`), one can zoom into the spikes, the probe and the embedding, and ask what
    is at the mouse.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        See `make_analyzer`. What needs an extension that it does not have is left out.
    folder : str or Path
        Written to; files of an earlier report there are replaced.
    motion : Motion or dict of Motion, optional
        The probe's motion, see `draw_motion`.
    title : str
        Of the page.
    facts : mapping, optional
        Names and values that the page says at its top, beside those that the analyzer knows.
    log : str or Path, optional
        The sort's `huidurep.log`, whose decisions the page tells.
    progress_bar : bool
        Draw a bar; without, a line is logged after each minute.

    Returns
    -------
    ReportFiles
        ``report.html`` (self-contained: no file, font or script of elsewhere) and the pictures (PNG).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    motions = dict(motion) if isinstance(motion, Mapping) else {None: motion}
    with Work("make the report", bar=progress_bar) as work:
        work.part(0.0, _SHARES["map"])
        embedding = map_embedding(analyzer) if analyzer.has_extension(EXTENSION_NAME) else None
        work.part(_SHARES["map"], _SHARES["figures"])
        shown = [part for part in _PARTS if _has_needed(analyzer, part)]
        files, live = _save_pictures(analyzer, folder, shown, motions, embedding), None
        if interactive.is_possible():
            live = _interactive(analyzer, shown, motions, embedding)
        work.part(_SHARES["figures"], 1.0, passes=analyzer.get_num_units())
        units, about_pairs = _units_and_pairs(analyzer, embedding, work.end_pass)
    divs = live.divs if live is not None else {}
    figures = {part.name: _figure(part, files[part.name], divs.get(part.name)) for part in shown}
    if units:
        figures.pop("templates", None)  # the units' cards show more
    decisions = _decisions(log)
    told = {"merges": about_pairs, "splits": about_pairs, "decisions": decisions, "units": units}
    body = [_head(analyzer, title, dict(facts or {}), [*figures, *(name for name, there in told.items() if there)])]
    body += [figures.pop(name) for name in ("motion", "probe") if name in figures]
    body += [about_pairs, *figures.values(), decisions, _table(analyzer, bool(units)), units]
    scripts = () if live is None else (live.library, live.script)
    path = folder / "report.html"
    path.write_text(html.page(title, "\n".join(filter(None, body)), scripts), encoding="utf8")
    return ReportFiles(path, list(files.values()))


def _has_needed(analyzer: SortingAnalyzer, part: _Part) -> bool:
    missing = [extension for extension in part.needed if not analyzer.has_extension(extension)]
    if missing:
        logger.warning("no picture of %s: the analyzer has no %s", part.title.lower(), ", ".join(missing))
    return not missing


def _save_pictures(analyzer, folder, shown, motions, embedding) -> dict[str, Path]:
    files = {}
    options = {"motion": {"motion": motions}, "embedding": {"embedding": embedding}}
    for part in shown:
        figure = getattr(pictures, f"draw_{part.name}")(analyzer, **options.get(part.name, {}))
        files[part.name] = folder / f"{part.name}.png"
        files[part.name].write_bytes(_png(figure))
    return files


def _interactive(analyzer, shown, motions, embedding):
    names = {part.name for part in shown}
    return interactive.interactive_figures(
        analyzer,
        raster=make_raster(analyzer, motions) if "motion" in names else None,
        motions=motions,
        embedding=embedding if "embedding" in names else None,
        probe="probe" in names,
    )


def _figure(part: _Part, picture: Path, divs: list[str] | None) -> str:
    head = f'<h2 id="{part.name}">{html.escape(part.title)}</h2>\n<figure>'
    if divs:
        layout = "pair" if len(divs) > 1 else "single"
        content = f'<div class="{layout}">' + "".join(f"<div>{div}</div>" for div in divs) + "</div>"
    else:
        data = base64.b64encode(picture.read_bytes()).decode()
        content = f'<div class="wide"><img alt="{html.escape(part.title)}" src="data:image/png;base64,{data}"></div>'
    return f"{head}{content}<figcaption>{html.escape(part.text)}</figcaption></figure>"


def _units_and_pairs(
    analyzer: SortingAnalyzer, embedding: EmbeddingMap | None, after_each: Callable[[], None]
) -> tuple[str, str]:
    """HTML of the units' cards, and of what to merge and to split; empty without the extensions that they need."""
    about, notes = "", {}
    if embedding is not None and all(analyzer.has_extension(name) for name in report_pairs.NEEDED):
        pairs, splits = report_pairs.pairs_to_tell(analyzer, embedding), split_candidates(analyzer)
        about = report_pairs.merges_section(pairs) + "\n" + report_pairs.splits_section(analyzer, splits)
        notes = report_pairs.notes_of_units(pairs, splits)
    cards = ""
    if all(analyzer.has_extension(name) for name in unit_cards.NEEDED):
        text = (
            "The mean waveform on the nearest contacts, the main one in colour; the autocorrelogram, with the "
            "refractory period shaded; the amplitudes of spikes over time."
        )
        made = unit_cards.unit_cards(analyzer, notes, after_each)
        cards = f'<h2 id="units">Each unit</h2>\n<p class="dim">{text}</p>\n{made}'
    return cards, about


def _decisions(log: str | Path | None) -> str:
    told = [] if log is None else read_decisions(log)
    if not told:
        return ""
    lines = "".join(
        f'<li class="{"warning" if decision.warning else ""}">{html.escape(decision.sentence)}</li>'
        for decision in told
    )
    return f'<h2 id="decisions">What the sort decided</h2>\n<ul>{lines}</ul>'


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.rc_context(pictures.STYLE):
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _head(analyzer: SortingAnalyzer, title: str, facts: dict[str, Any], parts: list[str]) -> str:
    labels = list(given_labels(analyzer).values())
    counted = [f"{labels.count(label)} {label}" for label in ("good", "MUA", "noise") if label in labels]
    known = {
        "Units": f"{len(labels)}" + (f" ({', '.join(counted)})" if counted else ""),
        "Spikes": f"{len(analyzer.sorting.to_spike_vector()):,}",
        "Recording": f"{analyzer.get_num_channels()} channels, {analyzer.get_total_duration():.0f} s, "
        f"{analyzer.sampling_frequency:g} Hz, {analyzer.get_num_segments()} segment(s)",
        **facts,
    }
    lines = "".join(f"<li><b>{html.escape(name)}</b>: {html.escape(value)}</li>" for name, value in known.items())
    titles = {part.name: part.title for part in _PARTS} | _OTHER_TITLES
    links = "".join(
        f'<a href="#{name}">{html.escape(titles[name])}</a>' for name in [*parts, "table"] if name in titles
    )
    return f'<h1>{html.escape(title)}</h1>\n<ul>{lines}</ul>\n<nav>{links}<a href="#table">Table of units</a></nav>'


def _table(analyzer: SortingAnalyzer, linked: bool) -> str:
    unit_of_size = amplitude_unit(analyzer)
    labels = given_labels(analyzer)
    confidence = analyzer.sorting.get_property("confidence")
    places = analyzer.get_extension("unit_locations")
    metrics = analyzer.get_extension("quality_metrics")
    columns: list[tuple[str, np.ndarray, int]] = []
    if metrics is not None:
        table = metrics.get_data()
        for name, head, digits in (
            ("snr", "SNR", 1),
            ("firing_rate", "rate, Hz", 2),
            ("rp_contamination", "contamination, share", 3),
            ("amplitude_median", f"amplitude, {unit_of_size}", 1),
        ):
            if name in table:
                columns.append((head, table[name].to_numpy(dtype="float64"), digits))
    probabilities = good_probabilities(analyzer)
    if probabilities is not None:
        columns.insert(0, ("one neuron, probability", probabilities, 2))
    if confidence is not None:
        columns.append(("confidence, 0 to 1", np.asarray(confidence, dtype="float64"), 3))
    if places is not None:
        columns.append(("depth, µm", places.get_data()[:, 1], 0))
    counts = analyzer.sorting.count_num_spikes_per_unit(outputs="array")
    channels = analyzer.channel_ids[analyzer.get_main_channels(outputs="index")]
    heads = [("unit", "text"), ("label", "text"), ("channel", "text"), ("spikes", "")]
    rows = []
    for index, unit in enumerate(analyzer.unit_ids):
        anchor = f"unit-{index}" if linked else ""
        cells = [html.Cell(str(unit), classes="text", anchor=anchor), html.Cell(labels[unit], classes="text")]
        cells += [html.Cell(str(channels[index]), classes="text"), html.Cell(f"{counts[index]:,}", int(counts[index]))]
        cells += [html.number(float(values[index]), digits) for _, values, digits in columns]
        rows.append(("", cells))
    heads += [(head, "") for head, _, _ in columns]
    return f'<h2 id="table">Table of units</h2>\n<p class="dim">{_TABLE_TEXT}</p>\n' + html.table(heads, rows)


def motion_of_sort(sorter_folder: str | Path) -> dict[Any, Motion]:
    """
    The motion that a sort with ``save_intermediate`` has estimated.

    Parameters
    ----------
    sorter_folder : str or Path
        As it was given to `run_sorter`.

    Returns
    -------
    dict
        By shank (as text), or under None where the recording was sorted as one; empty where no motion was corrected.
    """
    root = Path(sorter_folder) / "sorter_output" / "intermediate"
    return _load_motions({None: root / "motion"}, root.glob("group_*/motion"))


def save_motions(motions: Mapping[Any, Motion], output: Path) -> None:
    """Keep the motions of a sort in its output folder, for `motion_of_output`."""
    for shank, motion in motions.items():
        motion.save(output / "motion" if shank is None else output / "motion" / f"group_{shank}" / "motion")


def motion_of_output(output: Path) -> dict[Any, Motion]:
    """The motions that `save_motions` has kept in an output folder."""
    return _load_motions({None: output / "motion"}, (output / "motion").glob("group_*/motion"))


def _load_motions(found: dict[Any, Path], shanks: Iterable[Path]) -> dict[Any, Motion]:
    for folder in sorted(shanks):
        found[folder.parent.name.removeprefix("group_")] = folder
    info = "spikeinterface_info.json"
    return {shank: Motion.load(folder) for shank, folder in found.items() if (folder / info).is_file()}
