"""What was found: tables of matches and neurons, and Sortings that know them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from spikeinterface.core import BaseSorting

from .displacement import Displacement
from .sessions import Session


@dataclass(frozen=True)
class KnownPairs:
    """Pairs of which it is known whether they are one neuron: halves of the sessions, changed as a day changes them.

    Attributes
    ----------
    probability : np.ndarray, shape (n_pairs,)
        As the model has it.
    same : np.ndarray of bool, shape (n_pairs,)
    """

    probability: np.ndarray
    same: np.ndarray


@dataclass(frozen=True)
class MatchTables:
    """Which units of several sessions are the same neuron.

    Attributes
    ----------
    matches : pd.DataFrame
        ``session_a, unit_a, session_b, unit_b, probability``: pairs of at least the threshold's probability, a unit at
        most once for each two sessions.
    groups : pd.DataFrame
        ``neuron, session, unit, probability``: every unit of every session, once. `neuron` counts from 1. The
        probability is the mean of the unit's pairs with the neuron's other units; of a unit by itself, that it has no
        partner; NaN where it could not be compared.
    candidates : pd.DataFrame
        As `matches`, all pairs of a probability of 0.01 and more.
    sortings : dict of BaseSorting
        By session, with the unit property "neuron_id".
    probabilities : dict of np.ndarray
        For two sessions by their positions, (n_units, n_units), of the units in `sessions`.
    displacements : dict of Displacement
        The same, the later session against the earlier one.
    shared : dict of float
        The same, the expected share of the smaller session's units that have a partner.
    known : KnownPairs
        Against which the probabilities can be checked.
    sessions : list of Session
    threshold : float
    """

    matches: pd.DataFrame
    groups: pd.DataFrame
    candidates: pd.DataFrame
    sortings: dict[str, BaseSorting]
    probabilities: dict[tuple[int, int], np.ndarray]
    displacements: dict[tuple[int, int], Displacement]
    shared: dict[tuple[int, int], float]
    known: KnownPairs
    sessions: list[Session]
    threshold: float

    @property
    def names(self) -> list[str]:
        """Names of the sessions."""
        return [session.name for session in self.sessions]

    def yields(self, thresholds: ArrayLike) -> pd.DataFrame:
        """
        How many matches there are, and how many of them are expected to be false, at other thresholds.

        Parameters
        ----------
        thresholds : array-like of float

        Returns
        -------
        pd.DataFrame
            ``threshold, matches, false``: `false` is the sum of what the probabilities lack to 1.
        """
        values = np.concatenate([matrix.ravel() for matrix in self.probabilities.values()])
        rows = [(t, int((values >= t).sum()), float((1 - values[values >= t]).sum())) for t in np.asarray(thresholds)]
        return pd.DataFrame(rows, columns=["threshold", "matches", "false"])

    def curation(self, session: str) -> dict[str, Any]:
        """
        The neurons of a session's units as labels, in SpikeInterface's curation format.

        Parameters
        ----------
        session : str
            Its name.

        Returns
        -------
        dict
            With the label "match" for each unit that has a partner: "matched" to accept, or "refused".
        """
        mine = self.groups[self.groups["session"] == session]
        size = self.groups.groupby("neuron").size()
        units = list(self.sortings[session].unit_ids)
        matched = {row.unit for row in mine.itertuples() if size[row.neuron] > 1}
        labels = [{"unit_id": unit, "labels": {"match": ["matched"]}} for unit in units if unit in matched]
        options = {"match": {"label_options": ["matched", "refused"], "exclusive": True}}
        return {
            "format_version": "2",
            "unit_ids": units,
            "label_definitions": options,
            "manual_labels": labels,
            "removed": [],
            "merges": [],
            "splits": [],
        }

    def displacement_table(self) -> pd.DataFrame:
        """The displacements, ``session_a, session_b, depth_um, displacement_um``."""
        rows = [
            (self.names[a], self.names[b], depth, um)
            for (a, b), one in self.displacements.items()
            for depth, um in zip(one.depth_um, one.um, strict=True)
        ]
        return pd.DataFrame(rows, columns=["session_a", "session_b", "depth_um", "displacement_um"])
