"""Reads template libraries: simulated spike templates of many neurons on one probe (numpy only).

A library is one ``.npz`` file without pickled objects. It holds, per unit, where the neuron was and which cell
model it is, and the templates in uV in one of two packed forms:

``templates`` (units, channels, samples) int16 with ``scale`` (units,)
    still neurons; a template is ``templates * scale``.
``u`` (units, steps, channels, rank) int16, ``v`` (units, rank, samples) int16, ``u_scale``, ``rank`` (units,)
    neurons seen at ``steps`` displacements; a template is ``u * u_scale`` times ``v / 32767`` over the
    first ``rank`` components.

``channel_positions`` (channels, 3) are um, planar probes lie in a plane; ``sampling_frequency`` is Hz and ``nbefore``
the sample of the trough. ``source`` and ``licence`` say what the neurons come from and on which terms; files of earlier
versions lack them. ``huidurep templates`` writes such files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

_PER_UNIT = (
    "celltype",
    "cell_model",
    "cell_class",
    "location",
    "rotation",
    "spike_index",
    "time_shift",
    "amplitude",
    "amplitude_per_step",
    "peak_channel",
    "scale",
    "u_scale",
    "rank",
    "pack_error",
)
_SCALARS = ("sampling_frequency", "nbefore", "seed", "intra_seed", "probe", "source", "licence")
_V_SCALE = 32767.0


@dataclass
class TemplateFactors:
    """A library with space and time apart, so that filters need to touch the time part only.

    Attributes
    ----------
    spatial : ndarray, (units, steps, channels, rank) float32, uV, or None
        None for a library of still neurons, whose templates are ``temporal`` itself.
    temporal : ndarray, (units, rank or channels, samples) float32
    facts : dict
        Every other array and scalar of the file.
    """

    spatial: np.ndarray | None
    temporal: np.ndarray
    facts: dict[str, Any]

    @property
    def cell_model(self) -> np.ndarray:
        """Name of each unit's cell model, (units,)."""
        return self.facts["cell_model"]

    def planar_locations(self) -> np.ndarray:
        """Channel locations in the probe's plane, (channels, 2) float32, um, the longer side second."""
        return self._planar(np.asarray(self.facts["channel_positions"]))

    def planar_places(self) -> np.ndarray | None:
        """Where each neuron's soma is, (units, steps, 2) float32, um, in the same plane; of drifting neurons at least
        how they move. None where the file does not say it."""
        units, steps = len(self.cell_model), 1 if self.spatial is None else self.spatial.shape[1]
        places, moves = self.facts.get("location"), self.facts.get("displacement")
        if _holds(places, (units, steps, 3)) or (steps == 1 and _holds(places, (units, 3))):
            return self._planar(places.reshape(units, steps, 3))
        if not _holds(moves, (steps,)):
            return None
        along = np.broadcast_to(moves.astype(np.float32), (units, steps))
        return np.stack([np.zeros_like(along), along], axis=-1)

    def _planar(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2 or 3) in the probe's plane, (..., 2)."""
        positions = np.asarray(self.facts["channel_positions"], dtype=np.float64)
        axes = list(range(positions.shape[1]))
        if len(axes) == 3:
            axes.remove(int(np.argmin(np.ptp(positions, axis=0))))
        if np.ptp(positions[:, axes[0]]) > np.ptp(positions[:, axes[1]]):
            axes.reverse()
        return np.ascontiguousarray(points[..., axes], dtype=np.float32)


def _holds(array: Any, shape: tuple[int, ...]) -> TypeGuard[np.ndarray]:
    """Whether an entry of a file is there, of that shape and all numbers."""
    return array is not None and array.shape == shape and array.dtype.kind in "fiu" and bool(np.isfinite(array).all())


def _read(path: str | Path, units: Iterable[int] | None) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no template library at {path}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            content: dict[str, Any] = {key: archive[key] for key in archive.files}
    except Exception as error:  # numpy, zipfile and zlib raise many kinds on a foreign file
        raise ValueError(f"{path} is not a template library (.npz without pickled objects)") from error
    missing = {"cell_model", "channel_positions", "sampling_frequency", "nbefore"} - set(content)
    if missing or not ("templates" in content or {"u", "v", "u_scale", "rank"} <= set(content)):
        raise ValueError(f"{path} is not a template library: it lacks {sorted(missing) or 'templates'}")
    if not _is_sound(content):
        raise ValueError(f"{path} is not a template library: its arrays do not fit together")
    total = len(content["cell_model"])
    chosen = np.arange(total) if units is None else np.atleast_1d(np.asarray(list(units), dtype=np.int64))
    if len(chosen) and (chosen.min() < -total or chosen.max() >= total):
        raise IndexError(f"{path.name} has {total} units, asked for unit {int(chosen.max())}")
    for key in (*_PER_UNIT, "templates", "u", "v"):
        if key in content:
            content[key] = content[key][chosen]
    for key in _SCALARS:
        if key in content:
            content[key] = content[key].item()
    return content


