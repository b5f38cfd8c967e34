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

from .extension import EXTENSION_NAME
from .suggestions import given_labels
from .traces import in_microvolts

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
MAX_POINTS = 60_000  # spikes of a raster: more would cover each other
MAX_MAPPED = 2_500  # spikes of the map of embeddings: t-SNE takes some seconds for them
MAX_TEMPLATES = 48  # six rows of eight
MAX_NAMES = 80  # units whose names are written: more would cover each other


def draw_motion(
    analyzer: SortingAnalyzer, motion: Motion | Mapping[Any, Motion | None] | None = None, *, seed: int = 0
) -> Figure:
    """
    Draw the spikes over time and depth, before and after motion correction.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extensions "spike_locations" and "spike_amplitudes".
    motion : Motion or dict of Motion, optional
        The probe's motion, or that of each shank by the unit property "group"; it is drawn over the spikes. Without it
        there is a single raster.
    seed : int
        Chooses the spikes that are drawn if there are too many.

    Returns
    -------
    Figure
    """
    motions = dict(motion) if isinstance(motion, Mapping) else {None: motion}
    moved = any(one is not None for one in motions.values())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.5), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, 2 if moved else 1, sharex=True, sharey=True))
        times, depths, sizes, registered = _spike_depths(analyzer, motions, seed)
        ceiling = np.percentile(sizes, 98) if len(sizes) else 1.0
        titles = ("Spikes as they lie", "After motion correction") if moved else ("Spikes (no motion was corrected)",)
        for axes, y, title in zip(panels, (depths, registered), titles, strict=False):
            dots = float(np.clip(MAX_POINTS / max(len(times), 1), 1.5, 10))  # the fewer the larger
            points = axes.scatter(times, y, c=sizes, s=dots, cmap="viridis_r", vmin=0, vmax=ceiling, linewidths=0)
            axes.set(xlabel="time (s)", title=title)
        panels[0].set_ylabel("depth (µm)")
        figure.colorbar(points, ax=panels, label=f"amplitude ({_unit(analyzer)})", pad=0.01)
        if moved:
            _draw_courses(panels[0], analyzer, motions)
        low, high = analyzer.get_channel_locations()[:, 1].min(), analyzer.get_channel_locations()[:, 1].max()
        panels[0].set_ylim(low - 20, high + 20)
        panels[0].set_xlim(0, analyzer.get_total_duration())
    return figure


def _spike_depths(analyzer, motions, seed):
    """Times (s), depths (um), amplitudes and registered depths of some of the spikes, the large ones last."""
    spikes = analyzer.sorting.to_spike_vector()
    depths = np.asarray(analyzer.get_extension("spike_locations").get_data()["y"], dtype="float64")
    shown = np.arange(len(spikes))
    if analyzer.has_extension(EXTENSION_NAME):
        # the encoder's locations, from which the sorter estimates motion, for the spikes that have them
        shown = np.asarray(analyzer.get_extension("random_spikes").get_data())
        depths[shown] = analyzer.get_extension(EXTENSION_NAME).get_data(outputs="location")[:, 1]
    if len(shown) > MAX_POINTS:
        shown = np.random.default_rng(seed).choice(shown, MAX_POINTS, replace=False)
    sizes = np.abs(analyzer.get_extension("spike_amplitudes").get_data()[shown])
    shown, sizes = shown[np.argsort(sizes)], np.sort(sizes)
    spikes, depths = spikes[shown], depths[shown]
    starts = _segment_starts(analyzer)
    within = spikes["sample_index"] / analyzer.sampling_frequency
    registered = depths.copy()
    groups = analyzer.sorting.get_property("group")
    for group, motion in motions.items():
        if motion is None:
            continue
        mine = np.ones(len(spikes), dtype=bool)
        if group is not None and groups is not None:
            mine = np.asarray(groups).astype(str)[spikes["unit_index"]] == str(group)
        for segment in range(analyzer.get_num_segments()):
            here = np.flatnonzero(mine & (spikes["segment_index"] == segment))
            if len(here):
                moved_by = motion.get_displacement_at_time_and_depth(within[here], depths[here], segment_index=segment)
                registered[here] -= moved_by
    return within + starts[spikes["segment_index"]], depths, sizes, registered


def _draw_courses(axes: Axes, analyzer: SortingAnalyzer, motions: Mapping[Any, Motion | None]) -> None:
    starts = _segment_starts(analyzer)
    for motion in motions.values():
        if motion is None:
            continue
        bins = motion.spatial_bins_um
        rows = np.unique(np.linspace(0, len(bins) - 1, min(len(bins), 5)).astype(int))
        for segment, displacement in enumerate(motion.displacement):
            times = motion.temporal_bins_s[segment] + starts[segment]
            for row in rows:
                axes.plot(times, bins[row] + displacement[:, row], color=PALETTE[1], linewidth=1.6)
    axes.legend(handles=[Line2D([], [], color=PALETTE[1], label="motion")], loc="upper right", framealpha=0.9)


