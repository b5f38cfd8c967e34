"""Pictures of matched units, as SVG: drawn as text, since a page holds hundreds of them."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ..page import escape
from .fingerprints import LAG_MS, autocorrelogram
from .grouping import pair_probability
from .sessions import Session
from .tables import MatchTables

COLORS = ("#0072B2", "#D55E00")  # Okabe and Ito's blue and vermilion
STYLE = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "huidurep"}
CHANNELS = 8  # around the units, whose waveforms are drawn
POINTS = 48  # of a waveform
WIDTH, HEIGHT = 330, 230


def svg_of(figure: Figure) -> str:
    """A matplotlib figure as SVG text, the same for the same figure."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def draw_pair(matches: MatchTables, one: tuple[int, int], other: tuple[int, int]) -> str:
    """
    Draw two units: their waveforms on the probe in two colours, and their autocorrelograms.

    Parameters
    ----------
    matches : MatchTables
    one, other : (int, int)
        Session and unit, as positions.

    Returns
    -------
    str
        SVG. Waveforms are where their channels are, in the first session's and in the second session's order of
        neighbours of the unit: where the probe has moved, channels of one place on the unit differ.
    """
    first, second = matches.sessions[one[0]], matches.sessions[other[0]]
    probability = pair_probability(matches.probabilities, one, other)
    title = (
        f"{first.name}: {first.units.unit_ids[one[1]]} and {second.name}: {second.units.unit_ids[other[1]]}, "
        f"probability {probability:.2f}"
    )
    shift = matches.displacements[one[0], other[0]].at(first.units.locations[one[1]].mean(axis=0)[1:2])[0]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<text x="4" y="13">{escape(title)}</text>',
        *_waveforms(first, one[1], second, other[1], shift),
    ]
    for row, (session, unit) in enumerate(((first, one[1]), (second, other[1]))):
        parts += _correlogram(session, unit, COLORS[row], 225, 30 + 100 * row)
    return "".join([*parts, "</svg>"])


def _waveforms(first: Session, i: int, second: Session, j: int, shift: float) -> list[str]:
    """Both units on the channels around them; the second one's are drawn as far down as the tissue has moved."""
    a, b = first.units, second.units
    templates = a.mean_template(i), b.mean_template(j)
    places = a.channel_locations
    centres = a.locations[i].mean(axis=0), b.locations[j].mean(axis=0) - (0.0, shift)
    near = [
        np.argsort(np.hypot(*(places - (0.0, by) - centre).T), kind="stable")[:CHANNELS]
        for by, centre in ((0.0, centres[0]), (shift, centres[1]))
    ]
    drawn = [places[near[0]], places[near[1]] - (0.0, shift)]
    both = np.concatenate(drawn)
    low, high = both.min(axis=0), both.max(axis=0)
    scale = np.maximum(high - low, 1.0)
    largest = max(np.abs(template).max() for template in templates) or 1.0
    width, height = 46.0, 34.0
    lines = []
    for template, channels, where, color in zip(templates, near, drawn, COLORS, strict=True):
        step = max(len(template) // POINTS, 1)
        samples = np.arange(0, len(template), step)
        for channel, place in zip(channels, where, strict=True):
            x = 12 + (place[0] - low[0]) / scale[0] * 140 + samples / len(template) * width
            y = 60 + (high[1] - place[1]) / scale[1] * 125 - template[samples, channel] / largest * height
            points = " ".join(f"{u:.1f},{v:.1f}" for u, v in zip(x, y, strict=True))
            lines.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.2" points="{points}"/>')
    return lines


def _correlogram(session: Session, unit: int, color: str, x: float, y: float) -> list[str]:
    """The autocorrelogram of a unit as bars, of both signs."""
    sorting, unit_id = session.sorting, session.units.unit_ids[unit]
    rate = sorting.sampling_frequency
    times = [sorting.get_unit_spike_train(unit_id, segment_index=k) / rate for k in range(sorting.get_num_segments())]
    counts = autocorrelogram(times)
    both = np.concatenate([counts[::-1], counts])
    top = both.max() or 1.0
    step = 96 / len(both)
    bars = "".join(
        f"M{x + k * step:.2f} {y + 70:.1f}v{-66 * count / top:.1f}h{step:.2f}V{y + 70:.1f}z"
        for k, count in enumerate(both)
        if count
    )
    return [
        f'<path fill="{color}" d="{bars}"/>',
        f'<text x="{x}" y="{y + 82}" fill="#5b6675" font-size="9">±{LAG_MS:g} ms</text>',
    ]


def draw_matrix(matches: MatchTables, a: int, b: int) -> str:
    """Draw the probabilities of all pairs of two sessions, their units by depth, as SVG."""
    first, second = matches.sessions[a].units, matches.sessions[b].units
    rows = np.argsort(first.locations.mean(axis=1)[:, 1], kind="stable")
    columns = np.argsort(second.locations.mean(axis=1)[:, 1], kind="stable")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 4.0), layout="constrained")
        axes = figure.subplots()
        values = matches.probabilities[a, b][np.ix_(rows, columns)]
        image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
        axes.set(
            xlabel=f"units of {second.name}, by depth", ylabel=f"units of {first.name}, by depth",
            title=f"{int((values >= matches.threshold).sum())} matches",
        )  # fmt: skip
        figure.colorbar(image, ax=axes, label="probability")
    return svg_of(figure)


def draw_yield(matches: MatchTables) -> str:
    """Draw the number of matches, and of those that are expected to be false, against the threshold, as SVG."""
    table = matches.yields(np.linspace(0.02, 0.99, 98))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(table["threshold"], table["matches"], color=COLORS[0], label="matches")
        axes.plot(table["threshold"], table["false"], color=COLORS[1], label="expected to be false")
        axes.axvline(matches.threshold, color="0.6", linestyle="--", linewidth=1)
        axes.set(xlabel="threshold of the probability", ylabel="pairs", ylim=(0, None))
        axes.legend(frameon=False)
    return svg_of(figure)


def draw_calibration(matches: MatchTables) -> str:
    """Draw which share of known pairs is one neuron against the probability that they were given, as SVG."""
    probability, same = matches.known.probability, matches.known.same
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        edges = np.linspace(0, 1, 11)
        bins = np.clip(np.digitize(probability, edges) - 1, 0, 9)
        for k in range(10):
            mine = bins == k
            n = int(mine.sum())
            if n == 0:
                continue
            share = float(same[mine].mean())
            error = np.sqrt((share * (1 - share) + 0.25 / n) / n)
            axes.errorbar(probability[mine].mean(), share, yerr=error, fmt="o", color=COLORS[0], markersize=5)
            axes.annotate(f"{n}", (probability[mine].mean(), share), (6, -10), textcoords="offset points", fontsize=8)
        axes.set(xlabel="probability given", ylabel="share that is one neuron", xlim=(-0.03, 1.03), ylim=(-0.08, 1.08))
    return svg_of(figure)


def draw_displacement(matches: MatchTables) -> str:
    """Draw the displacement of each session against the first one, over depth, as SVG."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 3.6), layout="constrained")
        axes = figure.subplots()
        for (a, b), one in matches.displacements.items():
            if a == 0:
                axes.plot(one.um, one.depth_um, marker="o", markersize=3, label=matches.names[b])
        axes.axvline(0, color="0.8", linewidth=1)
        axes.set(xlabel=f"displacement against {matches.names[0]} (µm)", ylabel="depth (µm)")
        axes.legend(frameon=False, fontsize=8)
    return svg_of(figure)
