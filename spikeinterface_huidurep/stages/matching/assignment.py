"""Assignment: every spike goes to a template, overlapping ones too, while the templates follow the motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import fft
from spikeinterface.core import BaseRecording
from spikeinterface.core.job_tools import ensure_chunk_size
from spikeinterface.core.node_pipeline import PeakDetector

from ...parameters import DEFAULT_PARAMS
from ..device import CPU
from ..motion.jumps import jump_times
from ..shank import Shank
from ..templates.whitened import N_SUBSAMPLE, WhitenedTemplates
from ..traces.banded import BandedMatrix
from ..traces.chunks import run_nodes
from .misfit import FittedTemplates, misfits
from .pursuit import Neighbours, pursue, sum_of_products
from .rules import UNEXPLAINED_MOVING, pursuit_rules

spike_dtype = np.dtype(
    [
        ("sample_index", "int64"),
        ("segment_index", "int64"),
        ("unit_index", "int64"),
        ("amplitude", "float32"),
        ("gain", "float32"),
        ("confidence", "float32"),
        ("misfit", "float32"),
        ("shift", "float32"),
    ]
)

# units of like depth are filtered together, in one matrix product over the channels that they cover
UNITS_PER_GROUP = 16
# frequencies at which the filters have less than this of their largest power are left out
PASSED_POWER = 1e-3
# frequencies whose products fit into the processor's cache together
BINS = 256
# a block has at most so many values (samples times channels or units), so that its arrays stay in the cache, and at
# least so many times the length of a template, since samples beyond its ends are read, too
BLOCK_VALUES, LEAST_BLOCK = 3_000_000, 10
# seconds in which a moving probe is taken to stand still
STILL_S = 0.5
# least length of a chunk on a device, s: the pursuit needs as many rounds and kernels for it as for an eighth of it
# (benchmarks/pursuit_rounds.py)
CHUNK_ON_DEVICE_S = 4.0
# SpikeInterface's ways to say how long a chunk is
CHUNK_LENGTHS = ("chunk_size", "chunk_memory", "chunk_duration", "total_memory")


@dataclass(frozen=True)
class MatchingCriteria:
    """
    What counts as a spike of a unit.

    Attributes
    ----------
    threshold : float
        Least objective (squared units of noise) of a spike.
    amplitude_std : float
        Expected spread of the amplitudes around the template's, as a fraction of it.
    amplitude_limits : (low, high)
        Amplitudes, as a fraction of the template's, that count as a spike of the unit.
    refractory_ms : float
        Time around a spike in which its unit is not looked for again.
    unexplained : float
        Fraction of a spike's objective that its template may leave in the residual (0.02 is 14 % of its norm): nothing
        smaller counts as a spike at its place.
    forgiven : float
        Fraction of other spikes' energy that may be in the residual without counting as a spike's misfit.
    """

    threshold: float = DEFAULT_PARAMS["assignment_threshold"]
    amplitude_std: float = DEFAULT_PARAMS["amplitude_std"]
    amplitude_limits: tuple[float, float] = (0.4, 1.6)
    refractory_ms: float = DEFAULT_PARAMS["censored_period_ms"]
    unexplained: float = UNEXPLAINED_MOVING
    forgiven: float = 0.0


def assign_spikes(
    shank: Shank,
    templates: WhitenedTemplates,
    criteria: MatchingCriteria | None = None,
    *,
    slices: list[tuple[int, int, int]] | None = None,
) -> np.ndarray:
    """
    Matching pursuit with the templates' whitened matched filters, streaming over the recording.

    The objective is the logarithm of the likelihood ratio (twice it) of "a spike of this unit here" against "noise",
    with a Gaussian prior on the amplitude; the idea of an objective with an amplitude prior is that of YASS
    (Lee et al. 2020) and of SpikeInterface's "wobble". Every half second the templates are moved to where the motion
    has them.

    Parameters
    ----------
    shank : Shank
    templates : WhitenedTemplates
    criteria : MatchingCriteria, optional
    slices : list of (segment_index, start_frame, end_frame), optional
        Look only there.

    Returns
    -------
    spikes : (n_spikes,) structured array of `spike_dtype`, sorted by segment and sample
        `amplitude` is relative to the template; `gain` is the objective; `confidence` in (0, 1] is the probability of
        this unit against the others, given the templates; for that against noise see `estimate_confidence`. `misfit` is
        the mean square of what is left on the unit's channels, 1 for noise alone (see `misfit.misfits`); `shift` is by
        what part of a sample, -1/2 to 1/2, the spike is late.
    """
    if templates.n_units == 0:
        return np.zeros(0, dtype=spike_dtype)
    node = MatchTemplates(shank.recording, templates, shank.motion, criteria or MatchingCriteria(), shank.device)
    job_kwargs = shank.job_kwargs if shank.device == CPU else _longer_chunks(shank.recording, shank.job_kwargs)
    (spikes,) = run_nodes(shank.recording, [node], job_name="assign spikes", job_kwargs=job_kwargs, slices=slices)
    return spikes[np.lexsort((spikes["unit_index"], spikes["sample_index"], spikes["segment_index"]))]


class Block(NamedTuple):
    """Part of a chunk: its samples from start to stop; the time in its middle, s, and the segment."""

    start: int
    stop: int
    middle_s: float
    segment_index: int


class PlacedTemplates(NamedTuple):
    """
    Templates at one position of the probe, as the matching needs them.

    coefficients (n_units, n_local, n_filters); neighbours, the units that share channels, with the products of their
    coefficients and the squared cosine of their norms over the channels, or None where a device has them; dense, for
    each group of units, (n_units * n_filters, n_channels).
    """

    coefficients: np.ndarray
    neighbours: Neighbours | None
    dense: list[np.ndarray]


class MatchTemplates(PeakDetector):
    """Pipeline node: filters a chunk and runs the pursuit on it, in blocks within which the probe stands still."""

    def __init__(
        self,
        recording: BaseRecording,
        templates: WhitenedTemplates,
        motion: Any,
        criteria: MatchingCriteria,
        device: str = CPU,
    ):
        PeakDetector.__init__(self, recording, return_output=True)
        self.recording, self.templates, self.motion, self.criteria = recording, templates, motion, criteria
        self.sampling_frequency = recording.sampling_frequency
        self.rules = pursuit_rules(criteria, self.sampling_frequency)
        self.neighbour_start, self.neighbours, self.local_maps = _overlapping_units(templates.channels)
        n_samples = templates.filters.shape[1]
        n_channels = recording.get_num_channels()
        by_depth = np.argsort(recording.get_channel_locations()[:, 1], kind="stable")
        self.depth_rank = np.empty(n_channels, dtype=int)
        self.depth_rank[by_depth] = np.arange(n_channels)
        self.by_depth, self.whitening = by_depth, BandedMatrix(templates.whitening, by_depth)
        self.in_order = np.array_equal(by_depth, np.arange(n_channels))
        self.groups = _depth_groups(templates, self.depth_rank)
        self.margin = 3 * n_samples
        self.block = max(BLOCK_VALUES // max(n_channels, templates.n_units), LEAST_BLOCK * n_samples)
        if motion is not None:
            self.block = min(self.block, int(STILL_S * self.sampling_frequency))
        self.on_device: Any = None if device == CPU else self._on_device(device)
        self.still = self._placed(np.zeros(templates.n_units)) if motion is None else None
        self.jumps = [(times * self.sampling_frequency).astype(int) for times in jump_times(motion)]

    def get_margin(self):
        return self.margin

    def get_dtype(self):
        return spike_dtype

    def compute(self, traces, start_frame, end_frame, segment_index, max_margin):
        traces = traces if self.in_order else traces[:, self.by_depth]
        n_chunk = traces.shape[0] - 2 * self.margin
        blocks = self._blocks(n_chunk, start_frame, segment_index)
        searched = self._search(traces, blocks) if self.on_device is None else self._search_on_device(traces, blocks)
        found = []
        for block, (placed, first, (whitened, columns)) in zip(blocks, searched, strict=True):
            spikes = self._spikes(whitened, columns, placed)
            spikes["sample_index"] += first - self.margin
            found.append(spikes[(spikes["sample_index"] >= block.start) & (spikes["sample_index"] < block.stop)])
        spikes = np.concatenate(found)
        spikes["sample_index"] += self.margin
        spikes["segment_index"] = segment_index
        return (spikes,)

    def _blocks(self, n_chunk, start_frame, segment_index):
        """Blocks of similar length, in which the probe does not jump."""
        edges = np.linspace(0, n_chunk, max(-(-n_chunk // self.block), 1) + 1).astype(int)
        if self.jumps:
            jumps = self.jumps[segment_index] - start_frame
            edges = np.union1d(edges, jumps[(jumps > 0) & (jumps < n_chunk)])
        return [
            Block(start, stop, (start_frame + 0.5 * (start + stop)) / self.sampling_frequency, segment_index)
            for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        ]

    def _search(self, traces, blocks):
        """The spikes of each block: its templates, where its traces start, these whitened, and columns of `pursue`."""
        whitened = self.whitening.transposed_of(traces)
        for block in blocks:
            placed, part = self._placed_for(block), whitened[:, block.start : block.stop + 2 * self.margin]
            yield placed, block.start, (part, self._pursue(part, placed))

    def _search_on_device(self, traces, blocks):
        """As `_search`, all blocks at once; for this they are made as long as the longest."""
        longest = max(block.stop - block.start for block in blocks)
        firsts = [min(block.start, len(traces) - 2 * self.margin - longest) for block in blocks]
        placed = [self._placed_for(block) for block in blocks]
        parts = [traces[first : first + longest + 2 * self.margin] for first in firsts]
        return zip(placed, firsts, self.on_device.spikes(parts, placed), strict=True)

    def _placed_for(self, block):
        return self.still or self._placed(self._displacement(block.middle_s, block.segment_index))

    def _displacement(self, time_s, segment_index):
        depths = self.templates.locations[:, 1]
        times = np.full(len(depths), time_s)
        return self.motion.get_displacement_at_time_and_depth(
            times, depths.astype("float64"), segment_index=segment_index
        )

    def _placed(self, displacement):
        """The templates at a displacement of the probe."""
        coefficients = self.templates.at(displacement)
        n_filters = coefficients.shape[2]
        dense = []
        for units, first, last in self.groups:
            rows = np.zeros((len(units), n_filters, last - first), dtype="float32")
            for row, unit in enumerate(units):
                rows[row][:, self.depth_rank[self.templates.channels[unit]] - first] = coefficients[unit].T
            dense.append(rows.reshape(-1, last - first))
        # the device has its own
        neighbours = self._overlap(coefficients) if self.on_device is None else None
        return PlacedTemplates(coefficients, neighbours, dense)

    def _overlap(self, coefficients):
        """The units that overlap, as they are placed."""
        products = [
            (coefficients[other, theirs].T @ coefficients[unit, mine]).ravel()
            for unit, other, mine, theirs in self.local_maps
        ]
        size = np.linalg.norm(coefficients, axis=2)
        size /= np.maximum(np.linalg.norm(size, axis=1, keepdims=True), 1e-9)
        closeness = [(size[other, theirs] @ size[unit, mine]) ** 2 for unit, other, mine, theirs in self.local_maps]
        return Neighbours(
            self.neighbour_start, self.neighbours, np.array(products, "float32"), np.array(closeness, "float32")
        )

    def _on_device(self, device):
        """The filters and the pursuit on a device."""
        from .matching_torch import MatchingOnDevice, OnCpu, Overlaps

        def search(traces, placed):
            whitened = self.whitening.transposed_of(traces)
            return whitened, self._pursue(whitened, placed._replace(neighbours=self._overlap(placed.coefficients)))

        overlaps = Overlaps(self.neighbour_start, self.neighbours, self.local_maps)
        on_cpu = OnCpu(search, self._kernels)
        return MatchingOnDevice(self.templates, self.groups, overlaps, self.whitening, self.rules, on_cpu, device)

    def _kernels(self, n_fft):
        """Spectra to correlate with, (n_filters, n_bins) complex64, up to the highest frequency that is passed."""
        kernels = np.conj(fft.rfft(self.templates.filters, n=n_fft, axis=1)).astype("complex64")
        power = (np.abs(kernels) ** 2).sum(axis=0)
        return kernels[:, : int(np.flatnonzero(power > PASSED_POWER * power.max())[-1]) + 1]

    def _match(self, whitened, placed):
        """
        Output of each unit's matched filter, (n_units, n_samples - filter length + 1) float32.

        By FFT, and only over the frequencies that the filters let pass: channels are summed before the transform back,
        of which there is one a unit.
        """
        n_samples = whitened.shape[1]
        n_filters, length = self.templates.filters.shape
        n_fft = fft.next_fast_len(n_samples, real=True)
        kernels = self._kernels(n_fft)
        n_bins = kernels.shape[1]
        spectrum = fft.rfft(whitened, n=n_fft, axis=1)
        product = np.zeros((self.templates.n_units, n_fft // 2 + 1), dtype="complex64")
        for start in range(0, n_bins, BINS):
            bins = slice(start, min(start + BINS, n_bins))
            part, kernel = np.ascontiguousarray(spectrum[:, bins]).view("float32"), kernels[:, bins]
            for (units, first, last), dense in zip(self.groups, placed.dense, strict=True):
                # the coefficients are real: half of the work of a complex product
                summed = (dense @ part[first:last]).view("complex64")
                sum_of_products(summed.reshape(len(units), n_filters, -1), kernel, units, start, product)
        match = fft.irfft(product, n=n_fft, axis=1)[:, : n_samples - length + 1]
        return np.ascontiguousarray(match, dtype="float32")

    def _pursue(self, whitened, placed):
        """What `pursue` finds in whitened traces."""
        energy = (placed.coefficients**2).sum(axis=(1, 2))
        match = self._match(whitened, placed)
        return pursue(match, energy, placed.neighbours, self.templates.response, self.rules)

    def _spikes(self, whitened, columns, placed):
        templates, (samples, units, amplitudes, gains, rivals, shifts) = self.templates, columns
        spikes = np.zeros(len(samples), dtype=spike_dtype)
        # the filters start `nbefore` samples before the spike
        spikes["sample_index"] = samples + templates.nbefore
        spikes["unit_index"], spikes["amplitude"], spikes["gain"] = units, amplitudes, gains
        spikes["confidence"] = 1 / (1 + rivals)
        spikes["shift"] = shifts / N_SUBSAMPLE - 0.5
        spikes["misfit"] = misfits(
            whitened,
            self.depth_rank,
            FittedTemplates(templates.channels, placed.coefficients, templates.filters, templates.response),
            samples,
            units,
            amplitudes,
            shifts,
            self.criteria.forgiven,
        )
        return spikes


def _longer_chunks(recording, job_kwargs):
    """SpikeInterface's job parameters with chunks that are long enough for a device."""
    size = ensure_chunk_size(recording, **job_kwargs)
    others = {name: value for name, value in job_kwargs.items() if name not in CHUNK_LENGTHS}
    return {**others, "chunk_size": max(size, int(CHUNK_ON_DEVICE_S * recording.sampling_frequency))}


def _depth_groups(templates, depth_rank):
    """Groups of units at similar depths, with the range of channels (ranked by depth) that they cover."""
    order = np.argsort(templates.locations[:, 1], kind="stable")
    groups = []
    for start in range(0, len(order), UNITS_PER_GROUP):
        units = order[start : start + UNITS_PER_GROUP]
        ranks = depth_rank[templates.channels[units]]
        groups.append((units, ranks.min(), ranks.max() + 1))
    return groups


def _overlapping_units(channels):
    """
    Pairs of units that share a channel, as row pointers and indices, with the places of the shared channels in both.
    """
    starts, neighbours, maps = [0], [], []
    has = np.zeros((len(channels), int(channels.max(initial=-1)) + 1), dtype=bool)
    np.put_along_axis(has, channels, True, axis=1)
    for unit in range(len(channels)):
        for other in np.flatnonzero(has[:, channels[unit]].any(axis=1)):
            mine = np.flatnonzero(has[other, channels[unit]])
            theirs = np.flatnonzero(has[unit, channels[other]])
            neighbours.append(int(other))
            maps.append((unit, int(other), mine, theirs))
        starts.append(len(neighbours))
    return np.array(starts), np.array(neighbours), maps
