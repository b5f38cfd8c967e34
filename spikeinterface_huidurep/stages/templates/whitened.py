"""Templates in whitened coordinates, where distances count standard deviations of the noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import toeplitz

from ..traces.noise import NoiseModel
from .drifting import DriftingUnitTemplates

N_SUBSAMPLE = 8


@dataclass(frozen=True)
class WhitenedTemplates:
    """
    Drifting templates on a few temporal filters per channel: the noise of every coefficient has unit variance.

    A spike of unit u at displacement d and sample t adds `coefficients[u, d]` to the output of the filters at t, and
    `coefficients[u, d] @ response[:, :, lag]` at t + lag.

    Attributes
    ----------
    coefficients : (n_units, n_displacements, n_local, n_filters) float32
    channels : (n_units, n_local) int, channel indices, ascending
    filters : (n_filters, n_samples) float32, to be correlated with the spatially whitened traces
    response : (N_SUBSAMPLE, n_filters, n_filters, 2 * n_samples - 1) float32
        What the filters answer, at each lag, to the waveform of one coefficient shifted by a fraction of a sample
        (from -1/2 to 1/2 - 1 / N_SUBSAMPLE).
    whitening : (n_channels, n_channels) float32
    nbefore : int
    displacements : (n_displacements,) float, um
    locations : (n_units, 2) float, um
    """

    coefficients: np.ndarray
    channels: np.ndarray
    filters: np.ndarray
    response: np.ndarray
    whitening: np.ndarray
    nbefore: int
    displacements: np.ndarray
    locations: np.ndarray

    @property
    def n_units(self) -> int:
        return len(self.coefficients)

    @property
    def n_values(self) -> int:
        """Number of coefficients of a template: channels times filters."""
        return self.coefficients.shape[2] * self.coefficients.shape[3]

    @property
    def energy(self) -> np.ndarray:
        """Squared norm of each template (squared units of noise), mean over the displacements, (n_units,)."""
        return (self.coefficients.astype("float64") ** 2).sum(axis=(2, 3)).mean(axis=1)

    def at(self, displacement: np.ndarray) -> np.ndarray:
        """Coefficients at one displacement a unit (um), interpolated: (n_units, n_local, n_filters)."""
        return self._interpolated(np.arange(self.n_units), displacement)

    def of_unit(self, unit: int, displacement: np.ndarray) -> np.ndarray:
        """Coefficients of one unit at many displacements (um): (n, n_local, n_filters)."""
        return self._interpolated(np.full(len(displacement), unit), displacement)

    def select(self, units: np.ndarray) -> WhitenedTemplates:
        """Some of the units, (n,) int or (n_units,) bool."""
        return replace(
            self,
            coefficients=self.coefficients[units],
            channels=self.channels[units],
            locations=self.locations[units],
        )

    def slope(self) -> np.ndarray:
        """Change of the coefficients when the spike comes later: `coefficients @ slope().T`, (n_filters, n_filters)."""
        middle, centre = self.response.shape[3] // 2, N_SUBSAMPLE // 2
        return self.response[centre + 1, :, :, middle] - self.response[centre - 1, :, :, middle]

    def stretch(self) -> np.ndarray:
        """Change of the coefficients when the spike gets broader: `coefficients @ stretch().T`, (n_filters, n_filters).

        By the whole of its duration: a spike that is a tenth broader about its trough changes by a tenth of this.
        """
        filters = self.filters.astype("float64")
        waveforms = np.linalg.pinv(filters).T
        after = np.arange(filters.shape[1]) - self.nbefore
        return filters @ (-after * np.gradient(waveforms, axis=1)).T

    def broadened(self, factor: float) -> np.ndarray:
        """Change to a spike `factor` times as broad: `coefficients @ broadened(factor).T`, (n_filters, n_filters).

        Broader about the sample on which it is centred.
        """
        filters = self.filters.astype("float64")
        samples = np.arange(filters.shape[1])
        before = self.nbefore + (samples - self.nbefore) / factor
        waveforms = np.linalg.pinv(filters).T
        return filters @ np.array([np.interp(before, samples, row, left=0.0, right=0.0) for row in waveforms]).T

    def lags_within(self, max_lag: int) -> np.ndarray:
        """Lags of at most so many samples, as indices into the last axis of `response`; the middle one is lag zero."""
        middle = self.response.shape[3] // 2
        max_lag = min(max_lag, middle)
        return np.arange(middle - max_lag, middle + max_lag + 1)

    def aligned(
        self, unit: int, other: int, displacement: int, window: np.ndarray, change: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """
        Templates of two units on the channels of both, the other's moved in time to where it is most like the unit's.

        Parameters
        ----------
        unit, other : int
        displacement : int
            Index into the templates' displacements.
        window : (n,) int
            Lags to try: indices into the last axis of `response`, whose middle is lag zero.
        change : (n_filters, n_filters) float, optional
            What becomes of the unit's coefficients first: `coefficients @ change.T`.

        Returns
        -------
        mine, theirs : (n_channels, n_filters) float64
        channels : (n_channels,) int
        best : int
            What is to be added to the other's samples to align its spikes with the unit's, as an index into `window`.
        """
        channels = np.union1d(self.channels[unit], self.channels[other])
        pair = np.zeros((2, len(channels), self.coefficients.shape[3]))
        for row, name in enumerate((unit, other)):
            pair[row, np.searchsorted(channels, self.channels[name])] = self.coefficients[name, displacement]
        mine, theirs = pair
        mine = mine if change is None else mine @ change.T
        correlation = np.einsum("kq,jkql->jl", mine.T @ theirs, self.response[..., window], optimize=True)
        shift, best = np.unravel_index(int(correlation.argmax()), correlation.shape)
        return mine, theirs @ self.response[shift, :, :, window[best]].astype("float64").T, channels, int(best)

    def _interpolated(self, units, displacement):
        if len(self.displacements) == 1:
            return self.coefficients[units, 0]
        position = np.interp(displacement, self.displacements, np.arange(len(self.displacements)))
        lower = np.minimum(position.astype(int), len(self.displacements) - 2)
        weight = (position - lower).astype("float32")[:, None, None]
        return (1 - weight) * self.coefficients[units, lower] + weight * self.coefficients[units, lower + 1]


def whiten_templates(templates: DriftingUnitTemplates, noise: NoiseModel, n_filters: int = 8) -> WhitenedTemplates:
    """
    Express templates in coordinates in which the noise is white in space and in time.

    Parameters
    ----------
    templates : DriftingUnitTemplates
    noise : NoiseModel
    n_filters : int
        Temporal components kept (singular vectors of the templates' waveforms).

    Returns
    -------
    WhitenedTemplates
    """
    n_units, n_displacements, n_samples, n_local = templates.waveforms.shape
    channels = templates.channels
    whitened = np.zeros_like(templates.waveforms)
    for unit in range(n_units):
        whitened[unit] = templates.waveforms[unit] @ noise.whitening[np.ix_(channels[unit], channels[unit])]

    basis = _temporal_basis(whitened, n_filters)
    covariance = basis @ toeplitz(noise.autocorrelation[:n_samples]) @ basis.T
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 1e-2 * values.max())
    inverse_root = vectors @ np.diag(values**-0.5) @ vectors.T
    root = vectors @ np.diag(values**0.5) @ vectors.T
    filters, waveforms = inverse_root @ basis, root @ basis
    coefficients = np.einsum("udsc,ks->udck", whitened, filters, optimize=True)
    return WhitenedTemplates(
        coefficients.astype("float32"),
        channels,
        filters.astype("float32"),
        _responses(filters, waveforms),
        noise.whitening,
        templates.nbefore,
        templates.displacements,
        templates.locations,
    )


def cross_correlation(
    templates: WhitenedTemplates, unit: int, other: int, displacement: int, window: np.ndarray
) -> np.ndarray:
    """
    Answer of one unit's matched filter to the other's template, at the best of its sub-sample shifts.

    Parameters
    ----------
    templates : WhitenedTemplates
    unit, other : int
    displacement : int
        Index into the templates' displacements.
    window : (n,) int or bool
        Which lags: indices into the last axis of `templates.response`, whose middle is lag zero.

    Returns
    -------
    correlation : (n,) float64
        Zero where the units share no channel.
    """
    return _answers(templates, unit, other, displacement, window).max(axis=0)


def _answers(templates, unit, other, displacement, window):
    """As `cross_correlation`, at each of the sub-sample shifts, (N_SUBSAMPLE, n)."""
    _, mine, theirs = np.intersect1d(templates.channels[unit], templates.channels[other], return_indices=True)
    coefficients = templates.coefficients[:, displacement].astype("float64")
    overlap = coefficients[unit, mine].T @ coefficients[other, theirs]
    return np.einsum("kq,jkql->jl", overlap, templates.response[..., window], optimize=True)


def _temporal_basis(whitened, n_filters):
    n_samples = whitened.shape[2]
    rows = whitened.transpose(0, 1, 3, 2).reshape(-1, n_samples)
    # each unit has the same weight, whatever its amplitude
    norm = np.sqrt((whitened.astype("float64") ** 2).sum(axis=(1, 2, 3)))
    rows = rows / np.repeat(np.maximum(norm, 1e-6), len(rows) // max(len(norm), 1))[:, None]
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return vectors[:, ::-1][:, : min(n_filters, n_samples)].T


def _responses(filters, waveforms):
    """Cross-correlation of every filter with every waveform, for each sub-sample shift of the waveform."""
    n_filters, n_samples = filters.shape
    n_fft = 4 * n_samples
    frequency = np.fft.rfftfreq(n_fft)
    shifts = np.arange(N_SUBSAMPLE) / N_SUBSAMPLE - 0.5
    filter_spectrum = np.fft.rfft(filters, n=n_fft)
    waveform_spectrum = np.fft.rfft(waveforms, n=n_fft)
    response = np.empty((N_SUBSAMPLE, n_filters, n_filters, 2 * n_samples - 1), dtype="float32")
    for index, shift in enumerate(shifts):
        # a spike at t + shift: its waveform comes `shift` samples later
        moved = waveform_spectrum * np.exp(-2j * np.pi * frequency * shift)
        # answer at lag: sum over s of filter(s) * waveform(s + lag)
        product = np.conj(filter_spectrum)[:, None] * moved[None]
        correlation = np.fft.irfft(product, n=n_fft)
        response[index] = np.concatenate([correlation[..., -(n_samples - 1) :], correlation[..., :n_samples]], axis=-1)
    return response
