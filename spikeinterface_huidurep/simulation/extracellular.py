"""Extracellular templates from membrane currents: line sources in a homogeneous medium, averaged over each contact.

The potential of a straight segment with uniform current density is LFPykit's ``LineSourcePotential`` (Holt and Koch
1999; Linden et al. 2014, LFPy); only LFPykit and numpy are needed here.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from .cells import CellSpikes
from .probes import SimulationProbe

CONDUCTIVITY = 0.3  # S/m, extracellular; the usual value for grey matter, and LFPy's default


def cell_templates(
    cell: CellSpikes, spike_index: int, angles: np.ndarray, locations: np.ndarray, probe: SimulationProbe
) -> np.ndarray:
    """Potential of one spike of a cell at every channel of a probe, for each of the cell's locations.

    Parameters
    ----------
    cell : CellSpikes
        Morphology and membrane currents.
    spike_index : int
        Which of the cell's spikes.
    angles : numpy.ndarray, shape (3,)
        Rotations about the fixed x, y and z axes, in this order, radians.
    locations : numpy.ndarray, shape (locations, 3)
        Positions of the soma, um.
    probe : SimulationProbe
        Contacts and gain.

    Returns
    -------
    numpy.ndarray, shape (locations, channels, samples), float32
        Potentials, uV; samples as in ``cell.currents``.
    """
    from lfpykit import CellGeometry, LineSourcePotential

    ends = Rotation.from_euler("xyz", angles).as_matrix() @ cell.segment_ends.reshape(3, -1)
    x, y, z = ends.reshape(cell.segment_ends.shape)
    # The probe moves instead of the soma, which is equivalent: one model serves all locations.
    points = probe.contact_points[None] - np.asarray(locations, dtype=np.float64)[:, None, None]
    source = LineSourcePotential(
        CellGeometry(x, y, z, cell.segment_diameters), *points.reshape(-1, 3).T, sigma=CONDUCTIVITY
    )
    transfer = source.get_transformation_matrix().reshape(*points.shape[:-1], -1).mean(axis=2)  # mV/nA
    microvolts = 1000.0 * probe.gain * (transfer @ cell.currents[spike_index].astype(np.float64))
    return microvolts.astype(np.float32)


def is_detectable(template: np.ndarray, minimum_amplitude: float) -> bool:
    """Whether a template, shape (channels, samples), uV, has a large enough trough, at least as large as its peak."""
    trough = -float(template.min())
    return trough >= minimum_amplitude and trough >= float(template.max())


def align(templates: np.ndarray, nbefore: int, window: tuple[int, int]) -> tuple[np.ndarray, int] | None:
    """Cut a window around the trough of the largest template, the same window for all locations.

    A unit that drifts is aligned once: aligning every step by itself, as MEArec does, makes a waveform with two
    troughs jump by many samples from one step to the next.

    Parameters
    ----------
    templates : numpy.ndarray, shape (locations, channels, samples)
        Templates, uV.
    nbefore : int
        Sample of the somatic peak in `templates`.
    window : tuple of int
        Samples before and after the trough to keep.

    Returns
    -------
    (numpy.ndarray, int) or None
        Templates of shape (locations, channels, sum of `window`) and by how many samples the
        trough precedes the somatic peak; None if the window would reach beyond the simulated samples.
    """
    largest = int(templates.min(axis=(1, 2)).argmin())
    trough = int(templates[largest].min(axis=0).argmin())
    first, last = trough - window[0], trough + window[1]
    if first < 0 or last > templates.shape[2]:
        return None
    return np.ascontiguousarray(templates[:, :, first:last]), nbefore - trough
