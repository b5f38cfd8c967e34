"""What the figures of a sort show, whoever draws them: spikes over depth, the map of the embedding, places of names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from spikeinterface.core import SortingAnalyzer
from spikeinterface.core.motion import Motion

from ..stages.motion.clock import on_sample_clock
from .extension import EXTENSION_NAME
from .traces import in_microvolts

MAX_POINTS = 60_000  # spikes of a raster: more would cover each other
MAX_MAPPED = 2_500  # spikes of the map of embeddings: t-SNE takes some seconds for them
MAX_NAMES = 80  # units whose names are written: more would cover each other


class Raster(NamedTuple):
    """
    Spikes over time and depth, the large ones last.

    times, depths, registered (n_spikes,) float, s and um; sizes (n_spikes,) float, amplitudes as they are; units
    (n_spikes,) int, indices; ceiling float, an amplitude that hardly any spike exceeds.
    """

    times: np.ndarray
    depths: np.ndarray
    registered: np.ndarray
    sizes: np.ndarray
    units: np.ndarray
    ceiling: float


class EmbeddingMap(NamedTuple):
    """
    A t-SNE map of some spikes.

    xy (n_spikes, 2) float; units (n_spikes,) int, indices; named (n_units,) int, the units that are in it; labels
    (n_units, 2) float, where their names do not cover each other, or None where there are too many.
    """

    xy: np.ndarray
    units: np.ndarray
    named: np.ndarray
    labels: np.ndarray | None


def make_raster(
    analyzer: SortingAnalyzer, motions: Mapping[Any, Motion | None], seed: int = 0, max_points: int = MAX_POINTS
) -> Raster:
    """
    Choose spikes and find their depths, as they lie and after the correction of motion.

    A unit's spikes lie around the depth that the unit has elsewhere (extension "unit_locations"): a location is
    estimated in several ways, which differ by some um, and no unit shall have two depths.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extensions "spike_locations", "spike_amplitudes" and "unit_locations".
    motions : mapping
        Motion by shank, under None where there is one for all, in the times of the recording.
    seed : int
        Chooses the spikes, if there are too many.
    max_points : int

    Returns
    -------
    Raster
    """
    spikes = analyzer.sorting.to_spike_vector()
    depths = np.asarray(analyzer.get_extension("spike_locations").get_data()["y"], dtype="float64")
    shown = np.arange(len(spikes))
    if analyzer.has_extension(EXTENSION_NAME):
        # the encoder's locations, from which the sorter estimates motion, for the spikes that have them
        shown = np.asarray(analyzer.get_extension("random_spikes").get_data())
        depths[shown] = analyzer.get_extension(EXTENSION_NAME).get_data(outputs="location")[:, 1]
    places = analyzer.get_extension("unit_locations").get_data()[:, 1]
    units = spikes["unit_index"][shown]
    for unit in np.unique(units):
        mine = shown[units == unit]
        depths[mine] += places[unit] - np.median(depths[mine])
    if len(shown) > max_points:
        shown = np.random.default_rng(seed).choice(shown, max_points, replace=False)
    sizes = np.abs(analyzer.get_extension("spike_amplitudes").get_data()[shown])
    shown, sizes = shown[np.argsort(sizes)], np.sort(sizes)
    spikes, depths = spikes[shown], depths[shown]
    within = spikes["sample_index"] / analyzer.sampling_frequency
    registered = _registered(analyzer, motions, spikes, within, depths)
    ceiling = float(np.percentile(sizes, 98)) if len(sizes) else 1.0
    times = within + segment_starts(analyzer)[spikes["segment_index"]]
    return Raster(times, depths, registered, sizes, np.asarray(spikes["unit_index"]), ceiling)


def _registered(analyzer, motions, spikes, within, depths):
    registered, groups = depths.copy(), analyzer.sorting.get_property("group")
    for group, motion in _on_sample_clock(analyzer, motions).items():
        mine = np.ones(len(spikes), dtype=bool)
        if group is not None and groups is not None:
            mine = np.asarray(groups).astype(str)[spikes["unit_index"]] == str(group)
        for segment in range(analyzer.get_num_segments()):
            here = np.flatnonzero(mine & (spikes["segment_index"] == segment))
            if len(here):
                moved_by = motion.get_displacement_at_time_and_depth(within[here], depths[here], segment_index=segment)
                registered[here] -= moved_by
    return registered


def courses(analyzer: SortingAnalyzer, motions: Mapping[Any, Motion | None]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Times (s) and depths (um) of the tissue at some depths of the probe, for each shank and segment that moves."""
    starts = segment_starts(analyzer)
    for motion in _on_sample_clock(analyzer, motions).values():
        bins = motion.spatial_bins_um
        rows = np.unique(np.linspace(0, len(bins) - 1, min(len(bins), 5)).astype(int))
        for segment, displacement in enumerate(motion.displacement):
            times = motion.temporal_bins_s[segment] + starts[segment]
            for row in rows:
                yield times, bins[row] + displacement[:, row]


