"""Simulates one cell model with NEURON: ``python -m spikeinterface_huidurep.simulation.neuron_worker FOLDER FILE``.

Every cell model needs its own process: models of one electrical type define NEURON templates of the same name with
different content, and NEURON cannot unload a template.

The stimulus is MEArec's: a constant current into the soma for one second, scaled until the cell fires 4 to 50 times.
The first spike is dropped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from .cells import MARGIN_MS, SAMPLING_FREQUENCY, WINDOW_MS

# MEArec's defaults, so that the cells fire as in its libraries
DURATION_MS = 1000.0
STIMULUS_DELAY_MS = 10.0
FIRST_STIMULUS_NA = 0.25
WEAKER, STRONGER = 0.25, 1.75  # factors on the current after too many and too few spikes
SPIKE_COUNT = (4, 50)
MAX_STIMULUS_TRIALS = 10


def simulate_cell(model_folder: Path, path: Path) -> None:
    """Simulate a cell model and write what :class:`.cells.CellSpikes` reads.

    Parameters
    ----------
    model_folder : path
        Folder of a Blue Brain Project cell model, next to the folder ``mods`` of compiled mechanisms.
    path : path
        File to write, ``.npz``.

    Raises
    ------
    RuntimeError
        If none of the tried currents gives the right number of spikes.
    """
    from MEArec.simulate_cells import find_spike_idxs, return_bbp_cell, set_input

    time_step = 1000.0 / SAMPLING_FREQUENCY
    before, after, margin = (int(round(ms / time_step)) for ms in (*WINDOW_MS, MARGIN_MS))
    cell = return_bbp_cell(model_folder, end_T=DURATION_MS, dt=time_step, start_T=0)
    cell.set_pos(0.0, 0.0, 0.0)
    current = FIRST_STIMULUS_NA
    for _ in range(MAX_STIMULUS_TRIALS):
        # Keep a reference to the returned objects during the simulation, otherwise NEURON removes the current clamp.
        stimulus = set_input(current, time_step, DURATION_MS, cell, STIMULUS_DELAY_MS, DURATION_MS - STIMULUS_DELAY_MS)
        cell.simulate(rec_imem=True)
        del stimulus
        peaks = np.array(find_spike_idxs(cell.somav[before:-after]), dtype=np.int64) + before
        if SPIKE_COUNT[0] <= len(peaks) <= SPIKE_COUNT[1]:
            break
        current *= STRONGER if len(peaks) < SPIKE_COUNT[0] else WEAKER
    else:
        raise RuntimeError(f"{model_folder.name} did not fire {SPIKE_COUNT} times in {MAX_STIMULUS_TRIALS} trials")

    window = np.arange(-before - margin, after + margin)
    indices = np.clip(peaks[1:, None] + window, 0, cell.imem.shape[1] - 1)
    np.savez(
        path,
        cell_model=model_folder.name,
        segment_ends=np.stack([cell.x, cell.y, cell.z]).astype(np.float64),
        segment_diameters=np.asarray(cell.d, dtype=np.float64),
        currents=np.moveaxis(cell.imem[:, indices], 1, 0).astype(np.float32),
        stimulus_nA=current,
        sampling_frequency=SAMPLING_FREQUENCY,
        nbefore=before + margin,
    )


if __name__ == "__main__":
    simulate_cell(Path(sys.argv[1]), Path(sys.argv[2]))
