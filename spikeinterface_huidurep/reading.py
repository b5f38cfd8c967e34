"""Reads recordings for the command line, with the name of SpikeInterface's reader, and attaches a missing probe."""

from __future__ import annotations

import ast
import inspect
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from probeinterface import Probe, ProbeGroup, generate_tetrode, read_prb, read_probeinterface
from spikeinterface.core import BaseRecording, load

from .wording import suggestion

logger = logging.getLogger("spikeinterface_huidurep")

# Options of readers that are names, even where they look like numbers: Open Ephys has a stream "0", but no stream 0.
NAMES = {"stream_id", "stream_name", "rec_name"}
# Options that a reader needs although its signature has a default for them.
NEEDED = ("num_channels",)
# Between neighbouring tetrodes: spikes are not recorded farther than some 150 um from their neuron.
TETRODE_DISTANCE_UM = 1000.0


def parse_value(text: str) -> Any:
    """Return the value of a Python literal in `text` (number, list, None, True), or the text itself."""
    named = {"true": True, "false": False, "none": None}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def parse_assignments(assignments: Iterable[str], option: str) -> dict[str, str]:
    """Split arguments of the form ``key=value``.

    Parameters
    ----------
    assignments : iterable of str
        The arguments.
    option : str
        Name of their option, for the error message.

    Returns
    -------
    dict of str to str
        The values, not parsed yet.

    Raises
    ------
    ValueError
        If an argument has no ``=`` or no key, or a key is given twice.
    """
    parsed: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise ValueError(f"{option} takes key=value, not {assignment!r}.")
        if key in parsed:
            raise ValueError(f"{option} is given twice for {key!r}.")
        parsed[key] = value
    return parsed


def parse_reader_options(assignments: Iterable[str]) -> dict[str, Any]:
    """Parse the arguments of ``--reader-option``.

    Parameters
    ----------
    assignments : iterable of str
        Of the form ``key=value``.

    Returns
    -------
    dict
        The values: Python literals as `parse_value` reads them, but the names of streams and recordings as text.

    Raises
    ------
    ValueError
        If an argument has another form, or a key is given twice.
    """
    options: dict[str, Any] = {}
    for key, text in parse_assignments(assignments, "--reader-option").items():
        value = parse_value(text)
        options[key] = text if key in NAMES and not (value is None or isinstance(value, str)) else value
    return options


def available_readers() -> dict[str, Callable[..., BaseRecording]]:
    """Return SpikeInterface's readers of recordings that take a file or a folder, by name in lower case."""
    from spikeinterface.extractors import read_openephys, recording_extractor_full_dict

    readers = {**recording_extractor_full_dict, "openephys": read_openephys}
    return {name: reader for name, reader in sorted(readers.items()) if _path_argument(reader) is not None}


def _path_argument(reader: Callable[..., BaseRecording]) -> str | None:
    first = next(iter(inspect.signature(reader).parameters))
    return first if first in ("file_path", "file_paths", "folder_path") else None


