"""
From units to curated units
===========================

A sort is made ready for curation, its suggestions are read, and what was decided comes back as a Sorting. The deciding
itself is done in SpikeInterface's GUI (``huidurep gui FOLDER``, see :doc:`../curate`); here the suggestions are taken
as they are.
"""

# %%
# Sort
# ----
# A tetrode, four neurons, 20 s.
import tempfile
from pathlib import Path

import spikeinterface.core as si
from spikeinterface.sorters import run_sorter

from spikeinterface_huidurep import make_analyzer
from spikeinterface_huidurep.curation import curated_sorting, draw_templates, read_suggestions

folder = Path(tempfile.mkdtemp())
si.set_global_job_kwargs(n_jobs=1, progress_bar=False)
recording, truth = si.generate_ground_truth_recording(durations=[20.0], num_channels=4, num_units=4, seed=0)
recording = recording.save(folder=folder / "recording")
sorting = run_sorter("huidurep", recording, folder=folder / "sorter_output")

# %%
# Make an analyzer
# ----------------
# One call gives a SortingAnalyzer with the extensions that the GUI shows, on the traces as the sorter saw them, the
# embeddings of the spikes, and suggestions for merges and labels.
analyzer = make_analyzer(sorting, recording, folder / "analyzer", n_jobs=1)
print(analyzer)

# %%
# ``huidurep gui FOLDER`` opens it; the quality metrics are in its table of units.
metrics = analyzer.get_extension("quality_metrics").get_data()
metrics[["num_spikes", "firing_rate", "snr", "rp_contamination"]]

# %%
# The suggestions
# ---------------
# They are in SpikeInterface's curation format, in the analyzer's folder, where ``huidurep gui`` finds them. Nothing of
# them applies before you have saved a curation there.
curation = read_suggestions(analyzer)
print("merges:", curation["merges"])
for label in curation["manual_labels"]:
    print("unit", label["unit_id"], label["labels"])

# %%
# The curated Sorting
# -------------------
# After the GUI is closed, ``curated_sorting(analyzer)`` reads what was saved there. Without a GUI, all suggestions can
# be accepted unseen. Units labelled noise are left out.
curated = curated_sorting(analyzer, accept_suggestions=True, drop=["noise"])
print(curated)

# %%
# The same with pictures, and a page of HTML, is ``huidurep sort --report`` on the command line. One of its pictures:
figure = draw_templates(analyzer)
