"""Projections of the embedding on two dimensions, always the same for the same spikes."""

from __future__ import annotations

import numpy as np

METHODS = ("PCA", "LDA")


def project(embedding: np.ndarray, unit_index: np.ndarray, method: str = "PCA") -> tuple[np.ndarray, list[str]]:
    """
    Project spikes on the plane in which they, or their units, differ most.

    Parameters
    ----------
    embedding : (n_spikes, n_dimensions) float
    unit_index : (n_spikes,) int
        Unit of each spike; only "LDA" uses it.
    method : {"PCA", "LDA"}
        "PCA": the first two principal components. "LDA": Fisher's two linear discriminants, which separate the units
        best. With two units the second axis is the first principal component of the residual; with one unit, or too few
        spikes, the method is "PCA".

    Returns
    -------
    points : (n_spikes, 2) float64
        Zero in the middle.
    axes : list of str
        Names of the two axes.

    Raises
    ------
    ValueError
        If there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"The projection is one of {', '.join(METHODS)}, not {method!r}.")
    centred = np.asarray(embedding, dtype="float64")
    if len(centred) == 0:
        return np.zeros((0, 2)), ["PC 1", "PC 2"]
    centred = centred - centred.mean(axis=0)
    units = np.unique(unit_index)
    if method == "LDA" and len(units) > 1 and len(centred) > len(units) + centred.shape[1]:
        return _discriminants(centred, unit_index, len(units))
    axes, share = _principal_axes(centred)
    return centred @ axes, [f"PC {number} ({part:.0%})" for number, part in enumerate(share, start=1)]


def _principal_axes(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First two principal axes, (n_dimensions, 2), with their share of the variance, (2,)."""
    variances, axes = np.linalg.eigh(centred.T @ centred)
    share = variances[::-1][:2] / max(variances.sum(), 1e-12)
    return _with_sign(axes[:, ::-1][:, :2]), share


def _discriminants(centred: np.ndarray, unit_index: np.ndarray, n_units: int) -> tuple[np.ndarray, list[str]]:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    analysis = LinearDiscriminantAnalysis(n_components=min(2, n_units - 1)).fit(centred, unit_index)
    points = centred @ _with_sign(analysis.scalings_[:, : min(2, n_units - 1)])
    if points.shape[1] == 2:
        return points, ["LD 1", "LD 2"]
    # the residual of a regression on the one discriminant
    slope = centred.T @ points / max((points.T @ points).item(), 1e-12)
    rest = centred - points @ slope.T
    return np.column_stack([points, rest @ _principal_axes(rest)[0][:, :1]]), ["LD 1", "PC 1 of the rest"]


def _with_sign(axes: np.ndarray) -> np.ndarray:
    """Axes whose largest component is positive: their sign would otherwise be arbitrary."""
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return axes * np.where(largest < 0, -1.0, 1.0)


def limits(points: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges of x and y that show all points but a few outliers, with a margin."""
    if len(points) == 0:
        return (-1.0, 1.0), (-1.0, 1.0)
    low, high = np.percentile(points, [0.2, 99.8], axis=0)
    margin = np.maximum(0.08 * (high - low), 1e-3)
    (left, bottom), (right, top) = low - margin, high + margin
    return (float(left), float(right)), (float(bottom), float(top))
