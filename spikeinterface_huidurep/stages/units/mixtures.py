"""Mixtures of points whose noise is known: how many sources there are, and which point is whose."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2, norm

# width of a component, in standard deviations of the noise: one neuron's spikes vary by a little more than the noise
WIDTH = 1.15
# of few points with many values noise alone has directions of several times its variance. So many of the values count
# where that is taken back: with all of them small neurons are no longer told from larger ones beside them
CHANCE = 0.5
# largest variance of points that come from one source, in units of that of the noise
LARGEST_VARIANCE = 1.4
# of the points, those further out than this share are pulled in before directions are looked for: collisions
CROWD = 0.9
MAX_ITERATIONS = 60
# the fit is made when a round adds less than this to the logarithm of the likelihood; a source has to add far more
LEAST_GAIN = 0.1
# points outside the ball that holds this share of a source's are far from it
FAR_SHARE = 0.99
# sources of a smaller share of the points have to be further away, by this factor: the tails of one neuron's spikes
MINORITY, MINORITY_FURTHER = 0.05, 1.75
# two sources are one if there are so many times as many points in the middle between them as their widths account for;
# looked at within this of the middle, up to this distance (standard deviations of the noise)
CROWDED, BETWEEN, FAR = 1.3, 0.5, 12.0


def separate_sources(
    points: np.ndarray,
    *,
    min_size: int,
    min_separation: float,
    n_components: int = 6,
    max_sources: int = 8,
    seed: int = 0,
) -> np.ndarray:
    """
    Separate points in noise of unit variance into their sources.

    A mixture of Gaussians of the noise's own width, and of a flat part for collisions, is fitted by expectation
    maximisation with one source, two, and so on, for as long as the Bayesian information criterion (Schwarz 1978) gets
    better. As the width is known, two sources need no gap between them to be told from one wide one; but there have to
    be as few points between them as that width leaves: waveforms of which there is a continuum are one source. Along
    principal components few points are spread by chance, too: that is taken back before the mixture is fitted.

    Parameters
    ----------
    points : (n_points, n_values) float
        In standard deviations of the noise.
    min_size : int
        Sources of fewer points are joined with the nearest.
    min_separation : float
        Sources nearer than this to each other are joined.
    n_components : int
        Principal components in which the mixture is fitted.
    max_sources : int
    seed : int
        For the first guess (k-means).

    Returns
    -------
    labels : (n_points,) int64
        Source of each point, from 0.
    """
    labels = np.zeros(len(points), dtype="int64")
    if len(points) < 2 * min_size:
        return labels
    projected, largest_variance = _principal_components(points, n_components)
    if largest_variance < LARGEST_VARIANCE:
        return labels
    best, means = np.inf, np.zeros((0, projected.shape[1]))
    for n_sources in range(1, max_sources + 1):
        starts = [_spread_means(projected, n_sources, seed), _one_more(projected, means)]
        criterion, found, means = min(
            (_fit(projected, start) for start in starts if len(start) == n_sources), key=lambda fit: fit[0]
        )
        if criterion < best:
            best, labels = criterion, found
        elif n_sources > 2:
            break
    return _join(points, labels, min_size, min_separation)


def _principal_components(points, n_components):
    """The points along their principal components, less what chance adds to the spread; the largest variance left."""
    n_points, n_values = points.shape
    centred = points - np.median(points, axis=0)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    crowd = centred * np.minimum(1, np.quantile(norm, CROWD) / np.maximum(norm, 1e-9))
    variances, directions = np.linalg.eigh(crowd.T.astype("float64") @ crowd)
    found = np.maximum(variances[::-1][:n_components] / n_points, 1e-9)
    left = _beyond_chance(found, CHANCE * n_values / n_points)
    projected = centred @ directions[:, ::-1][:, :n_components] * np.sqrt(left / found)
    return projected.astype("float64"), float(left[0])


def _beyond_chance(found, values_per_point):
    """
    The variances that the largest ones of a sample, in noise of variance 1, stand for.

    Up to the edge of Marchenko and Pastur (1967) they are noise; beyond it is known how much they are too large (Baik
    and Silverstein 2006), and they are shrunk by that (Donoho, Gavish and Johnstone 2018).
    """
    middle = found + 1 - values_per_point
    beyond = (middle + np.sqrt(np.maximum(middle**2 - 4 * found, 0))) / 2
    edge = (1 + np.sqrt(values_per_point)) ** 2
    return np.where(found > edge, beyond, np.minimum(found, 1.0))


def _spread_means(points, n_sources, seed):
    """Means of the k-means."""
    from sklearn.cluster import KMeans

    return KMeans(n_sources, n_init=3, random_state=seed).fit(points).cluster_centers_


def _one_more(points, means):
    """The means beside that of the largest group among the points that are far from all of them: few, but dense."""
    if len(means) == 0:
        return means
    far = points[_squared_distances(points, means).min(axis=1) > chi2.ppf(FAR_SHARE, points.shape[1]) * WIDTH**2]
    if len(far) == 0:
        return means
    # two points of one source are this far from each other
    near = _squared_distances(far, far) < 2 * points.shape[1] * WIDTH**2
    return np.vstack([means, far[near[near.sum(axis=1).argmax()]].mean(axis=0)])


def _squared_distances(points, others):
    """(n_points, n_others); a matrix product, since the points are few steps from zero in every direction."""
    squared = (points**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * points @ others.T
    return np.maximum(squared, 0)


def _fit(points, means):
    """Bayesian information criterion, the most likely source of each point, and the sources' means."""
    n_points, n_values = points.shape
    n_sources = len(means)
    nearest = _squared_distances(points, means).argmin(axis=1)
    shares = 0.95 * np.bincount(nearest, minlength=n_sources) / n_points
    volume = np.log(np.maximum(np.ptp(points, axis=0), 1e-9)).sum()
    total = -np.inf
    for _ in range(MAX_ITERATIONS):
        each = np.log(shares + 1e-12) - 0.5 * _squared_distances(points, means) / WIDTH**2
        each -= 0.5 * n_values * np.log(2 * np.pi * WIDTH**2)
        flat = np.log(max(1 - shares.sum(), 1e-3)) - volume
        largest = np.maximum(each.max(axis=1), flat)
        weight = np.exp(each - largest[:, None])
        sums = weight.sum(axis=1) + np.exp(flat - largest)
        before, total = total, (largest + np.log(sums)).sum()
        if total - before < LEAST_GAIN:
            break
        weight /= sums[:, None]
        shares = weight.mean(axis=0)
        means = weight.T @ points / np.maximum(weight.sum(axis=0), 1e-9)[:, None]
    return -2 * total + n_sources * (n_values + 1) * np.log(n_points), each.argmax(axis=1), means


