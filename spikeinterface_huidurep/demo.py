"""The demonstration: generates a recording with known units, sorts it, compares the result and draws it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from spikeinterface.comparison import GroundTruthComparison, compare_sorter_to_ground_truth
from spikeinterface.core import (
    BaseRecording,
    BaseSorting,
    SortingAnalyzer,
    create_sorting_analyzer,
    generate_ground_truth_recording,
)
from spikeinterface.sorters import run_sorter

from .jobs import bars_shown
from .work import Work

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

# What `run_demo` and `huidurep report` write into the output folder.
CONTENTS = {"recording", "truth", "sorter", "sorting", "accuracy.csv", "demo.png", "analyzer", "motion", "report"}

# The probe of the recording: contacts in two columns, um.
PROBE = dict(num_columns=2, xpitch=20, ypitch=20, contact_shapes="circle", contact_shape_params={"radius": 6})


@dataclass(frozen=True)
class Demo:
    """Results of `run_demo`.

    Attributes
    ----------
    recording : BaseRecording
        The generated recording.
    truth : BaseSorting
        Its true units.
    sorting : BaseSorting
        The units that the sorter found.
    table : pandas.DataFrame
        One row for each true unit: ``depth`` (um), ``snr``, ``spikes``, ``found_as`` (the sorter's unit, or -1),
        ``accuracy``, ``precision``, ``recall``.
    run_time : float
        Run time of the sorter, s.
    figure : Path
        Path of the figure.
    """

    recording: BaseRecording
    truth: BaseSorting
    sorting: BaseSorting
    table: pd.DataFrame
    run_time: float
    figure: Path


def run_demo(
    folder: Path,
    num_channels: int = 32,
    num_units: int = 12,
    duration: float = 60.0,
    seed: int = 0,
    verbose: bool = False,
) -> Demo:
    """Generate a recording, sort it, compare the result with the truth and draw it.

    Parameters
    ----------
    folder : Path
        New folder to write: ``recording``, ``truth``, ``sorter``, ``sorting``, ``accuracy.csv`` and ``demo.png``.
    num_channels, num_units : int
        Contacts of the probe, in two columns 20 um apart, and neurons around it.
    duration : float
        Length of the recording, s.
    seed : int
        Seed of the recording and of the sorter.
    verbose : bool
        Show the sorter's progress.

    Returns
    -------
    Demo
        The recording, the two sortings, the table of accuracies and the figure's path.

    Raises
    ------
    FileExistsError
        If the folder exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"The folder {folder} exists: remove it, or name another one.")
    bar = bars_shown(verbose)
    with Work("make a recording", bar=bar, passes=1):
        recording, truth = generate_recording(num_channels, num_units, duration, seed)
        recording = recording.save(folder=folder / "recording", progress_bar=True, verbose=False)
        truth = truth.save(folder=folder / "truth")

    start = time.perf_counter()
    sorting = run_sorter("huidurep", recording, folder=folder / "sorter", verbose=verbose, seed=seed)
    run_time = time.perf_counter() - start
    sorting = sorting.save(folder=folder / "sorting")

    with Work("compare with truth", bar=bar, passes=2):
        true_analyzer = _analyze(truth, recording)
        comparison = compare_sorter_to_ground_truth(truth, sorting, exhaustive_gt=True)
        table = accuracy_table(comparison, true_analyzer)
        table.to_csv(folder / "accuracy.csv")
        draw(folder / "demo.png", _analyze(sorting, recording), table)
    return Demo(recording, truth, sorting, table, run_time, folder / "demo.png")


def generate_recording(
    num_channels: int, num_units: int, duration: float, seed: int
) -> tuple[BaseRecording, BaseSorting]:
    """Return a recording of SpikeInterface's generator with its true units.

    Parameters
    ----------
    num_channels, num_units : int
        Contacts and neurons.
    duration : float
        Length, s.
    seed : int
        Seed of everything in it.

    Returns
    -------
    recording : BaseRecording
        Traces in uV, 30 kHz, noise of 5 uV.
    truth : BaseSorting
        The neurons that fire in it.
    """
    recording, truth = generate_ground_truth_recording(
        durations=[duration],
        sampling_frequency=30000.0,
        num_channels=num_channels,
        num_units=num_units,
        generate_probe_kwargs=PROBE,
        seed=seed,
    )
    # The generator marks templates in white noise as filtered, but the sorter's band-pass improves them.
    recording.annotate(is_filtered=False)
    return recording, truth


def _analyze(sorting: BaseSorting, recording: BaseRecording) -> SortingAnalyzer:
    analyzer = create_sorting_analyzer(sorting.remove_empty_units(), recording, sparse=False)
    extensions = {
        "random_spikes": {"seed": 0},
        "templates": {},
        "noise_levels": {"random_slices_kwargs": {"seed": 0}},
        "unit_locations": {},
    }
    if len(analyzer.unit_ids) > 0:
        # counted by the bar of what is being done
        analyzer.compute(extensions, progress_bar=True, verbose=False)
    return analyzer


