"""Recordings of MEArec's generator, in which the waveform of a neuron changes (the optional extra ``simulate``).

Importing this module does not need MEArec.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from spikeinterface.core import BaseSorting, NumpyRecording, NumpySorting

from ..encoder.library import load_library
from .library_placement import make_probe
from .library_recording import GAIN_UV, NOISE_TEST_S, Made
from .library_units import plane_axes, sorter_band

RELEASE = "1.11.0"  # of MEArec, which the extra `simulate` installs: another one may make other recordings
PAD_SAMPLES = 200  # around templates before they are filtered, as for the other recordings: 6 ms
CONVERT_AT_ONCE_S = 5.0  # of the traces: 40 MB on 64 channels

# MEArec's settings of each kind of change. In bursts up to six spikes change, as in bursts of the other recordings.
_BURSTS = {"bursting": True, "n_burst_spikes": 6}
_BY_TEMPLATE = {"modulation": "template", "sdrand": 0.05}
_BY_ELECTRODE = {"modulation": "electrode", "sdrand": 0.08}
CHANGES: dict[str, dict[str, Any]] = {
    "plain": {**_BY_TEMPLATE},
    "electrode": {**_BY_ELECTRODE},
    "amplitude": {**_BY_TEMPLATE, **_BURSTS, "shape_mod": False},
    "shape": {**_BY_TEMPLATE, **_BURSTS, "shape_mod": True},
    "all": {**_BY_ELECTRODE, **_BURSTS, "shape_mod": True},
}


@dataclass(frozen=True)
class MearecSettings:
    """Settings of a recording of MEArec's generator, made from a template library of neurons that do not drift.

    Attributes
    ----------
    name : str
    library : str
        File name of the library.
    duration_s : float
    change : "plain", "electrode", "amplitude", "shape" or "all"
        What changes: nothing but the amplitude of each spike (5 %); the amplitude on each electrode (8 %); the
        amplitude in bursts; amplitude and width in bursts; on each electrode and in bursts. The neurons and spike
        times are the same.
    n_units, n_inhibitory : int
        Neurons, and how many of them are inhibitory.
    noise_uv : float
        Standard deviation of the noise, which is coloured and correlated between neighbours.
    amplitude_uv : (float, float)
        Smallest and largest trough of a neuron.
    seed : int
    """

    name: str
    library: str
    duration_s: float
    change: str = "plain"
    n_units: int = 26
    n_inhibitory: int = 12
    noise_uv: float = 9.0
    amplitude_uv: tuple[float, float] = (40.0, 350.0)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a change that MEArec has no settings for."""
        if self.change not in CHANGES:
            raise ValueError(f"change is '{self.change}' and must be one of {', '.join(CHANGES)}.")


def mearec_version() -> str:
    """The installed version of MEArec, else the one that the extra installs.

    So a recording that was made in another environment is found in the cache where MEArec is not installed.
    """
    return _installed() or RELEASE


def _installed() -> str | None:
    try:
        return version("MEArec")
    except PackageNotFoundError:
        return None


def make_mearec_recording(settings: MearecSettings, library: Path) -> Made:
    """Make a recording with MEArec's generator, see :class:`MearecSettings`.

    Raises
    ------
    ModuleNotFoundError
        If MEArec is not installed.
    ValueError
        If the neurons of the library drift.
    """
    if _installed() is None:
        raise ModuleNotFoundError(
            f"The recording '{settings.name}' needs MEArec: pip install spikeinterface-huidurep[simulate]"
        )
    content = load_library(library)
    if content["templates"].ndim != 3:
        raise ValueError(f"The library {settings.library} is of drifting neurons: MEArec is given still ones here.")
    frequency = float(content["sampling_frequency"])
    positions = np.asarray(content["channel_positions"], dtype=np.float64)
    across, along, _ = plane_axes(positions)
    by_depth = np.lexsort((positions[:, across], positions[:, along]))
    with _generated(settings, content) as made:
        traces = _as_bits(made.recordings, by_depth, int(CONVERT_AT_ONCE_S * frequency))
        noise_level = _noise_level(traces, frequency)
        sorting = _true_sorting(made, frequency, noise_level)
        sorting.set_property("gt_depth", np.asarray(made.template_locations, dtype=np.float64)[:, along])
    recording = NumpyRecording([traces], frequency)
    recording.set_probe(make_probe(positions[by_depth][:, [across, along]]))
    recording.set_channel_gains(GAIN_UV)
    recording.set_channel_offsets(0.0)
    figures = {
        "noise_level_uv": round(noise_level, 2),
        "n_spikes": int(sorting.to_spike_vector().size),
        "snr_quartiles": np.round(np.percentile(sorting.get_property("gt_snr"), [0, 25, 50, 75, 100]), 2).tolist(),
        "sampling_frequency": frequency,
        "n_channels": len(positions),
        "mearec": mearec_version(),
    }
    return Made(recording, sorting, None, figures)


