"""Templates that motion cut out of one neuron become one unit; neurons that are there at all displacements stay two."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from spikeinterface.core.motion import Motion
from stage_helpers import RATE, recording_with, shank_of

from spikeinterface_huidurep.stages.grouping.cut_by_motion import cut_by_motion

TIMES = np.arange(0.25, 10, 0.5)
SPIKES = np.dtype([("sample_index", "int64"), ("segment_index", "int64"), ("unit_index", "int64")])


def _moving(displacement):
    """A shank whose probe is at these displacements (um), every half second."""
    return shank_of(recording_with([]), Motion([np.asarray(displacement, float)[:, None]], [TIMES], np.zeros(1)))


def _spikes(shank, share_of_first):
    """300 spikes at random times; of each which of the two units it is of, given the displacement."""
    rng = np.random.default_rng(1)
    spikes = np.zeros(300, SPIKES)
    spikes["sample_index"] = np.sort(rng.choice(int(10 * RATE), 300, replace=False))
    displacement = shank.displacement_of(spikes, np.full(300, 100.0))
    spikes["unit_index"] = rng.random(300) > share_of_first(displacement)
    return spikes


def _space(apart_um=4.0):
    return SimpleNamespace(n_units=2, locations=np.array([[0.0, 100.0], [0.0, 100.0 + apart_um]]))


def below(displacement):
    return displacement < 15


BACK_AND_FORTH = 15 + 15 * np.sin(TIMES * 2 * np.pi / 5)


def test_units_that_take_over_from_each_other_as_the_probe_moves_are_one_neuron():
    shank = _moving(BACK_AND_FORTH)
    assert cut_by_motion(shank, _space(), _spikes(shank, below)).tolist() == [[0, 1]]


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_neurons_that_are_there_at_all_displacements_stay_two(share):
    shank = _moving(BACK_AND_FORTH)
    assert len(cut_by_motion(shank, _space(), _spikes(shank, lambda displacement: share))) == 0


def test_a_neuron_that_falls_silent_as_another_begins_is_not_the_other():
    """The probe drifts one way: whether the displacement or the time parts them, nobody knows."""
    shank = _moving(3 * TIMES)
    assert len(cut_by_motion(shank, _space(), _spikes(shank, below))) == 0


def test_pieces_of_one_neuron_are_at_one_place_and_are_not_sought_where_the_probe_is_still():
    shank = _moving(BACK_AND_FORTH)
    spikes = _spikes(shank, below)
    assert len(cut_by_motion(shank, _space(apart_um=14.0), spikes)) == 0
    assert len(cut_by_motion(shank_of(shank.recording), _space(), spikes)) == 0
