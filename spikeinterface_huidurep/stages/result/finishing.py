"""Finishing: spikes and templates become a SpikeInterface Sorting with the properties of its units."""

from __future__ import annotations

import numpy as np
from spikeinterface.core import BaseRecording, NumpySorting
from spikeinterface.core.base import minimum_spike_dtype
from spikeinterface.core.basesorting import SpikeVectorSortingSegment

from ...parameters import DEFAULT_PARAMS
from ..templates.drifting import DriftingUnitTemplates
from ..traces.segments import away_from_ends, duration_of
from .quality import QualityCriteria, label_units


def finish(
    recording: BaseRecording,
    spikes: np.ndarray,
    templates: DriftingUnitTemplates,
    piece_probability: np.ndarray,
    *,
    names: np.ndarray | None = None,
    first_new: int = 0,
    censored_period_ms: float = DEFAULT_PARAMS["censored_period_ms"],
) -> NumpySorting:
    """
    Make the Sorting of one shank.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, with the property "noise_level" in uV (in its own unit where the recording has no gains).
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index`, `unit_index` (into `templates`), `confidence`, and `shift`, by what part of a
        sample each spike is late.
    templates : DriftingUnitTemplates
    piece_probability : (n_units,) float
        Probability that each unit is a piece of a larger one.
    names : (n_units,) int, optional
        Id of each unit that is known from another session, -1 for others.
    first_new : int
        Id of the first unit without a name; those of the others follow.
    censored_period_ms : float
        No unit has two spikes nearer than this.

    Returns
    -------
    NumpySorting
        Units by depth, without empty ones, with the properties `main_channel_id`, `x`, `y` (um), `snr` and
        `amplitude` (of the template's extremum: over the noise, and in the unit of "noise_level"), `num_spikes`,
        `confidence` (mean over the spikes), `piece_probability` and `quality` ("good", "mua" or "noise", see
        `label_units`); where names are given also `known`, whether a unit has one. Its attribute `spike_confidence`,
        (n_spikes,) float32, has each spike's, in the order of `to_spike_vector()`, and `spike_shift` each
        spike's shift; `unit_templates`, (n_units,) int, which template each unit has.
    """
    spikes = spikes[away_from_ends(recording, spikes, 0, 0)]
    used = np.unique(spikes["unit_index"])
    used = used[np.lexsort((templates.locations[used, 0], templates.locations[used, 1]))]
    rank = np.full(templates.n_units, -1)
    rank[used] = np.arange(len(used))

    vector = np.zeros(len(spikes), dtype=minimum_spike_dtype)
    vector["sample_index"], vector["segment_index"] = spikes["sample_index"], spikes["segment_index"]
    vector["unit_index"] = spikes["unit_index"] = rank[spikes["unit_index"]]
    order = np.lexsort((vector["unit_index"], vector["sample_index"], vector["segment_index"]))
    named = np.full(len(used), -1) if names is None else names[used]
    sorting = _sorting(
        vector[order],
        recording.sampling_frequency,
        _unit_ids(named, first_new),
        recording.get_num_segments(),
        spikes["confidence"][order],
    )
    sorting.spike_shift = spikes["shift"][order]
    sorting.unit_templates = used
    if names is not None:
        sorting.set_property("known", named >= 0)
    if len(used):
        _set_properties(sorting, recording, spikes, templates.select(used))
        sorting.set_property("piece_probability", piece_probability[used])
        criteria = QualityCriteria(censored_period_ms=censored_period_ms)
        quality = label_units(
            spikes[order], sorting.get_property("snr"), piece_probability[used], criteria,
            sampling_frequency=recording.sampling_frequency, duration_s=duration_of(recording),
        )  # fmt: skip
        sorting.set_property("quality", quality)
    return sorting


def _set_properties(sorting, recording, spikes, templates):
    """What the templates of the units and the confidences of their spikes say of each unit."""
    still = int(np.argmin(np.abs(templates.displacements)))
    dense = templates.dense(still, recording.get_num_channels())
    extremum = np.maximum(-dense.min(axis=1), dense.max(axis=1))
    main_channel = extremum.argmax(axis=1)
    snr = extremum[np.arange(len(extremum)), main_channel]
    noise = np.asarray(recording.get_property("noise_level"))[main_channel]
    counts = np.bincount(spikes["unit_index"], minlength=len(snr))
    confidence = np.bincount(spikes["unit_index"], weights=spikes["confidence"], minlength=len(snr)) / counts
    sorting.set_property("main_channel_id", recording.channel_ids[main_channel])
    sorting.set_property("x", templates.locations[:, 0].astype("float64"))
    sorting.set_property("y", templates.locations[:, 1].astype("float64"))
    sorting.set_property("snr", snr.astype("float64"))
    sorting.set_property("amplitude", (snr * noise).astype("float64"))
    sorting.set_property("num_spikes", counts)
    sorting.set_property("confidence", confidence)


