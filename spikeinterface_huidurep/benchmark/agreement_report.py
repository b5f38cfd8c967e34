"""The page of a comparison without ground truth."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path

from .. import page
from ..page import Cell, escape, number
from .agreement import ISI_THRESHOLD_MS, AgreementResults
from .figures import plot_agreement, plot_units_by_agreement, plot_violations
from .report import ReportFiles, machine, package_versions

EXPLANATION = f"""
<p>There is no ground truth here, so this page cannot say which sorter is right. Two units of two sorters are
counterparts if SpikeInterface's <code>compare_multiple_sorters</code> pairs them: spikes within 0.4 ms, at least
half of all their spikes in common. A unit that several sorters find is more likely a neuron. A unit of a single
sorter may be a neuron that the others miss, or no neuron. <b>SNR</b> and <b>ISI violations</b> (the contamination
estimated from intervals below {ISI_THRESHOLD_MS} ms, Hill and colleagues 2011) are SpikeInterface's quality metrics
on the recording between 300 and 6,000 Hz.</p>
"""
COLUMNS = (
    ("units", "Units", 0),
    ("spikes", "Spikes", 0),
    ("in_another", "Also in another", 0),
    ("in_all", "In all", 0),
    ("snr_median", "Median SNR", 1),
    ("isi_violations_median", "Median ISI violations", 3),
    ("run_time_ratio", "Time / length", 2),
    ("peak_memory_gb", "Memory, GB", 2),
)


def write_agreement_report(results: AgreementResults, output_folder: str | Path, command: str = "") -> ReportFiles:
    """Write ``report.html``, ``sorters.csv``, ``units.csv``, ``agreement.csv`` and ``sorters.md``.

    Parameters
    ----------
    results : AgreementResults
    output_folder : str or Path
    command : str
        The command that made the results, for the page.
    """
    folder = Path(output_folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(
        folder / "report.html",
        folder / "sorters.csv",
        folder / "units.csv",
        folder / "agreement.csv",
        folder / "sorters.md",
    )
    flat = results.summary.copy()
    flat["parameters"] = [json.dumps(parameters, sort_keys=True) for parameters in flat["parameters"]]
    flat.to_csv(files.csv, index=False)
    results.units.to_csv(files.units_csv, index=False)
    results.matrix.to_csv(files.over_time_csv)
    files.markdown.write_text(_markdown(results), encoding="utf-8")
    title = f"Sorters on {results.about['name']}"
    files.html.write_text(page.page(title, _body(results, command, title)), encoding="utf-8")
    return files


def _note(row) -> str:
    return "" if row["status"] == "done" else f"{row['status']}: {row['message']}"


def _markdown(results: AgreementResults) -> str:
    heads = ["Sorter", *(title for _, title, _ in COLUMNS), "Note"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for _, row in results.summary.iterrows():
        cells = [number(row.get(column), digits).shown for column, _, digits in COLUMNS]
        lines.append("| " + " | ".join([row["sorter"], *cells, _note(row).replace("|", "/")]) + " |")
    return "\n".join(lines) + "\n"


def _body(results: AgreementResults, command: str, title: str) -> str:
    about, units = results.about, results.units
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="dim">{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M %Z} · {escape(machine())}</p>',
        f"<p>{about['n_channels']} channels, {about['duration_s']:.0f} s; drift correction "
        f"{'on' if about['drifts'] else 'off'} in the sorters that have it.</p>",
        _summary(results),
        EXPLANATION,
    ]
    if len(units):
        sorters = list(dict.fromkeys(units["sorter"]))
        parts.append('<div class="pair">')
        if len(sorters) > 1:
            caption = "Share of the units of the sorter on the left that have a counterpart in the sorter below."
            parts.append(page.figure(plot_agreement(results.matrix), caption))
            caption = "Units of each sorter by the number of sorters that have them."
            parts.append(page.figure(plot_units_by_agreement(units, sorters), caption))
        parts.append(page.figure(plot_violations(units, sorters), "ISI violations of each unit against its SNR."))
        parts += ["</div>", "<h2>Units</h2>", _units(results)]
    parts += [
        "<h2>Versions, parameters and commands</h2>",
        f"<pre><code>{escape(command)}</code></pre>" if command else "",
    ]
    rows = [
        (
            "",
            [
                Cell(str(text), classes="text")
                for text in (row["sorter"], row["version"], json.dumps(row["parameters"]))
            ],
        )
        for _, row in results.summary.iterrows()
    ]
    parts.append(page.table([("Sorter", "text"), ("Version", "text"), ("Parameters", "text")], rows, sortable=False))
    versions = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    parts.append(f'<p class="dim">{escape(versions)}</p>')
    return "\n".join(parts)


def _summary(results: AgreementResults) -> str:
    heads = [("Sorter", "text"), *((title, "") for _, title, _ in COLUMNS)]
    rows = []
    for _, row in results.summary.iterrows():
        cells = [Cell(row["sorter"], classes="text")]
        cells += [number(row.get(column), digits) for column, _, digits in COLUMNS]
        rows.append(("own" if row["sorter"] == "huidurep" else "", cells))
    missing = results.summary[results.summary["status"] != "done"]
    return page.table(heads, rows) + page.reasons([(row["sorter"], _note(row)) for _, row in missing.iterrows()])


def _units(results: AgreementResults) -> str:
    heads = [("Sorter", "text"), ("Unit", "text")]
    heads += [(title, "") for title in ("Spikes", "Rate, Hz", "SNR", "ISI violations", "Sorters with it")]
    rows = []
    for _, row in results.units.iterrows():
        cells = [Cell(row["sorter"], classes="text"), Cell(row["unit_id"], classes="text"), number(row["n_spikes"], 0)]
        ratio = row["isi_violations_ratio"]
        cells += [number(row["rate_hz"], 2), number(row["snr"], 1), number(math.nan if math.isinf(ratio) else ratio, 3)]
        rows.append(("", [*cells, number(row["sorters_with_it"], 0)]))
    return page.table(heads, rows)