def accuracy_table(comparison: GroundTruthComparison, true_analyzer: SortingAnalyzer) -> pd.DataFrame:
    """Return how well each true unit was found, the best unit first.

    Parameters
    ----------
    comparison : GroundTruthComparison
        The sorter's units against the true ones.
    true_analyzer : SortingAnalyzer
        The true units, with templates, noise levels and unit locations.

    Returns
    -------
    pandas.DataFrame
        The table of `Demo`. The SNR is the largest peak of the template over the MAD noise of its channel.
    """
    templates = true_analyzer.get_extension("templates").get_data()
    noise = true_analyzer.get_extension("noise_levels").get_data()
    snr = np.abs(templates / noise).max(axis=(1, 2))
    depth = true_analyzer.get_extension("unit_locations").get_data()[:, 1]
    spikes = true_analyzer.sorting.count_num_spikes_per_unit()
    units = true_analyzer.unit_ids
    table = pd.DataFrame({"depth": depth, "snr": snr, "spikes": [spikes[unit] for unit in units]}, index=units)
    table.index.name = "unit"
    table["found_as"] = comparison.hungarian_match_12.loc[units]
    performance = comparison.get_performance()
    for measure in ("accuracy", "precision", "recall"):
        table[measure] = performance[measure].loc[units].astype(float)
    return table.sort_values("accuracy", ascending=False)


def draw(path: Path, analyzer: SortingAnalyzer, table: pd.DataFrame) -> None:
    """Draw the found spikes over time and depth, the found templates, and the accuracy against the SNR.

    Parameters
    ----------
    path : Path
        The picture to write.
    analyzer : SortingAnalyzer
        The found units, with templates and unit locations.
    table : pandas.DataFrame
        What `accuracy_table` returns.
    """
    # Figure, not pyplot: the settings of a program's own figures are not changed.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8), layout="constrained")
    raster, templates, accuracy = figure.subplots(1, 3, width_ratios=[3, 3, 2])
    templates.sharey(raster)
    if len(analyzer.unit_ids) > 0:
        _draw_raster(raster, analyzer)
        _draw_templates(templates, analyzer)
    raster.set(
        xlabel="time (s)", ylabel="depth on the probe (um)", title=f"Spikes of the {len(analyzer.unit_ids)} units found"
    )
    templates.set(xlabel="unit, by depth", title="Templates, scaled, on their largest channels")
    accuracy.scatter(table["snr"], table["accuracy"], color="black")
    accuracy.set(xlabel="SNR of the true unit", ylabel="accuracy", ylim=(-0.03, 1.03), xlim=(0, None))
    accuracy.set_title(f"{len(table)} true units, mean accuracy {table['accuracy'].mean():.2f}")
    accuracy.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _colors(num_units: int) -> np.ndarray:
    import matplotlib

    # Neighbours in depth get very different hues.
    return matplotlib.colormaps["hsv"]((np.arange(num_units) * 0.382) % 1.0)


def _draw_raster(axes: Axes, analyzer: SortingAnalyzer) -> None:
    depth = analyzer.get_extension("unit_locations").get_data()[:, 1]
    colors = _colors(len(depth))[np.argsort(np.argsort(depth))]
    for segment in range(analyzer.get_num_segments()):
        for unit_index, unit in enumerate(analyzer.unit_ids):
            times = analyzer.sorting.get_unit_spike_train(unit, segment_index=segment) / analyzer.sampling_frequency
            axes.plot(
                times, np.full(len(times), depth[unit_index]), "|", color=colors[unit_index], markersize=7, alpha=0.6
            )
    axes.set_ylim(analyzer.get_channel_locations()[:, 1].min() - 20, analyzer.get_channel_locations()[:, 1].max() + 20)


def _draw_templates(axes: Axes, analyzer: SortingAnalyzer) -> None:
    templates = analyzer.get_extension("templates").get_data()
    locations = analyzer.get_channel_locations()
    depth = analyzer.get_extension("unit_locations").get_data()[:, 1]
    order = np.argsort(depth)
    width = 2.0 * (np.ptp(locations[:, 0]) + 20.0)
    time = np.linspace(-8.0, 8.0, templates.shape[1])
    for rank, (unit_index, color) in enumerate(zip(order, _colors(len(order)), strict=True)):
        template = templates[unit_index]
        amplitude = np.abs(template).max(axis=0)
        # Each unit has its own column: its largest channels, at their depths.
        for channel in np.flatnonzero(amplitude > 0.3 * amplitude.max()):
            x = rank * width + locations[channel, 0] + time
            axes.plot(
                x, locations[channel, 1] + 20.0 * template[:, channel] / amplitude.max(), color=color, linewidth=1.0
            )
    axes.set_xticks(np.arange(len(order)) * width, [str(analyzer.unit_ids[index]) for index in order], rotation=90)
