"""Writes the results of a benchmark: a self-contained HTML page, CSV files and a Markdown table."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from .. import page
from ..page import Cell, escape, number
from .figures import plot_accuracy_against_snr, plot_accuracy_over_time, plot_cost, plot_sorted_accuracy
from .measures import WELL_DETECTED, WINDOWS
from .runner import BenchmarkResults
from .waveform_changes import WaveformChanges

PACKAGES = (
    "spikeinterface",
    "numpy",
    "scipy",
    "numba",
    "torch",
    "scikit-learn",
    "hdbscan",
    "kilosort",
    "mountainsort5",
)
COLUMNS = (
    ("accuracy", "Accuracy", 3),
    ("precision", "Precision", 3),
    ("recall", "Recall", 3),
    ("found_units", "Units out", 0),
    ("pieces", "Pieces", 0),
    ("false_positive", "False", 0),
    ("redundant", "Redundant", 0),
    ("overmerged", "Overmerged", 0),
    ("run_time_ratio", "Time / length", 2),
    ("peak_memory_gb", "Memory, GB", 2),
)
DEFINITIONS = """
<p>All figures are from SpikeInterface's <code>compare_sorter_to_ground_truth</code> with its defaults: a found
spike within 0.4 ms of a true one matches it, units are paired one to one (Hungarian), and a pair needs an agreement
of 0.5. <b>Accuracy</b> of a true unit is TP / (TP + FP + FN), <b>precision</b> TP / (TP + FP), <b>recall</b> TP /
(TP + FN); a unit without a pair counts 0. The table gives means over all true units. <b>Found</b>: pairs of
accuracy 0.8 or more. <b>Pieces</b>: found units at least half of whose spikes are those of one true unit,
without being the unit that matches it best, doubles included. <b>False</b>: found units that match no true unit, with
an agreement below 0.2, pieces among them; <b>redundant</b>: a second found unit of more agreement for one true unit;
<b>overmerged</b>: found units with spikes of two true units or more. Far units of the background are not
part of the ground truth: a sorter that finds them has them counted as false. <b>SNR</b> is a unit's trough on
its best channel between 300 and 6,000 Hz, divided by the noise level there (median absolute deviation). <b>Time /
length</b> is the time that <code>run_sorter</code> took, divided by the recording's length, in a process of its
own, including compilation on its first call; <b>memory</b> is the peak of that process and its children, read twice
a second.</p>
"""


@dataclass(frozen=True)
class ReportFiles:
    """Paths of the files that a report consists of."""

    html: Path
    csv: Path
    units_csv: Path
    over_time_csv: Path
    markdown: Path


def write_report(
    results: BenchmarkResults, output_folder: str | Path, command: str = "", title: str = "Spike sorters compared"
) -> ReportFiles:
    """Write the results of a benchmark.

    Parameters
    ----------
    results : BenchmarkResults
    output_folder : str or Path
        Gets ``report.html``, ``benchmark.csv``, ``units.csv``, ``over_time.csv`` and ``benchmark.md``.
    command : str
        The command that made the results, for the page.
    title : str
        Of the page.

    Returns
    -------
    ReportFiles
    """
    folder = Path(output_folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(
        folder / "report.html",
        folder / "benchmark.csv",
        folder / "units.csv",
        folder / "over_time.csv",
        folder / "benchmark.md",
    )
    flat = results.summary.copy()
    if len(flat):
        flat["parameters"] = [json.dumps(parameters, sort_keys=True) for parameters in flat["parameters"]]
    flat.to_csv(files.csv, index=False)
    results.units.to_csv(files.units_csv, index=False)
    results.over_time.to_csv(files.over_time_csv, index=False)
    files.markdown.write_text(to_markdown(results), encoding="utf-8")
    files.html.write_text(page.page(title, _body(results, command, title)), encoding="utf-8")
    return files


def to_markdown(results: BenchmarkResults) -> str:
    """The summary as a Markdown table, the sorters of each recording in the order of their accuracy."""
    heads = ["Recording", "Sorter", "Found", *(title for _, title, _ in COLUMNS), "Note"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for _, row in _ranked(results.summary).iterrows():
        cells = [row["recording"], row["sorter"], _found(row)]
        cells += [number(row.get(column), digits).shown for column, _, digits in COLUMNS]
        lines.append("| " + " | ".join([*map(str, cells), _note(row).replace("|", "/")]) + " |")
    for name, about in _not_made(results):
        reason = about["error"].replace("|", "/")
        lines.append("| " + " | ".join([name, *[""] * (len(heads) - 2), reason]) + " |")
    return "\n".join(lines) + "\n"


def _not_made(results: BenchmarkResults) -> list[tuple[str, dict[str, Any]]]:
    return [(name, about) for name, about in results.recordings.items() if "error" in about]


def _ranked(summary: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of the recordings, within each from the most accurate sorter to those without a result."""
    if not len(summary):
        return summary
    order = {name: position for position, name in enumerate(dict.fromkeys(summary["recording"]))}
    accuracy = summary["accuracy"] if "accuracy" in summary else pd.Series(math.nan, index=summary.index)
    keys = pd.DataFrame({"recording": summary["recording"].map(order), "accuracy": -accuracy.fillna(-1.0)})
    return summary.loc[keys.sort_values(["recording", "accuracy"], kind="stable").index]


