"""Simulates one mouse V1 neuron: ``python -m spikeinterface_huidurep.simulation.mouse_worker MODEL MODELS FILE``.

NEURON alone is needed. As the models' authors do (Gouwens et al. 2018), the axon is replaced by a stub of two passive
sections of 30 um, here in the direction of the axon that it replaces, and a section has a segment for every 20 um.

The stimulus is that of :mod:`.neuron_worker`: a constant current into the soma, scaled until the cell fires 4 to 50
times.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .cells import MARGIN_MS, SAMPLING_FREQUENCY, WINDOW_MS

DURATION_MS = 600.0
STIMULUS_DELAY_MS = 50.0
FIRST_STIMULUS_NA = 0.25
WEAKER, STRONGER = 0.6, 1.6
SPIKE_COUNT = (4, 50)
MAX_STIMULUS_TRIALS = 10
THRESHOLD_MV = -15.0  # that the somatic potential crosses in a spike
AXON_LENGTH_UM, AXON_DIAMETER_UM = 30.0, 1.0
SEGMENT_UM = 20.0


def simulate_cell(model: str, morphology: Path, fit: Path, mechanisms: Path, path: Path) -> None:
    """Simulate a neuron and write what :class:`.cells.CellSpikes` reads.

    Parameters
    ----------
    model : str
        Name of the cell model.
    morphology : path
        ``.swc`` file.
    fit : path
        ``.json`` file of the conductances.
    mechanisms : path
        Folder of the compiled mechanisms.
    path : path
        File to write, ``.npz``.

    Raises
    ------
    RuntimeError
        If none of the tried currents gives the right number of spikes.
    """
    from neuron import h, load_mechanisms

    load_mechanisms(str(mechanisms))
    h.load_file("stdrun.hoc")
    h.load_file("import3d.hoc")
    sections = _build(h, morphology)
    parameters = json.loads(fit.read_text(encoding="utf8"))
    _set_parameters(sections, parameters)
    segments = [segment for section in h.allsec() for segment in section]
    conditions = parameters["conditions"][0]
    h.celsius, h.dt, h.steps_per_ms = float(conditions["celsius"]), 1e3 / SAMPLING_FREQUENCY, SAMPLING_FREQUENCY / 1e3
    h.cvode.use_fast_imem(1)
    stimulus = h.IClamp(h.soma[0](0.5))
    stimulus.delay, stimulus.dur, stimulus.amp = STIMULUS_DELAY_MS, 1e9, FIRST_STIMULUS_NA
    h.finitialize()  # settles the order of the nodes, to which the references below point
    potential = h.Vector().record(h.soma[0](0.5)._ref_v)
    currents = [h.Vector().record(segment._ref_i_membrane_) for segment in segments]
    before, after, margin = (int(round(ms * SAMPLING_FREQUENCY / 1000)) for ms in (*WINDOW_MS, MARGIN_MS))
    peaks = _fire(h, stimulus, potential, float(conditions["v_init"]), (before + margin, after + margin))
    if peaks is None:
        raise RuntimeError(f"{model} did not fire {SPIKE_COUNT} times in {MAX_STIMULUS_TRIALS} trials")
    window = np.arange(-before - margin, after + margin)
    traces = np.array([np.array(current) for current in currents])
    # the electrode brings in a constant current, which is no part of a spike: the soma's is less by it
    traces[segments.index(h.soma[0](0.5))] -= stimulus.amp
    ends = np.array([_ends(segment) for segment in segments]) - _soma_centre(h)
    np.savez(
        path,
        cell_model=model,
        segment_ends=ends.transpose(2, 0, 1),
        segment_diameters=np.array([segment.diam for segment in segments]),
        currents=np.moveaxis(traces[:, peaks[1:, None] + window], 1, 0).astype(np.float32),
        stimulus_nA=stimulus.amp,
        sampling_frequency=SAMPLING_FREQUENCY,
        nbefore=before + margin,
    )


def _fire(h: Any, stimulus: Any, potential: Any, v_init: float, margins: tuple[int, int]) -> np.ndarray | None:
    """Run with ever other currents until the cell fires often enough; the samples of its peaks, or None."""
    for _ in range(MAX_STIMULUS_TRIALS):
        h.finitialize(v_init)
        h.continuerun(DURATION_MS)
        peaks = find_peaks(np.array(potential), *margins)
        if SPIKE_COUNT[0] <= len(peaks) <= SPIKE_COUNT[1]:
            return peaks
        stimulus.amp *= STRONGER if len(peaks) < SPIKE_COUNT[0] else WEAKER
    return None


def find_peaks(potential: np.ndarray, before: int, after: int) -> np.ndarray:
    """Samples of the peaks of a somatic potential (samples,), mV, that lie ``before`` and ``after`` samples inside."""
    above = potential > THRESHOLD_MV
    rises = np.flatnonzero(~above[:-1] & above[1:]) + 1
    ends = np.append(rises[1:], len(potential)).astype(int)[: len(rises)]
    peaks = [int(rise + potential[rise:end].argmax()) for rise, end in zip(rises, ends, strict=True)]
    return np.array([peak for peak in peaks if before <= peak < len(potential) - after], dtype=np.int64)


def _build(h: Any, morphology: Path) -> dict[str, list[Any]]:
    """Make the sections, with the stub in the axon's place; by kind (soma, axon, dend, apic)."""
    reader = h.Import3d_SWC_read()
    reader.input(str(morphology))
    h.Import3d_GUI(reader, 0).instantiate(None)
    h.define_shape()
    centre = _soma_centre(h)
    direction = np.array([0.0, -1.0, 0.0])
    axon = [section for section in h.allsec() if section.name().startswith("axon")]
    if axon:
        last = axon[0].n3d() - 1
        point = np.array([axon[0].x3d(last), axon[0].y3d(last), axon[0].z3d(last)])
        direction = (point - centre) / np.linalg.norm(point - centre)
    for section in axon:
        h.delete_section(sec=section)
    stub = [h.Section(name=f"axon[{number}]") for number in range(2)]
    for number, section in enumerate(stub):
        for place in (number, number + 1):
            point = centre + place * AXON_LENGTH_UM * direction
            section.pt3dadd(*point.tolist(), AXON_DIAMETER_UM)
    stub[0].connect(h.soma[0](0.5))
    stub[1].connect(stub[0](1.0))
    kinds: dict[str, list[Any]] = {}
    for section in h.allsec():
        kinds.setdefault(section.name()[:4], []).append(section)
    for section in kinds["dend"] + kinds.get("apic", []) + stub:
        section.nseg = 1 + 2 * int(section.L / (2 * SEGMENT_UM))
    return kinds


