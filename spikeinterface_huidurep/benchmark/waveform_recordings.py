"""Named recordings in which one neuron has many waveforms, each beside its constant twin."""

from __future__ import annotations

from dataclasses import replace

from .library_recording import LibrarySettings
from .mearec_recording import CHANGES as MEAREC_CHANGES
from .mearec_recording import MearecSettings
from .waveform_changes import WaveformChanges

# A burst of six goes to about 0.55 of the amplitude and 1.6 times the width. Over the recording the amplitude goes to a
# half and the width grows by a fifth, or the other way round.
_ELECTRODE = {"electrode_std": 0.08}
_AMPLITUDE = {"burst_amplitude": 0.4}
_SHAPE = {"burst_amplitude": 0.4, "burst_width": 1.85}
_AGE = {"age_amplitude": 0.5, "age_width": 1.2}

#: What changes, by name.
CHANGES: dict[str, WaveformChanges] = {
    "constant": WaveformChanges(),
    "electrode": WaveformChanges(**_ELECTRODE),
    "amplitude": WaveformChanges(**_AMPLITUDE),
    "shape": WaveformChanges(**_SHAPE),
    "age": WaveformChanges(**_AGE),
    "all": WaveformChanges(**_ELECTRODE, **_SHAPE, **_AGE),
}

# Rates a little higher than elsewhere: the rarest neuron still has a hundred spikes. Few far neurons: what is measured
# is the change.
_TWO_COLUMN = LibrarySettings(
    name="waveforms_64",
    library="neuropixels2-64.npz",
    n_units=26,
    duration_s=120,
    snr_range=(4.5, 25.0),
    rate_hz=(1.0, 12.0),
    n_hash=100,
    seed=20,
)
_LINEAR = replace(_TWO_COLUMN, name="waveforms_linear32", library="neuronexus-32.npz", n_units=20, n_hash=60, seed=21)
_TETRODE = replace(
    _TWO_COLUMN, name="waveforms_tetrode", library="tetrode.npz", n_units=8, duration_s=150, n_hash=30, seed=22
)


def _changed(settings: LibrarySettings, change: str) -> LibrarySettings:
    return replace(settings, name=f"{settings.name}_{change}", waveforms=CHANGES[change])


#: Recordings of the suite `waveforms`.
WAVEFORM_RECORDINGS: dict[str, LibrarySettings] = {
    one.name: one
    for one in (
        *(_changed(_TWO_COLUMN, change) for change in CHANGES),
        *(_changed(settings, change) for settings in (_LINEAR, _TETRODE) for change in ("constant", "all")),
    )
}

#: Recordings of the suite `mearec`.
MEAREC_RECORDINGS: dict[str, MearecSettings] = {
    f"mearec_{change}": MearecSettings(
        name=f"mearec_{change}", library="neuropixels2-64.npz", duration_s=100, change=change, seed=7
    )
    for change in MEAREC_CHANGES
}
