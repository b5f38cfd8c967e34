"""What the encoder knows of spikes, and how shape and place make one vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PLACE_UM = 15.0


@dataclass(frozen=True)
class EncodedSpikes:
    """What the encoder knows of n spikes.

    Attributes
    ----------
    embedding : ndarray, (n, dimensions) float32
        The shape of the spike, wherever on the probe it is.
    location : ndarray, (n, 2) float32
        um in the probe's coordinates: the network's estimate of the centre of mass of the clean spike's squared
        peak-to-peak amplitudes. NaN for a spike without any channel.
    amplitude : ndarray, (n,) float32
        Depth of the denoised trough in noise units.
    """

    embedding: np.ndarray
    location: np.ndarray
    amplitude: np.ndarray

    def placed(self, origin: np.ndarray, place_um: float = PLACE_UM) -> np.ndarray:
        """Shape and place in one vector, as :meth:`Encoder.embed` returns it, (n, dimensions) float32.

        The place is measured from ``origin`` (2,) um in units of ``place_um``, and takes the room of the two numbers of
        the shape that vary least, the last ones. With a smaller unit HDBSCAN parts more neurons of a still probe, and a
        mixture fewer of a drifting one (``docs/encoder_place.py``).
        """
        place = (self.location - np.asarray(origin, dtype=np.float32)) / place_um
        return np.concatenate([self.embedding[:, : -place.shape[1]], np.nan_to_num(place)], axis=1)


def middle(channel_locations: np.ndarray) -> np.ndarray:
    """Middle of the box around all channels, (2,): the same for any spikes that reach the probe's ends."""
    places = np.asarray(channel_locations, dtype=np.float64).reshape(-1, 2)
    places = places[np.isfinite(places).all(axis=1)]
    return (places.min(axis=0) + places.max(axis=0)) / 2 if len(places) else np.zeros(2)
