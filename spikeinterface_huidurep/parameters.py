"""The sorter's parameters: names, defaults, descriptions and checks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from .wording import suggestion

# name: (default, description); the order is that of the stages
_PARAMETERS: dict[str, tuple[Any, str]] = {
    "apply_preprocessing": (
        True,
        "Band-pass and subtract the common median. False: the recording is already filtered and is only divided by its "
        "noise.",
    ),
    "freq_min": (300.0, "Lower edge of the band-pass, in Hz."),
    "freq_max": (6000.0, "Upper edge of the band-pass, in Hz; brought below the Nyquist frequency where it is not."),
    "common_reference": (
        True,
        "On 16 channels and more, subtract their median: artefacts, and noise that distant channels share.",
    ),
    "time_scale": (
        1.0,
        "How many times longer than a neuron's spikes (about 1 ms) the potentials last. All times in ms, those of "
        "other parameters too, are multiplied by it.",
    ),
    "distance_scale": (
        1.0,
        "How many times farther than a neuron's spikes (some 50 um) the potentials reach. All distances in um, those "
        "of other parameters too, are multiplied by it.",
    ),
    "sort_by_group": (True, "Sort each shank (each value of the recording's 'group' property) by itself, in one call."),
    "peak_sign": ("neg", "Sign of the peaks that are spikes: 'neg', 'pos' or 'both'."),
    "detect_threshold": (5.0, "Threshold of the peak detection, in units of the noise of its matched filters."),
    "exclude_sweep_ms": (0.4, "Of peaks within this time and detection_radius_um only the largest is kept, in ms."),
    "detection_radius_um": (60.0, "Distance, in um, within which two channels see the same peak."),
    "model": ("default", "The encoder: 'default', or the path of a .safetensors file written by `huidurep train`."),
    "device": ("auto", "What computes: 'auto' (a CUDA GPU where there is one), 'cpu', 'cuda' or 'mps'."),
    "adaptation_steps": (
        0,
        "Training steps, at most 2000, for which the encoder is fine-tuned on the recording's own peaks before it "
        "encodes them; it is kept as it is where that does not tell units apart better. 0: no adaptation.",
    ),
    "max_peaks_per_channel": (
        None,
        "Peaks that are encoded and clustered, a channel; the rest is found by assignment. None: one for every two "
        "seconds, from 600 to 1500.",
    ),
    "motion_correction": ("auto", "True, False, or 'auto': where the probe and the recording allow it and it moves."),
    "motion_folder": (None, "Folder of a SpikeInterface Motion that is already known, used in place of an estimate."),
    "known_units": (
        None,
        "Folder of a finished sort of this sorter, of the same probe: its units are looked for where the probe is now, "
        "and keep their ids. New units get ids after the largest.",
    ),
    "find_new_units": (
        True,
        "False: only the units of known_units are looked for, as in the chunks of a long recording of which one was "
        "sorted.",
    ),
    "min_cluster_size": (
        None,
        "Least number of peaks of a cluster; None: one in a thousand of the peaks, from 10 to 20.",
    ),
    "merge_threshold": (
        3.4,
        "Distance of two neurons' templates, in standard deviations of the noise. Units nearer than 0.7 of it are one, "
        "on a still probe from half of it on unless their spikes leave a gap between them. Of units a little farther "
        "apart their spikes tell. Parts of a unit that is split are 0.85 of it apart.",
    ),
    "ms_before": (0.8, "Start of the templates before the peak, in ms."),
    "ms_after": (1.6, "End of the templates after the peak, in ms."),
    "assignment_threshold": (
        14.0,
        "Least evidence of a spike in the assignment: squared noise that its template explains. What is not a spike is "
        "sorted out afterwards, by min_confidence.",
    ),
    "min_confidence": (0.4, "Spikes that are their unit's with less than this probability are dropped."),
    "amplitude_std": (0.12, "Expected spread of a unit's amplitudes, as a fraction of the template's."),
    "censored_period_ms": (0.5, "No unit has two spikes nearer than this, in ms."),
    "min_spikes": (10, "Units with fewer spikes are dropped."),
    "min_firing_rate": (0.02, "Units with fewer spikes per second are dropped, in Hz."),
    "max_cache_gb": (
        100.0,
        "Most disk space, in GB, that the filtered traces may take while sorting (2 bytes a channel and sample, at "
        "30 kHz every other one, 4 of each without preprocessing; removed at the end); where they need more they are "
        "filtered anew by each stage.",
    ),
    "save_intermediate": (False, "Save peaks, motion, embeddings, labels and templates in the sorter's folder."),
    "seed": (0, "Seed of every random choice: the same seed gives the same Sorting."),
    "job_kwargs": ({}, "SpikeInterface's parameters for parallel processing (n_jobs, chunk_duration, ...)."),
    "n_jobs": (None, "Shorthand for job_kwargs['n_jobs']."),
}

# what sorts muscle: potentials of 4 to 6 ms on contacts some 200 um apart, see docs/muscle.md
MUSCLE_PARAMS: dict[str, Any] = dict(
    time_scale=4.0,
    distance_scale=4.0,
    freq_min=75.0,
    freq_max=1500.0,
    peak_sign="both",
    merge_threshold=6.0,
    min_spikes=50,
    motion_correction=False,
)

DEFAULT_PARAMS = {name: default for name, (default, _) in _PARAMETERS.items()}
PARAMS_DESCRIPTION = {name: description for name, (_, description) in _PARAMETERS.items()}

_POSITIVE = (
    "freq_min freq_max detect_threshold exclude_sweep_ms detection_radius_um merge_threshold ms_before ms_after "
    "assignment_threshold amplitude_std time_scale distance_scale"
).split()
_NOT_NEGATIVE = ("censored_period_ms", "min_confidence", "min_firing_rate", "max_cache_gb")
_POSITIVE_INTEGER = ("max_peaks_per_channel", "min_cluster_size", "min_spikes")
_OPTIONAL = ("max_peaks_per_channel", "min_cluster_size")
MAX_ADAPTATION_STEPS = 2000
_BOOLEAN = ("apply_preprocessing", "common_reference", "sort_by_group", "find_new_units", "save_intermediate")
_CHOICES = {"peak_sign": ("neg", "pos", "both"), "motion_correction": ("auto", True, False)}


def check_names(names: Iterable[str]) -> None:
    """Raise a ValueError for the first name that no parameter has, with the most similar one."""
    for name in names:
        if name not in DEFAULT_PARAMS:
            raise ValueError(
                f"The sorter has no parameter {name!r}.{suggestion(name, DEFAULT_PARAMS)} "
                f"Known: {', '.join(DEFAULT_PARAMS)}."
            )


def check_params(params: dict[str, Any]) -> None:
    """
    Check the values of all parameters.

    Raises
    ------
    ValueError
        One sentence that names the first parameter with an impossible value, and what it may be.
    """
    _check_choices(params)
    _check_numbers(params)
    _check_scales(params)
    _check_files(params)
    _check_job_kwargs(params)


def _check_choices(params):
    for name in _BOOLEAN:
        if not isinstance(params[name], bool):
            raise ValueError(f"{name} must be True or False, not {params[name]!r}.")
    for name, choices in _CHOICES.items():
        # 1 == True: the type has to agree as well
        if not any(params[name] == choice and type(params[name]) is type(choice) for choice in choices):
            asked = suggestion(params[name], [choice for choice in choices if isinstance(choice, str)])
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {params[name]!r}.{asked}")


def _check_numbers(params):
    for name in _POSITIVE:
        if not _is_number(params[name]) or not params[name] > 0:
            raise ValueError(f"{name} must be a number above zero, not {params[name]!r}.")
    for name in _NOT_NEGATIVE:
        if not _is_number(params[name]) or params[name] < 0:
            raise ValueError(f"{name} must be a number, zero or more, not {params[name]!r}.")
    for name in _POSITIVE_INTEGER:
        if name in _OPTIONAL and params[name] is None:
            continue
        if not _is_integer(params[name]) or params[name] < 1:
            raise ValueError(f"{name} must be a whole number above zero, not {params[name]!r}.")
    if params["min_cluster_size"] == 1:
        raise ValueError("min_cluster_size must be None, or 2 or more: one peak is no cluster.")
    if params["freq_min"] >= params["freq_max"]:
        raise ValueError(f"freq_min ({params['freq_min']} Hz) must be below freq_max ({params['freq_max']} Hz).")
    if not _is_integer(params["adaptation_steps"]) or not 0 <= params["adaptation_steps"] <= MAX_ADAPTATION_STEPS:
        raise ValueError(
            f"adaptation_steps must be a whole number from 0 to {MAX_ADAPTATION_STEPS}, "
            f"not {params['adaptation_steps']!r}."
        )
    # scikit-learn takes no larger one
    if not _is_integer(params["seed"]) or not 0 <= params["seed"] < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to {2**32 - 1}, not {params['seed']!r}.")


def _check_scales(params):
    if params["time_scale"] < 1:
        raise ValueError(f"time_scale must be 1 or more, not {params['time_scale']!r}.")
    if params["motion_folder"] is not None and (params["time_scale"], params["distance_scale"]) != (1, 1):
        raise ValueError("motion_folder cannot be used with a time_scale or a distance_scale other than 1.")


def _check_files(params):
    from .encoder.weights import find_weights, read_network

    try:
        read_network(find_weights(params["model"]))
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise ValueError(f"model cannot be used: {error}.") from error
    _check_device(params["device"])
    if not isinstance(params["known_units"], (str, Path, type(None))):
        raise ValueError(f"known_units must be None or the folder of a sort, not {params['known_units']!r}.")
    if params["known_units"] is None and not params["find_new_units"]:
        raise ValueError("find_new_units=False needs known_units: there would be no unit to look for.")
    folder = params["motion_folder"]
    if folder is not None and not (Path(folder) / "spikeinterface_info.json").is_file():
        raise ValueError(f"motion_folder {str(folder)!r} is not a folder in which a SpikeInterface Motion was saved.")


def _check_device(device):
    from .encoder.device import choose_device

    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", device):
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda', 'mps' or, of several, such as 'cuda:1', not {device!r}."
        )
    try:
        choose_device(device)
    except ValueError as error:
        raise ValueError(f"device cannot be used: {error}.") from error


def _check_job_kwargs(params):
    from spikeinterface.core.job_tools import job_keys

    if not isinstance(params["job_kwargs"], dict):
        raise ValueError(f"job_kwargs must be a dictionary, not {params['job_kwargs']!r}.")
    unknown = [key for key in params["job_kwargs"] if key not in job_keys]
    if unknown:
        raise ValueError(
            f"job_kwargs has the unknown key {unknown[0]!r}.{suggestion(unknown[0], job_keys)} "
            f"Known: {', '.join(job_keys)}."
        )
    n_jobs = params["n_jobs"]
    if n_jobs is not None and (not _is_number(n_jobs) or n_jobs == 0):
        raise ValueError(f"n_jobs must be a whole number, a fraction of the cores or -1, not {n_jobs!r}.")


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool) and abs(float(value)) < float("inf")


def _is_integer(value):
    return isinstance(value, Integral) and not isinstance(value, bool)
