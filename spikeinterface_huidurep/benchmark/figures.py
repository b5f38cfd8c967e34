"""Plots of a comparison, each as a self-contained SVG text."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .measures import WELL_DETECTED
from .peers import PEERS

# Okabe and Ito's colours, which colour-blind readers can tell apart; black is HuiduRep's
PALETTE = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
OTHERS = ("#7F7F7F", "#8C564B", "#BCBD22")  # for sorters beyond those of the comparison
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "huidurep",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def colour(sorter: str) -> str:
    """Colour of a sorter, the same in every plot."""
    names = list(PEERS)
    return PALETTE[names.index(sorter)] if sorter in names else OTHERS[sum(map(ord, sorter)) % len(OTHERS)]


def _new_figure(width: float, height: float) -> Figure:
    with matplotlib.rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _axes(figure: Figure, *layout: int, **options) -> Axes:
    with matplotlib.rc_context(STYLE):
        return figure.add_subplot(*layout, **options)


def plot_accuracy_against_snr(units: pd.DataFrame, sorter: str) -> str:
    """Accuracy, precision and recall of each true unit against its SNR, for one sorter.

    Parameters
    ----------
    units : pd.DataFrame
        One recording's rows of :attr:`~spikeinterface_huidurep.benchmark.BenchmarkResults.units`; the axes span the SNR
        of them all, so that the panels of several sorters can be compared.
    sorter : str

    Returns
    -------
    str
        SVG.
    """
    figure = _new_figure(3.0, 2.5)
    axes = _axes(figure, 111)
    snr = units["snr"].to_numpy(dtype=float)
    mine = units[units["sorter"] == sorter]
    axes.axhline(WELL_DETECTED, color="0.75", linewidth=0.8, zorder=0)
    axes.scatter(mine["snr"], mine["recall"], s=12, marker="^", color="0.6", linewidths=0, label="recall")
    axes.scatter(mine["snr"], mine["precision"], s=12, marker="v", color="0.8", linewidths=0, label="precision")
    axes.scatter(mine["snr"], mine["accuracy"], s=16, color=colour(sorter), linewidths=0, label="accuracy")
    axes.set(title=sorter, xscale="log", ylim=(-0.03, 1.05), xlabel="SNR")
    _plain_log_ticks(axes, snr[np.isfinite(snr)], margin=1.1)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=7, handletextpad=0.1, columnspacing=1)
    return _svg(figure)


def plot_sorted_accuracy(units: pd.DataFrame, sorters: Sequence[str]) -> str:
    """Accuracy of the units of each sorter from the best to the worst, one line a sorter; returns SVG."""
    figure = _new_figure(4.6, 3.2)
    axes = _axes(figure, 111)
    axes.axhline(WELL_DETECTED, color="0.75", linewidth=0.8, zorder=0)
    for sorter in sorters:
        accuracy = np.sort(units.loc[units["sorter"] == sorter, "accuracy"].to_numpy())[::-1]
        axes.plot(
            np.arange(1, accuracy.size + 1),
            accuracy,
            color=colour(sorter),
            linewidth=2.2 if sorter == "huidurep" else 1.3,
            label=sorter,
        )
    axes.set(xlabel="true units, best first", ylabel="accuracy", ylim=(-0.03, 1.05))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return _svg(figure)


def plot_accuracy_over_time(over_time: pd.DataFrame, sorters: Sequence[str], motion=None) -> str:
    """Mean accuracy in windows of time, with the true displacement below where there is one.

    Parameters
    ----------
    over_time : pd.DataFrame
        One recording's rows of :attr:`~spikeinterface_huidurep.benchmark.BenchmarkResults.over_time`.
    sorters : sequence of str
    motion : (times, displacement) or None
        In s and um.

    Returns
    -------
    str
        SVG.
    """
    figure = _new_figure(4.6, 3.2 if motion is None else 4.2)
    if motion is None:
        axes, below = _axes(figure, 111), None
    else:
        grid = figure.add_gridspec(2, 1, height_ratios=(3, 1))
        axes = _axes(figure, grid[0])
        below = _axes(figure, grid[1], sharex=axes)
        below.plot(*motion, color="0.4", linewidth=1.0)
        below.set(xlabel="time (s)", ylabel="tissue (um)")
    for sorter in sorters:
        mine = over_time[over_time["sorter"] == sorter]
        width = 2.2 if sorter == "huidurep" else 1.3
        axes.plot(mine["time_s"], mine["accuracy"], color=colour(sorter), linewidth=width, label=sorter)
    axes.set(ylabel="mean accuracy", ylim=(-0.03, 1.05), xlabel="time (s)" if below is None else "")
    axes.legend(frameon=False, fontsize=8, loc="lower left", ncols=2)
    return _svg(figure)


def plot_cost(summary: pd.DataFrame, sorters: Sequence[str], column: str) -> str:
    """Run time or memory of each sorter, one dot a recording.

    Parameters
    ----------
    summary : pd.DataFrame
        :attr:`~spikeinterface_huidurep.benchmark.BenchmarkResults.summary`.
    sorters : sequence of str
    column : "run_time_ratio" or "peak_memory_gb"

    Returns
    -------
    str
        SVG.
    """
    done = summary[summary["status"] == "done"]
    figure = _new_figure(4.6, 0.3 * len(sorters) + 1.0)
    axes = _axes(figure, 111)
    for row, sorter in enumerate(sorters):
        values = done.loc[done["sorter"] == sorter, column].to_numpy(dtype=float)
        axes.scatter(values, np.full(values.size, row), color=colour(sorter), s=22, alpha=0.8, linewidths=0)
    axes.set_yticks(range(len(sorters)), list(sorters))
    axes.set(ylim=(len(sorters) - 0.5, -0.5))
    if column == "run_time_ratio":
        axes.set(xscale="log", xlabel="run time / recording time")
        _plain_log_ticks(axes, done[column].to_numpy(dtype=float))
    else:
        axes.set(xlabel="peak memory (GB)")
        axes.set_xlim(left=0)
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    return _svg(figure)


def _plain_log_ticks(axes: Axes, values: np.ndarray, margin: float = 1.5) -> None:
    """Ticks at 1, 2 and 5 of each decade around positive `values`, in plain numbers."""
    values = values[values > 0]
    low, high = (values.min() / margin, values.max() * margin) if values.size else (0.5, 2.0)
    ticks = [m * 10.0**e for e in range(-4, 6) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def plot_agreement(matrix: pd.DataFrame, title: str = "") -> str:
    """A square of shares of units that two sorters agree on; `matrix` has the same names on both axes; returns SVG."""
    names = list(matrix.index)
    figure = _new_figure(0.7 * len(names) + 2.2, 0.55 * len(names) + 1.6)
    axes = _axes(figure, 111)
    axes.imshow(matrix.to_numpy(dtype=float), vmin=0, vmax=1, cmap="Blues")
    for row in range(len(names)):
        for column in range(len(names)):
            value = float(matrix.iloc[row, column])
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value > 0.6 else "black")
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_title(title)
    return _svg(figure)


def plot_units_by_agreement(units: pd.DataFrame, sorters: Sequence[str]) -> str:
    """A stacked bar a sorter: its units by the number of sorters that have them; returns SVG."""
    figure = _new_figure(4.6, 0.35 * len(sorters) + 1.4)
    axes = _axes(figure, 111)
    most = int(units["sorters_with_it"].max())
    left = np.zeros(len(sorters))
    for count in range(most, 0, -1):
        width = np.array(
            [((units["sorter"] == s) & (units["sorters_with_it"] == count)).sum() for s in sorters], dtype=float
        )
        shade = matplotlib.colormaps["Blues"](0.15 + 0.8 * count / most)
        axes.barh(range(len(sorters)), width, left=left, color=shade, label=f"{count}" if count > 1 else "only itself")
        left += width
    axes.set_yticks(range(len(sorters)), list(sorters))
    axes.set(xlabel="units", ylim=(len(sorters) - 0.5, -0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(loc="outside upper center", ncols=most, frameon=False, fontsize=8, title="sorters with the unit")
    return _svg(figure)


def plot_violations(units: pd.DataFrame, sorters: Sequence[str]) -> str:
    """ISI violations ratio (clipped at 2) of each unit against its SNR; returns SVG."""
    figure = _new_figure(4.6, 3.2)
    axes = _axes(figure, 111)
    for sorter in sorters:
        mine = units[units["sorter"] == sorter]
        violations = np.clip(mine["isi_violations_ratio"].to_numpy(dtype=float), 0, 2)
        axes.scatter(mine["snr"], violations, s=14, color=colour(sorter), alpha=0.7, linewidths=0, label=sorter)
    axes.set(xlabel="SNR", ylabel="ISI violations", xscale="log", ylim=(-0.05, 2.1))
    _plain_log_ticks(axes, units["snr"].to_numpy(dtype=float))
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure)
