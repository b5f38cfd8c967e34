"""Variability: how the spikes of one neuron differ beyond the noise, measured on the recording's own clear units."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from ..matching.lone_spikes import lone_spikes
from ..shank import Shank
from ..templates.whitened import WhitenedTemplates
from ..templates.whitened_spikes import whiten_spikes
from ..traces.segments import away_from_ends
from ..units.unit_set import some_of_each

logger = logging.getLogger("spikeinterface_huidurep")

# spikes of a unit that are looked at, and the least number of them: of fewer the quantiles below say nothing
MOST_SPIKES, FEW_SPIKES = 400, 60
# norm of a template, in standard deviations of the noise, from which its spikes show more than the noise
CLEAR_NORM = 10.0
# an electrode's own change is measured where the template has so much of what it has on its largest
ELECTRODE_SHARE = 0.3
# a spike is alone where no other is within so many ms
ALONE_MS = 1.2


@dataclass(frozen=True)
class Variability:
    """
    Standard deviations of the ways in which one neuron's waveform changes, pooled over the units of a recording.

    Attributes
    ----------
    amplitude : float
        Of the whole waveform, as a fraction of it.
    width : float
        Of its duration, as a fraction of it.
    electrode : float
        Of the amplitude on each electrode by itself, as a fraction of it.
    rest : float
        Of anything else, in any direction, as a fraction of the template's norm.
    """

    amplitude: float = 0.1
    width: float = 0.02
    electrode: float = 0.0
    rest: float = 0.06

    @property
    def change_of_shape(self) -> float:
        """Standard deviation of width and electrodes together: zero where one neuron is one waveform."""
        return float(np.hypot(self.width, self.electrode))

    def directions(self, template: np.ndarray, channels: np.ndarray, space: WhitenedTemplates) -> np.ndarray:
        """
        Directions in which one neuron's spikes vary, each as long as its standard deviation.

        Parameters
        ----------
        template : (n_local, n_filters) float
            In the coordinates of `space`.
        channels : (n_local,) int
            Its channels.
        space : WhitenedTemplates

        Returns
        -------
        directions : (3 + n_local, n_local * n_filters) float64
            Time (by a sample, since nobody knows at which part of it a spike came), amplitude, width, and the amplitude
            of each electrode.
        """
        whole = _of_the_whole(template, space) * [[1.0], [self.amplitude], [self.width]]
        return np.concatenate([whole, self.electrode * _of_electrodes(template, channels, space)])


def _of_the_whole(template, space):
    """Change of a template with time, amplitude and width, (3, n_values)."""
    return np.stack([template @ space.slope().T, template, template @ space.stretch().T]).reshape(3, -1)


def _of_electrodes(template, channels, space):
    """Change of a template with the amplitude of each electrode, which whitening spreads over its neighbours."""
    whitening = space.whitening[np.ix_(channels, channels)].astype("float64")
    before = np.linalg.solve(whitening.T, template)
    return (whitening[:, :, None] * before[:, None]).reshape(len(channels), -1)


def measure_variances(shank: Shank, space: WhitenedTemplates, spikes: np.ndarray) -> np.ndarray:
    """
    Measure how the spikes of the clear units differ from their templates.

    What a spike leaves of its template is fitted by a change of time, of amplitude and of width, and then electrode by
    electrode. The spread of each counts, less what the noise makes of it.

    Parameters
    ----------
    shank : Shank
    space : WhitenedTemplates
    spikes : (n_spikes,) structured array
        From `assign_spikes`.

    Returns
    -------
    variances : (n_templates, 3) float64
        Of amplitude, width and each electrode, as squared fractions; NaN for templates that are not clear. They may be
        below zero, by chance.
    """
    variances = np.full((space.n_units, 3), np.nan)
    chosen = _clear_spikes(shank, space, spikes)
    labels = spikes["unit_index"][chosen]
    if len(chosen) == 0:
        return variances
    values = whiten_spikes(shank, spikes[chosen], labels, space)
    displacement = shank.displacement_of(spikes[chosen], space.locations[labels, 1])
    for unit in np.unique(labels):
        here = labels == unit
        expected = space.of_unit(int(unit), displacement[here])
        left = values[here] - expected.reshape(here.sum(), -1)
        variances[unit] = _within(left, expected.mean(axis=0), space.channels[unit], space)
    return variances


def pool_variability(
    variances: np.ndarray, counts: np.ndarray, group: np.ndarray, space: WhitenedTemplates, *, max_lag: int
) -> Variability:
    """
    Average the variances over the neurons of a recording.

    Where several templates are one neuron's, their differences from the largest of them belong to its variances.

    Parameters
    ----------
    variances : (n_templates, 3) float
        From `measure_variances`.
    counts : (n_templates,) int
        Spikes of each template.
    group : (n_templates,) int
        Neuron of each template.
    space : WhitenedTemplates
    max_lag : int
        Samples within which two templates of one neuron are aligned.

    Returns
    -------
    Variability
        The default where no template is clear.
    """
    clear = np.isfinite(variances).all(axis=1)
    if not clear.any():
        return Variability()
    each = []
    for neuron in np.unique(group[clear]):
        members = np.flatnonzero(group == neuron)
        between = _between(members, counts[members], space, max_lag)
        known = members[clear[members]]
        each.append(np.average(variances[known], axis=0, weights=counts[known]) + between)
    amplitude, width, electrode = np.sqrt(np.maximum(np.mean(each, axis=0), 0))
    logger.info(
        "variability of one neuron, from %d clear ones: amplitude %.1f %%, width %.1f %%, each electrode %.1f %%",
        len(each), 100 * amplitude, 100 * width, 100 * electrode,
    )  # fmt: skip
    return Variability(float(amplitude), float(width), float(electrode))


def _clear_spikes(shank, space, spikes):
    """Indices, ascending, of some lone spikes of each unit that is large enough."""
    usable = lone_spikes(spikes, space.channels, shank.samples(ALONE_MS))
    usable &= away_from_ends(shank.recording, spikes, shank.nbefore, shank.nafter)
    labels = np.where(usable, spikes["unit_index"], -1)
    counts = np.bincount(labels[usable], minlength=space.n_units)
    clear = (space.energy >= CLEAR_NORM**2) & (counts >= FEW_SPIKES)
    labels = np.where(np.append(clear, False)[labels], labels, -1)
    return np.sort(some_of_each(labels, space.n_units, MOST_SPIKES, shank.seed))


def _within(left, template, channels, space):
    """Variances of amplitude, width and electrodes beyond the noise's, from what spikes leave of their template."""
    whole, electrodes, *by_noise = _changes(left - np.median(left, axis=0), template, channels, space)
    amplitude, width, *each = (
        _spread(change) ** 2 - noise
        for changes, noises in zip((whole[:, 1:], electrodes), (by_noise[0][1:], by_noise[1]), strict=True)
        for change, noise in zip(changes.T, noises, strict=True)
    )
    return np.array([amplitude, width, np.mean(each)])


