"""Preprocessing: from raw traces to band-passed traces in units of noise, without the channels that carry nothing."""

from __future__ import annotations

import logging

import numpy as np
from spikeinterface.core import BaseRecording, get_random_data_chunks
from spikeinterface.preprocessing import bandpass_filter, common_reference, scale, unsigned_to_signed

logger = logging.getLogger("spikeinterface_huidurep")

MAD_TO_STD = 1.4826
# below this many channels the median of the others is more spike than common noise
MIN_CHANNELS_FOR_REFERENCE = 16


def preprocess(
    recording: BaseRecording,
    *,
    apply_filter: bool = True,
    freq_min: float = 300.0,
    freq_max: float = 6000.0,
    apply_common_reference: bool = True,
    dead_channel_fraction: float = 0.2,
    seed: int = 0,
) -> BaseRecording | None:
    """
    Band-pass, subtract the common median and divide each channel by its noise, lazily.

    Parameters
    ----------
    recording : BaseRecording
        Raw or already filtered traces, any dtype, with or without gains.
    apply_filter : bool
        Whether to band-pass between `freq_min` and `freq_max`.
    freq_min, freq_max : float
        Edges of the pass band, in Hz; `freq_max` is brought below the Nyquist frequency where it is not.
    apply_common_reference : bool
        Whether to subtract the median over channels (from 16 channels up).
    dead_channel_fraction : float
        Channels whose noise is below this fraction of the median channel's are left out, by name, in the log.
    seed : int
        Chooses the stretches on which the noise is measured.

    Returns
    -------
    BaseRecording or None
        float32 traces in units of noise (median absolute deviation, scaled to a standard deviation) of the channels
        that are alive, with the channel property "noise_level" (uV; in the recording's unit where it has no gains);
        None when no channel is alive.
    """
    traces = recording
    if traces.get_dtype().kind == "u":
        traces = unsigned_to_signed(traces)
    if apply_filter:
        nyquist = traces.sampling_frequency / 2
        traces = bandpass_filter(traces, freq_min, min(freq_max, 0.95 * nyquist), filter_order=3, dtype="float32")
    else:
        traces = traces.astype("float32")

    alive = _living_channels(traces, measure_noise(traces, seed=seed), dead_channel_fraction)
    if not alive.any():
        return None
    if not alive.all():
        traces = traces.select_channels(traces.channel_ids[alive])
    if apply_common_reference and traces.get_num_channels() >= MIN_CHANNELS_FOR_REFERENCE:
        traces = common_reference(traces, operator="median", reference="global")
    noise = measure_noise(traces, seed=seed)
    offset = np.zeros_like(noise) if apply_filter else -measure_baseline(traces, seed=seed) / noise
    gains = recording.get_channel_gains()
    scaled = scale(traces, gain=(1.0 / noise).astype("float32"), offset=offset.astype("float32"), dtype="float32")
    kept = recording.ids_to_indices(scaled.channel_ids)
    scaled.set_property("noise_level", noise * (1.0 if gains is None else np.asarray(gains)[kept]))
    return scaled


def measure_noise(recording: BaseRecording, seed: int = 0) -> np.ndarray:
    """
    Noise of each channel, robust to spikes and to stretches of zeros.

    Returns
    -------
    noise : (n_channels,) float64
        Median absolute deviation times 1.4826, in the unit of the traces; zero where a channel is constant.
    """
    chunks = _random_traces(recording, seed)
    moving = np.any(chunks != chunks[:1], axis=1)
    if moving.sum() < 100:
        return np.zeros(chunks.shape[1])
    chunks = chunks[moving]
    return MAD_TO_STD * np.median(np.abs(chunks - np.median(chunks, axis=0)), axis=0)


def measure_baseline(recording: BaseRecording, seed: int = 0) -> np.ndarray:
    """Median of each channel, (n_channels,) float64, in the unit of the traces."""
    return np.median(_random_traces(recording, seed), axis=0)


def _random_traces(recording: BaseRecording, seed: int) -> np.ndarray:
    chunk_size = max(1, min(int(recording.sampling_frequency), recording.get_total_samples() // 4))
    return get_random_data_chunks(
        recording, num_chunks_per_segment=20, chunk_size=chunk_size, concatenated=True, seed=seed
    )


def _living_channels(recording: BaseRecording, noise: np.ndarray, fraction: float) -> np.ndarray:
    reference = np.median(noise[noise > 0]) if np.any(noise > 0) else 0.0
    alive = noise > fraction * reference
    if reference == 0.0:
        alive[:] = False
    if not alive.all():
        silent = ", ".join(str(c) for c in recording.channel_ids[~alive])
        logger.warning("%d silent channel(s) left out: %s", (~alive).sum(), silent)
    return alive
