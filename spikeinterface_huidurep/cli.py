"""The command line ``huidurep``: finds the subcommands, parses arguments, and reports invalid input in one line."""

from __future__ import annotations

import argparse
import importlib
import logging
import pkgutil
import sys
import warnings
from collections.abc import Sequence

from . import commands
from .version import __version__

# Exceptions for invalid input. Any other exception is a bug and is shown with its traceback.
INPUT_ERRORS = (ValueError, OSError, ModuleNotFoundError)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser, with one subcommand for each module of `spikeinterface_huidurep.commands`."""
    parser = argparse.ArgumentParser(
        prog="huidurep", description="Spike sorting with a self-supervised spike encoder, on top of SpikeInterface."
    )
    parser.add_argument("--version", action="version", version=f"huidurep {__version__}")
    parser.add_argument("--traceback", action="store_true", help="on an error, show the full traceback")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in sorted(module.name for module in pkgutil.iter_modules(commands.__path__)):
        importlib.import_module(f"{commands.__name__}.{module}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments, without the program's name; by default ``sys.argv``.

    Returns
    -------
    int
        The exit status: 0, 2 for invalid input, or 130 if interrupted.

    Raises
    ------
    SystemExit
        From argparse: for ``--help`` and ``--version``, and with status 2 for unknown arguments.
    """
    arguments = build_parser().parse_args(argv)
    # Deprecation warnings of SpikeInterface and neo are of no use to users of the command line.
    warnings.simplefilter("ignore", FutureWarning)
    # SpikeInterface warns that a saved Sorting does not include its recording; the user has that in a file.
    warnings.filterwarnings(
        "ignore", message="The (recording registered to this sorting|extractor is not serializable)"
    )
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    if getattr(arguments, "verbose", False):
        logging.getLogger("spikeinterface_huidurep").setLevel(logging.INFO)
    try:
        return arguments.run(arguments) or 0
    except INPUT_ERRORS as error:
        if arguments.traceback:
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"huidurep {arguments.command}: error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"huidurep {arguments.command}: interrupted", file=sys.stderr)
        return 130
