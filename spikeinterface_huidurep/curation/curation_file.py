"""The curation of an analyzer: the file that SpikeInterface's GUI reads, suggestions beside it, the curated Sorting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from spikeinterface.core import BaseSorting, SortingAnalyzer

from ..good_probability import PROPERTY as GOOD_PROBABILITY

# spikeinterface-gui reads these when it opens an analyzer for curation
_FOLDER, _NAME = "spikeinterface_gui", "curation_data"
# what nobody has accepted yet; the GUI of `huidurep gui` begins with it
_SUGGESTED = "huidurep_suggestions"


def save_curation(analyzer: SortingAnalyzer, curation: dict[str, Any]) -> Path:
    """
    Save a curation where SpikeInterface's GUI finds it when it opens the analyzer.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        Saved in a folder or a Zarr archive.
    curation : dict
        In SpikeInterface's curation format.

    Returns
    -------
    Path
        The file ``spikeinterface_gui/curation_data.json`` in the analyzer's folder; for a Zarr archive, which holds the
        curation as an attribute, the archive itself.

    Raises
    ------
    ValueError
        If the analyzer is in memory, or the curation does not have SpikeInterface's format.
    """
    return _save(analyzer, curation, _NAME)


def save_suggestions(analyzer: SortingAnalyzer, curation: dict[str, Any]) -> Path:
    """
    Save a curation that nobody has accepted yet, see `suggest_curation`.

    Parameters, result and errors are those of `save_curation`; the file is ``huidurep_suggestions.json``.
    """
    return _save(analyzer, curation, _SUGGESTED)


def _save(analyzer, curation, name):
    from spikeinterface.curation import validate_curation_dict

    validate_curation_dict(curation)
    # numpy's numbers and tuples become JSON's
    curation = json.loads(json.dumps(curation, default=_as_json))
    if analyzer.format == "zarr":
        import zarr

        root = _zarr_root(analyzer, "r+")
        root.require_group(_FOLDER).attrs[name] = curation
        # SpikeInterface reads an archive through its table of contents
        zarr.consolidate_metadata(root.store)
        return Path(analyzer.folder)
    path = _json_path(analyzer, name)
    path.parent.mkdir(exist_ok=True)
    # written to another file and renamed: a full disk must not destroy the earlier curation
    aside = path.with_suffix(".json.new")
    aside.write_text(json.dumps(curation, indent=4), encoding="utf8")
    aside.replace(path)
    return path


def read_curation(analyzer: SortingAnalyzer) -> dict[str, Any] | None:
    """
    Read the saved curation of an analyzer: what was decided in the GUI.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        Saved in a folder or a Zarr archive.

    Returns
    -------
    dict or None
        In SpikeInterface's curation format; None where nothing was saved.

    Raises
    ------
    ValueError
        If the analyzer is in memory, or the file holds no curation.
    """
    return _read(analyzer, _NAME)


def read_suggestions(analyzer: SortingAnalyzer) -> dict[str, Any] | None:
    """
    Read what was suggested for an analyzer when it was made; nobody has accepted it.

    Parameters, result and errors are those of `read_curation`.
    """
    return _read(analyzer, _SUGGESTED)


def decided_curation(analyzer: SortingAnalyzer, accept_suggestions: bool) -> dict[str, Any]:
    """
    The curation that applies: what was saved, and the suggestions only where the caller accepts them.

    Parameters
    ----------
    analyzer : SortingAnalyzer
    accept_suggestions : bool
        Take the suggestions, unseen, where no curation was saved.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    curation = read_curation(analyzer)
    if curation is None and accept_suggestions:
        curation = read_suggestions(analyzer)
    if curation is None:
        raise FileNotFoundError(
            "No curation was saved for this analyzer: decide in the GUI (huidurep gui FOLDER, Save curation), or "
            "accept all suggestions unseen (accept_suggestions=True; on the command line --accept-suggestions)."
        )
    return curation


def _read(analyzer, name):
    if analyzer.format == "zarr":
        root = _zarr_root(analyzer, "r")
        curation = root[_FOLDER].attrs.get(name) if _FOLDER in root else None
        where: Any = analyzer.folder
    else:
        where = _json_path(analyzer, name)
        try:
            curation = json.loads(where.read_text(encoding="utf8")) if where.is_file() else None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where} holds no curation: it is not JSON.") from error
    if curation is not None and not isinstance(curation, dict):
        raise ValueError(f"{where} holds no curation.")
    return curation


def curated_sorting(
    analyzer: SortingAnalyzer,
    curation: dict[str, Any] | None = None,
    *,
    accept_suggestions: bool = False,
    drop: Sequence[str] = (),
    censor_ms: float | None = 0.5,
) -> BaseSorting:
    """
    Apply a curation to an analyzer's Sorting.

    Parameters
    ----------
    analyzer : SortingAnalyzer
    curation : dict, optional
        In SpikeInterface's curation format; by default the one saved for the analyzer.
    accept_suggestions : bool
        Where none was saved, apply all suggestions, which nobody has looked at.
    drop : sequence of str
        Labels whose units are left out, such as ``("noise",)``.
    censor_ms : float or None
        Of spikes of merged units within this time of each other, only one is kept; None keeps all.

    Returns
    -------
    BaseSorting
        With the unit property "quality" where the curation has labels. Units that it has made have no
        "good_probability" (NaN). The analyzer's own Sorting is not changed.

    Raises
    ------
    FileNotFoundError
        If no curation is given and none was saved.
    ValueError
        If the curation is of other units, or not in SpikeInterface's format.
    """
    from spikeinterface.curation import apply_curation

    if curation is None:
        curation = decided_curation(analyzer, accept_suggestions)
    # a copy: SpikeInterface writes the labels into the Sorting that it gets
    sorting = analyzer.sorting.select_units(analyzer.unit_ids)
    try:
        curated = apply_curation(sorting, curation, censor_ms=censor_ms)
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError, IndexError) as error:
        raise ValueError(f"The curation cannot be applied: {' '.join(str(error).split())[:300]}") from error
    forget_probability(curated, analyzer.unit_ids)
    quality = curated.get_property("quality")
    if len(drop) and quality is not None:
        curated = curated.select_units(curated.unit_ids[~np.isin(quality, list(drop))])
    return curated


def forget_probability(curated: BaseSorting, known_ids: Sequence[Any]) -> None:
    """Units that a curation has made do not keep the probability of those that they were made of."""
    probability = curated.get_property(GOOD_PROBABILITY)
    if probability is not None:
        kept = np.isin(curated.unit_ids, known_ids)
        curated.set_property(GOOD_PROBABILITY, np.where(kept, np.asarray(probability, dtype="float64"), np.nan))


def _json_path(analyzer: SortingAnalyzer, name: str) -> Path:
    if analyzer.format != "binary_folder":
        raise ValueError("The analyzer is in memory: a curation can only be saved with an analyzer in a folder.")
    return Path(analyzer.folder) / _FOLDER / f"{name}.json"


def _zarr_root(analyzer: SortingAnalyzer, mode: str) -> Any:
    import zarr

    return zarr.open(str(analyzer.folder), mode=mode)


def _as_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written to a curation file.")
