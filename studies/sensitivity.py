"""
How much the constants matter: each 20 % down and 20 % up, and what becomes of sorts of recordings with ground truth.

    HUIDUREP_TEMPLATES=templates python studies/sensitivity.py               # measure what has no figures yet
    python studies/sensitivity.py --render                                   # only write the table again

Constants are the numbers at the level of the modules in stages/ and of criteria.py, and the numeric fields of the
criteria. The recordings are none on which a constant was chosen. Figures go to sensitivity.json after every change of a
constant; a run that was stopped goes on where it was. The table is sensitivity.md, made of that file and of the
constants that there are.

Constants that numba compiles into the matching are listed, but not changed: they would have to be compiled again,
callers and all, for each value.

Stages before the first one in which a constant has a part are not run again: what they returned for the unchanged sort
is used. Nor are later ones run, where a stage returns the same and they do not know the constant.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import spikeinterface
import spikeinterface.core as sc
from constants import ALL_STAGES, MOTION, NOT_SWEPT, OF_MOTION, ROOMS, TRACES, Constant, find_constants, patched
from sensitivity_table import DIRECTIONS, SEED, plain, render, says
from spikeinterface.core import BaseRecording, BaseSorting
from threadpoolctl import threadpool_limits

import spikeinterface_huidurep
from spikeinterface_huidurep.benchmark import get_recording
from spikeinterface_huidurep.benchmark.generator import GeneratorSettings
from spikeinterface_huidurep.benchmark.library_recording import LibrarySettings
from spikeinterface_huidurep.benchmark.measures import measure
from spikeinterface_huidurep.benchmark.recordings import GroundTruth
from spikeinterface_huidurep.jobs import resolve_job_kwargs
from spikeinterface_huidurep.parameters import DEFAULT_PARAMS
from spikeinterface_huidurep.record import Record
from spikeinterface_huidurep.sort import find_units
from spikeinterface_huidurep.stages.result.finishing import unscaled
from spikeinterface_huidurep.stages.traces.caching import cached_traces
from spikeinterface_huidurep.stages.traces.preprocessing import preprocess
from spikeinterface_huidurep.stages.traces.rescaling import rescale

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Source:
    """A recording to measure on: what it is, in words, how it is made, and for which rooms' constants; () for all."""

    says: str
    make: Callable[[], GroundTruth]
    rooms: tuple[str, ...] = ()


def _noisy() -> GroundTruth:
    recording, sorting = sc.generate_ground_truth_recording(
        durations=[20.0], sampling_frequency=30000.0, num_channels=16, num_units=14, seed=113,
        generate_sorting_kwargs={"firing_rates": (1.0, 12.0), "refractory_period_ms": 3.0},
        noise_kwargs={"noise_levels": 14.0, "strategy": "on_the_fly"},
    )  # fmt: skip
    # kept in memory: it is made once
    kept = sc.NumpyRecording([recording.get_traces()], recording.sampling_frequency)
    kept.set_probe(recording.get_probe())
    return GroundTruth("noisy", kept, sorting, None, HERE, {})


def _library(says: str, rooms: tuple[str, ...] = (), **settings: Any) -> Source:
    return Source(says, lambda: get_recording(LibrarySettings(**settings)), rooms)


def _generator(says: str, **settings: Any) -> Source:
    return Source(says, lambda: get_recording(GeneratorSettings(**settings)))


# short, with high rates, and few: a sort of all of them has to be quick, for there are two hundred
RECORDINGS: dict[str, Source] = {
    "tetrode": _library(
        "tetrode, 8 units, 30 s, seed 103",
        name="sens_tetrode", library="tetrode.npz", n_units=8, duration_s=30, n_hash=60, snr_range=(4.5, 20.0),
        seed=103,
    ),
    "two columns": _library(
        "two columns, 64 channels, 60 small units (SNR 3 to 9), 12 s, seed 102",
        name="sens_two_column", library="neuropixels2-64.npz", n_units=60, duration_s=12, snr_range=(3.0, 9.0),
        snr_skew=2.0, rate_hz=(3.0, 25.0), seed=102,
    ),
    "dense grid": _library(
        "grid of 100 channels 15 um apart, 64 units, 8 s, seed 108",
        name="sens_grid", library="sqmea-10-15.npz", n_units=64, duration_s=8, n_hash=200, rate_hz=(4.0, 30.0),
        seed=108,
    ),
    "drifting": _library(
        "linear probe of 32 channels that moves by 30 um, 16 units, 31 s, seed 105",
        name="sens_drift", library="neuronexus-32_zdrift.npz", n_units=16, duration_s=31, n_hash=100,
        rate_hz=(3.0, 25.0), drift="zigzag", drift_range_um=30.0, drift_period_s=30.0, seed=105,
    ),
    "drifting, longer": _library(
        "two columns of 64 channels that move by 30 um, 30 units, 31 s, seed 101; only for motion/",
        rooms=("motion",),
        name="sens_drift_64", library="neuropixels2-64_zdrift.npz", n_units=30, duration_s=31, n_hash=150,
        rate_hz=(3.0, 25.0), drift="zigzag", drift_range_um=30.0, drift_period_s=30.0, seed=101,
    ),
    "changing": _generator(
        "SpikeInterface's generator, 16 channels, 14 units whose amplitudes vary by 20 %, 20 s, seed 12",
        name="sens_changing", duration_s=20, n_units=14, n_channels=16, amplitude_std=0.2, seed=12,
    ),
    "noisy": Source("SpikeInterface's generator, 16 channels, 14 units, noise of 14 uV, 20 s, seed 113", _noisy),
}  # fmt: skip


