"""Sessions of one piece of tissue, made by SpikeInterface's generator: neurons stay, go and come, the probe moves."""

from __future__ import annotations

import numpy as np
import spikeinterface.full as si
from probeinterface import generate_multi_columns_probe

RATE = 30000.0
# depth of the neurons when the probe has not moved, um
DEPTHS = np.array([20.0, 45.0, 70.0, 95.0, 120.0, 145.0, 60.0, 110.0])
FIRST, SECOND = [0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 6, 7]


def probe_of(n_rows=10):
    probe = generate_multi_columns_probe(
        num_columns=2, num_contact_per_column=n_rows, xpitch=25.0, ypitch=20.0, y_shift_per_column=[0.0, 10.0]
    )
    probe.set_device_channel_indices(np.arange(2 * n_rows))
    return probe


def session(neurons, *, moved=0.0, gains=None, seed=0, duration=20.0, rate=RATE):
    """Recording and true spikes of some neurons; the unit ids are the neurons' numbers."""
    probe = probe_of()
    x = np.where(np.arange(len(DEPTHS)) % 2, 30.0, -5.0)
    locations = np.column_stack([x, DEPTHS + moved, np.full(len(DEPTHS), 12.0)])
    templates = si.generate_templates(
        probe.contact_positions, locations, sampling_frequency=rate, ms_before=1.0, ms_after=3.0, seed=7,
        unit_params={"alpha": (400.0, 900.0)},
    )  # fmt: skip
    factors = np.ones(len(DEPTHS)) if gains is None else np.asarray(gains)
    templates = (templates * factors[:, None, None]).astype("float32")[list(neurons)]
    sorting = si.generate_sorting(
        num_units=len(neurons), sampling_frequency=rate, durations=[duration], firing_rates=(4.0, 9.0),
        refractory_period_ms=3.0, seed=seed,
    )  # fmt: skip
    recording = si.NoiseGeneratorRecording(
        num_channels=probe.get_contact_count(), sampling_frequency=rate, durations=[duration], noise_levels=8.0,
        strategy="on_the_fly", seed=seed,
    )  # fmt: skip
    recording.set_probe(probe)
    made = si.InjectTemplatesRecording(sorting, templates, nbefore=int(rate / 1000), parent_recording=recording)
    truth = si.NumpySorting.from_unit_dict(
        {neuron: sorting.get_unit_spike_train(unit) for neuron, unit in zip(neurons, sorting.unit_ids, strict=True)},
        rate,
    )
    return made, truth
