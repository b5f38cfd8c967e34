"""Traces with spikes of known waveforms, for the tests of stages."""

from __future__ import annotations

import numpy as np
import spikeinterface.core as sc
from probeinterface import generate_linear_probe
from spikeinterface.core.motion import Motion

from spikeinterface_huidurep.stages.shank import Shank
from spikeinterface_huidurep.stages.templates.drifting import estimate_templates
from spikeinterface_huidurep.stages.traces.noise import NoiseModel
from spikeinterface_huidurep.stages.units.unit_set import UnitSet

RATE, NBEFORE, NAFTER, N_CHANNELS = 30000.0, 24, 48, 12
JOB = dict(n_jobs=1, chunk_duration="1s", progress_bar=False)
WHITE = NoiseModel(np.eye(N_CHANNELS, dtype="float32"), np.eye(1, NBEFORE + NAFTER)[0])
# 20 um over the ten seconds of a recording: templates are made at 0, 5, 10, 15 and 20 um
MOVING = Motion([np.array([[0.0], [20.0]])], [np.array([0.0, 10.0])], np.zeros(1))


def waveform(depth, amplitude, width=4.0):
    """A spike of a unit at this depth (um) on a probe with 20 um between channels, (n_samples, n_channels)."""
    time = np.arange(-NBEFORE, NAFTER)
    shape = -np.exp(-((time / width) ** 2)) + 0.4 * np.exp(-(((time - 14) / (2 * width)) ** 2))
    footprint = np.exp(-0.5 * ((20.0 * np.arange(N_CHANNELS) - depth) / 25.0) ** 2)
    return (amplitude * shape[:, None] * footprint).astype("float32")


def recording_with(spikes, duration_s=10.0, seed=0):
    """White noise of unit variance plus (sample, waveform) pairs."""
    traces = np.random.default_rng(seed).normal(size=(int(duration_s * RATE), N_CHANNELS)).astype("float32")
    for sample, shape in spikes:
        traces[sample - NBEFORE : sample + NAFTER] += shape
    recording = sc.NumpyRecording([traces], RATE)
    probe = generate_linear_probe(num_elec=N_CHANNELS, ypitch=20.0)
    probe.set_device_channel_indices(np.arange(N_CHANNELS))
    recording.set_probe(probe)
    return recording


def peaks_at(samples):
    peaks = np.zeros(len(samples), dtype=[("sample_index", "int64"), ("segment_index", "int64")])
    peaks["sample_index"] = samples
    return peaks


def shank_of(recording, motion=None):
    """The recording as a shank with white noise."""
    return Shank(recording, WHITE, NBEFORE, NAFTER, motion, job_kwargs=JOB)


def templates_for(recording, samples, labels, depths, displacement=None, motion=None):
    places = np.column_stack([np.zeros(len(depths)), np.asarray(depths, float)])
    displacement = np.zeros(len(samples)) if displacement is None else displacement
    return estimate_templates(shank_of(recording, motion), peaks_at(samples), labels, places, displacement)


def units_for(recording, samples, labels, depths, displacement=None, motion=None):
    """Units of matched spikes."""
    templates = templates_for(recording, samples, labels, depths, displacement, motion)
    return UnitSet(peaks_at(samples), np.asarray(labels), templates)


def two_units_apart():
    """A recording of two units that never overlap, its spikes, their units and the two waveforms."""
    first, second = np.arange(1000, 290000, 2000), np.arange(1900, 290000, 2000)
    shapes = waveform(80.0, 12.0), waveform(120.0, 10.0, width=6.0)
    apart = [(s, shapes[0]) for s in first] + [(s, shapes[1]) for s in second]
    samples = np.concatenate([first, second])
    labels = np.repeat([0, 1], [len(first), len(second)])
    order = np.argsort(samples)
    return recording_with(apart), samples[order], labels[order], shapes
