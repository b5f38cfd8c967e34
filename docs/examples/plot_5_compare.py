"""
Compare with KiloSort4 and MountainSort5
========================================

The same recording, three sorters, and the truth to judge them by. A sorter that is not installed gets a row that says
so (``pip install ".[peers]"`` brings them all); this page shows those that were there when it was built.
"""

# %%
# The recording
# -------------
# Eight neurons on 16 channels, for 20 s: enough to see the tables, and too little to judge a sorter by. The suites of
# ``huidurep benchmark`` have longer and harder recordings, see :doc:`../results` for what came of them.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import spikeinterface.core as si

from spikeinterface_huidurep.benchmark import GeneratorSettings, run_benchmark, write_report

folder = Path(tempfile.mkdtemp())
si.set_global_job_kwargs(n_jobs=1, progress_bar=False)
settings = GeneratorSettings("eight_neurons", duration_s=20.0, n_units=8, n_channels=16, seed=1)

# %%
# Run the sorters
# ---------------
# Each runs in a process of its own, with its own defaults, so that time and memory are its own and a sorter that fails
# is a row of the table. What was run before is not run again.
results = run_benchmark(
    [settings],
    sorters=["huidurep", "kilosort4", "mountainsort5"],
    output_folder=folder / "compared",
    cache_folder=folder / "cache",
    n_jobs=1,
    progress=False,
)
table = results.summary.set_index("sorter")
table[["status", "message", "version"]]

# %%
# Who found what
# --------------
# The accuracy of a true unit is TP / (TP + FP + FN) of the unit that fits it best; at 0.8 it counts as well detected.
# Of the units that a sorter gives, false positives fit no true one, and overmerged ones fit several. Pieces have mostly
# the spikes of a true one that another fits better; redundant ones are pieces that fit it well themselves. The run time
# is mostly the start of a process, on a recording as short as this.
counts = ["true_units", "well_detected", "found_units", "pieces", "false_positive", "redundant", "overmerged"]
means = ["accuracy", "precision", "recall", "run_time_s", "peak_memory_gb"]
done = table[table["status"] == "done"]
done[counts].astype(int).join(done[means].astype(float).round(2))

# %%
# Unit by unit: the small ones are what sorters differ in.
figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
for marker, (sorter, units) in zip("oxs", results.units.groupby("sorter", sort=False), strict=False):
    axes.plot(units["snr"], units["accuracy"], marker, label=sorter, fillstyle="none")
axes.set(xlabel="SNR of the true unit", ylabel="accuracy", ylim=(-0.05, 1.05))
axes.legend()
plt.show()

# %%
# The page
# --------
# The same as ``huidurep benchmark`` writes it: tables that can be sorted, plots, versions, parameters and commands, in
# one file of HTML.
files = write_report(results, folder / "compared")
print(files.html.name, f"{files.html.stat().st_size / 1000:.0f} kB")

# %%
# On your own recording, where nobody knows the truth, ``huidurep compare`` and
# :func:`spikeinterface_huidurep.benchmark.compare_sorters` show what sorters agree on: :doc:`../compare`.
