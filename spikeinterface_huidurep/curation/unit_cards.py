"""A card for each unit of a report: template on its contacts, autocorrelogram, amplitudes over time, what is known."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from spikeinterface.core import SortingAnalyzer

from .. import page as html
from ..stages.grouping.spike_times import REFRACTORY_MS
from .picture_data import amplitude_unit, segment_starts
from .pictures import LABEL_COLORS, STYLE
from .suggestions import given_labels, good_probabilities

NEEDED = ("templates", "correlograms", "spike_amplitudes")
# contacts on which a template is drawn, and spikes of a unit whose amplitudes are: more cover each other
MAX_CONTACTS, MAX_SPIKES = 8, 800
# half of the lags that are drawn, ms: refractory period and bursts are to be seen, rhythms are not
MAX_LAG_MS = 30.0
_SIZE = (3.5, 2.4)
_STYLE = {**STYLE, "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "huidurep", "savefig.dpi": 130}


class _Unit(NamedTuple):
    place: int
    name: str
    label: str
    color: str
    sure: str


def unit_cards(
    analyzer: SortingAnalyzer,
    notes: dict[Any, list[str]] | None = None,
    after_each: Callable[[], None] | None = None,
) -> str:
    """
    HTML with a card for each unit.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extensions of `NEEDED`.
    notes : dict of list of str, optional
        Sentences that a unit's card says beside its pictures, by unit id.
    after_each : callable, optional
        Called after each unit.

    Returns
    -------
    str
        Articles with the ids ``unit-0`` and so on, in the order of the units.
    """
    labels, notes, probabilities = given_labels(analyzer), notes or {}, good_probabilities(analyzer)
    spikes = analyzer.sorting.to_spike_vector()
    order = np.argsort(spikes["unit_index"], kind="stable")
    bounds = np.searchsorted(spikes["unit_index"][order], np.arange(analyzer.get_num_units() + 1))
    cards = []
    with matplotlib.rc_context(_STYLE):
        for index, unit_id in enumerate(analyzer.unit_ids):
            # a unit that a curation has made has none
            given = np.nan if probabilities is None else probabilities[index]
            sure = f", one neuron with probability {given:.2f}" if np.isfinite(given) else ""
            unit = _Unit(index, str(unit_id), labels[unit_id], LABEL_COLORS[labels[unit_id]], sure)
            mine = order[bounds[index] : bounds[index + 1]]
            cards.append(_card(analyzer, unit, mine, notes.get(unit_id, [])))
            if after_each is not None:
                after_each()
    return "\n".join(cards)


def _card(analyzer, unit, mine, notes):
    contact = analyzer.channel_ids[analyzer.get_main_channels(outputs="index")[unit.place]]
    panels = [
        (_template, f"Template of unit {unit.name} on its contacts"),
        (_autocorrelogram, f"Autocorrelogram of unit {unit.name}"),
        (_amplitudes, f"Amplitudes of unit {unit.name} over time"),
    ]
    images = "".join(html.image(_drawn(draw, analyzer, unit, mine), text) for draw, text in panels)
    says = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    label = html.escape(unit.label or "no label") + unit.sure
    return (
        f'<article class="unit" id="unit-{unit.place}"><h3><i style="background:{unit.color}"></i>Unit '
        f"{html.escape(unit.name)} <small>{label}, {len(mine):,} spikes, main contact "
        f'{html.escape(contact)}</small></h3><div class="triple">{images}</div>' + (f"<ul>{says}</ul>" if says else "")
    ) + "</article>"


def _drawn(draw, analyzer, unit, mine):
    figure = Figure(figsize=_SIZE, layout="constrained")
    draw(figure.subplots(), analyzer, unit, mine)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _template(axes: Axes, analyzer: SortingAnalyzer, unit: _Unit, mine: np.ndarray) -> None:
    """Each contact's waveform where the contact is; contacts lie closer than they do on a long probe."""
    extension = analyzer.get_extension("templates")
    average = extension.get_templates(operator="average")[unit.place]
    size, places = np.ptp(average, axis=0), analyzer.get_channel_locations()
    main = int(analyzer.get_main_channels(outputs="index")[unit.place])
    near = np.argsort(np.linalg.norm(places - places[main], axis=1), kind="stable")
    near = near[size[near] > 0][:MAX_CONTACTS]
    columns = np.unique(np.round(places[near, 0]), return_inverse=True)[1]
    rows = np.unique(np.round(places[near, 1]), return_inverse=True)[1]
    milliseconds = (np.arange(len(average)) - extension.nbefore) / analyzer.sampling_frequency * 1e3
    wide, scale = 1.15 * np.ptp(milliseconds), 1.3 / max(size[near].max(), 1e-12)
    for channel, column, row in zip(near, columns, rows, strict=True):
        strong = channel == main
        axes.plot(
            column * wide + milliseconds, row + scale * average[:, channel],
            color=unit.color if strong else "0.45", linewidth=1.7 if strong else 1.0,
        )  # fmt: skip
    left, low = milliseconds[0], axes.get_ylim()[0] - 0.15
    axes.plot([left, left + 1], [low, low], color="black", linewidth=1.5)
    axes.text(left + 0.5, low - 0.08, "1 ms", ha="center", va="top")
    peak = size[main]
    axes.plot([left, left], [low, low + scale * peak], color="black", linewidth=1.5)
    axes.text(left - 0.1, low + scale * peak / 2, f"{peak:.3g} {amplitude_unit(analyzer)}", rotation=90, ha="right",
              va="center")  # fmt: skip
    axes.margins(y=0.12)
    axes.set_axis_off()


def _autocorrelogram(axes: Axes, analyzer: SortingAnalyzer, unit: _Unit, mine: np.ndarray) -> None:
    counts, edges = analyzer.get_extension("correlograms").get_data()
    shown = np.abs(edges[:-1] + np.diff(edges) / 2) <= MAX_LAG_MS
    refractory = REFRACTORY_MS[1]
    axes.axvspan(-refractory, refractory, color="#D55E00", alpha=0.18, linewidth=0)
    values, ends = counts[unit.place, unit.place][shown], np.append(edges[:-1][shown], edges[1:][shown][-1])
    axes.stairs(values, ends, fill=True, color=unit.color)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="lag (ms)", ylabel="pairs of spikes", ylim=(0, max(1, 1.05 * values.max())))


def _amplitudes(axes: Axes, analyzer: SortingAnalyzer, unit: _Unit, mine: np.ndarray) -> None:
    spikes, amplitudes = analyzer.sorting.to_spike_vector(), analyzer.get_extension("spike_amplitudes").get_data()
    # every so manieth: the amplitudes of a long recording are seen over all of it
    mine = mine[:: max(1, int(np.ceil(len(mine) / MAX_SPIKES)))]
    starts = segment_starts(analyzer)
    times = starts[spikes["segment_index"][mine]] + spikes["sample_index"][mine] / analyzer.sampling_frequency
    axes.scatter(times, amplitudes[mine], s=5, color=unit.color, alpha=0.5, linewidths=0, rasterized=True)
    axes.set(xlabel="time (s)", ylabel=f"amplitude ({amplitude_unit(analyzer)})")
    axes.set_xlim(0, analyzer.get_total_duration())
    low, high = (min(0.0, amplitudes[mine].min()), max(0.0, amplitudes[mine].max())) if len(mine) else (0.0, 1.0)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
