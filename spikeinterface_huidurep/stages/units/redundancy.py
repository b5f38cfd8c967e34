"""Redundancy: small units whose spikes the other units explain as well, alone or overlapping, are no units."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording

from ..matching.assignment import assign_spikes
from ..templates.whitened import WhitenedTemplates

logger = logging.getLogger("spikeinterface_huidurep")


def redundant_units(
    recording: BaseRecording,
    spikes: np.ndarray,
    templates: WhitenedTemplates,
    motion: Any = None,
    *,
    few: int = 100,
    looked_at: int = 15,
    min_distance: float = 2.5,
    variability: float = 0.08,
    threshold: float = 14.0,
    amplitude_std: float = 0.12,
    job_kwargs: dict | None = None,
) -> np.ndarray:
    """
    Find the small units without which their spikes are explained as well.

    Spikes of two neurons that overlap often enough make a cluster, and a template that is the sum of theirs. Others are
    pieces of a neuron's spikes. What they explain their neighbours explain too: the spikes of all small units are
    assigned again to the larger units alone, and what is lost of the objective tells how far they are from those. It is
    counted over all spikes whose templates overlap with the spike in time and in space: of two neurons' spikes that
    come a millisecond apart, the second is partly in the template, and fits its own worse.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, in units of noise.
    spikes : (n_spikes,) structured array
        From `assign_spikes` with all templates.
    templates : WhitenedTemplates
    motion : spikeinterface.core.motion.Motion, optional
    few : int
        Units with more spikes than this are not asked.
    looked_at : int
        Most spikes of a unit that are assigned again, spread over all of them.
    min_distance : float
        A unit is redundant where its median spike is nearer to what the others explain, in standard deviations of the
        noise; the square of that is the objective that is lost.
    variability : float
        How much the shape of one neuron's waveform varies, as a fraction of its norm; it adds to the noise.
    threshold, amplitude_std : float
        As for `assign_spikes`.
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    redundant : (n_units,) bool
    """
    counts = np.bincount(spikes["unit_index"], minlength=templates.n_units)
    asked = (counts > 0) & (counts <= few)
    redundant = np.zeros(templates.n_units, dtype=bool)
    if not asked.any() or asked.all():
        return redundant
    chosen = [
        np.flatnonzero(spikes["unit_index"] == unit)[:: -(-counts[unit] // looked_at)] for unit in np.flatnonzero(asked)
    ]
    # what overlaps with what overlaps with a spike has to be seen as it was
    margin = 3 * templates.filters.shape[1]
    larger = np.flatnonzero(~asked)
    again = assign_spikes(
        recording, templates.select(larger), motion, threshold=threshold, amplitude_std=amplitude_std,
        slices=_around(recording, spikes[np.concatenate(chosen)], margin), job_kwargs=job_kwargs,
    )  # fmt: skip
    again["unit_index"] = larger[again["unit_index"]]
    spread = 1 + variability**2 * templates.energy
    for unit, mine in zip(np.flatnonzero(asked), chosen, strict=True):
        loss = [
            _explained_near(spikes, spikes[spike], templates) - _explained_near(again, spikes[spike], templates)
            for spike in mine
        ]
        redundant[unit] = np.median(loss) < min_distance**2 * spread[unit]
    if redundant.any():
        logger.info("redundancy: %d of %d units are explained by the others", redundant.sum(), len(redundant))
    return redundant


def _around(recording, spikes, margin):
    """Stretches of the recording around spikes, those that overlap joined: (segment_index, start_frame, end_frame)."""
    stretches: list[tuple[int, int, int]] = []
    for segment, sample in sorted(zip(spikes["segment_index"].tolist(), spikes["sample_index"].tolist(), strict=True)):
        start, end = max(sample - margin, 0), min(sample + margin, recording.get_num_samples(segment))
        if stretches and stretches[-1][0] == segment and start <= stretches[-1][2]:
            start = stretches.pop()[1]
        stretches.append((segment, start, end))
    return stretches


def _explained_near(spikes, spike, templates):
    """Sum of the objectives of the spikes that overlap with one."""
    near = (spikes["segment_index"] == spike["segment_index"]) & (
        np.abs(spikes["sample_index"] - spike["sample_index"]) < templates.filters.shape[1]
    )
    here = spikes[near]
    channels = templates.channels
    shares = np.isin(channels[here["unit_index"]], channels[spike["unit_index"]]).any(axis=1)
    return here["gain"][shares].sum()
