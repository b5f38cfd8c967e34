"""The sorters that are compared, with the parameters that their documentation recommends."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..version import __version__


@dataclass(frozen=True)
class RecordingFacts:
    """Facts of a recording from which a sorter's parameters are chosen."""

    n_channels: int
    duration_s: float
    drifts: bool
    n_jobs: int = 1


@dataclass(frozen=True)
class Peer:
    """A sorter in a comparison.

    Attributes
    ----------
    name : str
        Its name in SpikeInterface.
    distribution : str
        The installed distribution whose version is reported.
    modules : tuple of str
        Modules that it needs.
    corrects_drift : bool
        Whether it corrects the probe's drift in the comparison.
    parameters : callable
        RecordingFacts -> parameters that differ from the sorter's defaults.
    cpu_cost : float
        Its run time on two cores / the recording's length at 64 channels; used to estimate the time left until it has
        run.
    needs_gpu_beyond : (int, float) or None
        Channels and seconds beyond which it is left out without a GPU.
    """

    name: str
    distribution: str
    modules: tuple[str, ...] = ()
    corrects_drift: bool = False
    parameters: Callable[[RecordingFacts], dict[str, Any]] = field(default=lambda facts: {})
    cpu_cost: float = 1.0
    needs_gpu_beyond: tuple[int, float] | None = None

    def version(self) -> str:
        """Version of the sorter's distribution, or 'not installed'.

        HuiduRep's ends with a digest of its code and weights, so that runs of different code or weights are kept apart.
        """
        if self.name == "huidurep":
            return f"{__version__}+{_own_digest()}"
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    def installed(self) -> bool:
        """Whether the required modules can be found; nothing is imported."""
        return all(importlib.util.find_spec(module) is not None for module in self.modules)

    def reason_to_skip(self, facts: RecordingFacts) -> str | None:
        """Why the sorter cannot run on a recording, as a sentence; None if it can."""
        if not self.installed():
            missing = [module for module in self.modules if importlib.util.find_spec(module) is None]
            return f"not installed: {', '.join(missing)} cannot be found"
        if self.needs_gpu_beyond is not None and not _has_gpu():
            channels, seconds = self.needs_gpu_beyond
            if facts.n_channels > channels or facts.duration_s > seconds:
                return f"left out: without a GPU it takes too long beyond {channels} channels or {seconds:g} s"
        return None


@lru_cache(maxsize=1)
def _own_digest() -> str:
    """Digest of the sorter's code and of the package's weights."""
    package = Path(__file__).resolve().parent.parent
    without = {package / name for name in ("benchmark", "commands", "simulation")}
    files = [path for path in package.rglob("*.py") if not without & set(path.parents)]
    for folder in (package / "pretrained", package.parent / "pretrained"):
        files += folder.glob("*.safetensors")
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _kilosort4(facts: RecordingFacts) -> dict[str, Any]:
    # Kilosort's documentation recommends nblocks=0 for probes with few channels, on which drift cannot be estimated
    return {"nblocks": 0} if facts.n_channels < 16 or not facts.drifts else {}


def _corrected(facts: RecordingFacts) -> dict[str, Any]:
    # off by default in both sorters, and offered by their parameters for probes that drift
    return {"apply_motion_correction": True} if facts.drifts else {}


def _herdingspikes(facts: RecordingFacts) -> dict[str, Any]:
    return {"clustering_n_jobs": facts.n_jobs}


#: Every sorter of a comparison by its name.
PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("huidurep", "spikeinterface-huidurep", ("spikeinterface_huidurep", "torch"), corrects_drift=True),
        Peer(
            "kilosort4",
            "kilosort",
            ("kilosort", "torch"),
            corrects_drift=True,
            parameters=_kilosort4,
            cpu_cost=30.0,
            needs_gpu_beyond=(32, 130.0),
        ),
        Peer("mountainsort5", "mountainsort5", ("mountainsort5",)),
        Peer("spykingcircus2", "spikeinterface", ("hdbscan", "numba", "torch"), corrects_drift=True),
        Peer(
            "tridesclous2",
            "spikeinterface",
            ("numba", "sklearn"),
            corrects_drift=True,
            parameters=_corrected,
            cpu_cost=0.8,
        ),
        Peer(
            "lupin",
            "spikeinterface",
            ("numba", "sklearn", "torch"),
            corrects_drift=True,
            parameters=_corrected,
            cpu_cost=1.2,
        ),
        Peer("herdingspikes", "herdingspikes", ("herdingspikes",), parameters=_herdingspikes, cpu_cost=0.3),
    )
}


def get_peer(name: str) -> Peer:
    """Return the peer of this name; other sorters of SpikeInterface run with their defaults.

    Raises
    ------
    ValueError
        If SpikeInterface has no such sorter.
    """
    if name in PEERS:
        return PEERS[name]
    from spikeinterface.sorters import sorter_dict

    if name not in sorter_dict:
        raise ValueError(
            f"There is no sorter named '{name}'; there are {', '.join(PEERS)} and SpikeInterface's others."
        )
    return Peer(name, "spikeinterface")
