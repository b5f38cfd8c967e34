"""Sort a small generated recording with the package that is installed, and fail where its neurons are not found.

python .github/try_wheel.py v0.2.0
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from spikeinterface.comparison import compare_sorter_to_ground_truth
from spikeinterface.core import generate_ground_truth_recording
from spikeinterface.sorters import run_sorter


def main() -> None:
    """Sort, compare with the truth, and say how that went; the only argument is the release's tag."""
    (tag,) = sys.argv[1:]
    installed = version("spikeinterface-huidurep")
    if tag != f"v{installed}":
        sys.exit(f"Version {installed} is installed, not that of the tag {tag}.")
    recording, truth = generate_ground_truth_recording(durations=[20.0], num_channels=16, num_units=5, seed=0)
    with TemporaryDirectory() as folder:
        saved = recording.save(folder=Path(folder) / "recording", verbose=False)
        # as users do: nothing has imported the package before
        sorting = run_sorter("huidurep", saved, folder=Path(folder) / "sorted", n_jobs=2)
        accuracy = compare_sorter_to_ground_truth(truth, sorting).get_performance()["accuracy"].astype(float)
    print(f"huidurep {installed}: {len(sorting.unit_ids)} units, accuracy of the true ones", *accuracy.round(2))
    if accuracy.median() < 0.9:
        sys.exit("Fewer than half of the neurons were found.")


if __name__ == "__main__":
    main()
