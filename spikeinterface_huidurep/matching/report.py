"""The page that a person checks matches on: one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

from .. import page as html
from ..page import Cell, escape, number
from .pictures import draw_calibration, draw_displacement, draw_matrix, draw_pair, draw_yield
from .tables import MatchTables


def match_page(matches: MatchTables) -> str:
    """
    Make the page of what was matched.

    Parameters
    ----------
    matches : MatchTables

    Returns
    -------
    str
        HTML: numbers, how far they can be trusted, matrices, neurons, and a picture of each matched pair, the least
        sure ones first.
    """
    body = [
        f"<h1>Units of {len(matches.names)} sessions</h1>",
        _facts(matches),
        '<h2 id="trust">How sure</h2>',
        html.panels([draw_yield(matches), draw_calibration(matches), draw_displacement(matches)], _TRUST, "pair"),
        '<h2 id="matrices">All pairs</h2>',
        html.panels([draw_matrix(matches, a, b) for a, b in matches.probabilities], _MATRIX, "pair"),
        '<h2 id="neurons">Neurons in more than one session</h2>',
        _neurons(matches),
        '<h2 id="pairs">Matched pairs</h2>',
        _pairs(matches),
    ]
    return html.page("Units over days", "\n".join(body))


_TRUST = (
    "Left: matches, and how many of them are expected to be false, at other thresholds. Middle: of pairs that are "
    "known (the halves of each session, the second changed as another day would change it) the share that is one "
    "neuron, against the probability given; numbers are pairs, bars one standard error. On the line a probability "
    "means what it says. Right: displacement along the probe."
)
_MATRIX = "The probability that two units are one neuron, for all units of two sessions, from the probe's lower end up."


def _facts(matches: MatchTables) -> str:
    table = matches.yields([matches.threshold])
    size = matches.groups.groupby("neuron").size()
    lines = [
        ("Sessions", ", ".join(f"{s.name} ({len(s.sorting.unit_ids)} units)" for s in matches.sessions)),
        (
            f"Matches at {matches.threshold:g}",
            f"{int(table['matches'][0])} pairs, of which {table['false'][0]:.1f} are expected to be false",
        ),
        ("Neurons", f"{len(size)}, {int((size > 1).sum())} of them in more than one session"),
    ]
    return "<ul>" + "".join(f"<li><b>{escape(name)}</b>: {escape(value)}</li>" for name, value in lines) + "</ul>"


def _neurons(matches: MatchTables) -> str:
    groups = matches.groups
    size = groups.groupby("neuron").size()
    kept = size.index[size > 1]
    if len(kept) == 0:
        return "<p>No unit has a partner in another session.</p>"
    heads = [("neuron", ""), *((name, "text") for name in matches.names), ("least probability", "")]
    rows = []
    for neuron in kept:
        mine = groups[groups["neuron"] == neuron]
        unit = dict(zip(mine["session"], mine["unit"], strict=True))
        cells = [Cell(str(neuron), int(neuron))]
        cells += [Cell(str(unit.get(name, "–")), classes="text") for name in matches.names]
        rows.append(("", [*cells, number(float(mine["probability"].min()))]))
    return html.table(heads, rows)


def _pairs(matches: MatchTables) -> str:
    found = [
        (matrix[i, j], (a, i), (b, j))
        for (a, b), matrix in matches.probabilities.items()
        for i, j in zip(*_where(matrix, matches.threshold), strict=True)
    ]
    if not found:
        return "<p>There are none.</p>"
    found.sort(key=lambda one: (one[0], one[1], one[2]))
    caption = (
        "The waveforms of both units on the channels around them (first session blue, second red), each where it lies "
        "in the tissue after the displacement, and their autocorrelograms. The least sure pairs come first."
    )
    return html.panels([draw_pair(matches, one, other) for _, one, other in found], caption, "pair")


def _where(matrix, threshold):
    rows, columns = (matrix >= threshold).nonzero()
    return rows.tolist(), columns.tolist()