def read_recording(path: str | Path, reader: str | None = None, options: dict[str, Any] | None = None) -> BaseRecording:
    """Read a recording lazily.

    Parameters
    ----------
    path : str or Path
        File or folder of the recording.
    reader : str, optional
        Name of a SpikeInterface reader, such as ``spikeglx``, ``openephys``, ``neuralynx``, ``nwb`` or ``binary``.
        By default `path` is a recording that SpikeInterface saved: a folder, a zarr folder or a json file.
    options : dict, optional
        Further arguments of the reader, such as ``stream_id``.

    Returns
    -------
    BaseRecording
        The recording, with the probe if the format stores one.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If the reader or one of its options is unknown, or it cannot read the file.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    if reader is None:
        return _load_saved(path)

    readers = available_readers()
    name = reader.lower()
    if name not in readers:
        raise ValueError(
            f"SpikeInterface has no reader {reader!r}.{suggestion(name, readers)} Known: {', '.join(readers)}."
        )
    function, refused = readers[name], f"The reader {name!r} cannot read {path}"
    # text, as a user would give it: not every reader takes a Path
    arguments = {str(_path_argument(function)): str(path), **(options or {})}
    _check_options(function, arguments, refused)
    try:
        return function(**arguments)
    except ImportError as error:
        raise ModuleNotFoundError(f"{refused}: it needs a package that is not installed ({error}).") from error
    except OSError as error:
        raise OSError(f"{refused}: {error}") from error
    except (TypeError, IndexError, KeyError, AttributeError) as error:
        # what the reader stumbled over says little of the file
        raise ValueError(
            f"{refused}: it has another format, or the reader needs other options ({type(error).__name__}: {error})."
        ) from error
    except Exception as error:
        # The readers raise many kinds of exceptions, also assertions, for invalid files and options.
        raise ValueError(f"{refused}: {error or type(error).__name__}") from error


def _check_options(function, arguments, refused):
    """Refuse options that the reader does not have, and the lack of those that it needs."""
    known = inspect.signature(function).parameters
    named = {name: parameter for name, parameter in known.items() if parameter.kind.name.endswith("KEYWORD_ONLY")}
    named |= {name: parameter for name, parameter in known.items() if parameter.kind.name == "POSITIONAL_OR_KEYWORD"}
    if not any(parameter.kind.name == "VAR_KEYWORD" for parameter in known.values()):
        for name in arguments:
            if name not in named:
                others = [other for other in named if other not in ("self", next(iter(known)))]
                raise ValueError(
                    f"{refused}: it has no option {name!r}.{suggestion(name, others)} Known: {', '.join(others)}."
                )
    needed = [name for name, parameter in named.items() if parameter.default is parameter.empty]
    # of a binary file nothing says how many channels it has
    needed += [name for name in NEEDED if name in named and arguments.get(name) is None and name not in needed]
    missing = [f"{name}=..." for name in needed if arguments.get(name) is None]
    if missing:
        raise ValueError(f"{refused}: it needs the option(s) {', '.join(missing)} (--reader-option).")


def read_as_typed(
    path: str | Path, reader: str | None = None, reader_options: Iterable[str] = (), probe: str | None = None
) -> BaseRecording:
    """Read a recording from the command line's arguments.

    Parameters
    ----------
    path : str or Path
        File or folder.
    reader : str, optional
        Argument of ``--reader``.
    reader_options : iterable of str
        Arguments of ``--reader-option``.
    probe : str, optional
        Argument of ``--probe``.

    Returns
    -------
    BaseRecording
        The recording, with channel locations.

    Raises
    ------
    FileNotFoundError
        If there is no such recording or probe file.
    ValueError
        If one of the arguments is invalid, or there are no channel locations.
    """
    recording = read_recording(path, reader, parse_reader_options(reader_options))
    if probe:
        return attach_probe(recording, probe)
    if not recording.has_probe():
        raise ValueError("The recording has no channel locations: give a file or a geometry with --probe.")
    return recording


def _load_saved(path: Path) -> BaseRecording:
    try:
        recording = load(path)
    except Exception as error:
        raise ValueError(
            f"{path} was not saved by SpikeInterface: name its format with --reader (see --list-readers)."
        ) from error
    if not isinstance(recording, BaseRecording):
        raise ValueError(f"{path} holds a {type(recording).__name__}, not a recording.")
    return recording


def attach_probe(recording: BaseRecording, probe: str) -> BaseRecording:
    """Return the recording with a probe.

    Parameters
    ----------
    recording : BaseRecording
        The recording; it is not changed.
    probe : str
        A file, probeinterface's ``.json`` or ``.prb``, or a geometry for all channels in their order:
        ``tetrode[:radius]`` (four channels), ``tetrodes:number[:radius]`` (four channels each), ``linear[:pitch]`` or
        ``grid:columns[:pitch]``, lengths in um.

    Returns
    -------
    BaseRecording
        The channels that the probe has, with locations and groups.

    Raises
    ------
    ValueError
        If the probe is invalid, or does not fit the number of channels.
    FileNotFoundError
        If there is no such file.
    """
    if Path(probe).suffix in (".json", ".prb"):
        probegroup = _read_probe_file(Path(probe).expanduser())
    else:
        probegroup = make_geometry(probe, recording.get_num_channels())
    indices = probegroup.get_global_device_channel_indices()["device_channel_indices"]
    if np.all(indices < 0):
        # The file does not say which contact is wired to which channel.
        if len(indices) != recording.get_num_channels():
            raise ValueError(
                f"The probe has {len(indices)} contacts without a wiring, "
                f"the recording {recording.get_num_channels()} channels."
            )
        probegroup.set_global_device_channel_indices(np.arange(len(indices)))
    elif indices.max() >= recording.get_num_channels():
        raise ValueError(
            f"The probe is wired to channel {indices.max()}, the recording has {recording.get_num_channels()} channels."
        )
    left_out = recording.get_num_channels() - int(np.sum(indices >= 0)) if np.any(indices >= 0) else 0
    if left_out:
        logger.warning("the probe is not wired to %d of %d channels: left out", left_out, recording.get_num_channels())
    return recording.select_channels_with_probegroup(probegroup)


def _read_probe_file(path: Path) -> ProbeGroup:
    if not path.exists():
        raise FileNotFoundError(f"There is no probe file {path}.")
    try:
        return read_prb(path) if path.suffix == ".prb" else read_probeinterface(path)
    except Exception as error:
        raise ValueError(f"{path} is not a probe file: {error or type(error).__name__}") from error


def make_geometry(geometry: str, num_channels: int) -> ProbeGroup:
    """Return a simple probe for `num_channels` channels in their order.

    Parameters
    ----------
    geometry : str
        ``tetrode[:radius]``, ``tetrodes:number[:radius]``, ``linear[:pitch]`` or ``grid:columns[:pitch]``, lengths in
        um.
    num_channels : int
        Number of channels.

    Returns
    -------
    ProbeGroup
        One probe, or one for each tetrode, wired to the channels.

    Raises
    ------
    ValueError
        If the geometry is unknown or does not fit the number of channels.
    """
    kind, *numbers = geometry.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = [-1.0]
    most = {"tetrode": 1, "tetrodes": 2, "linear": 1, "grid": 2}.get(kind, -1)
    # The first number counts a grid's columns, or tetrodes.
    counts = kind in ("grid", "tetrodes")
    lacks_count = counts and (not values or values[0] % 1 != 0)
    if len(values) > most or any(not 0 < value < np.inf for value in values) or lacks_count:
        raise ValueError(
            f"{geometry!r} is not a probe: give a .json or .prb file, tetrode[:radius], tetrodes:number[:radius], "
            "linear[:pitch] or grid:columns[:pitch]."
        )
    count = int(values.pop(0)) if counts else 1
    probegroup = _tetrodes(count, values, num_channels) if kind.startswith("tetrode") else ProbeGroup()
    if kind in ("linear", "grid"):
        if count > num_channels:
            raise ValueError(f"{num_channels} channels do not fill a row of {count} columns.")
        pitch = values[0] if values else 20.0
        channels = np.arange(num_channels)
        probe = Probe(ndim=2, si_units="um")
        positions = pitch * np.column_stack([channels % count, channels // count])
        probe.set_contacts(positions=positions, shapes="circle", shape_params={"radius": 6})
        probegroup.add_probe(probe)
    probegroup.set_global_device_channel_indices(np.arange(num_channels))
    return probegroup


def _tetrodes(count, radius, num_channels):
    """As many tetrodes, side by side; `radius` is an empty list or has one number."""
    if num_channels != 4 * count:
        many = f": tetrodes:{num_channels // 4} are {num_channels // 4} of four channels each" * (num_channels % 4 == 0)
        raise ValueError(f"{num_channels} channels are not {count} tetrode{'s' * (count > 1)}{many}.")
    probegroup = ProbeGroup()
    for index in range(count):
        tetrode = generate_tetrode(*radius)
        tetrode.move([index * TETRODE_DISTANCE_UM, 0.0])
        probegroup.add_probe(tetrode)
    return probegroup
