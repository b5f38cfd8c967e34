"""Writes template libraries: one ``.npz`` file of plain arrays, small enough to share.

Static libraries hold ``templates`` (units, channels, samples), int16, times ``scale`` (units,) uV. Drifting libraries
would be 31 times as large, so each unit is stored as a truncated singular value decomposition over its steps and
channels: ``u`` (units, steps, channels, components), int16, times ``u_scale`` (units,) uV, and ``v`` (units,
components, samples), int16, times 1/32767, of which the first ``rank`` (units,) components count; ``pack_error``
(units,) is the largest error in uV.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

RESOLUTION = 0.05  # uV, the finest step stored: far below the noise of any recording, and int16 reaches 1.6 mV with it
PACK_TOLERANCE = 0.03  # uV, largest error of the components that are left out: about that of a step's rounding
_FULL_SCALE = 32767  # largest int16


def write_library(path: Path | str, templates: np.ndarray, facts: Mapping[str, np.ndarray]) -> Path:
    """Write a template library.

    Parameters
    ----------
    path : path
        File to write, ``.npz``.
    templates : numpy.ndarray, shape (units, channels, samples) or (units, steps, channels, samples)
        Templates, uV.
    facts : mapping of str to array
        Other contents of the file, e.g. ``cell_model``, ``location``, ``channel_positions``, ``sampling_frequency``,
        ``nbefore``. Objects that need pickling are refused.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        If the templates have another number of dimensions, are not finite, or a fact is not a plain array.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"A template library is an .npz file, not {path.name}.")
    if templates.ndim not in (3, 4):
        raise ValueError(
            "Templates must have the dimensions (units, channels, samples) or (units, steps, channels, samples), "
            f"not {templates.shape}."
        )
    if not np.isfinite(templates).all():
        raise ValueError("Templates must be finite.")
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in facts.items()}
    objects = [name for name, value in arrays.items() if value.dtype.hasobject]
    if objects:
        raise ValueError(f"A template library holds plain arrays only, but {', '.join(objects)} holds objects.")
    content: dict[str, Any] = _quantize_static(templates) if templates.ndim == 3 else _pack_drifting(templates)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **content, **arrays)
    return path


def _quantize_static(templates: np.ndarray) -> dict[str, np.ndarray]:
    scale = np.maximum(RESOLUTION, np.abs(templates).max(axis=(1, 2)) / _FULL_SCALE).astype(np.float32)
    return {"templates": np.round(templates / scale[:, None, None]).astype(np.int16), "scale": scale}


def _pack_drifting(templates: np.ndarray) -> dict[str, np.ndarray]:
    packs = [_pack_unit(unit.astype(np.float64)) for unit in templates]
    n_units, n_steps, n_channels, n_samples = templates.shape
    most = max((len(v) for _, v, _ in packs), default=0)
    u = np.zeros((n_units, n_steps, n_channels, most), dtype=np.int16)
    v = np.zeros((n_units, most, n_samples), dtype=np.int16)
    for index, (unit_u, unit_v, _) in enumerate(packs):
        u[index, :, :, : len(unit_v)] = unit_u
        v[index, : len(unit_v)] = unit_v
    u_scale = np.array([scale for _, _, scale in packs], dtype=np.float32)
    rank = np.array([len(unit_v) for _, unit_v, _ in packs], dtype=np.int16)
    error = [
        np.abs(unit_u.astype(np.float32) * scale @ (unit_v.astype(np.float32) / _FULL_SCALE) - unit).max()
        for (unit_u, unit_v, scale), unit in zip(packs, templates, strict=True)
    ]
    return {"u": u, "v": v, "u_scale": u_scale, "rank": rank, "pack_error": np.array(error, dtype=np.float32)}


def _pack_unit(unit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """Factors of one unit, shape (steps, channels, samples): int16 u, int16 v and the scale of u in uV."""
    n_steps, n_channels, n_samples = unit.shape
    left, strength, right = np.linalg.svd(unit.reshape(-1, n_samples), full_matrices=False)
    rank = 1
    while rank < len(strength):
        # The largest error over all points, not the mean: small amplitudes on far channels must be kept as well.
        rest = (left[:, rank:] * strength[rank:]) @ right[rank:]
        if np.abs(rest).max() <= PACK_TOLERANCE:
            break
        rank += 1
    coefficients = left[:, :rank] * strength[:rank]
    scale = np.float32(max(RESOLUTION, np.abs(coefficients).max() / _FULL_SCALE))
    u = np.round(coefficients / scale).astype(np.int16).reshape(n_steps, n_channels, rank)
    return u, np.round(right[:rank] * _FULL_SCALE).astype(np.int16), scale
