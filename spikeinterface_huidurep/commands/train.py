"""``huidurep train``: train the spike encoder on template libraries."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand ``train`` to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train the spike encoder on template libraries",
        description="Train the spike encoder (contrastive learning and denoising) on libraries of simulated spike "
        "templates. A stopped run goes on where it was when the command is given again.",
        epilog="Example: huidurep train --libraries templates --output run --steps 8000 --export my.safetensors",
    )
    parser.add_argument("--libraries", type=Path, required=True, help="folder of template libraries (.npz)")
    parser.add_argument("--output", type=Path, required=True, help="folder of checkpoints, log and loss figure")
    parser.add_argument("--config", type=Path, help="YAML or JSON file of training settings")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings, such as batch_size=256 views.collision=0"
    )
    parser.add_argument("--steps", type=int, help="length of the training in steps")
    parser.add_argument("--seed", type=int, help="seed of all random numbers")
    parser.add_argument("--exclude", nargs="+", metavar="MODEL", help="cell models to leave out, to evaluate on them")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes; the same command goes on later")
    parser.add_argument("--checkpoint-every", type=int, default=200, metavar="STEPS", help="default: %(default)s")
    parser.add_argument("--from-checkpoint", type=Path, help="begin with the weights and state of another run")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the weights to this .safetensors file")
    parser.add_argument("--no-progress", action="store_true", help="draw no progress bar")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train as the command line says."""
    import torch

    from ..encoder.training import Trainer, build_sampler
    from ..encoder.weights import choose_device

    logging.getLogger("spikeinterface_huidurep").setLevel(logging.INFO)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = _configuration(arguments)
    trainer = Trainer(
        config, build_sampler(config, arguments.libraries), arguments.output, str(choose_device(arguments.device))
    )
    if trainer.checkpoint_path.is_file():
        trainer.resume()
    elif arguments.from_checkpoint is not None:
        trainer.resume(arguments.from_checkpoint)
    trainer.run(
        checkpoint_every=arguments.checkpoint_every, progress=not arguments.no_progress, minutes=arguments.minutes
    )
    print(f"{trainer.step} of {config.steps} steps, {trainer.seconds / 60:.1f} minutes; see {arguments.output}")
    if arguments.export is not None:
        path = trainer.export(arguments.export)
        print(f"weights: {path} ({path.stat().st_size / 1e6:.2f} MB)")
    return 0


def _configuration(arguments: argparse.Namespace) -> Any:
    from ..encoder.training import TrainingConfig

    values = _read_settings(arguments.config) if arguments.config else {}
    for item in arguments.set:
        name, equals, text = item.partition("=")
        if not equals:
            raise ValueError(f"a setting is NAME=VALUE, not {item!r}")
        *parts, last = name.split(".")
        target = values
        for part in parts:
            target = target.setdefault(part, {})
        target[last] = _value(text)
    for name in ("steps", "seed", "exclude"):
        if getattr(arguments, name) is not None:
            values[name] = getattr(arguments, name)
    return TrainingConfig.from_dict(values)


def _value(text: str) -> Any:
    """A setting's value: JSON where it is JSON, otherwise the text itself."""
    import json

    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _read_settings(path: Path) -> dict[str, Any]:
    import json

    text = path.read_text()
    if path.suffix.lower() in (".yaml", ".yml"):
        try:
            import yaml
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("YAML settings need the package PyYAML; JSON needs nothing") from error
        values = yaml.safe_load(text) or {}
    else:
        values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no settings (names with values)")
    return values