def _found(row: pd.Series) -> str:
    return f"{row['well_detected']:.0f} of {row['true_units']:.0f}" if row["status"] == "done" else "–"


def _note(row: pd.Series) -> str:
    return "" if row["status"] == "done" else f"{row['status']}: {row['message']}"


def _sorters_done(frame: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(frame["sorter"])) if len(frame) else []


def _body(results: BenchmarkResults, command: str, title: str) -> str:
    summary = results.summary
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="dim">{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M %Z} · {escape(machine())}</p>',
        "<nav>" + "".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in results.recordings) + "</nav>",
    ]
    if len(summary) and summary["recording"].nunique() > 1:
        parts += [
            "<h2>At a glance</h2>",
            "<p>Mean accuracy over all true units of a recording · units found. Where two sorters or more finished, "
            "the best of them is bold; one that did not finish is not beaten: it has no accuracy.</p>",
        ]
        parts.append(_overview(summary))
    parts += ["<h2>All figures</h2>", "<p>Click on a title to sort.</p>", _summary_table(summary), DEFINITIONS]
    done = summary[summary["status"] == "done"] if len(summary) else summary
    if len(done):
        parts.append("<h2>Cost</h2>")
        plots = [plot_cost(summary, _sorters_done(done), column) for column in ("run_time_ratio", "peak_memory_gb")]
        parts.append(page.panels(plots, "Run time and peak memory, one dot a recording.", "pair"))
    for name, about in results.recordings.items():
        parts.append(_recording_section(results, name, about))
    parts.append(_provenance(summary, command))
    return "\n".join(parts)


def _overview(summary: pd.DataFrame) -> str:
    recordings, sorters = list(dict.fromkeys(summary["recording"])), list(dict.fromkeys(summary["sorter"]))
    if "accuracy" not in summary:
        return "<p>No sorter has finished.</p>"
    values, status, wells, trues = (
        summary.pivot(index="recording", columns="sorter", values=column)
        for column in ("accuracy", "status", "well_detected", "true_units")
    )
    rows = []
    for recording in recordings:
        finished = values.loc[recording].dropna()
        # the best of one is no best
        best = finished.max() if len(finished) > 1 else math.nan
        cells = [Cell(recording, classes="text")]
        for sorter in sorters:
            value = values.at[recording, sorter]
            if pd.isna(value):
                cells.append(Cell(str(status.at[recording, sorter]), math.nan, "dim"))
            else:
                found = f"{wells.at[recording, sorter]:.0f}/{trues.at[recording, sorter]:.0f}"
                cells.append(Cell(f"{value:.3f} · {found}", float(value), "best" if value == best else ""))
        rows.append(("", cells))
    return page.table([("Recording", "text"), *((sorter, "") for sorter in sorters)], rows)


def _summary_table(summary: pd.DataFrame) -> str:
    heads = [("Recording", "text"), ("Sorter", "text"), ("Found", "")]
    heads += [(label, "") for _, label, _ in COLUMNS]
    rows = []
    for _, row in _ranked(summary).iterrows():
        cells = [Cell(row["recording"], classes="text"), Cell(row["sorter"], classes="text")]
        if row["status"] == "done":
            cells.append(Cell(_found(row), float(row["well_detected"])))
        else:
            cells.append(Cell(row["status"], math.nan, "bad"))
        cells += [number(row.get(column), digits) for column, _, digits in COLUMNS]
        rows.append(("own" if row["sorter"] == "huidurep" else "", cells))
    return page.table(heads, rows) + page.reasons(_reasons(summary))


def _reasons(summary: pd.DataFrame) -> list[tuple[str, str]]:
    """Why sorters gave no result: (sorter and recordings, reason), each reason once."""
    where: dict[tuple[str, str], list[str]] = {}
    for _, row in summary.iterrows():
        if row["status"] != "done":
            where.setdefault((row["sorter"], _note(row)), []).append(row["recording"])
    return [(f"{sorter} on {', '.join(recordings)}", note) for (sorter, note), recordings in where.items()]