class KeptRecord(Record):
    """
    Keeps what the stages return; a later sort takes it from there until something is another.

    Parameters
    ----------
    kept : dict
        What the stages returned in the unchanged sort; empty where this is that sort.
    acting : tuple of str
        The stages that know what was changed.
    """

    def __init__(self, kept: dict[str, Any], acting: Iterable[str] = ()):
        super().__init__()
        self.kept, self.acting = kept, frozenset(acting)
        self.first, self.differs = not kept, False

    def run(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self.first and not self.differs and name in ALL_STAGES and name not in self.acting:
            return copy.deepcopy(self.kept[name])
        result = super().run(name, function, *args, **kwargs)
        if self.first:
            self.kept[name] = copy.deepcopy(result)
        else:
            self.differs = self.differs or not same(result, self.kept.get(name))
        return result


def same(one: Any, other: Any) -> bool:
    """Whether two results of a stage are the same to the last bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one) and not isinstance(one, type):
        return all(same(getattr(one, part.name), getattr(other, part.name)) for part in fields(one))
    if hasattr(one, "displacement") and hasattr(one, "temporal_bins_s"):  # a Motion
        names = ("displacement", "temporal_bins_s", "spatial_bins_um")
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    return bool(one == other)


@dataclass
class Case:
    """A recording, its unchanged sort, and what the stages of that returned."""

    name: str
    truth: GroundTruth
    kept: dict[str, Any] = field(default_factory=dict)
    traces: Any = None
    step: int = 1
    sorting: Any = None
    figures: list[float] = field(default_factory=list)

    @classmethod
    def made(cls, name: str, source: Source, stack: ExitStack) -> Case:
        """Make the recording and sort it; its preprocessed traces lie on the disk until the stack is left."""
        case = cls(name, source.make())
        case.traces = case.preprocessed(stack, {})
        case.sorting = case.sort(case.traces, KeptRecord(case.kept), {})
        case.figures = figures(case.truth, case.sorting)
        return case

    @property
    def still(self) -> bool:
        """Whether the probe was taken to stand still."""
        return self.kept.get(MOTION) is None

    def params(self, changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters of the sort, and those of parallel processing."""
        params = {**DEFAULT_PARAMS, "n_jobs": 1, **changes}
        return params, resolve_job_kwargs(params, False, self.truth.recording.get_num_channels())

    def preprocessed(self, stack: ExitStack, changes: dict[str, Any]) -> BaseRecording:
        """The traces as a sort has them."""
        params, job_kwargs = self.params(changes)
        limits = {name: params[name] for name in ("freq_min", "freq_max")}
        traces = preprocess(self.truth.recording, seed=params["seed"], **limits)
        traces, self.step = rescale(traces, 1.0, 1.0, freq_max=params["freq_max"])
        return stack.enter_context(cached_traces(traces, job_kwargs=job_kwargs))

    def sort(self, traces: BaseRecording, record: Record, changes: dict[str, Any]) -> BaseSorting:
        params, job_kwargs = self.params(changes)
        with threadpool_limits(1):
            sorting = find_units(traces, params, job_kwargs, record)
        return unscaled(sorting, self.truth.recording, step=self.step, distance_scale=1.0)

    def changed(self, stages: tuple[str, ...], changes: dict[str, Any]) -> list[Any]:
        """Sort with what is changed now: accuracy, units found, false units, and what is the same."""
        record = KeptRecord(self.kept, stages)
        with ExitStack() as stack:
            traces = self.traces
            step = self.step
            stack.callback(setattr, self, "step", step)
            if TRACES in stages:
                traces = self.preprocessed(stack, changes)
                record.differs = self.step != step or not _same_traces(traces, self.traces)
            sorting = self.sort(traces, record, changes)
        if not _same_spikes(sorting, self.sorting):
            return [*figures(self.truth, sorting), "different"]
        return [*self.figures, "same" if _same_properties(sorting, self.sorting) else "same spikes"]


def _same_traces(one: BaseRecording, other: BaseRecording) -> bool:
    if one.get_num_channels() != other.get_num_channels():
        return False
    edges = [*range(0, one.get_num_samples(), int(one.sampling_frequency)), one.get_num_samples()]
    return all(
        np.array_equal(*(traces.get_traces(start_frame=start, end_frame=stop) for traces in (one, other)))
        for start, stop in zip(edges[:-1], edges[1:], strict=True)
    )


def _same_spikes(one: Any, other: Any) -> bool:
    return same(one.to_spike_vector(), other.to_spike_vector())


def _same_properties(one: Any, other: Any) -> bool:
    names = sorted(one.get_property_keys())
    return names == sorted(other.get_property_keys()) and all(
        np.array_equal(one.get_property(name), other.get_property(name)) for name in names
    )


def figures(truth: GroundTruth, sorting: BaseSorting) -> list[float]:
    """Mean accuracy, units found (accuracy of 0.8 and more), false units (false positive and redundant ones)."""
    summary = measure(truth, sorting).summary
    counts = [summary[name] for name in ("well_detected", "false_positive", "redundant")]
    found, false, redundant = (int(count or 0) for count in counts)
    return [round(float(summary["accuracy"] or 0.0), 5), found, false + redundant]


def sweep(cases: list[Case], constants: list[Constant], results: dict[str, Any], write: Callable[[], None]) -> None:
    """Measure what the results do not have yet; they are written after every change of a constant."""
    for constant in constants:
        row = results["rows"].setdefault(constant.key, {})
        of_now = {"value": plain(constant.value), "baseline": len(results["baselines"]) - 1}
        whole = all(direction in row for direction in DIRECTIONS)
        if row.get("value") != of_now["value"] or (not whole and row.get("baseline") != of_now["baseline"]):
            row.clear()
            row.update(of_now)
        for direction in DIRECTIONS:
            if direction in row:
                continue
            start, value = time.perf_counter(), constant.changed(direction)
            row[direction] = {"value": plain(value), **_measured(cases, constant, value)}
            write()
            print(f"{constant.key} {direction}: {says(row, direction, results)}, {time.perf_counter() - start:.0f} s")
            sys.stdout.flush()


def _measured(cases: list[Case], constant: Constant, value: Any) -> dict[str, Any]:
    try:
        if constant.key == SEED:
            return {"figures": {case.name: case.changed(ALL_STAGES, {"seed": value}) for case in cases}}
        with patched(constant, value) as changes:
            still = constant.key in OF_MOTION
            found = {
                case.name: [*case.figures, "same"] if still and case.still else case.changed(constant.stages, changes)
                for case in cases
                if constant.room in (RECORDINGS[case.name].rooms or (constant.room,))
            }
            return {"figures": found}
    except Exception as error:  # a value with which there is no sort is a result, too
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def seed_row() -> Constant:
    """Other seeds of the sort: how much chance changes."""
    return Constant("parameters.py", "seed", 2)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "sensitivity.json", metavar="FILE")
    parser.add_argument("--table", type=Path, default=HERE / "sensitivity.md", metavar="FILE")
    parser.add_argument("--render", action="store_true", help="only write the table again")
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS), help="in this order")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only constants of these names, in this order")
    options = parser.parse_args(arguments)
    constants = find_constants()
    results = json.loads(options.results.read_text()) if options.results.is_file() else {"rows": {}}
    if not options.render:
        chosen = [seed_row()]
        chosen += [one for room in options.rooms for one in constants if one.room == room and one.key not in NOT_SWEPT]
        if options.only is not None:
            chosen = [one for one in chosen if one.name in options.only]
            chosen.sort(key=lambda one: options.only.index(one.name))
        _measure(chosen, results, options.results)
    options.table.write_text(render(constants, results), encoding="utf8")
    return 0


