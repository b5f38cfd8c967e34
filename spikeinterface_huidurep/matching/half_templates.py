"""The mean waveforms of both halves of a session, and what the encoder says of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from spikeinterface.core import SortingAnalyzer

# Waveforms are given to the encoder at one size (noise units): a neuron whose amplitude changes keeps its vector.
ENCODED_SIZE = 15.0
PARTS = 4  # of a session's spikes: two halves for each of two sessions, when one is compared with itself


@dataclass(frozen=True)
class SessionUnits:
    """The units of one session, each seen twice: in the first and in the second half of its spikes.

    Attributes
    ----------
    name : str
        Of the session.
    unit_ids : np.ndarray, shape (n_units,)
    templates : np.ndarray, shape (n_units, 2, n_samples, n_channels), float32
        Mean waveforms of the halves, in units of noise; zero on channels that a unit was not seen on.
    seen : np.ndarray, shape (n_units, n_channels), bool
        Channels that a unit was seen on.
    counts : np.ndarray, shape (n_units, 2), int64
        Spikes in these means.
    channel_locations : np.ndarray, shape (n_channels, 2)
        um.
    sampling_frequency : float
        Hz.
    nbefore : int
        Sample of the trough.
    vectors : np.ndarray, shape (n_units, 2, dimensions), float32
        The encoder's vectors of the shape, without the place.
    locations : np.ndarray, shape (n_units, 2, 2), float64
        Where the encoder locates the units, um.
    """

    name: str
    unit_ids: np.ndarray
    templates: np.ndarray
    seen: np.ndarray
    counts: np.ndarray
    channel_locations: np.ndarray
    sampling_frequency: float
    nbefore: int
    vectors: np.ndarray
    locations: np.ndarray

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.unit_ids)

    def mean_template(self, unit: int) -> np.ndarray:
        """Mean waveform of all spikes of a unit, (n_samples, n_channels) float32."""
        return np.average(self.templates[unit], axis=0, weights=self.counts[unit]).astype(np.float32)


def read_session(analyzer: SortingAnalyzer, name: str, encoder: Any) -> tuple[SessionUnits, SessionUnits, SessionUnits]:
    """
    Average the waveforms of both halves of each unit's spikes, and encode them.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With the extensions "random_spikes" and "waveforms", of traces that were band-passed.
    name : str
        Of the session.
    encoder : Encoder

    Returns
    -------
    whole : SessionUnits
        Of the units that have at least `PARTS` spikes.
    early, late : SessionUnits
        The same of the two halves of the session by themselves: what is known to be the same and different units.
    """
    n_units, n_channels = analyzer.get_num_units(), analyzer.get_num_channels()
    extension = analyzer.get_extension("waveforms")
    if n_units == 0 or extension is None:
        return (_no_units(analyzer, name, encoder),) * 3
    spikes = analyzer.get_extension("random_spikes").get_random_spikes()
    nbefore, n_samples = extension.nbefore, extension.nbefore + extension.nafter
    parts = np.zeros((n_units, PARTS, n_samples, n_channels), dtype=np.float32)
    seen = np.zeros((n_units, n_channels), dtype=bool)
    counts = np.zeros((n_units, PARTS), dtype=np.int64)
    noise = _Noise(n_channels, max(nbefore // 3, 1))
    for unit, unit_id in enumerate(analyzer.unit_ids):
        waveforms, channels = extension.get_waveforms_one_unit(unit_id, force_dense=False), _channels(analyzer, unit_id)
        mine = spikes[spikes["unit_index"] == unit]
        if len(mine) < PARTS:
            continue
        order = np.lexsort((mine["sample_index"], mine["segment_index"]))
        seen[unit, channels] = True
        for part, rows in enumerate(np.array_split(order, PARTS)):
            counts[unit, part] = len(rows)
            parts[unit, part][:, channels] = waveforms[rows].mean(axis=0)
        noise.add(waveforms, channels)
    parts /= noise.level().astype(np.float32)
    kept = np.flatnonzero(counts.min(axis=1) > 0)
    places = analyzer.get_channel_locations()[:, :2].astype(np.float64)
    empty = np.zeros((len(kept), 2, 0), np.float32)
    units = SessionUnits(
        name, np.asarray(analyzer.unit_ids)[kept], parts[kept], seen[kept], counts[kept], places,
        float(analyzer.sampling_frequency), nbefore, empty, empty,
    )  # fmt: skip
    early, late = (with_templates(units, units.templates[:, two], counts[kept][:, two], encoder) for two in _HALVES)
    n = np.stack([early.counts, late.counts], axis=1)[..., None, None].astype(np.float32)
    both = np.stack([early.templates, late.templates], axis=1)
    whole = with_templates(units, (both * n).sum(axis=2) / n.sum(axis=2), n[..., 0, 0].sum(axis=2).astype(int), encoder)
    return whole, early, late


def _no_units(analyzer, name, encoder):
    before, after = encoder.required_samples(float(analyzer.sampling_frequency))
    n_channels = analyzer.get_num_channels()
    return SessionUnits(
        name, np.asarray(analyzer.unit_ids)[:0], np.zeros((0, 2, before + after, n_channels), np.float32),
        np.zeros((0, n_channels), bool), np.zeros((0, 2), np.int64),
        analyzer.get_channel_locations()[:, :2].astype(np.float64), float(analyzer.sampling_frequency), before,
        np.zeros((0, 2, encoder.dimensions), np.float32), np.zeros((0, 2, 2)),
    )  # fmt: skip


_HALVES = (slice(0, PARTS // 2), slice(PARTS // 2, PARTS))


class _Noise:
    """The noise of each channel, from what varies in the first samples of the waveforms, before the spike."""

    def __init__(self, n_channels: int, n_samples: int) -> None:
        self.n_samples = n_samples
        self.sum, self.weight = np.zeros(n_channels), np.zeros(n_channels)

    def add(self, waveforms: np.ndarray, channels: np.ndarray) -> None:
        early = waveforms[:, : self.n_samples] - waveforms[:, : self.n_samples].mean(axis=0)
        self.sum[channels] += np.median(np.abs(early), axis=(0, 1)) / 0.6745 * len(waveforms)
        self.weight[channels] += len(waveforms)

    def level(self) -> np.ndarray:
        """Standard deviation, (n_channels,); of a channel on which no unit was seen the others' median."""
        level = self.sum / np.maximum(self.weight, 1)
        known = level[level > 0]
        return np.where(level > 0, level, np.median(known) if known.size else 1.0)


