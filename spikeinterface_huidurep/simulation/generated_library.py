"""Template libraries of neurons that are generated: the project's own random ones, and SpikeInterface's.

Both are free (MIT) and need no extra on the probes of :mod:`~spikeinterface_huidurep.encoder.layouts`.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from spikeinterface_huidurep.encoder import generated, random_neurons
from spikeinterface_huidurep.encoder.random_neurons.placement import BEFORE_MS, place_neurons

from .build import shank_displacements
from .cells import SAMPLING_FREQUENCY, WINDOW_MS
from .extracellular import align
from .library_file import write_library
from .probes import SimulationProbe, load_probe

GeneratedSource = Literal["random", "spikeinterface"]
SMALLEST_UV = 30.0  # as in the libraries of cell models
# SpikeInterface's templates have no unit: amplitudes are drawn over the range of the cell models' libraries
_AMPLITUDE_UV = (30.0, 300.0)
_EXCITATORY = ("pyramidal", "multipolar", "axon", "flat")


def build_generated_library(
    path: Path | str,
    probe: str,
    source: GeneratedSource = "random",
    *,
    drift: str = "none",
    units: int = 500,
    kinds: tuple[str, ...] | None = None,
    seed: int = 1,
) -> Path:
    """Generate neurons in front of a probe and write them as a template library.

    Parameters
    ----------
    path : path
        File to write, ``.npz``.
    probe : str
        See :func:`.probes.load_probe`.
    source : {"random", "spikeinterface"}
        The project's own generator, or SpikeInterface's.
    drift : {"none", "shank"}
        ``"shank"``: every unit at the same 31 displacements along the probe, -50 to 50 um.
    units : int
        Neurons.
    kinds : tuple of str, optional
        Of the random neurons: kinds to draw from, all with their shares if not given.
    seed : int

    Returns
    -------
    pathlib.Path
        The file. It says its source and licence.

    Raises
    ------
    ValueError
        If an argument is invalid.
    ModuleNotFoundError
        If the probe needs MEAutility and it is missing.
    """
    _check_request(source, drift, units, kinds)
    key = zlib.crc32(f"{probe} {drift} {source}".encode())
    generator = np.random.default_rng([seed, key])
    geometry = load_probe(probe, np.random.default_rng([seed, key, 1]))
    steps = shank_displacements().astype(np.float64) if drift == "shank" else np.zeros(1)
    make = _random_units if source == "random" else _spikeinterface_units
    templates, locations, names, rate, nbefore = make(geometry, units, steps, kinds, generator)
    facts = _facts(templates, locations, names, geometry, steps)
    facts |= {
        "source": np.array(
            "random neurons of spikeinterface-huidurep" if source == "random" else "SpikeInterface's template generator"
        ),
        "licence": np.array(random_neurons.LICENCE if source == "random" else generated.LICENCE),
        "sampling_frequency": np.array(rate),
        "nbefore": np.array(nbefore),
        "seed": np.array(seed),
    }
    return write_library(path, templates[:, 0] if drift == "none" else templates, facts)


def _check_request(source: str, drift: str, units: int, kinds: tuple[str, ...] | None) -> None:
    if source not in get_args(GeneratedSource):
        raise ValueError(f"The source must be one of {', '.join(get_args(GeneratedSource))}, not {source!r}.")
    if drift not in ("none", "shank"):
        raise ValueError(f"Generated neurons have the drift none or shank, not {drift!r}.")
    if units < 1:
        raise ValueError("A library needs at least one unit.")
    unknown = [kind for kind in kinds or () if kind not in random_neurons.KINDS]
    if unknown:
        raise ValueError(
            f"The kinds of random neurons are {', '.join(random_neurons.KINDS)}, not {', '.join(unknown)}."
        )
    if kinds and source != "random":
        raise ValueError("Only random neurons have kinds: leave the cell models out.")


def _planar(probe: SimulationProbe) -> tuple[np.ndarray, np.ndarray]:
    """Contacts (channels, 3) um across, along and away from the probe's plane, and the axes that these are."""
    axes = [axis for axis in range(3) if axis != probe.depth_axis]
    contacts = np.zeros_like(probe.channel_positions)
    contacts[:, :2] = probe.channel_positions[:, axes]
    return contacts, np.array([*axes, probe.depth_axis])


