"""Pieces of the HTML pages that reports are made of: each page is one file that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from typing import Any

STYLE = """
:root { color-scheme: light; --line: #d8dce2; --soft: #f5f6f8; --text: #1c2430; --dim: #5b6675; --mark: #0b5cad; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem clamp(0.8rem, 3vw, 2.5rem) 4rem; max-width: 1280px; color: var(--text);
background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.4rem 0; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 0.5rem; padding-top: 0.8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 0.3rem; }
p { margin: 0.4rem 0; max-width: 75ch; }
.dim { color: var(--dim); font-size: 0.9rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; margin: 0.6rem 0; }
table { border-collapse: collapse; width: 100%; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35rem 0.45rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { background: var(--soft); text-align: right; vertical-align: bottom; font-weight: 600; }
tr:last-child td { border-bottom: 0; }
th.text, td.text { text-align: left; }
th:first-child, td:first-child { position: sticky; left: 0; background: #fff; }
th:first-child { background: var(--soft); }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--mark); }
th[aria-sort="ascending"] button::after { content: " \\25B2"; font-size: 0.7em; }
th[aria-sort="descending"] button::after { content: " \\25BC"; font-size: 0.7em; }
tr.own td, tr.own td:first-child { background: #fff8e6; }
td.best { font-weight: 700; }
ul { margin: 0.3rem 0; padding-left: 1.2rem; max-width: 85ch; overflow-wrap: anywhere; }
td.bad { color: #a32020; }
a { color: var(--mark); }
figure { margin: 0.8rem 0; }
.wide { overflow-x: auto; }
.wide img { min-width: 560px; }
.triple { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 290px), 1fr)); gap: 0.2rem 1rem; }
.triple img { width: 100%; max-width: 440px; height: auto; }
.unit { border-top: 1px solid var(--line); padding: 0.2rem 0 0.6rem; break-inside: avoid; scroll-margin-top: 0.5rem; }
.unit h3 { margin: 0.6rem 0 0.3rem; }
.unit h3 i { display: inline-block; width: 0.7rem; height: 0.7rem; border-radius: 50%; margin-right: 0.4rem; }
.unit small { font-weight: 400; color: var(--dim); font-size: 0.9rem; }
.evidence li { margin: 0.4rem 0; }
.evidence li.own::marker { color: #b45f06; content: "\\25B6  "; }
li.warning { color: #8a4b00; }
figure img { max-width: 100%; height: auto; }
figcaption { color: var(--dim); font-size: 0.85rem; max-width: 75ch; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 0.5rem 1.5rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 230px), 1fr)); gap: 0.3rem 1rem; }
pre { background: var(--soft); padding: 0.7rem; overflow-x: auto; border-radius: 6px; font-size: 0.82rem; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
nav { font-size: 0.9rem; } nav a { margin-right: 0.9rem; color: var(--mark); display: inline-block; }
@media print { th button { pointer-events: none; } body { max-width: none; } }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th").forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0], value = row => row.cells[column].dataset.value;
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -order : order;
    });
    body.append(...rows);
  }));
}
"""


def escape(value: Any) -> str:
    """HTML text of any value."""
    return html.escape(str(value))


def image(svg: str, text: str) -> str:
    """A plot inside the page, without a caption; `text` says what it shows to readers who cannot see it."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(text)}" src="data:image/svg+xml;base64,{data}">'


def figure(svg: str, caption: str) -> str:
    """A plot inside the page; `caption` says what it shows, also to readers who cannot see it."""
    return f"<figure>{image(svg, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def panels(svgs: Sequence[str], caption: str, layout: str = "panels") -> str:
    """Plots side by side, as many in a row as there is room for, under one caption."""
    images = "".join(image(svg, caption) for svg in svgs)
    return f'<figure><div class="{layout}">{images}</div><figcaption>{escape(caption)}</figcaption></figure>'


class Cell:
    """A cell of a table: what is shown, what it is sorted by, its CSS classes, and where in the page it leads."""

    def __init__(self, shown: str, value: Any = None, classes: str = "", anchor: str = ""):
        self.anchor = anchor
        self.shown = shown
        self.value = shown if value is None else value
        self.classes = classes

    def render(self) -> str:
        """HTML of the cell."""
        value = "" if isinstance(self.value, float) and math.isnan(self.value) else self.value
        shown = f'<a href="#{self.anchor}">{escape(self.shown)}</a>' if self.anchor else escape(self.shown)
        return f'<td class="{self.classes}" data-value="{escape(value)}">{shown}</td>'


def number(value: Any, digits: int = 2, classes: str = "") -> Cell:
    """Cell of a number; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell("–", math.nan, classes)
    return Cell(f"{float(value):.{digits}f}", float(value), classes)


def table(heads: Sequence[tuple[str, str]], rows: Sequence[tuple[str, Sequence[Cell]]], sortable: bool = True) -> str:
    """A table that scrolls sideways within the page.

    Parameters
    ----------
    heads : sequence of (title, class)
        Class "text" is left-aligned.
    rows : sequence of (class, cells)
    sortable : bool
        A click on a title sorts by it.

    Returns
    -------
    str
        HTML.
    """
    head = "".join(
        f'<th scope="col" class="{kind}">'
        + (f'<button type="button">{escape(title)}</button>' if sortable else escape(title))
        + "</th>"
        for title, kind in heads
    )
    body = "".join(f'<tr class="{kind}">{"".join(cell.render() for cell in cells)}</tr>' for kind, cells in rows)
    kind = "sortable" if sortable else ""
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def reasons(items: Sequence[tuple[str, str]]) -> str:
    """A list of what gave no result, (who, why); empty text where there is nothing to say."""
    if not items:
        return ""
    lines = "".join(f"<li><b>{escape(who)}</b>: {escape(why)}</li>" for who, why in items)
    return f"<p>Without a result:</p><ul>{lines}</ul>"


def page(title: str, body: str, scripts: Sequence[str] = ()) -> str:
    """A whole HTML document; `scripts` are run at its end, in their order."""
    run = "".join(f"<script>{script}</script>\n" for script in (SCRIPT, *scripts))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n{body}\n{run}</body></html>\n"
    )
