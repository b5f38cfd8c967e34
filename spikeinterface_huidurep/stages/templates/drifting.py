"""Templates that follow the motion: each unit's mean waveform as the probe sees it at every displacement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...parameters import DEFAULT_PARAMS
from ..motion.from_waveforms import has_depth
from ..shank import Shank
from ..traces.chunks import run_in_chunks, spikes_in_chunk

# a spike is seen this far from its neuron, um; a template has at least the first number of channels, and at most the
# second, which bounds memory and time
SEEN_UM, LEAST_CHANNELS, MOST_CHANNELS = DEFAULT_PARAMS["detection_radius_um"], 24, 64
# length over which a unit's waveform changes in space, um; and the displacement over which it changes on a channel that
# is a field of its own, um
FIELD_UM, ALONG_UM = 25.0, 40.0
# part of the field's variance by which a channel may differ from the field
JITTER = 1e-4


@dataclass(frozen=True)
class DriftingUnitTemplates:
    """
    Mean waveforms of the units, one for each displacement of the probe, on each unit's own channels.

    Attributes
    ----------
    waveforms : (n_units, n_displacements, n_samples, n_local) float32, in units of noise
    channels : (n_units, n_local) int, channel indices, ascending
    displacements : (n_displacements,) float, um
    locations : (n_units, 2) float, um, in registered coordinates
    counts : (n_units, n_displacements) int, spikes behind each mean
    nbefore : int, samples before the trough
    """

    waveforms: np.ndarray
    channels: np.ndarray
    displacements: np.ndarray
    locations: np.ndarray
    counts: np.ndarray
    nbefore: int

    @property
    def n_spikes(self) -> np.ndarray:
        """Spikes behind each unit's templates, (n_units,) int."""
        return self.counts.sum(axis=1)

    @property
    def n_units(self) -> int:
        return len(self.waveforms)

    def select(self, units: np.ndarray) -> DriftingUnitTemplates:
        """The same for some units, given as a mask or as indices."""
        return replace(
            self,
            waveforms=self.waveforms[units],
            channels=self.channels[units],
            locations=self.locations[units],
            counts=self.counts[units],
        )

    def renewed(self, units: np.ndarray, others: DriftingUnitTemplates) -> DriftingUnitTemplates:
        """The same with other templates for some units (indices), of which those beyond the last unit are new."""
        names = ("waveforms", "channels", "locations", "counts")
        n_units = max(self.n_units, int(units.max(initial=-1)) + 1)
        arrays: dict[str, Any] = {}
        for name in names:
            before, after = getattr(self, name), getattr(others, name)
            arrays[name] = np.zeros((n_units, *before.shape[1:]), dtype=before.dtype)
            arrays[name][: self.n_units] = before
            arrays[name][units] = after
        return replace(self, **arrays)

    def dense(self, displacement: int, n_channels: int) -> np.ndarray:
        """Templates at one displacement (index) on the whole probe, (n_units, n_samples, n_channels) float32."""
        dense = np.zeros((self.n_units, self.waveforms.shape[2], n_channels), dtype="float32")
        for unit in range(self.n_units):
            dense[unit][:, self.channels[unit]] = self.waveforms[unit, displacement]
        return dense


def concatenated(first: DriftingUnitTemplates, second: DriftingUnitTemplates) -> DriftingUnitTemplates:
    """Templates of two sets of units of one shank at the same displacements, one after the other."""
    names = ("waveforms", "channels", "locations", "counts")
    both: dict[str, Any] = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names}
    return replace(first, **both)


def channels_of_a_unit(channel_locations: np.ndarray) -> int:
    """How many channels a template has on a probe with contacts at (n_channels, 2) um: those that see its spikes."""
    distance = np.linalg.norm(channel_locations[:, None] - channel_locations[None], axis=2)
    around = int((distance <= SEEN_UM).sum(axis=1).max(initial=0))
    return min(max(around, LEAST_CHANNELS), MOST_CHANNELS)


def estimate_templates(
    shank: Shank,
    spikes: np.ndarray,
    labels: np.ndarray,
    unit_locations: np.ndarray,
    displacement: np.ndarray,
) -> DriftingUnitTemplates:
    """
    Average each unit's spikes at each displacement, and fill what was seen too rarely from its neighbours.

    A unit moves over the probe as a whole: its mean on a channel depends on the channel's position relative to the
    unit alone. So the means at all displacements are samples of one smooth field, and a Gaussian process over these
    relative positions gives back the mean itself where there are many spikes and an interpolation where there are few.
    On a probe whose displacements have a scale of their own (`has_depth`), each channel is a field by itself.

    Parameters
    ----------
    shank : Shank
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index`.
    labels : (n_spikes,) int
        Unit of each spike, from 0; -1 for none.
    unit_locations : (n_units, 2) float
        Registered location of each unit, um.
    displacement : (n_spikes,) float
        Displacement of the probe at each spike, um; added to a registered depth it gives the depth on the probe.

    Returns
    -------
    DriftingUnitTemplates
        On the channels nearest to each unit at any displacement, `channels_of_a_unit` of them.
    """
    displacements, nbefore, nafter = shank.displacements, shank.nbefore, shank.nafter
    unit_locations = np.reshape(unit_locations, (-1, 2))
    n_units = len(unit_locations)
    labelled = np.flatnonzero(labels >= 0)
    # aligning spikes within a unit may have changed their order by a few samples
    labelled = labelled[np.lexsort((spikes["sample_index"][labelled], spikes["segment_index"][labelled]))]
    probe = shank.recording.get_channel_locations()[:, :2]
    channels = local_channels(probe, unit_locations, displacements)
    nearest = np.abs(displacement[:, None] - displacements).argmin(axis=1)

    ordered = np.zeros(len(labelled), dtype=[("sample_index", "int64"), ("segment_index", "int64"), ("group", "int64")])
    ordered["sample_index"] = spikes["sample_index"][labelled]
    ordered["segment_index"] = spikes["segment_index"][labelled]
    ordered["group"] = labels[labelled] * len(displacements) + nearest[labelled]
    n_groups = n_units * len(displacements)
    counts = np.bincount(ordered["group"], minlength=n_groups).reshape(n_units, len(displacements))
    sums = _sum_waveforms(shank, ordered, np.repeat(channels, len(displacements), axis=0))
    sums = sums.reshape(n_units, len(displacements), *sums.shape[1:])

    waveforms = np.zeros((n_units, len(displacements), nbefore + nafter, channels.shape[1]), dtype="float32")
    coupled = has_depth(probe)
    for unit in range(n_units):
        places = probe[channels[unit]] if coupled else None
        waveforms[unit] = _interpolate_field(sums[unit], counts[unit], places, displacements)
    return DriftingUnitTemplates(waveforms, channels, np.asarray(displacements, float), unit_locations, counts, nbefore)


