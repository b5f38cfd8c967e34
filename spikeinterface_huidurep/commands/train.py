"""``huidurep train``: train the spike encoder on template libraries, or adapt it to a recording."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``train`` to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train the spike encoder on template libraries, or adapt it to a recording",
        description="Train the spike encoder (contrastive learning and denoising) on libraries of simulated spike "
        "templates. The same command continues an interrupted run. With --recording the encoder is adapted to the "
        "units of a first sort of your recording, and written if it has become better.",
        epilog="Example: huidurep train --libraries templates --output run --steps 8000 --export my.safetensors",
    )
    parser.add_argument("--libraries", type=Path, help="folder of template libraries (.npz)")
    parser.add_argument("--output", type=Path, required=True, help="folder of checkpoints, log and loss figure")
    parser.add_argument(
        "--config", type=Path, help="YAML or JSON file of training settings, or free: those that come with the package"
    )
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings, such as batch_size=256 views.collision=0"
    )
    parser.add_argument("--steps", type=int, help="length of the training in steps")
    parser.add_argument("--seed", type=int, help="seed of all random numbers")
    parser.add_argument("--exclude", nargs="+", metavar="MODEL", help="cell models to leave out, to evaluate on them")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes; the same command continues")
    parser.add_argument("--checkpoint-every", type=int, default=200, metavar="STEPS", help="default: %(default)s")
    parser.add_argument("--from-checkpoint", type=Path, help="start from the weights and state of another run")
    parser.add_argument(
        "--from-weights",
        nargs="+",
        metavar="WEIGHTS",
        help="start from a trained encoder, 'default' or a .safetensors file, from the mean of several that were "
        "trained from the same weights (--steps 0 exports this mean), or from the network in another run's "
        "checkpoint.pt",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the weights to this .safetensors file")
    parser.add_argument("--no-progress", action="store_true", help="draw no progress bar")
    recording = parser.add_argument_group("adaptation to a recording")
    recording.add_argument("--recording", type=Path, help="file or folder of the recording; see huidurep sort")
    recording.add_argument("--reader", metavar="NAME", help="SpikeInterface's name of its format")
    recording.add_argument(
        "--reader-option", action="append", default=[], metavar="KEY=VALUE", help="argument of the reader"
    )
    recording.add_argument("--probe", metavar="PROBE", help="for formats without channel locations")
    recording.add_argument("--weights", default="default", help="the encoder to adapt (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train or adapt the encoder; returns the exit status."""
    import torch

    if arguments.recording is not None:
        return adapt_to_recording(arguments)
    from ..encoder.averaging import mean_encoder
    from ..encoder.device import choose_device
    from ..encoder.sources import build_sampler
    from ..encoder.training import Trainer
    from ..encoder.weights import find_weights, read_network

    logging.getLogger("spikeinterface_huidurep").setLevel(logging.INFO)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = _configuration(arguments)
    if arguments.libraries is None and not config.generates:
        raise ValueError(
            "There is nothing to train on: give template libraries with --libraries, a recording with --recording, or "
            "settings with layouts around which neurons are generated (--config free)."
        )
    device = str(choose_device(arguments.device))
    trainer = Trainer(config, build_sampler(config, arguments.libraries, device), arguments.output, device)
    if trainer.checkpoint_path.is_file():
        trainer.resume()
    elif arguments.from_checkpoint is not None:
        trainer.resume(arguments.from_checkpoint)
    elif arguments.from_weights is not None:
        names = arguments.from_weights
        if len(names) == 1 and Path(names[0]).suffix == ".pt":
            trainer.begin_with_network(names[0])
        else:
            read = [read_network(find_weights(name)) for name in names]
            before = [
                facts.get("trained_on") or {f"the training of {name}": "not stated"}
                for name, (_, facts, _) in zip(names, read, strict=True)
            ]
            trainer.begin_with(
                mean_encoder([network for network, _, _ in read]), {k: v for one in before for k, v in one.items()}
            )
    trainer.run(
        checkpoint_every=arguments.checkpoint_every, progress=not arguments.no_progress, minutes=arguments.minutes
    )
    print(f"{trainer.step} of {config.steps} steps, {trainer.seconds / 60:.1f} minutes; see {arguments.output}")
    if arguments.export is not None:
        path = trainer.export(arguments.export)
        print(f"weights: {path} ({path.stat().st_size / 1e6:.2f} MB)")
    return 0


