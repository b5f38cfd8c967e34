"""Figures of a report that one can zoom and ask, with bokeh (extra `report`): they work without a network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from spikeinterface.core import SortingAnalyzer

from .picture_data import EmbeddingMap, Raster, amplitude_unit, courses, probe_labels, unit_amplitudes
from .pictures import LABEL_COLORS, PALETTE
from .suggestions import given_labels

# spikes of a raster: a browser draws so many at once
MAX_POINTS = 15_000


class Interactive(NamedTuple):
    """
    Figures for a page.

    divs : dict of list of str, HTML of the figures by their part of the report; library, script : str, JavaScript for
    the end of the page, that of bokeh and that of the figures.
    """

    divs: dict[str, list[str]]
    library: str
    script: str


def is_possible() -> bool:
    """Whether bokeh is installed."""
    return find_spec("bokeh") is not None


def interactive_figures(
    analyzer: SortingAnalyzer,
    *,
    raster: Raster | None = None,
    motions: Mapping[Any, Any] | None = None,
    embedding: EmbeddingMap | None = None,
    probe: bool = True,
) -> Interactive:
    """
    Make the figures that there is something for.

    Parameters
    ----------
    analyzer : SortingAnalyzer
    raster : Raster, optional
        From `pictures.make_raster`.
    motions : mapping, optional
        Motion by shank, as `draw_motion` takes it.
    embedding : EmbeddingMap, optional
        From `pictures.map_embedding`.
    probe : bool
        Draw the units on the probe; needs the extensions "unit_locations" and "templates".

    Returns
    -------
    Interactive
    """
    from bokeh.embed import components
    from bokeh.resources import Resources

    figures: dict[str, list[Any]] = {}
    if raster is not None:
        figures["motion"] = _rasters(analyzer, raster, motions or {})
    if probe:
        figures["probe"] = [_probe(analyzer)]
    if embedding is not None:
        figures["embedding"] = [_embedding(analyzer, embedding)]
    named = {f"{name}-{index}": figure for name, those in figures.items() for index, figure in enumerate(those)}
    script, divs = components(named, wrap_script=False)
    library = "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)
    by_part = {name: [divs[f"{name}-{index}"] for index in range(len(those))] for name, those in figures.items()}
    return Interactive(by_part, library, script)


def _figure(title: str, height: int, tooltips: list[tuple[str, str]] | None = None, **options: Any) -> Any:
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    made = figure(
        title=title, height=height, sizing_mode="stretch_width", tools="pan,box_zoom,wheel_zoom,reset",
        active_drag="box_zoom", active_scroll=None, toolbar_location="above", min_width=260, **options,
    )  # fmt: skip
    made.toolbar.logo = None
    if tooltips:
        made.add_tools(HoverTool(tooltips=tooltips, name="asked", point_policy="snap_to_data"))
    for axis in made.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "13px"
    made.grid.grid_line_alpha = 0.4
    return made


def _rasters(analyzer, raster, motions):
    from bokeh.models import ColorBar, ColumnDataSource, LinearColorMapper
    from bokeh.palettes import Viridis256

    names = np.array([str(unit) for unit in analyzer.unit_ids], dtype=object)
    # the large ones are last, and stay on top
    shown = np.sort(np.random.default_rng(0).permutation(len(raster.times))[:MAX_POINTS])
    source = ColumnDataSource({
        "time": raster.times[shown].astype("float32"), "depth": raster.depths[shown].astype("float32"),
        "registered": raster.registered[shown].astype("float32"), "size": raster.sizes[shown].astype("float32"),
        "unit": names[raster.units[shown]],
    })  # fmt: skip
    mapper = LinearColorMapper(palette=Viridis256[::-1], low=0.0, high=float(raster.ceiling))
    moved = any(motion is not None for motion in motions.values())
    figures: list[Any] = []
    titles = ("Spikes as they lie", "After motion correction") if moved else ("Spikes (no motion was corrected)",)
    for y, title in zip(("depth", "registered"), titles, strict=False):
        ranges = {"x_range": figures[0].x_range, "y_range": figures[0].y_range} if figures else {}
        tips = [("unit", "@unit"), ("time", "@time{0.00} s"), ("depth", f"@{y}{{0}} µm"),
                ("amplitude", f"@size{{0.0}} {amplitude_unit(analyzer)}")]  # fmt: skip
        made = _figure(title, 400, tips, x_axis_label="time (s)", y_axis_label="depth (µm)", **ranges)
        dots = float(np.clip(60_000 / max(len(shown), 1), 2.5, 5))
        made.scatter("time", y, source=source, size=dots, line_color=None, name="asked",
                     fill_color={"field": "size", "transform": mapper})  # fmt: skip
        figures.append(made)
    for times, depth in courses(analyzer, motions):
        figures[0].line(times, depth, color=PALETTE[1], line_width=2, legend_label="motion")
    bar = ColorBar(color_mapper=mapper, title=amplitude_unit(analyzer), width=10, padding=4)
    figures[-1].add_layout(bar, "right")
    return figures


def _probe(analyzer):
    from bokeh.models import ColumnDataSource, OpenURL, TapTool

    contacts, places = analyzer.get_channel_locations(), analyzer.get_extension("unit_locations").get_data()[:, :2]
    labels = list(given_labels(analyzer).values())
    size = unit_amplitudes(analyzer)
    low, high = places[:, 1].min() - 60, places[:, 1].max() + 60
    side = max(np.ptp(contacts[:, 0]), np.ptp(places[:, 0]), 60.0)
    left, right = min(contacts[:, 0].min(), places[:, 0].min()), max(contacts[:, 0].max(), places[:, 0].max())
    made = _figure(
        "Click on a unit to go to it", int(np.clip(280 + (high - low) * 0.6, 420, 900)),
        [("unit", "@unit (@label)"), ("depth", "@y{0} µm"), ("spikes", "@spikes{0,0}"),
         ("amplitude", f"@amplitude{{0.0}} {amplitude_unit(analyzer)}")],
        x_axis_label="x (µm)", y_axis_label="depth (µm)",
        x_range=(left - 0.15 * side, right + 0.45 * side), y_range=(low, high), max_width=620,
    )  # fmt: skip
    made.scatter(contacts[:, 0], contacts[:, 1], marker="square", size=7, color="#d0d0d0")
    names = [str(unit) for unit in analyzer.unit_ids]
    at = probe_labels(places[:, 1], high - low)
    if at is not None:
        edge = right + 0.12 * side
        made.segment(places[:, 0], places[:, 1], edge, at, color="#b8bec8", line_width=1)
        made.text(edge + 0.02 * side, at, names, text_baseline="middle", text_font_size="13px")
    source = ColumnDataSource({
        "x": places[:, 0], "y": places[:, 1], "unit": names, "label": [label or "no label" for label in labels],
        "index": np.arange(len(names)), "color": [LABEL_COLORS[label] for label in labels], "amplitude": size,
        "spikes": analyzer.sorting.count_num_spikes_per_unit(outputs="array"),
        "size": 8 + 16 * np.sqrt(size / max(size.max(), 1e-12)),
    })  # fmt: skip
    made.scatter("x", "y", source=source, size="size", color="color", alpha=0.75, line_color="white", name="asked",
                 legend_group="label")  # fmt: skip
    made.legend.location = "top_left"
    made.add_tools(TapTool(callback=OpenURL(url="#unit-@index", same_tab=True)))
    return made


def _embedding(analyzer, embedding):
    from bokeh.models import ColumnDataSource

    names = np.array([str(unit) for unit in analyzer.unit_ids], dtype=object)
    made = _figure(f"Embedding of {len(embedding.xy):,} spikes", 560, [("unit", "@unit")], match_aspect=True)
    made.axis.visible = False
    made.grid.visible = False
    source = ColumnDataSource({
        "x": embedding.xy[:, 0].astype("float32"), "y": embedding.xy[:, 1].astype("float32"),
        "unit": names[embedding.units], "color": [PALETTE[unit % len(PALETTE)] for unit in embedding.units],
    })  # fmt: skip
    made.scatter("x", "y", source=source, size=5, color="color", alpha=0.55, line_color=None, name="asked")
    if embedding.labels is not None:
        made.text(
            embedding.labels[:, 0], embedding.labels[:, 1], [str(names[unit]) for unit in embedding.named],
            text_align="center", text_baseline="middle", text_font_size="13px",
            background_fill_color="white", background_fill_alpha=0.8, padding=2,
        )  # fmt: skip
    return made
