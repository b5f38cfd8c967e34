"""
Sort a SpikeGLX folder
======================

From the folder that SpikeGLX writes to units on the probe. The folder is generated here (32 channels of a Neuropixels
1.0 probe, eight neurons), so that the true spikes are known and the result can be compared with them; with your own
folder the lines are the same.
"""

# %%
# Read the recording
# ------------------
# SpikeGLX writes a folder ``NAME_g0`` with a folder for each probe in it. Give SpikeInterface the outer one, and the
# name of the stream: ``imec0.ap`` is the AP band of the first probe.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import spikeinterface.comparison as sc
import spikeinterface.core as si
import spikeinterface.extractors as se
from spikeglx_folder import write_spikeglx_folder
from spikeinterface.sorters import run_sorter

folder = Path(tempfile.mkdtemp())
run, truth = write_spikeglx_folder(folder, n_channels=32, n_units=8, duration_s=20.0)
si.set_global_job_kwargs(n_jobs=1, progress_bar=False)

print(se.get_neo_streams("spikeglx", run)[0])
recording = se.read_spikeglx(run, stream_id="imec0.ap")
print(recording)

# %%
# Sort it
# -------
# The recording is given as it is: the sorter filters it, subtracts the common median and finds silent channels itself.
# ``spikeinterface_huidurep`` does not have to be imported.
sorting = run_sorter("huidurep", recording, folder=folder / "sorter_output")
print(sorting)

# %%
# Each unit comes with what is known of it: its place (um), its amplitude over the noise, how sure its spikes are (the
# mean probability that they are its own), and a first opinion of its quality.
import pandas as pd

names = ["main_channel_id", "x", "y", "num_spikes", "snr", "confidence", "quality"]
pd.DataFrame({name: sorting.get_property(name) for name in names}, index=sorting.unit_ids).round(2)

# %%
# Compare it with the truth
# -------------------------
# The accuracy of a unit is the number of its true spikes that were found, over the number of spikes that are true or
# were found (or both).
comparison = sc.compare_sorter_to_ground_truth(truth, sorting, exhaustive_gt=True)
comparison.get_performance()[["accuracy", "precision", "recall"]].astype(float).round(2)

# %%
# A raster of the units, by their depth on the probe.
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for unit, y in zip(sorting.unit_ids, sorting.get_property("y"), strict=True):
    times = sorting.get_unit_spike_train(unit, segment_index=0) / sorting.sampling_frequency
    axes.plot(times, [y] * len(times), "|", markersize=8)
axes.set(xlabel="time (s)", ylabel="depth (um)", title=f"{len(sorting.unit_ids)} units")
plt.show()

# %%
# The sorting lies in ``sorter_output``; later it is read from there. The next step is the curation:
# :doc:`plot_2_curate`.
from spikeinterface.sorters import read_sorter_folder

print(read_sorter_folder(folder / "sorter_output"))
