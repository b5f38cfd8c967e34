"""Weights files: safetensors with the configuration and the training facts next to the numbers.

A safetensors file holds tensors and strings, so reading one runs no code, wherever it comes from.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .axes import PLACE_AXES
from .device import choose_device
from .inference import Encoder
from .network import BuildEncoder, EncoderConfig, SpikeEncoder
from .retired import ENCODER, without_retired

FORMAT = "huidurep-encoder"
FORMAT_VERSION = 1
_BESIDE_PLACE = "beside_place"  # not a part of the network
_PACKAGE = Path(__file__).resolve().parent.parent


def pretrained_folders() -> list[Path]:
    """Where named weights are looked for: inside the package (a wheel), next to it (an editable install)."""
    return [_PACKAGE / "pretrained", _PACKAGE.parent / "pretrained"]


def available_weights() -> dict[str, Path]:
    """Names of the weights that came with the package, and their files."""
    found: dict[str, Path] = {}
    for folder in pretrained_folders():
        for path in sorted(folder.glob("*.safetensors")):
            found.setdefault(path.stem, path)
    return found


def find_weights(name_or_path: str | Path) -> Path:
    """The file of a weights name or path.

    Raises
    ------
    FileNotFoundError
        If there is neither such a name nor such a file.
    """
    known = available_weights()
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    path = Path(name_or_path)
    if path.is_file():
        return path
    names = ", ".join(sorted(known)) or "none"
    raise FileNotFoundError(f"there are no encoder weights {str(name_or_path)!r}: neither a file nor one of: {names}")


def save_encoder(
    path: str | Path,
    network: SpikeEncoder,
    facts: dict[str, Any] | None = None,
    beside_place: torch.Tensor | None = None,
) -> Path:
    """Write an encoder's weights with its configuration, its training facts (JSON values) and ``Encoder.beside_place``.

    Returns
    -------
    Path
        The file written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "config": json.dumps(asdict(network.config)),
        "training": json.dumps(facts or {}, default=str),
    }
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    if beside_place is not None:
        tensors[_BESIDE_PLACE] = beside_place.detach().cpu().contiguous()
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata=metadata)
    partial.replace(path)
    return path


def _read_metadata(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"there are no encoder weights at {path}")
    try:
        with safe_open(path, framework="pt") as archive:
            metadata = archive.metadata() or {}
            tensors = {key: archive.get_tensor(key) for key in archive.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is not an encoder weights file (safetensors)") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file, but not encoder weights of this package")
    return tensors, metadata


def read_network(
    path: str | Path, build: BuildEncoder = SpikeEncoder
) -> tuple[SpikeEncoder, dict[str, Any], torch.Tensor | None]:
    """Build the network of a weights file.

    Parameters
    ----------
    path : str or Path
    build : callable
        Makes the network of its configuration, where it is another one than :class:`SpikeEncoder`.

    Returns
    -------
    (SpikeEncoder, dict, Tensor or None)
        The network, its training facts and ``Encoder.beside_place``.

    Raises
    ------
    FileNotFoundError, ValueError
        No file, a foreign file, a newer format, or weights that do not fit their configuration.
    """
    path = Path(path)
    tensors, metadata = _read_metadata(path)
    version = metadata.get("format_version", "?")
    if not version.isdigit() or int(version) > FORMAT_VERSION:
        raise ValueError(f"{path} has format version {version}; this package reads up to {FORMAT_VERSION}, update it")
    try:
        values = json.loads(metadata["config"])
        facts = json.loads(metadata.get("training", "{}"))
        values = without_retired(values, ENCODER)
        unknown = set(values) - {item.name for item in fields(EncoderConfig)}
        if unknown:
            raise ValueError(f"unknown settings {sorted(unknown)}")
        if not isinstance(facts, dict):
            raise ValueError("the training facts are not names with values")
        config = EncoderConfig(**values)
        beside_place = tensors.pop(_BESIDE_PLACE, None)
        _check_axes(beside_place, config)
        _check_size(config, tensors, build)
        network = build(config)
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError, AssertionError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path}: the weights do not fit their configuration ({reason})") from error
    return network, facts, beside_place


def _check_axes(axes: torch.Tensor | None, config: EncoderConfig) -> None:
    """Refuse axes besides the place that are not orthonormal directions of the representation."""
    if axes is None:
        return
    wanted = (config.dimensions, config.dimensions - PLACE_AXES)
    if tuple(axes.shape) != wanted or axes.dtype != torch.float32:
        raise ValueError(f"{_BESIDE_PLACE} is not a float32 matrix of {wanted[0]} x {wanted[1]}")
    if not torch.allclose(axes.T @ axes, torch.eye(wanted[1]), atol=1e-3):
        raise ValueError(f"{_BESIDE_PLACE} is not orthonormal")


def _check_size(config: EncoderConfig, tensors: dict[str, torch.Tensor], build: BuildEncoder) -> None:
    """Refuse a configuration of another size than the file, before it takes all memory to build its network."""
    for item in fields(EncoderConfig):
        value: Any = getattr(config, item.name)
        default: Any = item.default
        wanted = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, wanted) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise ValueError(f"{item.name} cannot be {value!r}")
        if not isinstance(value, (bool, str)) and not 0 <= value < 1e6:
            raise ValueError(f"{item.name} cannot be {value!r}")
    if config.layers > len(tensors):
        raise ValueError(f"{config.layers} layers, {len(tensors)} tensors")
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in build(config).state_dict().items()}
    if shapes != {key: value.shape for key, value in tensors.items()}:
        raise ValueError("other tensors, or of other sizes")


def load_encoder(name_or_path: str | Path = "default", device: str = "auto", channels: int | None = None) -> Encoder:
    """Load a trained encoder.

    Parameters
    ----------
    name_or_path : str or Path
        A name of weights that came with the package (``"default"``), or a ``.safetensors`` file.
    device : str
        See :func:`~spikeinterface_huidurep.encoder.device.choose_device`.
    channels : int, optional
        At how many channels of a spike, the nearest, it looks at most; by default at as many as it was trained with.
        More of them tell neurons apart better, take longer, and hold more of other neurons' spikes.

    Returns
    -------
    Encoder
        With ``embed``, ``denoise`` and ``encode``.

    Raises
    ------
    FileNotFoundError, ValueError
        No such weights, a file that is not an encoder of this format, or ``channels`` that is not a positive number. No
        code of the file is ever run.
    """
    if channels is not None and (not isinstance(channels, (int, np.integer)) or channels < 1):
        raise ValueError(f"channels must be a whole number of 1 or more, not {channels!r}")
    network, facts, beside_place = read_network(find_weights(name_or_path))
    if channels is not None:
        network.config = replace(network.config, channels=int(channels))
    return Encoder(network, choose_device(device), facts, beside_place=beside_place)
