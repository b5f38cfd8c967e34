"""The table of `sensitivity.py`: what a changed constant does to sorts, in Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from constants import NOT_SWEPT, Constant

DIRECTIONS = ("down", "up")
# the mean accuracy has to change by so many thousandths, or so many units be found or false: other seeds of the sort
# change it by up to 5, and units by up to 4
MATTERS_ACCURACY, MATTERS_UNITS = 6.0, 5
# beside the constants: other seeds of the sort, which show what changes by chance
SEED = "parameters.py: seed"


@dataclass(frozen=True)
class Change:
    """What a changed constant does, over all recordings."""

    accuracy: float  # mean over the recordings, in thousandths
    units: int
    false: int
    n_different: int
    only_properties: bool

    @property
    def matters(self) -> bool:
        return abs(self.accuracy) >= MATTERS_ACCURACY or max(abs(self.units), abs(self.false)) >= MATTERS_UNITS


def change_of(row: dict[str, Any], direction: str, results: dict[str, Any]) -> Change | None:
    """What one row of the results says; None where there was no sort."""
    part = row[direction]
    if "figures" not in part:
        return None
    baseline = results["baselines"][row["baseline"]]["figures"]
    pairs = [(now, baseline[name]) for name, now in part["figures"].items()]
    differences = np.array([[now[k] - before[k] for k in range(3)] for now, before in pairs])
    kinds = [now[3] for now, _ in pairs]
    return Change(
        1000 * float(differences[:, 0].mean()), int(differences[:, 1].sum()), int(differences[:, 2].sum()),
        kinds.count("different"), "same spikes" in kinds,
    )  # fmt: skip


def cells(row: dict[str, Any], direction: str, results: dict[str, Any]) -> list[str]:
    """Change of the accuracy, of the units and of the false units, as the table has them."""
    change = change_of(row, direction, results)
    if change is None:
        return [f"no sort: {row[direction]['error'].split(':')[0]}", "", ""]
    if change.n_different == 0:
        return ["same spikes" if change.only_properties else "same", "", ""]
    return [f"{change.accuracy:+.1f}", *(f"{count:+d}" if count else "0" for count in (change.units, change.false))]


def says(row: dict[str, Any], direction: str, results: dict[str, Any]) -> str:
    """The same in a line."""
    return ", ".join(filter(None, cells(row, direction, results)))


def _value_says(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_value_says, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def render(constants: list[Constant], results: dict[str, Any]) -> str:
    """The table, in Markdown, of all constants that there are; a value that has changed since is not measured."""
    rows = results.get("rows", {})
    measured = {
        one.key: rows[one.key]
        for one in constants
        if one.key not in NOT_SWEPT
        and rows.get(one.key, {}).get("value") == plain(one.value)
        and all(direction in rows[one.key] for direction in DIRECTIONS)
    }
    missing = [one for one in constants if one.key not in NOT_SWEPT and one.key not in measured]
    summary = _summary(constants, measured, missing, results)
    lines = ["# What the constants change", "", *_introduction(results, measured), "", *summary]
    header = [
        "| constant | value | -20 %: accuracy | units | false | +20 %: accuracy | units | false |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    file = ""
    for one in constants:
        if one.file != file:
            file = one.file
            lines += ["", f"## {file}", "", *header]
        lines.append(_row(one, measured.get(one.key), results))
    return "\n".join([*lines, ""])


def plain(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _row(one: Constant, row: dict[str, Any] | None, results: dict[str, Any]) -> str:
    start = [f"`{one.name}`", _value_says(one.value)]
    if one.key in NOT_SWEPT:
        return f"| {' | '.join([*start, NOT_SWEPT[one.key], '', '', '', '', ''])} |"
    if row is None:
        return f"| {' | '.join([*start, 'not measured yet', '', '', '', '', ''])} |"
    return f"| {' | '.join([*start, *(cell for d in DIRECTIONS for cell in cells(row, d, results))])} |"


def _introduction(results: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    lines = [
        "Written by `studies/sensitivity.py`; do not edit. One constant at a time is changed by 20 % down and up",
        "(whole numbers change by one at least, tuples in all their elements). The figures are the change of the mean",
        "accuracy in thousandths (mean over the recordings of the mean over their true units), of the number of units",
        "found (accuracy of 0.8 and more) and of false units (false positive and redundant ones), both over all",
        'recordings. "same": to the last bit the spikes and units of the unchanged sort, on all recordings; "same',
        'spikes": only properties of units, such as the label of their quality, are others.',
        "",
        "A field that sorts take from a parameter is changed with the parameter; of shares near one (`CROWD`,",
        "`FAR_SHARE`) it is the rest to one that is changed. What follows from a constant changes with it, and has no",
        "row. Not changed here are defaults of functions' arguments, literal numbers inside functions and the",
        "encoder. The recordings are short and few, without artefacts, gaps, jumps of the probe or several shanks:",
        "what makes no difference on them may make one elsewhere. Figures of each recording are in `sensitivity.json`.",
        "",
        "Measured by `HUIDUREP_TEMPLATES=templates python studies/sensitivity.py` on recordings on which no",
        "constant was chosen, with",
        "",
    ]
    baselines = results.get("baselines", [])
    for index, one in enumerate(baselines):
        rows = sum(row["baseline"] == index for row in measured.values())
        lines.append(f"- {one['version']}: {rows} constants")
    if not baselines:
        return [*lines, "- nothing yet"]
    lines += [
        "",
        "The unchanged sorts of the last of these:",
        "",
        "| recording | what it is | true units | accuracy | found | false |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, one in results["recordings"].items():
        accuracy, found, false = baselines[-1]["figures"][name]
        lines.append(f"| {name} | {one['says']} | {one['true_units']} | {accuracy:.3f} | {found} | {false} |")
    return lines


def _summary(
    constants: list[Constant], measured: dict[str, Any], missing: list[Constant], results: dict[str, Any]
) -> list[str]:
    by_key = {one.key: one for one in constants}
    changes = {key: [change_of(row, d, results) for d in DIRECTIONS] for key, row in measured.items()}
    same_spikes = [key for key, pair in changes.items() if all(one is not None and not one.n_different for one in pair)]
    labels = [key for key in same_spikes if any(one is not None and one.only_properties for one in changes[key])]
    same_both = [key for key in same_spikes if key not in labels]
    strong = [key for key, pair in changes.items() if any(one is None or one.matters for one in pair)]
    size = {key: max(np.inf if one is None else abs(one.accuracy) for one in pair) for key, pair in changes.items()}
    strong.sort(key=lambda key: (-size[key], key))
    n_swept = sum(one.key not in NOT_SWEPT for one in constants)
    lines = [
        "## Summary",
        "",
        f"{sum(one.decides for one in constants)} constants decide how recordings are sorted, parameters among them; "
        f"{sum(not one.decides for one in constants)} more set speed only, or are mathematics. "
        f"{n_swept} are to be changed, and {len(measured)} of these are measured: "
        f"{len(strong)} matter, {len(same_both)} make no difference at all, {len(labels)} change only "
        f"properties of units, {len(measured) - len(strong) - len(same_spikes)} change some spikes, but little else.",
        "",
        *_chance(results),
        "",
        f"Those that matter (the accuracy by {MATTERS_ACCURACY:g} thousandths and more, or {MATTERS_UNITS} units found "
        "or false units and more), the largest change of the accuracy first:",
        "",
        "| constant | -20 %: accuracy, units, false | +20 %: accuracy, units, false |",
        "| --- | --- | --- |",
    ]
    for key in strong:
        down, up = (says(measured[key], d, results) for d in DIRECTIONS)
        lines.append(f"| `{by_key[key].name}` ({by_key[key].file}) | {down} | {up} |")
    lines += ["", "No difference at all, either way:", "", *_by_file([by_key[key] for key in same_both])]
    lines += ["", "Only properties of units change:", "", *_by_file([by_key[key] for key in labels])]
    return [*lines, "", "Not measured yet:", "", *_by_file(missing)]


def _by_file(constants: list[Constant]) -> list[str]:
    files: dict[str, list[str]] = {}
    for one in constants:
        files.setdefault(one.file, []).append(f"`{one.name}`")
    return [f"- {file}: {', '.join(names)}" for file, names in files.items()] or ["- none"]


def _chance(results: dict[str, Any]) -> list[str]:
    row = results.get("rows", {}).get(SEED, {})
    if not all(direction in row for direction in DIRECTIONS):
        return ["What chance changes, by other seeds of the sort, is not measured yet."]
    parts = [f"seed {row[d]['value']}: {says(row, d, results)}" for d in DIRECTIONS]
    return [f"What chance changes (accuracy, units, false), by other seeds of the sort: {'; '.join(parts)}."]
