"""Placing: templates of another session, as the probe sees them where it is now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..shank import Shank
from .drifting import FIELD_UM, JITTER, DriftingUnitTemplates, local_channels, squared_exponential

# how many spikes a known unit's templates count as: enough to keep a rare unit as it was, few next to a session's own
PRIOR_SPIKES = 20


@dataclass(frozen=True)
class SessionTemplates:
    """
    Templates of a session, with all that another session needs to use them.

    Attributes
    ----------
    templates : DriftingUnitTemplates
        In units of that session's noise.
    channel_locations : (n_channels, 2) float, um
        Of the channels that `templates.channels` counts.
    noise_level : (n_channels,) float
        Standard deviation of each channel's noise, uV (in the recording's own unit without gains).
    """

    templates: DriftingUnitTemplates
    channel_locations: np.ndarray
    noise_level: np.ndarray

    def select(self, units: np.ndarray) -> SessionTemplates:
        """The same for some templates, given as a mask or as indices."""
        return SessionTemplates(self.templates.select(units), self.channel_locations, self.noise_level)


def place_templates(session: SessionTemplates, shank: Shank, moved: np.ndarray) -> DriftingUnitTemplates:
    """
    Move templates of another session to where the probe has them now.

    A unit's waveform on a channel depends on the channel's position relative to the unit. What the other session saw is
    a sample of that field at the positions that its channels had; a Gaussian process over the positions gives it at
    those that the channels have now, at every displacement of this session.

    Parameters
    ----------
    session : SessionTemplates
        Of the same probe; channels may have fallen silent since.
    shank : Shank
        Of this session.
    moved : (n_units,) float
        How far each unit has moved along the probe since, um, in registered coordinates.

    Returns
    -------
    DriftingUnitTemplates
        In units of this session's noise. Each counts as a few spikes, at all displacements.
    """
    before, displacements = session.templates, shank.displacements
    locations = before.locations + np.column_stack([np.zeros(len(moved)), moved])
    probe = shank.recording.get_channel_locations()[:, :2]
    noise = np.asarray(shank.recording.get_property("noise_level"), dtype="float64")
    channels = local_channels(probe, locations, displacements)
    n_samples = before.waveforms.shape[2]
    waveforms = np.zeros((before.n_units, len(displacements), n_samples, channels.shape[1]), dtype="float32")
    for unit in range(before.n_units):
        mine = before.channels[unit]
        seen = _seen(before, unit)
        where_seen = _relative(session.channel_locations[mine], before.displacements[seen])
        wanted = _relative(probe[channels[unit]], moved[unit] + displacements)
        data = before.waveforms[unit][seen] * session.noise_level[mine]
        variance = np.repeat(np.median(session.noise_level) ** 2 / np.maximum(before.counts[unit][seen], 1), len(mine))
        field = _field(where_seen, data.transpose(0, 2, 1).reshape(-1, n_samples), variance, wanted)
        field = field.reshape(len(displacements), channels.shape[1], n_samples).transpose(0, 2, 1)
        waveforms[unit] = field / noise[channels[unit]]
    counts = np.full((before.n_units, len(displacements)), -(-PRIOR_SPIKES // len(displacements)), dtype="int64")
    return DriftingUnitTemplates(
        waveforms, channels, np.asarray(displacements, float), locations, counts, shank.nbefore
    )


def coverage(session: SessionTemplates, shank: Shank, placed: DriftingUnitTemplates, moved: np.ndarray) -> np.ndarray:
    """
    How much of a placed template the other session tells, (n_units, n_displacements, n_local) float from 0 to 1.

    It is the part of the field's variance that is known: none where the unit has moved away from all channels that saw
    that side of it.

    Parameters
    ----------
    session, shank, moved
        As for `place_templates`.
    placed : DriftingUnitTemplates
        What that gave.
    """
    before, displacements = session.templates, shank.displacements
    probe = shank.recording.get_channel_locations()[:, :2]
    known = np.zeros((before.n_units, len(displacements), placed.channels.shape[1]))
    for unit in range(before.n_units):
        seen = _seen(before, unit)
        where_seen = _relative(session.channel_locations[before.channels[unit]], before.displacements[seen])
        wanted = _relative(probe[placed.channels[unit]], moved[unit] + displacements)
        kernel = squared_exponential(where_seen, where_seen, FIELD_UM)
        kernel[np.diag_indices_from(kernel)] += JITTER
        cross = squared_exponential(wanted, where_seen, FIELD_UM)
        known[unit] = (cross * np.linalg.solve(kernel, cross.T).T).sum(axis=1).reshape(known.shape[1:])
    return known


def _seen(templates, unit):
    """Displacements (indices) at which a unit was seen; all where it was at none."""
    seen = np.flatnonzero(templates.counts[unit] > 0)
    return seen if len(seen) else np.arange(len(templates.displacements))


def _relative(channel_locations, displacements):
    """Positions of channels relative to a unit that has moved, (n_displacements * n_channels, 2)."""
    moved = np.column_stack([np.zeros(len(displacements)), displacements])
    return (channel_locations[None] - moved[:, None]).reshape(-1, 2)


def _field(where_seen, data, variance, wanted):
    """Posterior mean of a field at the wanted positions, of data (n_seen, n_samples) with noise of some variance."""
    signal = max(float((data**2).max()) * 0.25, 1e-12)
    kernel = squared_exponential(where_seen, where_seen, FIELD_UM)
    kernel[np.diag_indices_from(kernel)] += variance / signal + JITTER
    return squared_exponential(wanted, where_seen, FIELD_UM) @ np.linalg.solve(kernel, data.astype("float64"))