def _measure(constants: list[Constant], results: dict[str, Any], path: Path) -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("spikeinterface_huidurep").setLevel(logging.ERROR)
    with ExitStack() as stack:
        cases = []
        for name, source in RECORDINGS.items():
            start = time.perf_counter()
            cases.append(Case.made(name, source, stack))
            print(f"{name}: {cases[-1].figures}, {time.perf_counter() - start:.0f} s", flush=True)
        _note_baseline(cases, results)

        def write() -> None:
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_text(_json(results), encoding="utf8")
            unfinished.replace(path)

        sweep(cases, constants, results, write)
        write()


def _note_baseline(cases: list[Case], results: dict[str, Any]) -> None:
    """The unchanged sorts; those of another version, if they are others, begin a new list of rows."""
    results["recordings"] = {
        case.name: {"says": RECORDINGS[case.name].says, "true_units": len(case.truth.sorting.unit_ids)}
        for case in cases
    }
    unchanged = {case.name: case.figures for case in cases}
    baselines = results.setdefault("baselines", [])
    last = baselines[-1]["figures"] if baselines else {}
    if not baselines or any(last.get(name, found) != found for name, found in unchanged.items()):
        baselines.append({"version": _version(), "figures": unchanged})
    baselines[-1]["figures"].update(unchanged)


def _version() -> str:
    command = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"spikeinterface-huidurep {spikeinterface_huidurep.__version__} ({commit or 'no commit'}), "
        f"SpikeInterface {spikeinterface.__version__}, numpy {np.__version__}, Python {platform.python_version()}"
    )


def _json(results: dict[str, Any]) -> str:
    """A line a row."""
    rows = ",\n".join(f"{json.dumps(key)}: {json.dumps(row)}" for key, row in results["rows"].items())
    rest = {key: value for key, value in results.items() if key != "rows"}
    return json.dumps(rest, indent=1)[:-2] + f',\n "rows": {{\n{rows}\n}}\n}}\n'


if __name__ == "__main__":
    sys.exit(main())
