"""Figures of a sort. Each function returns a matplotlib Figure, to show in a notebook or to save.

Colours are Okabe and Ito's, which colour-blind readers can tell apart. Figures are made without pyplot, so that the
settings of a program's own figures are not changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from spikeinterface.core import SortingAnalyzer
from spikeinterface.core.motion import Motion

from .picture_data import (
    MAX_NAMES,
    MAX_POINTS,
    EmbeddingMap,
    amplitude_unit,
    courses,
    make_raster,
    map_embedding,
    probe_labels,
    unit_amplitudes,
)
from .suggestions import given_labels

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LABEL_COLORS = {"good": "#0072B2", "MUA": "#E69F00", "noise": "#8C8C8C", "": "#009E73"}
LABEL_NAMES = {"": "no label"}
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
MAX_TEMPLATES = 48  # six rows of eight


def draw_motion(
    analyzer: SortingAnalyzer, motion: Motion | Mapping[Any, Motion | None] | None = None, *, seed: int = 0
) -> Figure:
    """
    Draw the spikes over time and depth, before and after motion correction.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extensions "spike_locations", "spike_amplitudes" and "unit_locations".
    motion : Motion or dict of Motion, optional
        The probe's motion, or that of each shank by the unit property "group", in the times of the recording; it is
        drawn over the spikes. Without it there is a single raster. Pictures have no start times and pauses.
    seed : int
        Chooses the spikes that are drawn if there are too many.

    Returns
    -------
    Figure
    """
    motions = dict(motion) if isinstance(motion, Mapping) else {None: motion}
    moved = any(one is not None for one in motions.values())
    raster = make_raster(analyzer, motions, seed)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.5), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, 2 if moved else 1, sharex=True, sharey=True))
        titles = ("Spikes as they lie", "After motion correction") if moved else ("Spikes (no motion was corrected)",)
        for axes, y, title in zip(panels, (raster.depths, raster.registered), titles, strict=False):
            dots = float(np.clip(MAX_POINTS / max(len(y), 1), 1.5, 10))  # the fewer the larger
            points = axes.scatter(
                raster.times, y, c=raster.sizes, s=dots, cmap="viridis_r", vmin=0, vmax=raster.ceiling, linewidths=0
            )
            axes.set(xlabel="time (s)", title=title)
        panels[0].set_ylabel("depth (µm)")
        figure.colorbar(points, ax=panels, label=f"amplitude ({amplitude_unit(analyzer)})", pad=0.01)
        for times, depths in courses(analyzer, motions):
            panels[0].plot(times, depths, color=PALETTE[1], linewidth=1.6)
        if moved:
            handle = Line2D([], [], color=PALETTE[1], label="motion")
            panels[0].legend(handles=[handle], loc="upper right", framealpha=0.9)
        low, high = analyzer.get_channel_locations()[:, 1].min(), analyzer.get_channel_locations()[:, 1].max()
        panels[0].set_ylim(low - 20, high + 20)
        panels[0].set_xlim(0, analyzer.get_total_duration())
    return figure


def draw_probe(analyzer: SortingAnalyzer) -> Figure:
    """
    Draw the units' locations on the probe: larger circles for larger spikes, coloured by label.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extensions "unit_locations" and "templates".

    Returns
    -------
    Figure
        The part of the probe where there are units, with their names beside it; long ones in several columns of depth.
    """
    contacts = analyzer.get_channel_locations()
    places = analyzer.get_extension("unit_locations").get_data()[:, :2]
    labels = list(given_labels(analyzer).values())
    size = unit_amplitudes(analyzer)
    size = 30 + 270 * np.sqrt(size / max(size.max(), 1e-12))
    low, high = places[:, 1].min() - 50, places[:, 1].max() + 50
    seen = np.concatenate([contacts[(contacts[:, 1] >= low) & (contacts[:, 1] <= high)], places])[:, 0]
    left, right = seen.min() - 15, seen.max() + 15
    # an inch for so many um of depth that neighbours can be told apart
    n_columns = int(np.clip(np.ceil((high - low) / 1000), 1, 6))
    edges = np.linspace(low, high, n_columns + 1)
    with matplotlib.rc_context(STYLE):
        height = float(np.clip(1.5 + (edges[1] - edges[0]) / 60, 3.5, 10))
        figure = Figure(figsize=(float(np.clip(2.6 * n_columns + 1.5, 4, 14)), height), layout="constrained")
        for axes, bottom, top in zip(figure.subplots(1, n_columns, squeeze=False)[0], edges, edges[1:], strict=False):
            axes.plot(*contacts.T, "s", color="0.82", markersize=5, zorder=1)
            colors = [LABEL_COLORS[label] for label in labels]
            axes.scatter(*places.T, s=size, c=colors, alpha=0.75, edgecolors="white", linewidths=1, zorder=3)
            if len(places) <= MAX_NAMES:
                here = np.flatnonzero((places[:, 1] >= bottom) & (places[:, 1] < top))
                _name_units(axes, analyzer.unit_ids[here], places[here], right, top - bottom)
            # names need some room beside the probe
            axes.set(xlim=(left, right + 0.3 * (right - left)), ylim=(bottom, top), xlabel="x (µm)")
        figure.axes[0].set_ylabel("depth (µm)")
        figure.suptitle(f"{len(places)} units on the probe")
        _label_legend(figure, labels)
    return figure


def _name_units(axes: Axes, names: np.ndarray, places: np.ndarray, right: float, height: float) -> None:
    """Names in a column beside the probe, with lines to their units: none covers another."""
    at = probe_labels(places[:, 1], height)
    if at is None:
        return
    for name, (x, y), level in zip(names, places, at, strict=True):
        axes.plot([x, right], [y, level], color="0.7", linewidth=0.7, zorder=2)
        axes.annotate(str(name), (right, level), (2, 0), textcoords="offset points", fontsize=9, va="center")


def draw_templates(analyzer: SortingAnalyzer) -> Figure:
    """
    Draw each unit's mean waveform on its main channel, with the spread of its spikes.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extension "templates" and its operators "average" and "std".

    Returns
    -------
    Figure
        The units by depth; if there are too many, those with the largest spikes.
    """
    extension = analyzer.get_extension("templates")
    average, spread = (extension.get_templates(operator=operator) for operator in ("average", "std"))
    main = analyzer.get_main_channels(outputs="index")
    depth = analyzer.get_extension("unit_locations").get_data()[:, 1]
    size = unit_amplitudes(analyzer)
    shown = np.sort(np.argsort(size)[::-1][:MAX_TEMPLATES])
    shown = shown[np.argsort(depth[shown], kind="stable")]
    labels = list(given_labels(analyzer).values())
    counts = analyzer.sorting.count_num_spikes_per_unit(outputs="array")
    milliseconds = (np.arange(average.shape[1]) - extension.nbefore) / analyzer.sampling_frequency * 1e3
    n_columns = min(8, len(shown))
    n_rows = int(np.ceil(len(shown) / n_columns))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(1.6 * n_columns, 5), 1.5 * n_rows + 1.2), layout="constrained")
        grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True)
        for axes in grid.ravel()[len(shown) :]:
            axes.set_axis_off()
        for axes, unit in zip(grid.ravel(), shown, strict=False):
            mean, deviation = average[unit, :, main[unit]], spread[unit, :, main[unit]]
            color = LABEL_COLORS[labels[unit]]
            axes.axhline(0, color="0.85", linewidth=0.8)
            axes.fill_between(milliseconds, mean - deviation, mean + deviation, color=color, alpha=0.25, linewidth=0)
            axes.plot(milliseconds, mean, color=color, linewidth=1.6)
            axes.set_title(f"{analyzer.unit_ids[unit]}  (n={counts[unit]})", fontsize=8.5)
            axes.tick_params(labelsize=7.5)
        for axes in grid[-1]:
            axes.set_xlabel("ms", fontsize=8.5)
        figure.supylabel(f"amplitude ({amplitude_unit(analyzer)})", fontsize=10)
        few = "" if len(shown) == len(main) else f", the {len(shown)} largest of {len(main)}"
        figure.suptitle(f"Templates on the units' main channels, mean ± standard deviation{few}")
        _label_legend(figure, [labels[unit] for unit in shown])
    return figure


def draw_embedding(analyzer: SortingAnalyzer, *, seed: int = 0, embedding: EmbeddingMap | None = None) -> Figure:
    """
    Draw a t-SNE map of the embedded spikes, coloured by unit.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extension "huidurep_embeddings".
    seed : int
        Chooses the spikes and starts the map; the same seed gives the same map.
    embedding : EmbeddingMap, optional
        The map, where `map_embedding` has made it before.

    Returns
    -------
    Figure
        Distances between groups and sizes of groups have little meaning in such a map.
    """
    shown = map_embedding(analyzer, seed) if embedding is None else embedding
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 7), layout="constrained")
        axes = figure.subplots()
        for unit in shown.named:
            mine = shown.xy[shown.units == unit]
            axes.scatter(*mine.T, s=9, color=PALETTE[unit % len(PALETTE)], alpha=0.55, linewidths=0)
        if shown.labels is not None:
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "edgecolor": "none"}
            for unit, place in zip(shown.named, shown.labels, strict=True):
                axes.annotate(str(analyzer.unit_ids[unit]), place, ha="center", va="center", fontsize=9, bbox=box)
        axes.set(xticks=[], yticks=[], title=f"Embedding of {len(shown.xy)} spikes of {len(shown.named)} units")
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
    return figure


def draw_quality(analyzer: SortingAnalyzer) -> Figure:
    """
    Draw quality metrics of the units: labels, SNR, firing rate, refractory period violations, amplitude and depth.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extensions "quality_metrics" and "unit_locations".

    Returns
    -------
    Figure
    """
    metrics = analyzer.get_extension("quality_metrics").get_data()
    labels = list(given_labels(analyzer).values())
    colors = [LABEL_COLORS[label] for label in labels]
    depth = analyzer.get_extension("unit_locations").get_data()[:, 1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 6.6), layout="constrained")
        grid = figure.subplots(2, 3).ravel()
        _draw_labels(grid[0], labels, metrics["snr"])
        confidence = analyzer.sorting.get_property("confidence")
        snr, rate = metrics["snr"], metrics["firing_rate"]
        pairs = [
            (snr, "SNR", rate, "firing rate (Hz)"),
            (snr, "SNR", metrics["rp_contamination"], "contamination (refractory violations)"),
            (metrics["amplitude_median"].abs(), f"median amplitude ({amplitude_unit(analyzer)})", snr, "SNR"),
            (rate, "firing rate (Hz)", depth, "depth (µm)"),
            (snr, "SNR", metrics["isi_violations_ratio"], "ISI violation ratio"),
        ]
        if confidence is not None:
            pairs[-1] = (snr, "SNR", confidence, "confidence of the sorter")
        for axes, (x, x_name, y, y_name) in zip(grid[1:], pairs, strict=True):
            axes.scatter(x, np.asarray(y, dtype="float64"), c=colors, s=28, alpha=0.8, linewidths=0)
            axes.set(xlabel=x_name, ylabel=y_name, xlim=(0, None))
            if y_name != "depth (µm)":
                top = max(axes.get_ylim()[1], 0.1)
                axes.set_ylim(-0.03 * top, 1.03 * top)
        _label_legend(figure, labels)
    return figure


def _draw_labels(axes: Axes, labels: list[str], snr: np.ndarray) -> None:
    """How many units have each label; where all have the same, how large they are."""
    present = [label for label in LABEL_COLORS if label in labels]
    if len(present) == 1:
        axes.hist(np.asarray(snr, dtype="float64"), bins=15, color=LABEL_COLORS[present[0]])
        axes.set(xlabel="SNR", ylabel="units", title=f"{len(labels)} units")
    else:
        bars = axes.bar(
            [LABEL_NAMES.get(label, label) for label in present],
            [labels.count(label) for label in present],
            color=[LABEL_COLORS[label] for label in present],
        )
        axes.bar_label(bars)
        axes.set(ylabel="units", title=f"{len(labels)} units")
        axes.margins(y=0.15)
    axes.yaxis.get_major_locator().set_params(integer=True)


def _label_legend(figure: Figure, labels: list[str]) -> None:
    handles = [
        Line2D([], [], marker="o", linestyle="", color=color, markersize=7, label=LABEL_NAMES.get(label, label))
        for label, color in LABEL_COLORS.items()
        if label in labels
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
