"""Units: spikes, their labels and their templates, kept together. Nothing else re-indexes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..shank import Shank
from ..templates.drifting import DriftingUnitTemplates, estimate_templates

# a spike that the template was made of counts as so many of those that matching finds, among which are a neighbour's:
# without that the templates of small units wander off to those
KEPT = 3
# of fewer matched spikes no new template is made
FEW_SPIKES = 5


@dataclass(frozen=True)
class UnitSet:
    """
    The units of a shank.

    Made of peaks, each spike has a location of its own, and templates are made of the spikes alone. Made of matched
    spikes, each spike is where its unit is, and the templates keep a part of what they were made of before.

    Attributes
    ----------
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index` and whatever else is known of each.
    labels : (n_spikes,) int
        Unit of each spike, -1 for none.
    templates : DriftingUnitTemplates
        Of the units.
    locations : (n_spikes, 2) float or None
        Registered location of each spike, um; None where each is where its unit is.
    displacement : (n_spikes,) float or None
        Displacement of the probe at each spike, um; None where it is that at the unit's depth.
    """

    spikes: np.ndarray
    labels: np.ndarray
    templates: DriftingUnitTemplates
    locations: np.ndarray | None = None
    displacement: np.ndarray | None = None

    @classmethod
    def of_clusters(
        cls, shank: Shank, peaks: np.ndarray, clusters: np.ndarray, locations: np.ndarray, displacement: np.ndarray
    ) -> UnitSet:
        """One unit a cluster of peaks; `clusters` (n_peaks,) int is -1 where a peak lies in none."""
        places = _medians(locations, clusters, int(clusters.max(initial=-1)) + 1)
        templates = estimate_templates(shank, peaks, clusters, places, displacement)
        return cls(peaks, clusters, templates, locations, displacement)

    @classmethod
    def of_matched(cls, shank: Shank, spikes: np.ndarray, labels: np.ndarray, places: np.ndarray) -> UnitSet:
        """Units of matched spikes at known places (n_units, 2), um, with templates of these spikes alone."""
        displacement = shank.displacement_of(spikes, places[np.maximum(labels, 0), 1])
        return cls(spikes, labels, estimate_templates(shank, spikes, labels, places, displacement))

    @property
    def n_units(self) -> int:
        return self.templates.n_units

    def displacement_at_spikes(self, shank: Shank) -> np.ndarray:
        """Displacement of the probe at each spike, (n_spikes,) um."""
        if self.displacement is not None:
            return self.displacement
        return shank.displacement_of(self.spikes, self.templates.locations[np.maximum(self.labels, 0), 1])

    def only(self, chosen: np.ndarray) -> UnitSet:
        """The same units with some of their spikes, given as a mask; the templates stay."""
        locations = None if self.locations is None else self.locations[chosen]
        displacement = None if self.displacement is None else self.displacement[chosen]
        return replace(
            self, spikes=self.spikes[chosen], labels=self.labels[chosen], locations=locations, displacement=displacement
        )

    def thinned(self, most: int, seed: int) -> UnitSet:
        """The same with at most so many labelled spikes a unit, chosen at random; the templates stay."""
        chosen = some_of_each(self.labels, self.n_units, most, seed)
        labels = np.full(len(self.labels), -1, dtype="int64")
        labels[chosen] = self.labels[chosen]
        return replace(self, labels=labels)

    def among(self, units: np.ndarray) -> UnitSet:
        """Some of the units, given as a mask or as indices; spikes of the others have no unit."""
        place = np.full(self.n_units + 1, -1)
        kept = np.arange(self.n_units)[units]
        place[kept] = np.arange(len(kept))
        return replace(self, labels=place[self.labels], templates=self.templates.select(units))

    def split(self, parts: np.ndarray, shank: Shank) -> tuple[UnitSet, np.ndarray]:
        """
        Split units and make templates of their parts.

        Parameters
        ----------
        parts : (n_spikes,) int
            A unit's own index for its first part, new indices from `n_units` on for others; -1 for spikes that were not
            looked at. Those of units that fall apart have no unit afterwards.
        shank : Shank

        Returns
        -------
        units : UnitSet
        changed : (n_changed,) int
            The units whose spikes and templates are others now, ascending.
        """
        added = np.arange(self.n_units, int(parts.max(initial=-1)) + 1)
        if len(added) == 0:
            return self, added
        # a part's spikes all had one label
        parents = np.array([self.labels[np.argmax(parts == part)] for part in added])
        changed = np.concatenate([np.unique(parents), added])
        labels = np.where(np.isin(self.labels, parents), parts, self.labels)
        place = np.full(added[-1] + 2, -1)
        place[changed] = np.arange(len(changed))
        within = place[labels]
        if self.locations is None:
            locations = self.templates.locations[np.concatenate([np.unique(parents), parents])]
        else:
            locations = _medians(self.locations, within, len(changed))
        made = estimate_templates(shank, self.spikes, within, locations, self.displacement_at_spikes(shank))
        return replace(self, labels=labels, templates=self.templates.renewed(changed, made)), changed

    def join(self, group: np.ndarray, lags: np.ndarray, shank: Shank) -> UnitSet:
        """
        Join units, align their spikes and make their templates again.

        Parameters
        ----------
        group : (n_units,) int
            New index of each unit, from 0; -1 for one that goes.
        lags : (n_units,) int
            Samples to add to a unit's spikes to align them with those of the largest of its group.
        shank : Shank

        Returns
        -------
        UnitSet
            The same where nothing is joined and nothing goes.
        """
        n_joined = int(group.max(initial=-1)) + 1
        spikes, labels = aligned(self.spikes, self.labels, group, lags)
        if self.locations is None:
            if n_joined == self.n_units:
                return self
            largest = np.array([self._largest(group == unit) for unit in range(n_joined)], dtype=int)
            return replace(self, spikes=spikes, labels=labels, templates=self.templates.select(largest)).refitted(shank)
        joined = replace(self, spikes=spikes, labels=labels)
        if int(labels.max(initial=-1)) + 1 < len(group):
            places = _medians(self.locations, labels, int(labels.max(initial=-1)) + 1)
            made = estimate_templates(shank, spikes, labels, places, self.displacement_at_spikes(shank))
            joined = replace(joined, templates=made)
        return joined

    def refitted(self, shank: Shank, using: np.ndarray | None = None) -> UnitSet:
        """
        Make the templates again, of the spikes and of what they were made of; with too few spikes they stay.

        Parameters
        ----------
        shank : Shank
        using : (n_spikes,) bool, optional
            Only of these spikes.
        """
        some = self if using is None else self.only(using)
        before = self.templates
        displacement = some.displacement_at_spikes(shank)
        made = estimate_templates(shank, some.spikes, some.labels, before.locations, displacement)
        # the locations are the same, and so are the channels
        kept, counts = KEPT * before.counts, made.counts
        weight = (kept / np.maximum(kept + counts, 1))[:, :, None, None].astype("float32")
        waveforms = weight * before.waveforms + (1 - weight) * made.waveforms
        few = made.n_spikes < FEW_SPIKES
        waveforms[few] = before.waveforms[few]
        counts = np.where(few[:, None], before.counts, counts)
        return replace(self, templates=replace(made, waveforms=waveforms, counts=counts))

    def _largest(self, members):
        return np.flatnonzero(members)[np.argmax(self.templates.n_spikes[members])]


def some_of_each(labels: np.ndarray, n_units: int, most: int, seed: int) -> np.ndarray:
    """Indices of at most so many spikes of each unit, chosen at random, unit by unit."""
    generator = np.random.default_rng(seed)
    chosen = [np.zeros(0, dtype="int64")]
    for unit in range(n_units):
        here = np.flatnonzero(labels == unit)
        chosen.append(here if len(here) <= most else generator.choice(here, most, replace=False))
    return np.concatenate(chosen)


def aligned(
    spikes: np.ndarray, labels: np.ndarray, group: np.ndarray, lags: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Spikes moved by the lag of their unit (n_units,), and their new labels: the group of their unit (n_units,)."""
    moved, joined = spikes.copy(), np.full(len(labels), -1, dtype="int64")
    labelled = labels >= 0
    moved["sample_index"][labelled] += lags[labels[labelled]]
    joined[labelled] = group[labels[labelled]]
    return moved, joined


def _medians(locations, labels, n_units):
    return np.array([np.median(locations[labels == unit], axis=0) for unit in range(n_units)]).reshape(-1, 2)
