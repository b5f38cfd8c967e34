"""Matches the sessions of the suite `days` with UnitMatch, beside `match_units`.

    python -m venv unitmatch && unitmatch/bin/pip install UnitMatchPy
    python studies/unitmatch.py OUTPUT --templates LIBRARIES --python unitmatch/bin/python --sets days_64_far

UnitMatchPy wants another numpy than SpikeInterface and is not free for all uses, so that it runs in an environment of
its own. OUTPUT is that of ``huidurep benchmark --suite days``, whose sorts are used again. UnitMatch gets what it asks
for: the mean waveforms of both halves of each unit's spikes, 200 of them, on all channels, 1 ms to each side.
"""

from __future__ import annotations

import subprocess
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
from days_halves import days_parser
from spikeinterface.core import SortingAnalyzer, create_sorting_analyzer

from spikeinterface_huidurep.benchmark import get_days
from spikeinterface_huidurep.benchmark.days import NEURON
from spikeinterface_huidurep.benchmark.days_benchmark import sorted_days
from spikeinterface_huidurep.benchmark.days_measures import PairsOfSessions, figures, found_units, pairs_of
from spikeinterface_huidurep.encoder import load_encoder
from spikeinterface_huidurep.matching import match_units
from spikeinterface_huidurep.matching.half_templates import SessionUnits, read_session

# As in UnitMatch's example script. argv: a .npz with waveforms, places and the number of units of each session; where
# to save the matrix of probabilities.
UNITMATCH = """
import sys
import numpy as np
import UnitMatchPy.bayes_functions as bf
import UnitMatchPy.default_params as default_params
import UnitMatchPy.overlord as ov
import UnitMatchPy.utils as util

given = np.load(sys.argv[1])
waveform, counts = given["waveform"], given["counts"]
n_samples = waveform.shape[1]
peak = n_samples // 2
param = default_params.get_default_param({
    "spike_width": n_samples, "peak_loc": peak, "waveidx": np.arange(peak - 8, peak + 15),
    "n_xchannelpos": len(np.unique(given["places"][:, 0])),
})
places = np.insert(given["places"], 0, 1.0, axis=1)
param = util.get_probe_geometry(places, param)
param["n_units"], session_id, session_switch, param["n_sessions"] = util.get_session_data(counts)
within_session = util.get_within_session(session_id, param)
param["n_channels"] = waveform.shape[2]
info = {"session_switch": session_switch, "session_id": session_id}
properties = ov.extract_parameters(waveform, [places] * len(counts), info, param)
_, candidates, scores, predictors = ov.extract_metric_scores(properties, session_switch, within_session, param, niter=2)
prior = 1 - param["n_expected_matches"] / param["n_units"] ** 2
labels = candidates.astype(int)
kernels = bf.get_parameter_kernels(scores, labels, np.unique(labels), param, add_one=1)
found = bf.apply_naive_bayes(kernels, np.array((prior, 1 - prior)), predictors, param, np.unique(labels))
np.save(sys.argv[2], found[:, 1].reshape(param["n_units"], param["n_units"]))
"""


def on_all_channels(analyzer: SortingAnalyzer, name: str) -> SessionUnits:
    """Mean waveforms of both halves on all channels of the probe."""
    dense = create_sorting_analyzer(analyzer.sorting, analyzer.recording, sparse=False)
    dense.compute({"random_spikes": {"max_spikes_per_unit": 200}, "waveforms": {}}, n_jobs=1, progress_bar=False)
    return read_session(dense, name, load_encoder("default", "cpu"))[0]


def unitmatch(sessions: list[SessionUnits], python: Path) -> dict[tuple[int, int], np.ndarray]:
    """UnitMatch's probabilities for each two sessions, (n_units, n_units): the mean of both directions."""
    width = 2 * sessions[0].nbefore
    waveform = np.concatenate([one.templates[:, :, :width] for one in sessions]).transpose(0, 2, 3, 1)
    counts = np.array([one.n_units for one in sessions])
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "given.npz", Path(folder) / "found.npy"
        np.savez(given, waveform=waveform.astype(np.float64), places=sessions[0].channel_locations, counts=counts)
        subprocess.run([str(python), "-c", UNITMATCH, str(given), str(found)], check=True, stdout=subprocess.DEVNULL)
        matrix = np.load(found)
    ends = np.concatenate([[0], np.cumsum(counts)])
    both = (matrix + matrix.T) / 2
    return {
        (a, b): both[ends[a] : ends[a + 1], ends[b] : ends[b + 1]] for a, b in combinations(range(len(sessions)), 2)
    }


def main(argv: list[str] | None = None) -> int:
    parser = days_parser(__doc__)
    parser.add_argument("--python", type=Path, required=True, help="of the environment that has UnitMatchPy")
    arguments = parser.parse_args(argv)
    print("| sessions | method | shared | recall | precision | area | calibration error |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.sets:
        truths = get_days(name, arguments.cache, arguments.templates, arguments.duration)
        analyzers = sorted_days(truths, "huidurep", arguments.output, n_jobs=arguments.n_jobs)
        if analyzers is None:
            raise RuntimeError(f"The sessions {name} could not be sorted.")
        matches = match_units(analyzers, n_jobs=1)
        units = [on_all_channels(one, f"{k}") for k, one in enumerate(analyzers)]
        neurons = [
            found_units(truth.sorting, one.sorting.select_units(own.unit_ids), truth.sorting.get_property(NEURON))
            for truth, one, own in zip(truths, analyzers, units, strict=True)
        ]
        for method, found in (
            ("huidurep match", matches.probabilities),
            ("UnitMatch", unitmatch(units, arguments.python)),
        ):
            pairs: list[PairsOfSessions] = [pairs_of(found[a, b], neurons[a], neurons[b]) for a, b in found]
            row = figures(pairs)
            print(
                f"| {name} | {method} | {row['shared']} | {row['recall']:.3f} | {row['precision']:.3f} | "
                f"{row['area']:.4f} | {row['calibration']:.3f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