def _on_sample_clock(analyzer, motions):
    """The motions that there are, on the clock of the samples: pictures have no start times and pauses."""
    moving = {group: motion for group, motion in motions.items() if motion is not None}
    if not (analyzer.has_recording() or analyzer.has_temporary_recording()):
        return moving
    return {group: on_sample_clock(motion, analyzer.recording) for group, motion in moving.items()}


def segment_starts(analyzer: SortingAnalyzer) -> np.ndarray:
    """When each segment begins if one follows the other, (n_segments,) s."""
    lengths = [analyzer.get_num_samples(segment) for segment in range(analyzer.get_num_segments())]
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]) / analyzer.sampling_frequency


def map_embedding(analyzer: SortingAnalyzer, seed: int = 0) -> EmbeddingMap:
    """
    Map the embedded spikes to two dimensions.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extension "huidurep_embeddings".
    seed : int
        Chooses the spikes and starts the map; the same seed gives the same map.

    Returns
    -------
    EmbeddingMap
        t-SNE (van der Maaten and Hinton 2008) of the features that the sorter clusters, see `clustering_features`.
    """
    from ..stages.peaks.clustering import clustering_features

    extension = analyzer.get_extension(EXTENSION_NAME)
    units = np.asarray(extension.get_data(outputs="unit_index"))
    features = clustering_features(extension.get_data(), extension.get_data(outputs="location")).astype("float32")
    shown = np.sort(np.random.default_rng(seed).permutation(len(units))[:MAX_MAPPED])
    units, xy = units[shown], np.asarray(_map(features[shown], seed), dtype="float64")
    named = np.unique(units)
    labels = None
    if 0 < len(named) <= MAX_NAMES:
        middles = np.array([np.median(xy[units == unit], axis=0) for unit in named])
        labels = _apart(middles, np.ptp(xy, axis=0) * [0.05, 0.04])
    return EmbeddingMap(xy, units, named, labels)


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


def _apart(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Points (n, 2) moved up and down until boxes of this size around them do not overlap."""
    points, box = points.copy(), np.maximum(box, 1e-9)
    for _ in range(100):
        moved = False
        for one in range(len(points)):
            for other in range(one):
                gap = points[one] - points[other]
                if (np.abs(gap) < 0.999 * box).all():
                    push = (box[1] - abs(gap[1])) / 2 * (1 if gap[1] >= 0 else -1)
                    points[one, 1] += push
                    points[other, 1] -= push
                    moved = True
        if not moved:
            break
    return points


def probe_labels(depths: np.ndarray, height_um: float) -> np.ndarray | None:
    """
    Depths at which names stand in a column beside the probe, each as near its unit as the others allow.

    Parameters
    ----------
    depths : (n_units,) float
        um.
    height_um : float
        Of the picture.

    Returns
    -------
    (n_units,) float64 or None
        None where there are too many names.
    """
    if not 0 < len(depths) <= MAX_NAMES:
        return None
    gap = min(height_um / 28, 0.96 * height_um / len(depths))
    order = np.argsort(depths, kind="stable")
    # least squares with a least distance: regression on what is left when the distances are taken out
    from sklearn.isotonic import isotonic_regression

    steps = gap * np.arange(len(depths))
    at = np.empty(len(depths))
    at[order] = isotonic_regression(np.asarray(depths, dtype="float64")[order] - steps) + steps
    return at


def unit_amplitudes(analyzer: SortingAnalyzer) -> np.ndarray:
    """Largest deflection of each unit's template, (n_units,), in the analyzer's unit."""
    return np.abs(analyzer.get_extension("templates").get_templates(operator="average")).max(axis=(1, 2))


def amplitude_unit(analyzer: SortingAnalyzer) -> str:
    """The unit of an analyzer's amplitudes, as it is written on an axis."""
    return "µV" if in_microvolts(analyzer) else "recording's unit"
