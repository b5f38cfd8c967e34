"""Chooses units of a template library for a recording: by SNR, spread over it, and no two alike."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.signal import butter, resample_poly, sosfiltfilt

from ..encoder.library import load_library
from .injection import MovableTemplates

PAD_MS = (2.0, 3.0)  # a simulated window does not end at zero: it is faded out over this long
READ_AT_ONCE = 60  # units read with all displacements; 31 of them on 128 channels take 6 MB a unit
HASH_WINDOW_MS = (1.0, 2.5)  # of far units, of which little more than the trough is visible
SORTER_BAND_HZ = (300.0, 6000.0)  # for SNR: SpikeInterface's default band, and that of most sorters
# Two units are alike when the cosine between their templates is above this (then they differ by less than a third of
# their norm) and their somata are nearer than this (farther apart they share hardly any channel).
ALIKE = 0.95
ALIKE_WITHIN_UM = 100.0
LEAST_DISTANCE_UM = 5.0  # between somata, whose radius is larger
MAX_GAIN = 1.6  # on a template: more would give a far unit, with its wide footprint, the amplitude of a near one
HASH_PART = 0.2  # of a library's units serve as far units only: enough different shapes, and most are left to be found


@dataclass
class LibraryUnits:
    """Units of a library as a recording needs them.

    Attributes
    ----------
    templates : np.ndarray, shape (n_units, n_displacements, n_samples, n_channels), float32
        In uV, channels sorted by depth.
    nbefore : int
    displacement_um : np.ndarray, shape (n_displacements,)
    channel_locations : np.ndarray, shape (n_channels, 2)
        In um, in the probe's plane; y is the depth.
    location : np.ndarray, shape (n_units, 3)
        Soma position at displacement 0: in the plane (x, y), then the distance from it.
    cell_class, cell_model : np.ndarray of str, shape (n_units,)
    sampling_frequency : float
    """

    templates: np.ndarray
    nbefore: int
    displacement_um: np.ndarray
    channel_locations: np.ndarray
    location: np.ndarray
    cell_class: np.ndarray
    cell_model: np.ndarray
    sampling_frequency: float

    @property
    def still(self) -> np.ndarray:
        """Templates at the displacement nearest to 0, (n_units, n_samples, n_channels)."""
        return self.templates[:, self._rest if self.templates.shape[1] > 1 else 0]

    @property
    def _rest(self) -> int:
        return int(np.argmin(np.abs(self.displacement_um)))

    def at_rest(self) -> LibraryUnits:
        """The same units at displacement 0 only."""
        return replace(self, templates=self.still[:, np.newaxis].copy(), displacement_um=np.zeros(1))


def library_folder(folder: str | Path | None = None) -> Path:
    """Folder of the template libraries: `folder`, else the environment variable HUIDUREP_TEMPLATES.

    Raises
    ------
    FileNotFoundError
        If neither is given, or the folder does not exist.
    """
    folder = folder or os.environ.get("HUIDUREP_TEMPLATES")
    if not folder:
        raise FileNotFoundError(
            "This recording is made from a template library: give its folder (library_folder, --templates or the "
            "environment variable HUIDUREP_TEMPLATES), or make one with 'huidurep templates'."
        )
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"The folder of template libraries does not exist: {folder}.")
    return Path(folder)


def plane_axes(positions: np.ndarray) -> tuple[int, int, int]:
    """Axes of (n, 3) positions: across the probe, along it (the depth), and out of its plane."""
    out = int(np.argmin(np.ptp(positions, axis=0)))
    across, along = (axis for axis in range(3) if axis != out)
    return across, along, out


def read_units(
    path: str | Path,
    units: np.ndarray | None,
    sampling_frequency: float | None = None,
    window_ms: tuple[float, float] | None = None,
    contacts: tuple[int, ...] | None = None,
) -> LibraryUnits:
    """Read units of a library file, resampled, with channels sorted by depth.

    Parameters
    ----------
    path : str or Path
        Library file.
    units : np.ndarray of int or None
        Which; None for all.
    sampling_frequency : float or None
        To resample to, Hz; None keeps the library's.
    window_ms : (float, float) or None
        Cut the window to this long before and after the trough, with tapered ends; None keeps the window, padded
        until it has fallen to zero.
    contacts : tuple of int or None
        The channels that are kept, counted in the order of depth; None keeps all.
    """
    library = load_library(path, units=units, pad_ms=PAD_MS if window_ms is None else (0.0, 0.0))
    positions = np.asarray(library["channel_positions"], dtype=np.float64)
    across, along, out = plane_axes(positions)
    order = np.lexsort((positions[:, across], positions[:, along]))
    if contacts is not None:
        order = order[list(contacts)]
    templates = library["templates"]
    if templates.ndim == 3:
        templates = templates[:, np.newaxis]
    templates = np.moveaxis(templates[:, :, order], 2, 3)
    nbefore, frequency = int(library["nbefore"]), float(library["sampling_frequency"])
    if window_ms is not None:
        before, after = (int(round(ms * frequency / 1000)) for ms in window_ms)
        before, after = min(before, nbefore), min(after, templates.shape[2] - nbefore)
        templates = templates[:, :, nbefore - before : nbefore + after] * _taper(before + after)[:, np.newaxis]
        nbefore = before
    if sampling_frequency is not None and sampling_frequency != frequency:
        ratio = np.array([sampling_frequency, frequency]).astype(int) // int(
            np.gcd(int(sampling_frequency), int(frequency))
        )
        templates = resample_poly(templates, ratio[0], ratio[1], axis=2)
        nbefore = int(round(nbefore * sampling_frequency / frequency))
    displacement_um = np.asarray(library.get("displacement", np.zeros(1)), dtype=np.float64)
    location = np.asarray(library["location"], dtype=np.float64)
    if location.ndim == 3:
        location = location[:, int(np.argmin(np.abs(displacement_um)))]
    if sampling_frequency is None:
        sampling_frequency = frequency
    return LibraryUnits(
        templates=np.ascontiguousarray(templates, dtype=np.float32),
        nbefore=nbefore,
        displacement_um=displacement_um,
        channel_locations=positions[order][:, [across, along]],
        location=location[:, [across, along, out]],
        cell_class=np.asarray(library["cell_class"]),
        cell_model=np.asarray(library["cell_model"]),
        sampling_frequency=float(sampling_frequency),
    )


def read_still_units(
    path: str | Path, sampling_frequency: float | None = None, contacts: tuple[int, ...] | None = None
) -> LibraryUnits:
    """Read all units of a library at displacement 0, a few at a time, so that not all displacements are in memory.

    `displacement_um` of the result still lists all displacements of the library.
    """
    with np.load(path) as file:
        n_units = len(file["cell_model"])
    parts = []
    for start in range(0, n_units, READ_AT_ONCE):
        some = np.arange(start, min(start + READ_AT_ONCE, n_units))
        part = read_units(path, some, sampling_frequency, contacts=contacts)
        parts.append(replace(part, templates=part.still[:, np.newaxis].copy()))
    return replace(
        parts[0],
        templates=np.concatenate([part.templates for part in parts]),
        location=np.concatenate([part.location for part in parts]),
        cell_class=np.concatenate([part.cell_class for part in parts]),
        cell_model=np.concatenate([part.cell_model for part in parts]),
    )


def _taper(n_samples: int, part: float = 0.2) -> np.ndarray:
    """Half-cosine rise and fall over `part` of the window at each end."""
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(int(part * n_samples)) + 0.5) / int(part * n_samples))
    window = np.ones(n_samples, dtype=np.float32)
    window[: ramp.size], window[-ramp.size :] = ramp, ramp[::-1]
    return window


def sorter_band(traces: np.ndarray, sampling_frequency: float, axis: int) -> np.ndarray:
    """Band-pass `traces` to the band in which sorters detect, without phase shift."""
    sos = butter(3, SORTER_BAND_HZ, btype="bandpass", fs=sampling_frequency, output="sos")
    return sosfiltfilt(sos, traces, axis=axis)


@dataclass(frozen=True)
class ChosenUnits:
    """Units of a recording: `index` in the candidates, `gain` on their templates, `snr` after it, all (n_units,)."""

    index: np.ndarray
    gain: np.ndarray
    snr: np.ndarray


def choose_units(
    templates: np.ndarray,
    location: np.ndarray,
    noise_level: float,
    sampling_frequency: float,
    n_units: int,
    snr_range: tuple[float, float],
    rng: np.random.Generator,
    skew: float = 1.0,
) -> ChosenUnits:
    """Choose units whose SNR is spread evenly (on a log scale) over a range, no two of them alike.

    Parameters
    ----------
    templates : np.ndarray, shape (n, n_samples, n_channels)
        Candidates at displacement 0, uV.
    location : np.ndarray, shape (n, 3)
        Soma positions, um.
    noise_level : float
        Of the recording in the sorters' band, uV (from the median absolute deviation).
    sampling_frequency : float
    n_units : int
    snr_range : (float, float)
        Smallest and largest trough in the sorters' band / `noise_level`.
    rng : np.random.Generator
    skew : float
        1: SNR even on a log scale; larger: more units near the lower end.

    Returns
    -------
    ChosenUnits
        Most units of a library have a low amplitude, so a unit may be scaled, at most by 1.6 up or down.

    Raises
    ------
    ValueError
        If the library has too few such units.
    """
    natural_snr, shape = _snr_and_shape(templates, noise_level, sampling_frequency)
    free = np.ones(len(shape), dtype=bool)
    index: list[int] = []
    snr: list[float] = []
    for target in _snr_targets(4 * n_units, snr_range, skew):
        if len(index) == n_units:
            break
        fits = np.flatnonzero(free & (np.abs(np.log(natural_snr / target)) <= np.log(MAX_GAIN)))
        if fits.size == 0:
            continue
        chosen = int(rng.choice(fits))
        index.append(chosen)
        snr.append(target)
        distance = np.linalg.norm(location - location[chosen], axis=1)
        free &= (distance >= ALIKE_WITHIN_UM) | ((shape @ shape[chosen] < ALIKE) & (distance >= LEAST_DISTANCE_UM))
    if len(index) < n_units:
        raise ValueError(
            f"The template library has only {len(index)} units of SNR {snr_range[0]:g} to {snr_range[1]:g} that are "
            f"not alike; {n_units} were asked for."
        )
    return ChosenUnits(np.array(index), np.array(snr) / natural_snr[index], np.array(snr))


def _snr_and_shape(
    templates: np.ndarray, noise_level: float, sampling_frequency: float
) -> tuple[np.ndarray, np.ndarray]:
    """SNR (n,) of templates in the sorters' band, and each template there as a vector of norm 1, (n, :)."""
    filtered = sorter_band(templates, sampling_frequency, axis=1).astype(np.float32)
    shape = filtered.reshape(len(filtered), -1)
    return -filtered.min(axis=(1, 2)) / noise_level, shape / np.linalg.norm(shape, axis=1, keepdims=True)


def _snr_targets(n_targets: int, snr_range: tuple[float, float], skew: float) -> list[float]:
    """SNR targets of a low-discrepancy sequence: for every n, the first n of them are even over the range."""
    low, high = snr_range
    return [low * (high / low) ** (((rank * 0.6180339887 + 0.5) % 1) ** skew) for rank in range(n_targets)]


def make_hash(
    units: LibraryUnits, first_channel: np.ndarray, amplitude_uv: tuple[float, float], rng: np.random.Generator
) -> MovableTemplates:
    """Scale units to far ones: their trough at displacement 0 becomes a value in `amplitude_uv` (uV, log-uniform)."""
    wanted = np.exp(rng.uniform(np.log(amplitude_uv[0]), np.log(amplitude_uv[1]), len(units.templates)))
    gain = wanted / -units.still.min(axis=(1, 2))
    return MovableTemplates(
        units.templates * gain[:, np.newaxis, np.newaxis, np.newaxis].astype(np.float32),
        first_channel,
        units.displacement_um,
        units.nbefore,
    )
