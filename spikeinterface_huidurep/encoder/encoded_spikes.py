"""What the encoder knows of spikes, and how shape and place make one vector."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

PLACE_UM = 20.0
FEW_CHANNELS = 4


@dataclass(frozen=True)
class EncodedSpikes:
    """What the encoder knows of n spikes.

    Attributes
    ----------
    shape_vectors : ndarray, (n, dimensions) float32
        The shape of the spike, wherever on the probe it is; :meth:`placed` has the place in it.
    location : ndarray, (n, 2) float32
        um in the probe's coordinates: the network's estimate of the centre of mass of the clean spike's squared
        peak-to-peak amplitudes. NaN for a spike without any channel.
    amplitude : ndarray, (n,) float32
        Depth of the denoised trough in noise units.
    channels : ndarray, (n,) int64
        How many channels the spike was given with.
    beside_place : ndarray, (dimensions, dimensions - 2) float32, optional
        Orthonormal axes of the shape that leave out the two directions in which the end of a shank moves it most.
    """

    shape_vectors: np.ndarray
    location: np.ndarray
    amplitude: np.ndarray
    channels: np.ndarray
    beside_place: np.ndarray | None = None

    @property
    def embedding(self) -> np.ndarray:
        """The former name of ``shape_vectors``: what :meth:`Encoder.embed` returns has the place in it, this has not.

        .. deprecated:: 0.2
        """
        warnings.warn(
            "EncodedSpikes.embedding is now named shape_vectors: it does not have the place in it.",
            FutureWarning,
            stacklevel=2,
        )
        return self.shape_vectors

    def placed(self, origin: np.ndarray, place_um: float = PLACE_UM) -> np.ndarray:
        """Shape and place in one vector, which :meth:`Encoder.embed` returns by default, (n, dimensions) float32.

        The place is measured from ``origin`` (2,) um in units of ``place_um``. It replaces the two directions of the
        shape that change most as a neuron moves past the end of a shank (``beside_place``). On probes of up to
        ``FEW_CHANNELS`` channels every neuron lies at an end, and these directions tell neurons apart: there, and
        without such axes, the place replaces the last two numbers of the shape, which vary least.

        With a smaller unit HDBSCAN parts more neurons of a still probe, and a mixture fewer of a drifting one
        (``studies/encoder_place.py``).
        """
        place = (self.location - np.asarray(origin, dtype=np.float32)) / place_um
        shape = self.shape_vectors[:, : -place.shape[1]]
        if self.beside_place is not None:
            few = (self.channels <= FEW_CHANNELS)[:, None]
            shape = np.where(few, shape, self.shape_vectors @ self.beside_place)
        return np.concatenate([shape, np.nan_to_num(place)], axis=1)


def middle(channel_locations: np.ndarray) -> np.ndarray:
    """Middle of the box around all channels, (2,): the same for any spikes that reach the probe's ends."""
    places = np.asarray(channel_locations, dtype=np.float64).reshape(-1, 2)
    places = places[np.isfinite(places).all(axis=1)]
    return (places.min(axis=0) + places.max(axis=0)) / 2 if len(places) else np.zeros(2)
