"""Probes for the simulation, MEAutility's and plain layouts: contacts, points on them, and the side of the cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikeinterface_huidurep.encoder.layouts import LAYOUTS, layout

CONTACT_POINTS = 10  # points of a contact over which the potential is averaged: MEArec's default
_LAYOUT_RADIUS_UM = 6.0  # of contacts: a surface of 113 um2, between those of Neuropixels and of silicon probes


@dataclass(frozen=True)
class SimulationProbe:
    """A probe in the simulation's coordinates.

    Planar probes lie in the y-z plane, with z along the shank, and cells are at positive x. Wire probes lie in the x-y
    plane and cells are ahead of the tip, at negative z.

    Attributes
    ----------
    name : str
        MEAutility's name.
    channel_positions : numpy.ndarray, shape (channels, 3), float64
        Centres of the contacts, um.
    contact_points : numpy.ndarray, shape (channels, points, 3), float64
        Points spread at random on every contact, um.
    depth_axis, depth_sign : int
        Axis (0 to 2) and direction that lead from the contacts' plane to the cells.
    gain : float
        2 for contacts on an insulating plane (method of images), 1 for wires.
    """

    name: str
    channel_positions: np.ndarray
    contact_points: np.ndarray
    depth_axis: int
    depth_sign: int
    gain: float


def load_probe(name: str, generator: np.random.Generator) -> SimulationProbe:
    """Build a :class:`SimulationProbe` from MEAutility's definition.

    Parameters
    ----------
    name : str
        A name of :data:`.encoder.layouts.LAYOUTS`, for which no extra is needed, or one that ``MEAutility.return_mea``
        knows, e.g. ``"Neuropixels2-64"``, ``"Neuronexus-32"``, ``"tetrode"``.
    generator : numpy.random.Generator
        Draws the points on the contacts.

    Raises
    ------
    ModuleNotFoundError
        If MEAutility, part of the extra ``simulate``, is missing.
    ValueError
        If there is no such probe, or it is neither in the y-z nor in the x-y plane.
    """
    if name in LAYOUTS:
        return _planar_probe(name, generator)
    try:
        import MEAutility
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Probes other than {', '.join(LAYOUTS)} come from MEAutility: install the extra with "
            'pip install "spikeinterface-huidurep[simulate]".'
        ) from error
    known = MEAutility.return_mea_list()
    if name not in known:
        raise ValueError(f"There is no probe {name!r}; the probes are {', '.join([*LAYOUTS, *known])}.")
    mea = MEAutility.return_mea(name)
    plane = mea.plane
    if plane not in ("yz", "xy"):
        raise ValueError(f"Probe {name} lies in the {plane} plane; only the y-z and x-y planes are supported.")
    positions = np.asarray(mea.positions, dtype=np.float64)
    in_plane = ["xyz".index(axis) for axis in plane]
    offsets = np.zeros((*positions.shape[:1], CONTACT_POINTS, 3))
    offsets[..., in_plane] = points_on_contacts(len(positions), mea.shape, float(mea.size), generator)
    return SimulationProbe(
        name=name,
        channel_positions=positions,
        contact_points=positions[:, None] + offsets,
        depth_axis=0 if plane == "yz" else 2,
        depth_sign=1 if plane == "yz" else -1,
        gain=2.0 if mea.type == "mea" else 1.0,
    )


def _planar_probe(name: str, generator: np.random.Generator) -> SimulationProbe:
    """One of the layouts, in the y-z plane, on an insulating shank."""
    places = layout(name).astype(np.float64)
    positions = np.column_stack([np.zeros(len(places)), places])
    offsets = np.zeros((len(places), CONTACT_POINTS, 3))
    offsets[..., 1:] = points_on_contacts(len(places), "circle", _LAYOUT_RADIUS_UM, generator)
    return SimulationProbe(name, positions, positions[:, None] + offsets, depth_axis=0, depth_sign=1, gain=2.0)


def points_on_contacts(n_contacts: int, shape: str, size: float, generator: np.random.Generator) -> np.ndarray:
    """Draw points uniformly on contacts.

    Parameters
    ----------
    n_contacts : int
        Number of contacts.
    shape : {"circle", "square"}
        Form of the contacts.
    size : float
        Radius of a circle or half the side of a square, um.
    generator : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray, shape (n_contacts, CONTACT_POINTS, 2), float64
        Offsets from the contact's centre, um.
    """
    first, second = generator.random((2, n_contacts, CONTACT_POINTS))
    if shape == "square":
        return size * (2 * np.stack([first, second], axis=-1) - 1)
    if shape == "circle":
        radius, angle = size * np.sqrt(first), 2 * np.pi * second  # the root makes the density uniform over the disc
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    raise ValueError(f"Contacts of shape {shape!r} are not supported, only circles and squares.")
