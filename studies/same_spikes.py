"""
Whether a change of the code leaves the sorts as they are: digests of what a dozen recordings are sorted into.

    python studies/same_spikes.py --write before.json
    python studies/same_spikes.py --compare before.json
    python studies/same_spikes.py --device cuda               # or cpu:torch, the code for GPUs on the processor

Digests are comparable on one machine with one set of libraries only: another processor rounds differently. Recordings
that need a template library (HUIDUREP_TEMPLATES) or the real data (HUIDUREP_DATA) are left out where there are none.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import spikeinterface.core as sc
from spikeinterface.core import BaseRecording, BaseSorting
from spikeinterface.preprocessing import scale

from spikeinterface_huidurep.benchmark import RECORDINGS, get_recording
from spikeinterface_huidurep.benchmark.agreement import share_of_like_spikes
from spikeinterface_huidurep.jobs import resolve_job_kwargs
from spikeinterface_huidurep.parameters import DEFAULT_PARAMS
from spikeinterface_huidurep.record import Record
from spikeinterface_huidurep.sort import sort_recording


def _named(name: str, duration_s: float, **changes: Any) -> BaseRecording:
    return get_recording(replace(RECORDINGS[name], **changes), duration_s=duration_s).recording


def _generated(durations: list[float], n_channels: int, n_units: int, seed: int) -> BaseRecording:
    recording, _ = sc.generate_ground_truth_recording(
        durations=durations, sampling_frequency=30000.0, num_channels=n_channels, num_units=n_units, seed=seed
    )
    return recording


def _two_shanks() -> BaseRecording:
    recording = _generated([20.0], 16, 10, 5)
    locations = recording.get_channel_locations()
    recording.set_property("group", np.argsort(np.argsort(locations[:, 1], kind="stable")) // 8)
    return recording


def _unsigned() -> BaseRecording:
    signed = _named("si_static_16", 20.0)
    traces = (signed.get_traces().astype("int32") + 2**15).astype("uint16")
    recording = sc.NumpyRecording([traces], signed.sampling_frequency)
    recording.set_probe(signed.get_probe())
    return recording


def _real() -> BaseRecording:
    from probeinterface import generate_tetrode

    folder = Path(os.environ["HUIDUREP_DATA"]) / "recordings" / "locust_tetrode"
    files = sorted(folder.glob("*.raw"))
    recording = sc.read_binary(files, 15000.0, "int16", 4)
    probe = generate_tetrode()
    probe.set_device_channel_indices(np.arange(4))
    recording.set_probe(probe)
    return recording


# name: how the recording is made, and the parameters that are not the default
CASES: dict[str, tuple[Callable[[], BaseRecording], dict[str, Any]]] = {
    "still": (lambda: _named("si_static_16", 30.0), {}),
    "drifting": (lambda: _named("si_drift_24", 60.0), {}),
    "tetrode": (lambda: _named("tetrode", 60.0), {}),
    "two shanks": (_two_shanks, {}),
    "three segments": (lambda: _generated([8.0, 5.0, 12.0], 8, 6, 1), {}),
    "5 channels": (lambda: _generated([20.0], 5, 4, 2), {}),
    "uint16": (_unsigned, {}),
    "dense": (lambda: _named("two_column_hard", 40.0), {}),
    "dense grid": (lambda: _named("grid100", 30.0), {}),
    "moving": (lambda: _named("two_column_zigzag", 60.0, drift_period_s=50.0), {}),
    "moving, not rigid": (lambda: _named("two_column_non_rigid", 60.0, drift_period_s=50.0), {}),
    "positive peaks": (lambda: scale(_named("si_static_16", 20.0), gain=-1.0, dtype="int16"), {"peak_sign": "pos"}),
    "both signs, no cache": (lambda: _named("linear32", 20.0), {"peak_sign": "both", "max_cache_gb": 0.0}),
    "real": (_real, {}),
}  # fmt: skip
NEEDS = {"real": "HUIDUREP_DATA"}


class DigestingRecord(Record):
    """Notes a digest of the templates that each stage returns."""

    def __init__(self, digests: dict[str, str], prefix: str = ""):
        super().__init__()
        self.digests, self.prefix = digests, prefix

    def run(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = super().run(name, function, *args, **kwargs)
        for part in [result, *_parts(result)]:
            if hasattr(part, "waveforms") and hasattr(part, "displacements"):
                arrays = (part.waveforms, part.channels, part.locations, part.counts)
                self.digests[f"{self.prefix}{name}: templates"] = digest(*arrays)
        # the misfit of an assigned spike differs in its last bit where numba has compiled it in another file
        if isinstance(result, np.ndarray) and name != "assign spikes":
            self.digests[f"{self.prefix}{name}"] = digest(result)
        return result

    def part(self, index: int, name: str) -> DigestingRecord:
        return DigestingRecord(self.digests, f"{self.prefix}{name}, ")


def _parts(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple) else list(getattr(result, "__dict__", {}).values())


def digest(*arrays: np.ndarray) -> str:
    """Short digest of arrays, field by field where they have fields."""
    sha = hashlib.sha256()
    for array in arrays:
        parts = [array[name] for name in array.dtype.names] if array.dtype.names else [array]
        for part in parts:
            sha.update(str((part.dtype.str, part.shape)).encode())
            sha.update(np.ascontiguousarray(part).tobytes())
    return sha.hexdigest()[:16]


def digests_of(recording: BaseRecording, changes: dict[str, Any]) -> dict[str, str]:
    """Sort a recording; digests of its templates, spikes, confidences and unit properties."""
    found: dict[str, str] = {}
    params = {**DEFAULT_PARAMS, "n_jobs": 1, **changes}
    job_kwargs = resolve_job_kwargs(params, False, recording.get_num_channels())
    sorting = sort_recording(recording, params, job_kwargs, DigestingRecord(found))
    found["units"] = str(len(sorting.unit_ids))
    found["spikes"] = digest(sorting.to_spike_vector(), sorting.spike_confidence)
    found["properties"] = _properties(sorting)
    return found


def _properties(sorting: BaseSorting) -> str:
    sha = hashlib.sha256()
    for name in sorted(sorting.get_property_keys()):
        values = np.asarray(sorting.get_property(name))
        values = values.astype(str) if values.dtype.kind in "UO" else values
        sha.update(name.encode() + digest(values).encode())
    return sha.hexdigest()[:16]


def on_device(recording: BaseRecording, changes: dict[str, Any], device: str) -> str:
    """Sort a recording on the processor and on a device, and say how alike the sorts are."""
    sortings, seconds = [], []
    for where in ("cpu", device):
        params = {**DEFAULT_PARAMS, "n_jobs": 1, **changes, "device": where}
        job_kwargs = resolve_job_kwargs(params, False, recording.get_num_channels())
        start = time.process_time()
        sortings.append(sort_recording(recording, params, job_kwargs))
        seconds.append(time.process_time() - start)
    n_units = " and ".join(str(len(sorting.unit_ids)) for sorting in sortings)
    took = f"processor time {seconds[0]:.1f} and {seconds[1]:.1f} s"
    return f"{n_units} units, {share_of_like_spikes(*sortings):.4f} of the spikes the same, {took}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FILE", help="sort, and write the digests")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="sort, and compare with what was written")
    parser.add_argument("--device", help="sort on the processor and on this device, and compare")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    before = json.loads(options.compare.read_text()) if options.compare else {}
    now: dict[str, dict[str, str]] = {}
    different = 0
    for name in options.only:
        make, changes = CASES[name]
        library = "HUIDUREP_TEMPLATES" if _needs_library(name) else NEEDS.get(name)
        if library and not os.environ.get(library):
            print(f"{name}: left out, {library} is not set")
            continue
        if options.device:
            print(f"{name}: {on_device(make(), changes, options.device)}", flush=True)
            continue
        now[name] = digests_of(make(), changes)
        known = before.get(name)
        changed = [key for key, value in now[name].items() if known and known.get(key, value) != value]
        different += bool(changed)
        says = "" if not known else "the same" if not changed else f"DIFFERENT: {', '.join(changed)}"
        print(f"{name}: {now[name]['units']} units {says}", flush=True)
        if options.write:
            options.write.write_text(json.dumps(now, indent=1))
    return int(different > 0)


def _needs_library(name: str) -> bool:
    return name in {"tetrode", "dense", "dense grid", "moving", "moving, not rigid", "both signs, no cache"}


if __name__ == "__main__":
    sys.exit(main())