def _set_parameters(sections: dict[str, list[Any]], parameters: dict[str, Any]) -> None:
    """Passive properties, conductances and reversal potentials of a fit."""
    passive, conditions = parameters["passive"][0], parameters["conditions"][0]
    capacitance = {entry["section"]: entry["cm"] for entry in passive["cm"]}
    for kind, members in sections.items():
        for section in members:
            section.Ra = passive["ra"]
            section.cm = capacitance.get(kind, capacitance["dend"])  # of an interneuron's fit on apical dendrites
            section.insert("pas")
            for segment in section:
                segment.pas.e = passive["e_pas"]
    for entry in parameters["genome"]:
        for section in sections.get(entry["section"], []):
            if entry["mechanism"]:
                section.insert(entry["mechanism"])
            setattr(section, entry["name"], float(entry["value"]))
    leak = {entry["section"]: float(entry["value"]) for entry in parameters["genome"] if entry["name"] == "g_pas"}
    for section in sections.get("apic", []):
        section.g_pas = leak.get("apic", leak["dend"])
    for entry in conditions["erev"]:
        for section in sections.get(entry["section"], []):
            section.ena, section.ek = entry["ena"], entry["ek"]


def _points(section: Any) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) of a section and their distances along it (n,), um."""
    count = section.n3d()
    points = np.array([[section.x3d(i), section.y3d(i), section.z3d(i)] for i in range(count)])
    return points, np.array([section.arc3d(i) for i in range(count)])


def _ends(segment: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both ends (3,) of a segment, um."""
    points, along = _points(segment.sec)
    half = 0.5 / segment.sec.nseg
    both = [(segment.x + sign * half) * along[-1] for sign in (-1, 1)]
    first, last = (np.array([np.interp(place, along, points[:, axis]) for axis in range(3)]) for place in both)
    return first, last


def _soma_centre(h: Any) -> np.ndarray:
    points, along = _points(h.soma[0])
    return np.array([np.interp(0.5 * along[-1], along, points[:, axis]) for axis in range(3)])


if __name__ == "__main__":
    name, models, file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    from .mouse_cells import files_of

    simulate_cell(name, *files_of(name, models), models / "mods", file)