def _unit_ids(named, first_new):
    """Ids of units: their names, and for those without one (-1) the numbers from `first_new` on."""
    new = named < 0
    return np.where(new, first_new + np.cumsum(new) - 1, named)


def _sorting(vector, sampling_frequency, unit_ids, n_segments, confidence):
    """A NumpySorting with the recording's number of segments, those without a spike included."""
    sorting = NumpySorting(vector, sampling_frequency, unit_ids)
    for segment_index in range(sorting.get_num_segments(), n_segments):
        sorting.add_sorting_segment(SpikeVectorSortingSegment(vector, segment_index, unit_ids))
    sorting.spike_confidence = np.asarray(confidence, dtype="float32")
    return sorting


def empty_sorting(sampling_frequency: float, n_segments: int) -> NumpySorting:
    """A Sorting without units, for a recording in which there is nothing to find."""
    no_spike, no_unit = np.zeros(0, dtype=minimum_spike_dtype), np.arange(0)
    return _sorting(no_spike, sampling_frequency, no_unit, n_segments, np.zeros(0))


def unscaled(sorting: NumpySorting, recording: BaseRecording, *, step: int, distance_scale: float) -> NumpySorting:
    """
    Bring a Sorting of rescaled traces back to the recording's clock and yardstick.

    Parameters
    ----------
    sorting : NumpySorting
        From `finish`, of the traces that `rescale` gives, or without units.
    recording : BaseRecording
        Before it was rescaled.
    step : int
        Of how many of its samples one was kept.
    distance_scale : float
        How many times closer the contacts were.

    Returns
    -------
    NumpySorting
        The same where nothing was rescaled.
    """
    rate = recording.sampling_frequency
    if sorting.sampling_frequency == rate and step == 1 and distance_scale == 1:
        return sorting
    vector, confidence = sorting.to_spike_vector().copy(), sorting.spike_confidence
    vector["sample_index"] *= step
    if step > 1 and len(vector):
        last = np.array([recording.get_num_samples(i) - 1 for i in range(recording.get_num_segments())])
        # halves always up: to the next even one, spikes of one unit would be late by other amounts
        exact = vector["sample_index"] + np.floor(step * sorting.spike_shift + 0.5).astype("int64")
        vector["sample_index"] = np.clip(exact, 0, last[vector["segment_index"]])
        order = np.lexsort((vector["unit_index"], vector["sample_index"], vector["segment_index"]))
        vector, confidence = vector[order], confidence[order]
    back = _sorting(vector, rate, sorting.unit_ids, sorting.get_num_segments(), confidence)
    back.known_units = sorting.known_units
    for name in sorting.get_property_keys():
        values = sorting.get_property(name)
        back.set_property(name, values * distance_scale if name in ("x", "y") else values)
    return back


def _renamed(sortings, ids):
    """What each shank's sort has left, with the ids (n_units,) that the units of all shanks have together."""
    renamed, first = [], 0
    for sorting in sortings:
        mine = ids[first : first + len(sorting.unit_ids)]
        first += len(mine)
        names = dict(zip(sorting.unit_ids.tolist(), mine.tolist(), strict=True))
        renamed += [one.renamed(names, int(ids.max()) + 1) for one in sorting.known_units]
    return renamed


def join_shanks(sortings: list[NumpySorting], groups: list, first_new: int = 0) -> NumpySorting:
    """
    One Sorting of the units of all shanks, which get the property "group".

    Parameters
    ----------
    sortings : list of NumpySorting
        One a shank, from `finish`, each with the attribute `known_units`, a list of one `KnownUnits`.
    groups : list
        Value of the recording's "group" property of each.
    first_new : int
        Units of this id and beyond are new, and are numbered from it on.
    """
    kept = [(sorting, group) for sorting, group in zip(sortings, groups, strict=True) if len(sorting.unit_ids)]
    if not kept:
        sortings[0].known_units = [one for sorting in sortings for one in sorting.known_units]
        return sortings[0]
    vectors, first = [], 0
    for sorting, _ in kept:
        vector = sorting.to_spike_vector().copy()
        vector["unit_index"] += first
        first += len(sorting.unit_ids)
        vectors.append(vector)
    vector = np.concatenate(vectors)
    order = np.lexsort((vector["unit_index"], vector["sample_index"], vector["segment_index"]))
    confidence = np.concatenate([sorting.spike_confidence for sorting, _ in kept])[order]
    n_segments = kept[0][0].get_num_segments()
    ids = np.concatenate([sorting.unit_ids for sorting, _ in kept])
    ids = _unit_ids(np.where(ids < first_new, ids, -1), first_new)
    joined = _sorting(vector[order], kept[0][0].sampling_frequency, ids, n_segments, confidence)
    for name in kept[0][0].get_property_keys():
        joined.set_property(name, np.concatenate([sorting.get_property(name) for sorting, _ in kept]))
    joined.known_units = _renamed(sortings, ids)
    joined.set_property("group", np.concatenate([[group] * len(sorting.unit_ids) for sorting, group in kept]))
    return joined