def _in_space(places: np.ndarray, axes: np.ndarray, probe: SimulationProbe) -> np.ndarray:
    """Places (..., 3) across, along and away from the probe, in its own coordinates."""
    space = np.zeros_like(places)
    space[..., axes] = places
    space[..., probe.depth_axis] *= probe.depth_sign
    return space


Units = tuple[np.ndarray, np.ndarray, list[str], float, int]


def _random_units(
    probe: SimulationProbe,
    units: int,
    steps: np.ndarray,
    kinds: tuple[str, ...] | None,
    generator: np.random.Generator,
) -> Units:
    """Templates (units, steps, channels, samples), locations (units, steps, 3), kinds, rate and nbefore."""
    contacts, axes = _planar(probe)
    moves = np.zeros((len(steps), 3))
    moves[:, 1] = steps
    window = [int(round(ms * SAMPLING_FREQUENCY / 1000)) for ms in WINDOW_MS]
    peak = int(BEFORE_MS * 1e-3 * SAMPLING_FREQUENCY)
    templates, places, names = [], [], []
    # neurons whose trough would leave the window are not taken, so more are drawn than needed
    drawn = place_neurons(
        contacts, 10 * units, generator, kinds, smallest_uv=SMALLEST_UV, turned=False, gain=probe.gain
    )
    for one in drawn:
        block = one.transfer(contacts, moves, probe.gain) @ one.currents(rate=SAMPLING_FREQUENCY)
        cut = align(block, peak, (window[0], window[1]))
        if cut is None:
            continue
        templates.append(cut[0].astype(np.float32))
        places.append(one.place + moves)
        names.append(one.neuron.kind)
        if len(templates) == units:
            break
    return np.stack(templates), _in_space(np.stack(places), axes, probe), names, SAMPLING_FREQUENCY, window[0]


def _spikeinterface_units(
    probe: SimulationProbe,
    units: int,
    steps: np.ndarray,
    kinds: tuple[str, ...] | None,
    generator: np.random.Generator,
) -> Units:
    """The same of SpikeInterface's generator, at its own rate."""
    contacts, axes = _planar(probe)
    moves = np.zeros((len(steps), 3))
    moves[:, 1] = steps
    templates: list[np.ndarray] = []
    places: list[np.ndarray] = []
    while len(templates) < units:
        soma = generated.draw_somata(contacts[:, :2], 1, generator)
        block = next(generated.raw_templates(contacts[:, :2], soma, steps, generator))
        if -block.min() < block.max():  # its branches' positive deflections are the largest
            continue
        size = np.exp(generator.uniform(np.log(_AMPLITUDE_UV[0]), np.log(_AMPLITUDE_UV[1])))
        templates.append((size * block / -block.min()).astype(np.float32))
        places.append(soma + moves)
    somata = _in_space(np.stack(places), axes, probe)
    return np.stack(templates), somata, ["spikeinterface"] * units, generated.RATE, generated.NBEFORE


def _facts(
    templates: np.ndarray, locations: np.ndarray, names: list[str], probe: SimulationProbe, steps: np.ndarray
) -> dict[str, np.ndarray]:
    troughs = -templates.min(axis=3)
    facts = {
        "celltype": np.array(names),
        "cell_model": np.array([f"random_{name}" if name in random_neurons.KINDS else name for name in names]),
        "cell_class": np.array(["E" if name in _EXCITATORY else "I" for name in names]),
        "location": (locations[:, 0] if len(steps) == 1 else locations).astype(np.float32),
        "amplitude": troughs.max(axis=(1, 2)).astype(np.float32),
        "peak_channel": troughs.max(axis=1).argmax(axis=1).astype(np.int16),
        "channel_positions": probe.channel_positions.astype(np.float32),
        "probe": np.array(probe.name),
    }
    if len(steps) > 1:
        facts["amplitude_per_step"] = troughs.max(axis=2).astype(np.float32)
        facts["displacement"] = steps.astype(np.float32)
    return facts
