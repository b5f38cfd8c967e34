"""Mixtures: how many sources points have, where that is known."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import adjusted_rand_score

from spikeinterface_huidurep.stages.units.mixtures import separate_sources


def test_sources_are_counted_by_the_known_noise():
    rng = np.random.default_rng(4)

    def blob(n, *centre):
        return rng.normal(size=(n, 10)) + np.pad(np.array(centre, float), (0, 10 - len(centre)))

    one = separate_sources(blob(400), min_size=20, min_separation=3.4)
    assert one.max() == 0
    # nothing but their number lies between two sources 4 apart, one of them with a fifth of the other's points
    points = np.concatenate([blob(300), blob(60, 4.0), blob(150, 0.0, 6.0)])
    truth = np.repeat([0, 1, 2], [300, 60, 150])
    found = separate_sources(points, min_size=20, min_separation=3.4)
    assert adjusted_rand_score(truth, found) > 0.85
    # few spikes of one neuron in a cluster that is another's
    points = np.concatenate([blob(600), blob(25, 0.0, 0.0, 7.0)])
    found = separate_sources(points, min_size=20, min_separation=3.4)
    assert adjusted_rand_score(np.repeat([0, 1], [600, 25]), found) > 0.95
    # a few far points are no source
    outliers = np.concatenate([blob(400), 15 * rng.normal(size=(10, 10))])
    assert separate_sources(outliers, min_size=20, min_separation=3.4).max() == 0


def test_a_continuum_is_one_source_and_two_balls_are_two():
    """Spikes of far neurons, of all sizes, fill the space between them; two neurons leave it as empty as noise does."""
    rng = np.random.default_rng(5)
    points = rng.normal(size=(600, 20))
    along = np.zeros(20)
    along[3] = 1.0
    continuum = points + rng.uniform(-6, 6, 600)[:, None] * along
    assert separate_sources(continuum, min_size=20, min_separation=3.4).max() == 0
    truth = np.arange(600) % 3 == 0
    labels = separate_sources(points + np.where(truth, 2.5, -2.5)[:, None] * along, min_size=20, min_separation=3.4)
    assert labels.max() == 1
    assert adjusted_rand_score(truth, labels) > 0.9


def test_few_points_of_many_values_are_seldom_split_by_chance():
    """Of 100 spikes with 128 values noise alone has directions of four times its variance: a fifth of such neurons used
    to be cut along them into pieces, which then were units of their own, and two neurons were cut elsewhere."""
    rng = np.random.default_rng(6)

    def labels(points):
        return separate_sources(points, min_size=15, min_separation=2.9)

    whole = [labels(rng.normal(size=(n_points, 128))).max() == 0 for n_points in [100, 150] * 20]
    assert np.mean(whole) >= 0.9
    truth = np.arange(100) % 3 == 0
    found = []
    for _ in range(20):
        two = rng.normal(size=(100, 128))
        two[truth, :4] += 3.0
        found.append(adjusted_rand_score(truth, labels(two)))
    assert np.median(found) > 0.95 and np.mean(found) > 0.7