def _recording_section(results: BenchmarkResults, name: str, about: dict[str, Any]) -> str:
    parts = [f'<h2 id="{escape(name)}">{escape(name)}</h2>']
    if "error" in about:
        return parts[0] + f"<p>{escape(about['error'])}</p>"
    parts.append(f'<p class="dim">{escape(describe(about))}</p>')
    units = results.units[results.units["recording"] == name] if len(results.units) else results.units
    if not len(units):
        return parts[0] + parts[1] + "<p>No sorter gave a result.</p>"
    sorters = _sorters_done(units)
    if units["snr"].notna().any():
        caption = (
            "Accuracy (dots), precision and recall (grey triangles) of each true unit against its SNR; the line is at "
            f"{WELL_DETECTED:g}."
        )
        parts.append(page.panels([plot_accuracy_against_snr(units, sorter) for sorter in sorters], caption))
    over_time = results.over_time[results.over_time["recording"] == name]
    motion = results.motions.get(name)
    parts_of_time = {20: "twentieths", 10: "tenths"}.get(WINDOWS, f"{WINDOWS} parts")
    time_caption = f"Mean accuracy of the units in {parts_of_time} of the recording" + (
        ", and below how far the tissue had moved." if motion is not None else "."
    )
    parts.append('<div class="pair">')
    sorted_caption = "Accuracy of the true units, for each sorter from its best to its worst."
    parts.append(page.figure(plot_sorted_accuracy(units, sorters), sorted_caption))
    parts.append(page.figure(plot_accuracy_over_time(over_time, sorters, motion), time_caption))
    parts.append("</div>")
    return "\n".join(parts)


def describe(about: dict[str, Any]) -> str:
    """One paragraph that says what a recording is."""
    settings, figures = about.get("settings", {}), about.get("figures", {})
    words = [f"{about['n_channels']} channels, {about['duration_s']:.0f} s"]
    if "n_units" in settings:
        words.append(f"{settings['n_units']} units, {figures.get('n_spikes', 0):,} spikes")
    if "snr_quartiles" in figures:
        low, _, middle, _, high = figures["snr_quartiles"]
        words.append(f"SNR {low:g} to {high:g}, median {middle:g}")
    if "noise_level_uv" in figures:
        words.append(f"noise level {figures['noise_level_uv']:g} uV")
    if settings.get("n_hash"):
        words.append(f"{settings['n_hash']} far units of {settings['hash_uv'][0]:g}-{settings['hash_uv'][1]:g} uV")
    if settings.get("drift_range_um"):
        kind = settings.get("drift") or "zigzag"
        rigid = "" if settings.get("rigid", True) else ", not rigid"
        words.append(f"drift: {kind} over {settings['drift_range_um']:g} um{rigid}")
    else:
        words.append("no drift" if not about.get("drifts") else "drift as in the recording")
    if settings.get("waveforms"):
        words.append(WaveformChanges(**settings["waveforms"]).described())
    source = settings.get("library") or about.get("source") or "SpikeInterface's generator"
    if "mearec" in figures:
        words.append(f"waveforms change: MEArec's settings '{settings['change']}'")
        source = f"{source} by MEArec {figures['mearec']}"
    words.append(f"made from {source}, seed {settings.get('seed', 0)}")
    if "cell_models" in figures:
        words.append("cell models: " + ", ".join(figures["cell_models"]))
    return "; ".join(words) + "."


def machine() -> str:
    """The machine of the measurements: system, number of CPUs, memory, Python."""
    memory = psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, {memory:.0f} GiB"
    return f"{system}, Python {platform.python_version()}"


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that affect the figures."""
    found = {}
    for name in ("spikeinterface-huidurep", *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _provenance(summary: pd.DataFrame, command: str) -> str:
    parts = ["<h2>Versions, parameters and commands</h2>"]
    if command:
        parts.append(f"<pre><code>{escape(command)}</code></pre>")
    parts.append(
        "<p>Parameters that differ from a sorter's defaults in SpikeInterface; n_jobs is the number of processes or "
        "threads.</p>"
    )
    rows, seen = [], set()
    for _, row in summary.iterrows():
        parameters = json.dumps(row["parameters"], sort_keys=True)
        key = (row["sorter"], row["version"], parameters, bool(row["drifts"]))
        if key in seen:
            continue
        seen.add(key)
        where = "drifting" if row["drifts"] else "still"
        texts = (row["sorter"], row["version"], where, parameters, str(row["n_jobs"]))
        rows.append(("", [Cell(text, classes="text") for text in texts]))
    heads = [(title, "text") for title in ("Sorter", "Version", "Recordings", "Parameters", "n_jobs")]
    parts.append(page.table(heads, rows, sortable=False))
    versions = ", ".join(f"{name} {number}" for name, number in package_versions().items())
    parts.append(f'<p class="dim">{escape(versions)}</p>')
    return "\n".join(parts)