def local_channels(probe: np.ndarray, unit_locations: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    """Channels nearest to each unit at any displacement, (n_units, `channels_of_a_unit`) int, ascending."""
    channels = np.zeros((len(unit_locations), min(channels_of_a_unit(probe), len(probe))), dtype=int)
    for unit, (x, y) in enumerate(unit_locations):
        path = np.array(
            [[x, y + d] for d in (displacements[0], 0.5 * (displacements[0] + displacements[-1]), displacements[-1])]
        )
        distance = np.linalg.norm(probe[:, None] - path[None], axis=2).min(axis=1)
        channels[unit] = np.sort(np.argsort(distance, kind="stable")[: channels.shape[1]])
    return channels


def _interpolate_field(sums, counts, places, displacements, noise_variance=1.0):
    """
    Posterior mean of one unit's field at every displacement, (n_displacements, n_samples, n_channels).

    sums : (n_displacements, n_samples, n_channels), counts : (n_displacements,) weights behind them,
    places : (n_channels, 2) where the channels lie, um; None where each is a field of its own.
    """
    n_displacements, n_samples, n_channels = sums.shape
    seen = np.flatnonzero(counts > 0)
    if len(seen) == 0:
        return np.zeros_like(sums)
    means = sums[seen] / counts[seen][:, None, None]
    if n_displacements == 1:
        return means
    signal_variance = max(float((means**2).max()) * 0.25, 1e-3)
    noise = noise_variance / counts[seen] / signal_variance + JITTER
    if places is None:
        at = np.column_stack([np.zeros(n_displacements), displacements])
        data, where_seen, length_um = means.reshape(len(seen), -1), at[seen], ALONG_UM
    else:
        relative = places[None] - np.array([[0.0, d] for d in displacements])[:, None]
        data, length_um = means.transpose(0, 2, 1).reshape(-1, n_samples), FIELD_UM
        at, where_seen, noise = relative.reshape(-1, 2), relative[seen].reshape(-1, 2), np.repeat(noise, n_channels)
    kernel = squared_exponential(where_seen, where_seen, length_um)
    kernel[np.diag_indices_from(kernel)] += noise
    field = squared_exponential(at, where_seen, length_um) @ np.linalg.solve(kernel, data)
    if places is None:
        return field.reshape(sums.shape)
    return field.reshape(n_displacements, n_channels, n_samples).transpose(0, 2, 1)


def squared_exponential(a: np.ndarray, b: np.ndarray, length_um: float) -> np.ndarray:
    """Kernel of a smooth field between positions (n, 2) and (m, 2), um: (n, m)."""
    return np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=2) / (2 * length_um**2))


class _WaveformSums:
    """Adds up what the chunks return, in the chunks' order: the same sum whatever the number of workers."""

    def __init__(self, n_groups: int, n_samples: int, n_local: int):
        self.sums = np.zeros((n_groups, n_samples, n_local))

    def __call__(self, chunk):
        groups, totals = chunk
        self.sums[groups] += totals


def _sum_waveforms(shank, spikes, channels):
    """Sum of the waveforms of each group, (n_groups, n_samples, n_local); `channels` are each group's own."""
    gather = _WaveformSums(len(channels), shank.nbefore + shank.nafter, channels.shape[1])
    context = dict(
        recording=shank.recording, spikes=spikes, channels=channels, nbefore=shank.nbefore, nafter=shank.nafter
    )
    run_in_chunks(
        shank.recording, _sum_in_chunk, context,
        job_name="estimate templates", job_kwargs=shank.job_kwargs, gather=gather,
    )  # fmt: skip
    return gather.sums


def _sum_in_chunk(segment_index, start_frame, end_frame, context):
    from .snippets import sum_waveforms

    spikes, nbefore, nafter = context["spikes"], context["nbefore"], context["nafter"]
    inside, traces, samples = spikes_in_chunk(
        context["recording"], spikes, segment_index, start_frame, end_frame, max(nbefore, nafter)
    )
    groups, rows = np.unique(spikes["group"][inside], return_inverse=True)
    return groups, sum_waveforms(traces, samples, rows, context["channels"][groups], len(groups), nbefore, nafter)