def _segment_starts(analyzer: SortingAnalyzer) -> np.ndarray:
    lengths = [analyzer.get_num_samples(segment) for segment in range(analyzer.get_num_segments())]
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]) / analyzer.sampling_frequency


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
        Long probes are drawn in several columns of depth.
    """
    contacts = analyzer.get_channel_locations()
    places = analyzer.get_extension("unit_locations").get_data()[:, :2]
    labels = list(given_labels(analyzer).values())
    size = _unit_amplitudes(analyzer)
    size = 30 + 270 * np.sqrt(size / max(size.max(), 1e-12))
    low, high = contacts[:, 1].min() - 40, contacts[:, 1].max() + 40
    left, right = contacts[:, 0].min() - 40, contacts[:, 0].max() + 40
    # an inch for so many um of depth that neighbours can be told apart
    n_columns = int(np.clip(np.ceil((high - low) / 1000), 1, 6))
    edges = np.linspace(low, high, n_columns + 1)
    with matplotlib.rc_context(STYLE):
        height = float(np.clip(2 + (edges[1] - edges[0]) / 90, 4.5, 10))
        figure = Figure(figsize=(float(np.clip(2.2 * n_columns + 3, 5.5, 14)), height), layout="constrained")
        for axes, bottom, top in zip(figure.subplots(1, n_columns, squeeze=False)[0], edges, edges[1:], strict=False):
            axes.plot(*contacts.T, "s", color="0.82", markersize=5, zorder=1)
            colors = [LABEL_COLORS[label] for label in labels]
            axes.scatter(*places.T, s=size, c=colors, alpha=0.75, edgecolors="white", linewidths=1, zorder=2)
            if len(places) <= MAX_NAMES:
                for unit, (x, y), offset in zip(analyzer.unit_ids, places, np.sqrt(size) / 2 + 2, strict=True):
                    if bottom <= y <= top:
                        axes.annotate(
                            str(unit), (x, y), (offset, 0), textcoords="offset points", fontsize=9, va="center"
                        )
            axes.set(xlim=(left, right), ylim=(bottom, top), xlabel="x (µm)")
        figure.axes[0].set_ylabel("depth (µm)")
        figure.suptitle(f"{len(places)} units on the probe")
        _label_legend(figure, labels)
    return figure


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
    size = _unit_amplitudes(analyzer)
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
        figure.supylabel(f"amplitude ({_unit(analyzer)})", fontsize=10)
        few = "" if len(shown) == len(main) else f", the {len(shown)} largest of {len(main)}"
        figure.suptitle(f"Templates on the units' main channels, mean ± standard deviation{few}")
        _label_legend(figure, [labels[unit] for unit in shown])
    return figure


def draw_embedding(analyzer: SortingAnalyzer, *, seed: int = 0) -> Figure:
    """
    Draw a t-SNE map of the embedded spikes, coloured by unit.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extension "huidurep_embeddings".
    seed : int
        Chooses the spikes and starts the map; the same seed gives the same map.

    Returns
    -------
    Figure
        t-SNE (van der Maaten and Hinton 2008) of the features that the sorter clusters, see `clustering_features`.
        Distances between groups and sizes of groups have little meaning in such a map.
    """
    from ..stages.peaks.clustering import clustering_features

    extension = analyzer.get_extension(EXTENSION_NAME)
    units = extension.get_data(outputs="unit_index")
    features = clustering_features(extension.get_data(), extension.get_data(outputs="location")).astype("float32")
    shown = np.sort(np.random.default_rng(seed).permutation(len(units))[:MAX_MAPPED])
    units, xy = units[shown], _map(features[shown], seed)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 7), layout="constrained")
        axes = figure.subplots()
        for unit in np.unique(units):
            mine = xy[units == unit]
            axes.scatter(*mine.T, s=9, color=PALETTE[unit % len(PALETTE)], alpha=0.55, linewidths=0)
        if len(np.unique(units)) <= MAX_NAMES:
            for unit in np.unique(units):
                box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "edgecolor": "none"}
                middle = np.median(xy[units == unit], axis=0)
                axes.annotate(str(analyzer.unit_ids[unit]), middle, ha="center", va="center", fontsize=9, bbox=box)
        axes.set(xticks=[], yticks=[], title=f"Embedding of {len(shown)} spikes of {len(np.unique(units))} units")
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
    return figure


def _map(features: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(features) < 10:
        return features[:, :2]
    perplexity = min(30.0, (len(features) - 1) / 3)
    # more threads than free cores make its many short loops ten times slower
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", max_iter=500, random_state=seed, n_jobs=1).fit_transform(
            features
        )


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
        present = [label for label in LABEL_COLORS if label in labels]
        bars = grid[0].bar(
            [LABEL_NAMES.get(label, label) for label in present],
            [labels.count(label) for label in present],
            color=[LABEL_COLORS[label] for label in present],
        )
        grid[0].bar_label(bars)
        grid[0].set(ylabel="units", title=f"{len(labels)} units")
        grid[0].margins(y=0.15)
        confidence = analyzer.sorting.get_property("confidence")
        snr, rate = metrics["snr"], metrics["firing_rate"]
        pairs = [
            (snr, "SNR", rate, "firing rate (Hz)"),
            (snr, "SNR", metrics["rp_contamination"], "contamination (refractory violations)"),
            (metrics["amplitude_median"].abs(), f"median amplitude ({_unit(analyzer)})", snr, "SNR"),
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


def _label_legend(figure: Figure, labels: list[str]) -> None:
    handles = [
        Line2D([], [], marker="o", linestyle="", color=color, markersize=7, label=LABEL_NAMES.get(label, label))
        for label, color in LABEL_COLORS.items()
        if label in labels
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def _unit_amplitudes(analyzer: SortingAnalyzer) -> np.ndarray:
    """Largest deflection of each unit's template, (n_units,), in the analyzer's unit."""
    return np.abs(analyzer.get_extension("templates").get_templates(operator="average")).max(axis=(1, 2))


def _unit(analyzer: SortingAnalyzer) -> str:
    return "µV" if in_microvolts(analyzer) else "the recording's unit"
