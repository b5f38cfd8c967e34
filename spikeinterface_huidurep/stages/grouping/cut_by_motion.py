"""Cut by motion: of two units at one place each of which is there when the other is not, as the probe moves."""

from __future__ import annotations

import logging

import numpy as np
from scipy.spatial.distance import pdist, squareform

from ..shank import Shank
from ..templates.whitened import WhitenedTemplates
from ..units.evidence import shared_displacements

logger = logging.getLogger("spikeinterface_huidurep")

# displacements are told apart by so much, um
BIN_UM = 5.0
# two pieces of one neuron are no further apart than this (um), and have no more than this share of their displacements
# in common: in ten moving recordings five such pieces were within 8 um and had 0.16 in common at most; of two neurons
# none that were within 12 um had less than 0.4, but 13 um apart there were two with 0.15
NEAR_UM, MOST_SHARED = 10.0, 0.2
# one takes over from the other so many times, with so many spikes in a row: a neuron that falls silent when another
# begins takes over once
TAKEN_OVER, IN_A_ROW = 2, 3


def cut_by_motion(shank: Shank, space: WhitenedTemplates, spikes: np.ndarray) -> np.ndarray:
    """
    Find the units that are one neuron's at different displacements of the probe.

    Two neurons are there whatever the displacement. Where a neuron's waveform changes much with it, as between two
    contacts, it has a template for each of some displacements, and nothing compares these: each is a guess where the
    other was seen. But the one stops where the other starts, again and again, at the same place in the tissue.

    Parameters
    ----------
    shank : Shank
    space : WhitenedTemplates
    spikes : (n_spikes,) structured array
        From `assign_spikes`, those that are sure, sorted.

    Returns
    -------
    (n_pairs, 2) int
        Templates of one neuron; none where the probe does not move.
    """
    nothing = np.zeros((0, 2), dtype="int64")
    if shank.motion is None or space.n_units < 2 or len(spikes) == 0:
        return nothing
    units = spikes["unit_index"]
    displacement = shank.displacement_of(spikes, space.locations[units, 1])
    bins = np.floor((displacement - displacement.min()) / BIN_UM).astype(int)
    counts = np.zeros((space.n_units, bins.max() + 1))
    np.add.at(counts, (units, bins), 1)
    enough = counts.sum(axis=1) >= IN_A_ROW
    apart = (shared_displacements(counts) <= MOST_SHARED) & (squareform(pdist(space.locations)) <= NEAR_UM)
    pairs = np.argwhere(np.triu(apart & enough & enough[:, None], 1))
    in_time = units[np.lexsort((spikes["sample_index"], spikes["segment_index"]))]
    again = np.array([_taken_over(in_time, one, other) >= TAKEN_OVER for one, other in pairs], dtype=bool)
    if again.any():
        logger.info("grouping: %d pairs of templates are of one place at different displacements", again.sum())
    return pairs[again]


def _taken_over(units: np.ndarray, one: int, other: int) -> int:
    """How many times one of two units takes over from the other, with some spikes in a row."""
    is_one = units[(units == one) | (units == other)] == one
    starts = np.flatnonzero(np.diff(is_one, prepend=~is_one[:1]))
    long = np.diff(starts, append=len(is_one)) >= IN_A_ROW
    return int((np.diff(is_one[starts[long]].astype(int)) != 0).sum())
