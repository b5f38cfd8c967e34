"""
What a GPU brings: each stage of a sort on the processor and on the GPU, and how many of the spikes are the same.

    python benchmarks/gpu.py                                  # 64 and 384 channels, 60 s: a few minutes
    python benchmarks/gpu.py --channels 384 --seconds 300 --jobs 8
    python benchmarks/gpu.py --device cpu:torch --seconds 10  # without a GPU: torch's code for the processor instead
    python benchmarks/gpu.py --parts --channels 64            # processor time of the parts that a GPU can take over

Recordings are those of the benchmark's suite "scale", with fewer units on fewer channels; each is written to disk
first, so that reading costs little. A sort of two seconds comes before the others, for what is done once: loading
libraries, compiled code, starting the GPU. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import platform
import pstats
import tempfile
import time
import warnings
from typing import NamedTuple

import numpy as np
import torch
from spikeinterface.core import BaseRecording, BaseSorting
from threadpoolctl import threadpool_limits

from spikeinterface_huidurep import __version__
from spikeinterface_huidurep.benchmark.agreement import share_of_like_spikes
from spikeinterface_huidurep.benchmark.lazy_recording import LazyRecording, LazySettings
from spikeinterface_huidurep.encoder.device import choose_device
from spikeinterface_huidurep.jobs import resolve_job_kwargs
from spikeinterface_huidurep.parameters import DEFAULT_PARAMS
from spikeinterface_huidurep.record import Record
from spikeinterface_huidurep.sort import sort_recording

UNITS_PER_CHANNEL = 250 / 384
WARM_UP_S = 2.0
# parts of a sort, and the functions in which they spend their time, one after the other
PARTS = {
    "band-pass": ["filter_both_ways"],
    "filters of the detection": ["_best"],
    "peaks of their output": ["detect_peaks_numba_locally_exclusive_on_chunk"],
    "encoder": ["encode"],
    "whitening": ["transposed_of"],
    "filters of the templates": ["_match"],
    "products of templates": ["_overlap"],
    "pursuit": ["pursue"],
    "misfits": ["misfits"],
    "whitened spikes": ["filtered_waveforms"],
}


class Run(NamedTuple):
    """One sort: seconds of its stages and of all, processor time (s), most memory taken of the GPU (GB)."""

    sorting: BaseSorting
    stages: dict[str, float]
    wall_s: float
    cpu_s: float
    gpu_gb: float


def make_recording(n_channels: int, duration_s: float, folder: str, n_jobs: int) -> BaseRecording:
    """A recording of the scale suite's kind, on disk."""
    n_units = max(int(n_channels * UNITS_PER_CHANNEL), 1)
    lazy = LazyRecording.of(LazySettings("gpu", duration_s, n_units=n_units, n_channels=n_channels))
    return lazy.save(
        folder=f"{folder}/{n_channels}_{duration_s:g}", n_jobs=n_jobs, pool_engine="thread", progress_bar=False
    )


def sort(recording: BaseRecording, device: str, n_jobs: int) -> Run:
    """Sort with default parameters."""
    params = {**DEFAULT_PARAMS, "n_jobs": n_jobs, "device": device}
    record = Record()
    job_kwargs = resolve_job_kwargs(params, False, recording.get_num_channels())
    on_gpu = choose_device(device).type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    wall, cpu = time.perf_counter(), time.process_time()
    sorting = sort_recording(recording, params, job_kwargs, record)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    gpu_gb = torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0
    return Run(sorting, dict(record.timings), wall, cpu, gpu_gb)


def print_table(n_channels: int, duration_s: float, cpu: Run, gpu: Run, device: str) -> None:
    """Print what the stages took on both."""
    print(f"\n{n_channels} channels, {duration_s:g} s\n")
    print(f"| stage | cpu, s | {device}, s |\n|---|---|---|")
    for stage in cpu.stages:
        print(f"| {stage} | {cpu.stages[stage]:.2f} | {gpu.stages.get(stage, np.nan):.2f} |")
    print(f"| all | {cpu.wall_s:.1f} | {gpu.wall_s:.1f} |")
    print(f"| all / length | {cpu.wall_s / duration_s:.3f} | {gpu.wall_s / duration_s:.3f} |")
    print(f"| processor time | {cpu.cpu_s:.1f} | {gpu.cpu_s:.1f} |")
    print(f"| units | {len(cpu.sorting.unit_ids)} | {len(gpu.sorting.unit_ids)} |")
    print(f"| most GPU memory, GB | | {gpu.gpu_gb:.2f} |")
    print(f"\nthe same spikes: {share_of_like_spikes(cpu.sorting, gpu.sorting):.4f}", flush=True)


def print_parts(recording: BaseRecording) -> None:
    """Print the processor time of the parts of a sort on the processor, one job."""
    profile = cProfile.Profile(time.process_time)
    run = profile.runcall(sort, recording, "cpu", 1)
    spent = {part: 0.0 for part in PARTS}
    for (_, _, function), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():
        for part, functions in PARTS.items():
            spent[part] += cumulative if function in functions else 0.0
    print(f"\n{recording.get_num_channels()} channels, {recording.get_total_duration():g} s, one job\n")
    print("| part | processor time, s | share |\n|---|---|---|")
    for part, seconds in spent.items():
        print(f"| {part} | {seconds:.2f} | {100 * seconds / run.cpu_s:.0f} % |")
    print(f"| all | {run.cpu_s:.1f} | |", flush=True)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 384])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--parts", action="store_true", help="only where the processor's time goes")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    options.device = "cpu" if options.parts else options.device
    name = torch.cuda.get_device_name() if choose_device(options.device).type == "cuda" else "no GPU"
    print(f"version {__version__}, torch {torch.__version__}, {platform.platform()}, {options.jobs} jobs, {name}")
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        warm_up = make_recording(16, WARM_UP_S, folder, options.jobs)
        for device in ("cpu", options.device):
            sort(warm_up, device, options.jobs)
        for n_channels in options.channels:
            recording = make_recording(n_channels, options.seconds, folder, options.jobs)
            if options.parts:
                print_parts(recording)
                continue
            cpu, gpu = (sort(recording, device, options.jobs) for device in ("cpu", options.device))
            print_table(n_channels, options.seconds, cpu, gpu, options.device)


if __name__ == "__main__":
    main()
