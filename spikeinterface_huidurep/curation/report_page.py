"""The report of a sort: its pictures, and one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import io
import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from spikeinterface.core import SortingAnalyzer
from spikeinterface.core.motion import Motion

from .. import page as html
from . import pictures
from .extension import EXTENSION_NAME
from .suggestions import given_labels, merge_candidates

logger = logging.getLogger("spikeinterface_huidurep")

DPI = 120


class ReportFiles(NamedTuple):
    """What `report` writes."""

    html: Path
    pictures: list[Path]


# name, title, what is to be seen, and the extensions without which there is nothing to draw
_PICTURES = (
    (
        "motion",
        "Spikes and motion",
        "Each point is a spike, at its time and depth; darker spikes are larger. A probe that moves against the tissue "
        "lets all of them wander together; after the correction they lie on straight lines.",
        ("spike_locations", "spike_amplitudes"),
    ),
    (
        "probe",
        "Units on the probe",
        "Circles are units, squares contacts. The area grows with the amplitude.",
        ("unit_locations", "templates"),
    ),
    (
        "templates",
        "Templates",
        "Mean waveform of each unit on its main channel, with the standard deviation of its spikes.",
        ("templates", "unit_locations"),
    ),
    (
        "embedding",
        "Embedding",
        "Each point is a spike; spikes with similar HuiduRep vectors lie together (t-SNE). Two units in one group may "
        "be one neuron. How far groups lie apart, and how large they are, means little.",
        (EXTENSION_NAME,),
    ),
    (
        "quality",
        "Quality",
        "Every point is a unit. Good units have a high SNR and next to no refractory violations.",
        ("quality_metrics", "unit_locations"),
    ),
)


def report(
    analyzer: SortingAnalyzer,
    folder: str | Path,
    *,
    motion: Motion | Mapping[Any, Motion | None] | None = None,
    title: str = "Spike sorting report",
    facts: Mapping[str, Any] | None = None,
) -> ReportFiles:
    """
    Save the pictures of a sort, and one HTML page with all of them, the units and the suggested merges.

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

    Returns
    -------
    ReportFiles
        ``report.html`` (self-contained: no file, font or script of elsewhere) and the pictures (PNG).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts, files = [], []
    for name, head, text, needed in _PICTURES:
        missing = [extension for extension in needed if not analyzer.has_extension(extension)]
        if missing:
            logger.warning("no picture of %s: the analyzer has no %s", head.lower(), ", ".join(missing))
            continue
        draw = getattr(pictures, f"draw_{name}")
        figure = draw(analyzer, motion) if name == "motion" else draw(analyzer)
        png = _png(figure)
        files.append(folder / f"{name}.png")
        files[-1].write_bytes(png)
        data = base64.b64encode(png).decode()
        parts.append(
            f'<h2 id="{name}">{html.escape(head)}</h2>\n<figure><img alt="{html.escape(head)}" '
            f'src="data:image/png;base64,{data}"><figcaption>{html.escape(text)}</figcaption></figure>'
        )
    body = "\n".join([_head(analyzer, title, dict(facts or {})), *parts, _units(analyzer), _merges(analyzer)])
    path = folder / "report.html"
    path.write_text(html.page(title, body), encoding="utf8")
    return ReportFiles(path, files)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.rc_context(pictures.STYLE):
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _head(analyzer: SortingAnalyzer, title: str, facts: dict[str, Any]) -> str:
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
    return f"<h1>{html.escape(title)}</h1>\n<ul>{lines}</ul>"


def _units(analyzer: SortingAnalyzer) -> str:
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
            ("rp_contamination", "contamination", 3),
            ("amplitude_median", "amplitude", 1),
        ):
            if name in table:
                columns.append((head, table[name].to_numpy(dtype="float64"), digits))
    if confidence is not None:
        columns.append(("confidence", np.asarray(confidence, dtype="float64"), 3))
    if places is not None:
        columns.append(("depth, µm", places.get_data()[:, 1], 0))
    counts = analyzer.sorting.count_num_spikes_per_unit(outputs="array")
    channels = analyzer.channel_ids[analyzer.get_main_channels(outputs="index")]
    heads = [("unit", "text"), ("label", "text"), ("channel", "text"), ("spikes", "")]
    rows = []
    for index, unit in enumerate(analyzer.unit_ids):
        cells = [html.Cell(str(unit), classes="text"), html.Cell(labels[unit], classes="text")]
        cells += [html.Cell(str(channels[index]), classes="text"), html.Cell(f"{counts[index]:,}", int(counts[index]))]
        cells += [html.number(float(values[index]), digits) for _, values, digits in columns]
        rows.append(("", cells))
    heads += [(head, "") for head, _, _ in columns]
    return '<h2 id="units">Units</h2>\n' + html.table(heads, rows)


def _merges(analyzer: SortingAnalyzer) -> str:
    needed = (EXTENSION_NAME, "template_similarity", "unit_locations", "correlograms")
    if not all(analyzer.has_extension(name) for name in needed):
        return ""
    head = '<h2 id="merges">Units that may be one neuron</h2>\n'
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = merge_candidates(analyzer)
    table = table[table["suggested"] | (table["mixing"] > 0.1)]
    if len(table) == 0:
        return head + "<p>No two neighbouring units lie among each other in the embedding.</p>"
    rows = [
        (
            "own" if pair.suggested else "",
            [
                html.Cell(f"{pair.unit_a} and {pair.unit_b}", classes="text"),
                html.number(float(pair.mixing)),
                html.number(float(pair.similarity)),
                html.number(float(pair.distance_um), 0),
                html.Cell("yes" if pair.refractory else "no", classes="text"),
                html.Cell("merge" if pair.suggested else "", classes="text"),
            ],
        )
        for pair in table.itertuples()
    ]
    heads = [
        ("units", "text"), ("mixing", ""), ("template similarity", ""), ("distance, µm", ""),
        ("refractory together", "text"), ("suggestion", "text"),
    ]  # fmt: skip
    text = (
        "Mixing is how much the spikes of two units lie among each other in the embedding, from 0 (apart) to 1 (one "
        "cloud). Decide on the suggestions with <code>huidurep gui</code>."
    )
    return f"{head}<p>{text}</p>\n{html.table(heads, rows)}"


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
