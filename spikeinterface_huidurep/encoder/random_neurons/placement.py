"""Random neurons in front of a probe, as the encoder's training and template libraries want them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .membrane import UNCHANGED, Change
from .neuron import RandomNeuron, draw_neuron

RATE = 40_000.0
"""Hz, at which currents are computed: a spike's content above 10 kHz is below a thousandth of its peak."""
BEFORE_MS, AFTER_MS = 3.5, 6.5
_POSITIONS = 6  # tried before another neuron is drawn
_MARGIN_UM = 30.0


@dataclass(frozen=True)
class PlacedNeuron:
    """A neuron and where its soma is: ``place`` (3,) um, across the probe, along it, and away from its contacts."""

    neuron: RandomNeuron
    place: np.ndarray

    def transfer(self, contacts: np.ndarray, moves: np.ndarray, gain: float = 2.0) -> np.ndarray:
        """What contacts see of each segment, (moves, contacts, segments), uV/nA.

        Parameters
        ----------
        contacts : ndarray, (contacts, 3), um
        moves : ndarray, (moves, 3), um
            Added to the soma's place.
        gain : float
        """
        relative = contacts[None] - (self.place + moves)[:, None]
        return self.neuron.transfer(relative, gain=gain)

    def currents(self, change: Change = UNCHANGED, rate: float = RATE) -> np.ndarray:
        """Currents of one form of the spike, (segments, samples), nA, at ``rate``; at ``RATE`` the soma's peak is at
        sample ``nbefore``, elsewhere ``BEFORE_MS`` after the first."""
        time = np.arange(-int(BEFORE_MS * 1e-3 * rate), int(AFTER_MS * 1e-3 * rate)) / rate * 1e3
        return self.neuron.currents(time, change)

    @property
    def nbefore(self) -> int:
        """Samples before the soma's peak."""
        return int(BEFORE_MS * 1e-3 * RATE)


def place_neurons(
    contacts: np.ndarray,
    count: int,
    rng: np.random.Generator,
    kinds: tuple[str, ...] | None = None,
    depth: tuple[float, float] = (8.0, 90.0),
    smallest_uv: float = 30.0,
    turned: bool = True,
    gain: float = 2.0,
) -> Iterator[PlacedNeuron]:
    """Draw neurons that a probe would record.

    Parameters
    ----------
    contacts : ndarray, (contacts, 3), um
        In the plane z = 0, the probe along y; neurons are at positive z.
    count : int
    rng : numpy.random.Generator
    kinds : tuple of str, optional
        Kinds of neurons to draw from, all with their shares if not given.
    depth : (float, float)
        Distance of somata from the contacts' plane, um.
    smallest_uv : float
        Smallest amplitude on the largest channel.
    turned : bool
        Whether neurons may be taken whose largest deflection is positive.
    gain : float

    Yields
    ------
    PlacedNeuron
    """
    low, high = contacts.min(axis=0)[:2] - _MARGIN_UM, contacts.max(axis=0)[:2] + _MARGIN_UM
    still = np.zeros((1, 3))
    found = 0
    while found < count:
        neuron = draw_neuron(rng, None if kinds is None else str(rng.choice(kinds)))
        currents: np.ndarray | None = None
        for _ in range(_POSITIONS):
            # somata are as dense far from the probe as near it
            place = np.append(rng.uniform(low, high), rng.uniform(*depth))
            placed = PlacedNeuron(neuron, place)
            if currents is None:
                currents = placed.currents()
            template = placed.transfer(contacts, still, gain)[0] @ currents
            negative, positive = -float(template.min()), float(template.max())
            if max(negative, positive if turned else 0.0) >= smallest_uv and (turned or negative >= positive):
                yield placed
                found += 1
                break