def _join(points, labels, min_size, min_separation):
    """Join the nearest sources until all are large enough and far enough apart."""
    labels = np.unique(labels, return_inverse=True)[1].astype("int64")
    while labels.max() > 0:
        n_sources = labels.max() + 1
        size = np.bincount(labels)
        medians = np.array([np.median(points[labels == source], axis=0) for source in range(n_sources)])
        squared = _squared_distances(medians, medians)
        # the variance of a median is pi / 2 times that of a mean, in each coordinate: what distance chance makes
        squared -= 0.5 * np.pi * points.shape[1] * (1 / size[:, None] + 1 / size)
        minority = size < MINORITY * len(points)
        relative = squared / np.where(minority[:, None] | minority, MINORITY_FURTHER, 1.0) ** 2
        np.fill_diagonal(squared, np.inf)
        np.fill_diagonal(relative, np.inf)
        small = np.flatnonzero(size < min_size)
        one, other = np.unravel_index(relative.argmin(), relative.shape)
        if relative[one, other] >= min_separation**2:
            filled = _filled_pair(points, labels, medians, relative)
            if filled is not None:
                one, other = filled
            elif len(small):
                one, other = small[0], squared[small[0]].argmin()
            else:
                break
        labels[labels == max(one, other)] = min(one, other)
        labels = np.unique(labels, return_inverse=True)[1].astype("int64")
    return labels


def _filled_pair(points, labels, medians, distances):
    """
    The nearest two sources between which there are many more points than two of the noise's width would leave, or None.

    Those are parts of something wide: neurons far from the probe, or one whose waveform changes.
    """
    pairs = np.column_stack(np.triu_indices(len(medians), 1))
    for one, other in pairs[np.argsort(distances[pairs[:, 0], pairs[:, 1]], kind="stable")]:
        axis = medians[other] - medians[one]
        distance = float(np.linalg.norm(axis))
        if distance > FAR:
            continue
        place = [(points[labels == source] - medians[one]) @ axis / distance for source in (one, other)]
        between = np.abs(np.concatenate(place) - distance / 2) < BETWEEN
        share = norm.cdf((distance / 2 + BETWEEN) / WIDTH) - norm.cdf((distance / 2 - BETWEEN) / WIDTH)
        expected = share * len(between)
        if between.sum() > CROWDED * expected + np.sqrt(expected) + 1:
            return one, other
    return None