def _is_sound(content: dict[str, Any]) -> bool:
    """Whether the arrays have the types and sizes that the format wants, and no value is NaN or infinite."""
    wanted: dict[str, tuple[int, str]] = {"cell_model": (1, "UiuS"), "channel_positions": (2, "fiu")}
    wanted |= {key: (0, "fiu") for key in ("sampling_frequency", "nbefore")}
    if "templates" in content:
        wanted |= {"templates": (3, "iuf"), "scale": (1, "f")}
    else:
        wanted |= {"u": (4, "iu"), "v": (3, "iu"), "u_scale": (1, "f"), "rank": (1, "iu")}
    for key, (dimensions, kinds) in wanted.items():
        array = content.get(key)
        if array is None or array.ndim != dimensions or array.dtype.kind not in kinds:
            return False
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            return False
    if any(content[key].ndim for key in _SCALARS if key in content):
        return False
    total, n_channels = len(content["cell_model"]), len(content["channel_positions"])
    per_unit = [content[key] for key in (*_PER_UNIT, "templates", "u", "v") if key in content]
    if any(array.ndim == 0 or len(array) != total for array in per_unit):
        return False
    if "templates" in content:
        fits, n_samples = content["templates"].shape[1] == n_channels, content["templates"].shape[2]
    else:
        u, v = content["u"], content["v"]
        fits, n_samples = u.shape[2] == n_channels and u.shape[3] == v.shape[1], v.shape[2]
    return fits and bool(content["sampling_frequency"] > 0) and bool(0 <= content["nbefore"] < n_samples)


def _pad(waveforms: np.ndarray, before: int, after: int) -> np.ndarray:
    """Let the last axis fall from its first and last values to zero along half a cosine, outside the window."""
    if not before and not after:
        return waveforms
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(before) + 0.5) / max(before, 1))
    fall = 0.5 + 0.5 * np.cos(np.pi * (np.arange(after) + 0.5) / max(after, 1))
    padded = [waveforms[..., :1] * rise, waveforms, waveforms[..., -1:] * fall]
    return np.concatenate(padded, axis=-1).astype(np.float32)


def load_factors(
    path: str | Path, units: Iterable[int] | None = None, pad_ms: tuple[float, float] = (0.0, 0.0)
) -> TemplateFactors:
    """Read a library without multiplying space and time together.

    Parameters are :func:`load_library`'s.

    Returns
    -------
    TemplateFactors
        Components beyond a unit's rank are zero.
    """
    content = _read(path, units)
    before, after = (int(round(pad * content["sampling_frequency"] / 1e3)) for pad in pad_ms)
    content["nbefore"] += before
    if "templates" in content:
        temporal = content.pop("templates").astype(np.float32) * content["scale"][:, None, None]
        return TemplateFactors(None, _pad(temporal, before, after), content)
    spatial = content.pop("u").astype(np.float32) * content["u_scale"][:, None, None, None]
    temporal = content.pop("v").astype(np.float32) / _V_SCALE
    beyond = np.arange(temporal.shape[1])[None] >= content["rank"][:, None]
    temporal[beyond] = 0.0
    return TemplateFactors(spatial, _pad(temporal, before, after), content)


def load_library(
    path: str | Path, units: Iterable[int] | None = None, pad_ms: tuple[float, float] = (0.0, 0.0)
) -> dict[str, Any]:
    """Read a template library.

    Parameters
    ----------
    path : str or Path
        The ``.npz`` file.
    units : iterable of int, optional
        Which units; all by default.
    pad_ms : (float, float)
        Simulated windows need not begin and end at zero. The edges fall to zero within so many ms added before
        and after the window; ``nbefore`` grows with it.

    Returns
    -------
    dict
        ``"templates"``: float32, uV, (units, channels, samples), or (units, steps, channels, samples) for drifting
        units, trough at sample ``"nbefore"``; every other entry of the file, with the per-unit ones restricted
        to ``units`` and scalars as Python numbers.

    Raises
    ------
    FileNotFoundError, ValueError, IndexError
        No such file, not a library, or no such unit.
    """
    factors = load_factors(path, units, pad_ms)
    library = dict(factors.facts)
    if factors.spatial is None:
        library["templates"] = factors.temporal
    else:
        library["templates"] = factors.spatial @ factors.temporal[:, None]
    return library