def adapt_to_recording(arguments: argparse.Namespace) -> int:
    """Sort the recording, average its units' waveforms, and fine-tune the encoder on these templates."""
    import torch

    from ..encoder.adaptation import AdaptationConfig, adapt
    from ..encoder.weights import load_encoder, save_encoder

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    encoder = load_encoder(arguments.weights, arguments.device)
    templates, locations, rate, nbefore = recording_templates(arguments, encoder.window_ms)
    changes = {name: getattr(arguments, name) for name in ("steps", "seed") if getattr(arguments, name) is not None}
    result = adapt(encoder, templates, locations, rate, nbefore, AdaptationConfig(**changes), arguments.libraries)
    print(f"ARI on the recording's {len(templates)} units: {result.before:.3f} before, {result.after:.3f} after")
    if not result.kept:
        print(f"the adapted encoder is not better: keep using {arguments.weights!r}")
        return 0
    facts = {**encoder.facts, "adapted_to": arguments.recording.name, "ari": [result.before, result.after]}
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = save_encoder(
        arguments.export or arguments.output / "adapted.safetensors",
        result.encoder.network,
        facts,
        result.encoder.beside_place,
    )
    print(f"weights: {path}; use them with model={str(path)!r}")
    return 0


def recording_templates(arguments: argparse.Namespace, window_ms: tuple[float, float]) -> tuple[Any, Any, float, int]:
    """Mean waveforms (units, samples, channels) of a first sort in noise units, channel locations, rate, nbefore."""
    import numpy as np
    from spikeinterface.core.waveform_tools import estimate_templates

    from ..parameters import DEFAULT_PARAMS
    from ..reading import read_as_typed
    from ..shanks import flattened
    from ..sort import sort_recording
    from ..stages.traces.preprocessing import preprocess

    typed = read_as_typed(arguments.recording, arguments.reader, arguments.reader_option, arguments.probe)
    recording = flattened(typed)
    jobs = {"n_jobs": 1, "chunk_duration": "1s", "progress_bar": False}
    sorting = sort_recording(recording, {**DEFAULT_PARAMS, "model": arguments.weights}, jobs)
    traces = preprocess(recording)
    if traces is None or len(sorting.unit_ids) == 0:
        raise ValueError("The sort found no units in the recording: there is nothing to adapt to.")
    rate = recording.sampling_frequency
    # views are shifted by up to 0.5 ms, so the templates extend beyond the window by a little more
    nbefore, nafter = (int(np.ceil((length + 0.6) * rate / 1e3)) for length in window_ms)
    templates = estimate_templates(
        traces, sorting.to_spike_vector(), sorting.unit_ids, nbefore, nafter, return_in_uV=False, **jobs
    )
    return templates, traces.get_channel_locations()[:, :2], rate, nbefore


def _configuration(arguments: argparse.Namespace) -> Any:
    from ..encoder.training import TrainingConfig

    values = _read_settings(_shipped(arguments.config)) if arguments.config else {}
    for item in arguments.set:
        name, equals, text = item.partition("=")
        if not equals:
            raise ValueError(f"a setting is NAME=VALUE, not {item!r}")
        *parts, last = name.split(".")
        target = values
        for part in parts:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise ValueError(f"the setting {part!r} has no settings of its own, as {item!r} wants")
        target[last] = _value(text)
    for name in ("steps", "seed", "exclude"):
        if getattr(arguments, name) is not None:
            values[name] = getattr(arguments, name)
    return TrainingConfig.from_dict(values)


def _shipped(path: Path) -> Path:
    """The file itself, or the one that lies beside the package's weights under that name."""
    from ..encoder.weights import find_weights

    beside = find_weights("default").with_name(f"{path.name}.yaml")
    return beside if not path.exists() and path.name == str(path) and beside.is_file() else path


def _value(text: str) -> Any:
    """A setting's value: JSON where it is JSON, otherwise the text itself."""
    import json

    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _read_settings(path: Path) -> dict[str, Any]:
    import json

    text = path.read_text(encoding="utf8")
    if path.suffix.lower() in (".yaml", ".yml"):
        try:
            import yaml
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("YAML settings need the package PyYAML; JSON needs nothing") from error
        try:
            values = yaml.safe_load(text) or {}
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())[:200]}") from error
    else:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no settings (names with values)")
    return values
