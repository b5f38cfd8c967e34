"""What was found, and the folder that all of it is saved in."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..curation.analyzer import ANALYZER_NAME
from ..output_folder import make_room
from .report import match_page
from .review import make_review
from .tables import MatchTables

OWN_FILES = {"matches.csv", "groups.csv", "candidates.csv", "displacements.csv", "report.html", "curation", "analyzer"}


@dataclass(frozen=True)
class UnitMatches(MatchTables):
    """Which units of several sessions are the same neuron: tables (see `MatchTables`), and how they are saved."""

    def save(
        self, folder: str | Path, *, overwrite: bool = False, report: bool = True, review: bool = False,
        **job_kwargs: Any,
    ) -> Path:  # fmt: skip
        """
        Save the tables, a page with pictures, and a curation file for each session.

        Parameters
        ----------
        folder : str or Path
        overwrite : bool
            Replace what an earlier call has saved there; nothing else is ever replaced.
        report : bool
            Whether to draw the page, ``report.html``.
        review : bool
            Whether to make an analyzer of all sessions, on which ``huidurep gui`` shows the neurons, see `make_review`.
        **job_kwargs
            SpikeInterface's parameters for parallel processing, for that.

        Returns
        -------
        Path
            The folder, with ``matches.csv``, ``groups.csv``, ``candidates.csv``, ``displacements.csv``,
            ``report.html`` and ``curation/SESSION.json``; with `review`, ``analyzer``.

        Raises
        ------
        FileExistsError
            If the folder exists and may not be replaced.
        """
        folder = Path(folder).expanduser().absolute()
        make_room(folder, overwrite, OWN_FILES)
        # written next to it and renamed: nothing half-written looks finished
        aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
        aside.mkdir(parents=True)
        try:
            self.matches.to_csv(aside / "matches.csv", index=False)
            self.groups.to_csv(aside / "groups.csv", index=False)
            self.candidates.to_csv(aside / "candidates.csv", index=False)
            self.displacement_table().to_csv(aside / "displacements.csv", index=False)
            (aside / "curation").mkdir()
            for name in self.names:
                text = json.dumps(self.curation(name), indent=2, default=_as_json)
                (aside / "curation" / f"{_as_file_name(name)}.json").write_text(text, encoding="utf8")
            if report:
                (aside / "report.html").write_text(match_page(self), encoding="utf8")
            if review:
                make_review(self, aside / ANALYZER_NAME, **job_kwargs)
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return folder


def _as_file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def _as_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON.")