def _between(members, counts, space, max_lag):
    """The same variances, of the templates of one neuron around their mean; zero for one template."""
    root = int(members[np.argmax(counts)])
    window = space.lags_within(max_lag)
    still = int(np.argmin(np.abs(space.displacements)))
    share = counts / max(counts.sum(), 1)
    mean, square = np.zeros(3), np.zeros(3)
    for member, part in zip(members, share, strict=True):
        if member == root:
            continue
        mine, theirs, channels, _ = space.aligned(root, int(member), still, window)
        whole, electrodes, *_ = _changes((theirs - mine).reshape(1, -1), mine, channels, space)
        change = np.array([*whole[0, 1:], np.sqrt(np.mean(electrodes**2))])
        mean, square = mean + part * change, square + part * change**2
    # electrodes change in no common direction
    return square - mean**2 * [1, 1, 0]


def _changes(left, template, channels, space):
    """
    What is left of spikes as changes of their template.

    Returns those of time, amplitude and width (n_spikes, 3), those of the clear electrodes (n_spikes, n_clear), and
    what unit noise makes of the variances of both.
    """
    template, left = template.astype("float64"), left.astype("float64")
    basis = _of_the_whole(template, space)
    fit = np.linalg.pinv(basis)
    whole = left @ fit
    electrodes = _of_electrodes(template, channels, space)
    size = np.linalg.norm(electrodes, axis=1)
    electrodes = electrodes[size >= ELECTRODE_SHARE * size.max()]
    # an electrode alone looks like the amplitude of the whole: that part of it is left out
    fit_each = np.linalg.pinv(electrodes)
    return whole, (left - whole @ basis) @ fit_each, (fit**2).sum(axis=0), (fit_each**2).sum(axis=0)


def _spread(values):
    """Standard deviation of a Gaussian with the same 5 % and 95 % quantiles: a few collisions do not count."""
    low, high = np.quantile(values, [0.05, 0.95])
    return (high - low) / 3.29