def with_templates(units: SessionUnits, templates: np.ndarray, counts: np.ndarray, encoder: Any) -> SessionUnits:
    """The units with other templates, (n_units, 2, n_samples, n_channels), which are encoded anew."""
    vectors, locations = encode_templates(
        encoder, templates, units.seen, units.channel_locations, units.sampling_frequency, units.nbefore
    )
    return replace(units, templates=templates, counts=counts, vectors=vectors, locations=locations)


def _channels(analyzer: SortingAnalyzer, unit_id: Any) -> np.ndarray:
    """Channels of a unit's waveforms, as indices."""
    sparsity = analyzer.sparsity
    if sparsity is None:
        sparsity = analyzer.get_extension("waveforms").sparsity
    if sparsity is None:
        return np.arange(analyzer.get_num_channels())
    return sparsity.unit_id_to_channel_indices[unit_id]


def encode_templates(
    encoder: Any, templates: np.ndarray, seen: np.ndarray, locations: np.ndarray, rate: float, nbefore: int
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, 2, dimensions) and locations (n, 2, 2) of the halves' templates, all shown at one size."""
    n, _, n_samples, n_channels = templates.shape
    if n == 0:
        return np.zeros((0, 2, encoder.dimensions), np.float32), np.zeros((0, 2, 2))
    flat = templates.reshape(n * 2, n_samples, n_channels).copy()
    main = np.abs(flat).max(axis=1).argmax(axis=1)
    peak = flat[np.arange(len(flat)), :, main]
    # the encoder knows troughs: a unit with a positive peak is shown upside down
    flat[peak.max(axis=1) > -peak.min(axis=1)] *= -1
    flat *= (ENCODED_SIZE / np.maximum(np.abs(flat).max(axis=(1, 2)), 1e-6))[:, None, None]
    flat = flat.transpose(0, 2, 1)
    flat[~np.repeat(seen, 2, axis=0)] = np.nan
    before, after = encoder.required_samples(rate)
    flat = np.pad(flat, ((0, 0), (0, 0), (max(before - nbefore, 0), max(after - (n_samples - nbefore), 0))))
    spikes = encoder.encode(flat.transpose(0, 2, 1), locations, rate, max(nbefore, before))
    return spikes.shape_vectors.reshape(n, 2, -1), spikes.location.reshape(n, 2, 2).astype(np.float64)
