"""Named sets of recordings."""

from __future__ import annotations

from .days_recordings import DAYS
from .recordings import RECORDINGS, SCALE_RECORDINGS
from .short_probes import SHORT_PROBE_RECORDINGS
from .waveform_recordings import MEAREC_RECORDINGS, WAVEFORM_RECORDINGS

#: Names of recordings by the name of the suite. `quick` needs nothing but the install.
SUITES: dict[str, tuple[str, ...]] = {
    "quick": ("si_static_16", "si_drift_24"),
    "static": (
        "two_column_static",
        "two_column_30khz",
        "two_column_hard",
        "tetrode",
        "linear32",
        "four_column",
        "grid100",
        "si_static",
    ),
    "drift": (
        "two_column_still",
        "two_column_zigzag",
        "two_column_ramp",
        "two_column_bumps",
        "two_column_non_rigid",
        "linear32_zigzag",
        "four_column_bumps",
        "si_drift",
    ),
    # tetrodes and short lines, still and drifting
    "short": tuple(SHORT_PROBE_RECORDINGS),
    # one neuron, many waveforms
    "waveforms": tuple(WAVEFORM_RECORDINGS),
    # the same from MEArec's generator, where the extra `simulate` is installed
    "mearec": tuple(MEAREC_RECORDINGS),
    # sessions of several days, whose units are matched
    "days": tuple(DAYS),
    # parts of growing length, up to an hour of 384 channels
    "scale": tuple(SCALE_RECORDINGS),
    "full": tuple(name for name in RECORDINGS if name not in SCALE_RECORDINGS),
}