@contextlib.contextmanager
def _generated(settings: MearecSettings, content: dict[str, Any]) -> Iterator[Any]:
    """MEArec's recording, whose traces are in a file that is deleted at the end."""
    import MEArec

    location = np.asarray(content["location"], dtype=np.float64)
    generator = MEArec.TemplateGenerator(
        temp_dict={
            "templates": np.asarray(content["templates"], dtype=np.float32),
            "locations": location,
            "rotations": np.asarray(content.get("rotation", np.zeros_like(location)), dtype=np.float64),
            "celltypes": np.asarray(content["cell_class"]).astype(str),
        },
        info={"params": _template_parameters(content), "electrodes": _electrodes(content)},
    )
    # MEArec seeds numpy's global generator
    state = np.random.get_state()  # noqa: NPY002
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield MEArec.gen_recordings(
                params=_recording_parameters(settings),
                tempgen=generator,
                tmp_mode="memmap",
                tmp_folder=folder,
                n_jobs=1,
                verbose=False,
            )
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _template_parameters(content: dict[str, Any]) -> dict[str, Any]:
    import MEArec

    per_ms = content["sampling_frequency"] / 1000
    before, after = content["nbefore"], content["templates"].shape[-1] - content["nbefore"]
    parameters = MEArec.get_default_templates_params()
    parameters.update(
        probe=content.get("probe", "probe"),
        drifting=False,
        dt=1 / per_ms,
        cut_out=[before / per_ms, after / per_ms],
        seed=0,
    )
    return parameters


def _electrodes(content: dict[str, Any]) -> dict[str, Any]:
    """The library's probe as MEAutility describes one."""
    positions = np.asarray(content["channel_positions"], dtype=np.float64)
    axes = sorted(set(range(3)) - {int(np.argmin(np.ptp(positions, axis=0)))})
    return {
        "electrode_name": str(content.get("probe", "probe")),
        "pos": positions.tolist(),
        "center": False,
        "plane": "".join("xyz"[axis] for axis in axes),
        "shape": "circle",
        "size": 6.0,
        "type": "mea",
    }


def _recording_parameters(settings: MearecSettings) -> dict[str, Any]:
    """MEArec's parameters: Gamma trains of 4 and 12 Hz on average, neurons 12 um apart or more, no filter."""
    import MEArec

    parameters = MEArec.get_default_recordings_params()
    parameters["spiketrains"].update(
        n_exc=settings.n_units - settings.n_inhibitory,
        n_inh=settings.n_inhibitory,
        f_exc=4,
        f_inh=12,
        st_exc=2,
        st_inh=4,
        min_rate=0.5,
        duration=settings.duration_s,
        process="gamma",
        gamma_shape=1.5,
    )
    parameters["cell_types"] = {"excitatory": ["E"], "inhibitory": ["I"]}
    least, largest = settings.amplitude_uv
    parameters["templates"].update(min_dist=12, min_amp=least, max_amp=largest)
    parameters["recordings"].update(
        noise_level=settings.noise_uv,
        noise_mode="distance-correlated",
        noise_color=True,
        filter=False,
        dtype="float32",
        **CHANGES[settings.change],
    )
    parameters["seeds"] = dict.fromkeys(("spiketrains", "templates", "convolution", "noise"), settings.seed)
    return parameters


def _as_bits(traces: np.ndarray, channels: np.ndarray, at_once: int) -> np.ndarray:
    """Traces in uV (n_samples, n_channels) as int16 of 0.195 uV, with the channels in another order."""
    bits = np.empty(traces.shape, dtype=np.int16)
    limits = np.iinfo(np.int16)
    for start in range(0, len(traces), at_once):
        part = np.rint(np.asarray(traces[start : start + at_once])[:, channels] / GAIN_UV)
        bits[start : start + at_once] = np.clip(part, limits.min, limits.max)
    return bits


def _noise_level(bits: np.ndarray, frequency: float) -> float:
    """Median over channels of the MAD noise level in the sorters' band, uV; spikes are rare enough not to matter."""
    filtered = sorter_band(bits[: int(NOISE_TEST_S * frequency)].astype(np.float64) * GAIN_UV, frequency, axis=0)
    return float(np.median(np.median(np.abs(filtered), axis=0)) / 0.6745)


def _true_sorting(made: Any, frequency: float, noise_level: float) -> BaseSorting:
    """MEArec's spike trains, with each unit's SNR from its template."""
    trains = {
        unit: np.rint(np.asarray(train.times.rescale("s").magnitude) * frequency).astype(np.int64)
        for unit, train in enumerate(made.spiketrains)
    }
    sorting = NumpySorting.from_unit_dict([trains], frequency)
    # (units, copies at other parts of a sample, channels, samples)
    templates = np.asarray(made.templates).mean(axis=1)
    padded = np.pad(templates, ((0, 0), (0, 0), (PAD_SAMPLES, PAD_SAMPLES)))
    sorting.set_property("gt_snr", -sorter_band(padded, frequency, axis=2).min(axis=(1, 2)) / noise_level)
    return sorting
