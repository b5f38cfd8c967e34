"""How long does it take to match five sessions of 200 units on 384 channels?

    python studies/days_speed.py OUTPUT

The sessions are SpikeInterface's generator's: 200 units of 10 Hz on a Neuropixels probe, 25 s, of which 70 % are in all
sessions. Waveforms are in the analyzers, as in those of ``huidurep sort --report``. Times are the processor's, of one
core; making the sessions is not among them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import spikeinterface.core as si
from probeinterface import Probe

from spikeinterface_huidurep.matching import match_units

RATE, ROWS, ROW_UM = 30000.0, 192, 20.0
SHARED = 0.7


def make_sessions(n_sessions: int, n_units: int, duration_s: float, seed: int = 0) -> list[si.SortingAnalyzer]:
    """Analyzers of the true spikes, with waveforms, in memory."""
    rng = np.random.default_rng(seed)
    places = np.array([[32.0 * column, ROW_UM * row] for row in range(ROWS) for column in (0, 1)])
    probe = Probe(ndim=2, si_units="um")
    probe.set_contacts(places, shapes="circle", shape_params={"radius": 6})
    probe.set_device_channel_indices(np.arange(len(places)))
    n_always = round(SHARED * n_units)
    n_neurons = n_always + n_sessions * (n_units - n_always)
    where = np.column_stack(
        [rng.uniform(0, 32, n_neurons), rng.uniform(0, ROWS * ROW_UM, n_neurons), rng.uniform(8, 20, n_neurons)]
    )
    analyzers = []
    for session in range(n_sessions):
        others = n_always + session * (n_units - n_always) + np.arange(n_units - n_always)
        neurons = np.concatenate([np.arange(n_always), others])
        templates = si.generate_templates(places, where, RATE, ms_before=1.5, ms_after=2.5, seed=1)[neurons]
        sorting = si.generate_sorting(n_units, RATE, [duration_s], firing_rates=10.0, seed=seed + session)
        recording, _ = si.generate_ground_truth_recording(
            durations=[duration_s], sampling_frequency=RATE, num_channels=len(places), sorting=sorting, probe=probe,
            templates=templates * rng.uniform(0.85, 1.15, (n_units, 1, 1)), ms_before=1.5, ms_after=2.5,
            noise_kwargs={"noise_levels": 6.0, "strategy": "tile_pregenerated"}, seed=seed + session,
        )  # fmt: skip
        recording.annotate(is_filtered=True)
        analyzer = si.create_sorting_analyzer(sorting, recording)
        analyzer.compute({"random_spikes": {"max_spikes_per_unit": 200}, "waveforms": {}}, progress_bar=False)
        analyzers.append(analyzer)
    return analyzers


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--sessions", type=int, default=5)
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--duration", type=float, default=25.0)
    arguments = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    sessions = make_sessions(arguments.sessions, arguments.units, arguments.duration)
    start = time.process_time()
    matches = match_units(sessions, n_jobs=1)
    matched = time.process_time()
    matches.save(arguments.output / "matched", overwrite=True)
    saved = time.process_time()
    print("| sessions | units of each | matches | match_units, s | save, s |\n|---|---|---|---|---|")
    numbers = f"{len(matches.matches)} | {matched - start:.1f} | {saved - matched:.1f}"
    print(f"| {arguments.sessions} | {arguments.units} | {numbers} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
