"""Named recordings of probes with few contacts, cut out of larger ones, each still and drifting with the same units."""

from __future__ import annotations

from dataclasses import replace

from .library_recording import LibrarySettings

# two rows of two contacts, 32 um by 15 um, on which a probe that moves by 20 um changes every waveform
_TETRODE = LibrarySettings(
    name="short_tetrode",
    library="neuropixels2-64_zdrift.npz",
    n_units=10,
    duration_s=200,
    n_hash=20,
    snr_range=(4.0, 20.0),
    contacts=(30, 31, 32, 33),
    drift_range_um=20.0,
    drift_period_s=150.0,
    seed=1,
)
_STEREOTRODE = replace(_TETRODE, name="short_stereotrode", contacts=(30, 32), n_units=5)
# one column of contacts, 30 um apart
_LINEAR8 = replace(
    _TETRODE, name="short_linear8", contacts=tuple(range(16, 48, 4)), n_hash=40, drift_range_um=30.0, seed=2
)
_LINEAR16 = replace(_LINEAR8, name="short_linear16", contacts=tuple(range(0, 64, 4)), n_units=16, n_hash=80)


def _moved(settings: LibrarySettings, drift: str | None) -> LibrarySettings:
    return replace(settings, name=f"{settings.name}_{drift or 'still'}", drift=drift)


#: Recordings of the suite `short`.
SHORT_PROBE_RECORDINGS: dict[str, LibrarySettings] = {
    one.name: one
    for one in (
        *(_moved(_TETRODE, drift) for drift in (None, "sine", "ramp", "bumps")),
        *(_moved(settings, drift) for settings in (_STEREOTRODE, _LINEAR8, _LINEAR16) for drift in (None, "sine")),
    )
}
