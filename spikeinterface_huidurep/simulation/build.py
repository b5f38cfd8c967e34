"""Builds a template library: places simulated cells around a probe and stores their extracellular spikes."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from .cells import SAMPLING_FREQUENCY, TRAINING_CELL_MODELS, WINDOW_MS, CellSpikes, load_cell
from .extracellular import align, cell_templates, is_detectable
from .library_file import write_library
from .placement import PlacementRules, draw_drift, draw_position, draw_rotation, position_limits
from .probes import SimulationProbe, load_probe

logger = logging.getLogger(__name__)

Drift = Literal["none", "shank", "free"]
DRIFT_STEPS = 31  # displacements of a unit: along the shank 3.3 um apart, between which a benchmark interpolates
SHANK_DRIFT_UM = 50.0  # largest displacement either way; the encoder learns to ignore motion within this range
MAX_CANDIDATES_PER_UNIT = 1000  # ends the search where hardly any position gives a large enough spike; MEArec's


@dataclass(frozen=True)
class SimulatedUnit:
    """One cell in front of a probe.

    Attributes
    ----------
    templates : numpy.ndarray, shape (steps, channels, samples), float32
        uV; one step for a cell that does not drift.
    locations : numpy.ndarray, shape (steps, 3), float64
        Positions of the soma, um.
    rotation : numpy.ndarray, shape (3,), float64
        Angles about the fixed x, y and z axes, radians.
    spike_index : int
        Which of the cell's spikes.
    time_shift : int
        Samples by which the trough that the templates are aligned to precedes the peak of the somatic potential.
    """

    templates: np.ndarray
    locations: np.ndarray
    rotation: np.ndarray
    spike_index: int
    time_shift: int


def build_library(
    path: Path | str,
    probe: str,
    *,
    drift: Drift = "none",
    cell_models: Sequence[str] = TRAINING_CELL_MODELS,
    units_per_model: int = 60,
    seed: int = 1,
    rules: PlacementRules | None = None,
    cache_folder: Path | str | None = None,
) -> Path:
    """Simulate units in front of a probe and write them as a template library.

    Parameters
    ----------
    path : path
        File to write, ``.npz`` (see :mod:`.library_file`).
    probe : str
        MEAutility's name, e.g. ``"Neuropixels2-64"``.
    drift : {"none", "shank", "free"}
        ``"shank"``: every unit at the same 31 displacements along z, -50 to 50 um. ``"free"``: 31 steps from one
        position to another, 30 to 100 um apart, in a direction of the unit's own.
    cell_models : sequence of str
        Names from :data:`.cells.CELL_MODELS`.
    units_per_model : int
    seed : int
        Seed of all random numbers. The units of one cell model do not depend on which other models are simulated.
    rules : PlacementRules, optional
    cache_folder : path, optional
        Where compiled mechanisms and membrane currents are kept between calls.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        If an argument is invalid, or hardly any position of a cell gives a spike that is large enough.
    ModuleNotFoundError
        If the extra ``simulate`` is missing.
    OSError, RuntimeError
        If the cell models cannot be compiled or simulated.
    """
    _check_request(drift, cell_models, units_per_model)
    rules = PlacementRules() if rules is None else rules
    key = zlib.crc32(f"{probe} {drift}".encode())  # another probe or drift draws other units
    geometry = load_probe(probe, np.random.default_rng([seed, key]))
    units: list[SimulatedUnit] = []
    cells: list[CellSpikes] = []
    for cell_model in cell_models:
        cell = load_cell(cell_model, cache_folder)
        generator = np.random.default_rng([seed, key, zlib.crc32(cell_model.encode())])
        units += simulate_units(cell, geometry, units_per_model, drift, rules, generator)
        cells += [cell] * units_per_model
        logger.info("%s: %d units of %s", probe, units_per_model, cell_model)
    templates = np.stack([unit.templates for unit in units])
    facts = {**_facts(units, cells, geometry, drift), "seed": np.array(seed)}
    return write_library(path, templates[:, 0] if drift == "none" else templates, facts)


def _check_request(drift: str, cell_models: Sequence[str], units_per_model: int) -> None:
    if drift not in get_args(Drift):
        raise ValueError(f"drift must be one of {', '.join(get_args(Drift))}, not {drift!r}.")
    if units_per_model < 1 or not cell_models:
        raise ValueError("A library needs at least one cell model and one unit of it.")


def simulate_units(
    cell: CellSpikes,
    probe: SimulationProbe,
    n_units: int,
    drift: Drift,
    rules: PlacementRules,
    generator: np.random.Generator,
) -> list[SimulatedUnit]:
    """Draw positions of a cell until `n_units` of them give a detectable spike.

    Parameters
    ----------
    cell : CellSpikes
        The simulated cell.
    probe : SimulationProbe
        The probe.
    n_units : int
        Units wanted.
    drift : {"none", "shank", "free"}
        See :func:`build_library`.
    rules : PlacementRules
        Limits on positions and amplitudes.
    generator : numpy.random.Generator
        Source of randomness.

    Raises
    ------
    ValueError
        If fewer than one position in a thousand gives a detectable spike.
    """
    units: list[SimulatedUnit] = []
    for _ in range(MAX_CANDIDATES_PER_UNIT * n_units):
        unit = _draw_unit(cell, probe, drift, rules, generator)
        if unit is not None:
            units.append(unit)
            if len(units) == n_units:
                return units
    raise ValueError(
        f"Only {len(units)} of {n_units} units of {cell.cell_model} reach {rules.minimum_amplitude} uV on {probe.name}."
    )


def shank_displacements() -> np.ndarray:
    """Displacements along z of a library with ``drift="shank"``, shape (31,), float32, um."""
    return np.linspace(-SHANK_DRIFT_UM, SHANK_DRIFT_UM, DRIFT_STEPS, dtype=np.float32)


def _draw_unit(
    cell: CellSpikes, probe: SimulationProbe, drift: Drift, rules: PlacementRules, generator: np.random.Generator
) -> SimulatedUnit | None:
    """Draw one position of the cell; None if the spike is too small there or the drift does not fit."""
    limits = position_limits(probe, rules)
    spike_index = int(generator.integers(len(cell.currents)))
    angles = draw_rotation(cell.cell_type, generator)
    start = draw_position(limits, generator)
    if drift == "none":
        path = start[None]
    elif drift == "shank":
        path = start + shank_displacements()[:, None].astype(np.float64) * np.array([0.0, 0.0, 1.0])
    else:
        end = draw_drift(start, limits, rules, generator)
        if end is None:
            return None
        path = np.linspace(start, end, DRIFT_STEPS)
    # Most positions are too far away: test the resting position, or both ends of a free drift, before computing every
    # step.
    decisive = {"none": path, "shank": start[None], "free": path[[0, -1]]}[drift]
    templates = cell_templates(cell, spike_index, angles, decisive, probe)
    if not all(is_detectable(template, rules.minimum_amplitude) for template in templates):
        return None
    if drift != "none":
        templates = cell_templates(cell, spike_index, angles, path, probe)
    window = [int(round(ms * cell.sampling_frequency / 1000)) for ms in WINDOW_MS]
    aligned = align(templates, cell.nbefore, (window[0], window[1]))
    return None if aligned is None else SimulatedUnit(aligned[0], path, angles, spike_index, aligned[1])


def _facts(
    units: list[SimulatedUnit], cells: list[CellSpikes], probe: SimulationProbe, drift: Drift
) -> dict[str, np.ndarray]:
    """Everything of a library but its templates."""
    troughs = np.stack([-unit.templates.min(axis=2) for unit in units])  # units, steps, channels
    amplitude_per_step = troughs.max(axis=2)
    locations = np.stack([unit.locations for unit in units])
    facts = {
        "celltype": np.array([cell.cell_type for cell in cells]),
        "cell_model": np.array([cell.cell_model for cell in cells]),
        "cell_class": np.array([cell.cell_class for cell in cells]),
        "location": (locations[:, 0] if drift == "none" else locations).astype(np.float32),
        "rotation": np.stack([unit.rotation for unit in units]).astype(np.float32),
        "spike_index": np.array([unit.spike_index for unit in units], dtype=np.int16),
        "time_shift": np.array([unit.time_shift for unit in units], dtype=np.int16),
        "amplitude": amplitude_per_step.max(axis=1).astype(np.float32),
        "peak_channel": troughs.max(axis=1).argmax(axis=1).astype(np.int16),
        "channel_positions": probe.channel_positions.astype(np.float32),
        "contact_points": probe.contact_points.astype(np.float32),
        "sampling_frequency": np.array(SAMPLING_FREQUENCY),
        "nbefore": np.array(int(round(WINDOW_MS[0] * SAMPLING_FREQUENCY / 1000))),
        "probe": np.array(probe.name),
        "source": np.array("; ".join(dict.fromkeys(cell.source for cell in cells))),
        "licence": np.array("; ".join(dict.fromkeys(cell.licence for cell in cells))),
        "intra_seed": np.array(0),  # the stimulus is constant and the mechanisms are deterministic: nothing is drawn
    }
    if drift != "none":
        facts["amplitude_per_step"] = amplitude_per_step.astype(np.float32)
    if drift == "shank":
        facts["displacement"] = shank_displacements()
    return facts
