"""
One neuron over three days
==========================

Three sessions were sorted, each by itself. Which of their units are the same neuron? From the folders to groups, and to
the firing rate of one neuron over the days. On the command line this is ``huidurep match day1 day2 day3 --output
matched``; see :doc:`../days`.
"""

# %%
# Three sessions
# --------------
# Ten neurons on a probe of 16 channels. The probe moves against the tissue by 20 um before the second day and by 30 um
# back before the third, amplitudes change by up to 15 %, and some neurons are not there on each day. To save time, the
# spikes are those of the generator; analyzers of ``huidurep sort --report`` folders, or of another sorter, are used in
# the same way.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import spikeinterface.core as si
from probeinterface import generate_multi_columns_probe

from spikeinterface_huidurep.matching import match_units

si.set_global_job_kwargs(n_jobs=1, progress_bar=False)
rng = np.random.default_rng(1)
rate = 30000.0
probe = generate_multi_columns_probe(num_columns=2, num_contact_per_column=8, xpitch=32, ypitch=20)
probe.set_device_channel_indices(np.arange(16))
places = np.column_stack([rng.uniform(0, 32, 10), np.linspace(0, 140, 10), rng.uniform(8, 20, 10)])
rates = rng.uniform(3, 15, 10)

days = {
    "day1": ([0, 1, 2, 3, 4, 5, 6, 8], 0.0),
    "day2": ([1, 2, 3, 4, 6, 7, 8], 20.0),
    "day3": ([0, 1, 2, 3, 4, 5, 6, 7, 9], -10.0),
}
folder = Path(tempfile.mkdtemp())
for day, (neurons, displacement) in enumerate(days.values()):
    moved = places + [0.0, displacement, 0.0]
    templates = si.generate_templates(probe.contact_positions, moved, rate, ms_before=1.5, ms_after=2.5, seed=0)
    templates = templates[neurons] * rng.uniform(0.85, 1.15, (len(neurons), 1, 1))
    firing = rates[neurons] * rng.uniform(0.6, 1.4, len(neurons))
    sorting = si.generate_sorting(len(neurons), rate, durations=[15.0], firing_rates=firing, seed=day)
    recording, _ = si.generate_ground_truth_recording(
        durations=[15.0], sampling_frequency=rate, num_channels=16, sorting=sorting, probe=probe, templates=templates,
        ms_before=1.5, ms_after=2.5, noise_kwargs={"noise_levels": 6.0, "strategy": "on_the_fly"}, seed=day,
    )  # fmt: skip
    recording = recording.save(folder=folder / f"recording{day + 1}")
    recording.annotate(is_filtered=True)
    analyzer = si.create_sorting_analyzer(sorting, recording, format="binary_folder", folder=folder / f"day{day + 1}")
    analyzer.compute({"random_spikes": {"max_spikes_per_unit": 100}, "waveforms": {}})

# %%
# Match
# -----
matches = match_units([folder / name for name in days])
matches.matches.head()

# %%
# The displacement was estimated from the units:
for (a, b), displacement in matches.displacements.items():
    print(f"{matches.names[a]} to {matches.names[b]}: {displacement.mean_um:.0f} um")

# %%
# How many matches are expected to be false at other thresholds:
matches.yields([0.5, 0.9, 0.99])

# %%
# Neurons
# -------
# A row for each unit of each session. A neuron that was missing on the second day is one neuron all the same.
neurons = matches.groups.pivot(index="neuron", columns="session", values="unit")
neurons

# %%
# ``matches.save(FOLDER)`` writes the tables, and a page with the waveforms of each matched pair for a person to check.
page = matches.save(folder / "matched") / "report.html"
print(page.stat().st_size // 1000, "kB")

# %%
# The rate of a neuron over the days
# ----------------------------------
# Each Sorting has the property "neuron_id".
counts = {}
for name, sorting in matches.sortings.items():
    for unit, neuron in zip(sorting.unit_ids, sorting.get_property("neuron_id"), strict=True):
        counts.setdefault(neuron, {})[name] = len(sorting.get_unit_spike_train(unit)) / 15.0

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for neuron, by_day in counts.items():
    if len(by_day) > 1:
        axes.plot([list(days).index(name) + 1 for name in by_day], list(by_day.values()), marker="o", label=str(neuron))
axes.set(xticks=[1, 2, 3], xlabel="day", ylabel="firing rate (Hz)", ylim=(0, None))
axes.legend(title="neuron", ncols=2, fontsize=8)
