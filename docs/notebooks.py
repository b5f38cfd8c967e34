"""Makes notebooks of the examples, which are scripts: docs/examples/NAME.ipynb of docs/examples/NAME.py.

    python docs/notebooks.py                  # writes them; a test fails where one is not what its script says
    python docs/notebooks.py --run            # runs each in a kernel, too (extra "docs"); `make notebooks` does that

Outputs are not kept: the site shows those of the scripts.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

EXAMPLES = Path(__file__).parent / "examples"
# reStructuredText as the examples have it, and Markdown
_MARKDOWN = (
    (re.compile(r"^(.+)\n={3,}$", re.M), r"# \1\n"),
    (re.compile(r"^(.+)\n-{3,}$", re.M), r"## \1\n"),
    (re.compile(r":doc:`\.\./(\w+)`"), r"[\1](../\1.md)"),
    (re.compile(r":doc:`(\w+)`"), r"[\1](\1.ipynb)"),
    (re.compile(r":(?:func|class|meth|mod):`~?([^`]+)`"), r"``\1``"),
    (re.compile(r"`([^`<]+) <([^>`]+)>`_+"), r"[\1](\2)"),
    (re.compile(r"``([^`]+)``"), r"`\1`"),
)


def scripts() -> list[Path]:
    """The examples, in their order."""
    return sorted(EXAMPLES.glob("plot_*.py"))


def notebook(script: Path) -> str:
    """The notebook of an example, as JSON: a cell of text for each comment behind "# %%", and one for its code."""
    source = script.read_text(encoding="utf8")
    text, rest = re.match(r'"""\n(.*?)"""\n(.*)', source, re.S).groups()
    cells = [("markdown", text)]
    for block in re.split(r"^# %%.*\n", rest, flags=re.M)[1:]:
        comment = re.match(r"(?:#.*\n?)*", block).group()
        cells.append(("markdown", re.sub(r"^# ?", "", comment, flags=re.M)))
        cells.append(("code", block[len(comment) :]))
    kept = [(kind, content.strip()) for kind, content in cells if content.strip()]
    made = [_cell(index, kind, content) for index, (kind, content) in enumerate(kept)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": made,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _cell(index: int, kind: str, content: str) -> dict:
    if kind == "markdown":
        for pattern, replacement in _MARKDOWN:
            content = pattern.sub(replacement, content)
        content = re.sub(r"\n{3,}", "\n\n", content).strip()
    cell = {"cell_type": kind, "id": f"cell-{index}", "metadata": {}, "source": content.splitlines(keepends=True)}
    return cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []}


def run(path: Path) -> None:
    """Run a notebook from its first cell to its last; an error of a cell is raised."""
    import nbformat
    from nbclient import NotebookClient

    opened = nbformat.read(path, as_version=4)
    NotebookClient(opened, timeout=1800, resources={"metadata": {"path": str(path.parent)}}).execute()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="run them, too")
    parser.add_argument("names", nargs="*", help="examples, such as plot_2_curate (default: all)")
    arguments = parser.parse_args()
    for script in scripts():
        if arguments.names and script.stem not in arguments.names:
            continue
        path = script.with_suffix(".ipynb")
        path.write_text(notebook(script), encoding="utf8")
        if arguments.run:
            run(path)
        print(f"{path.name}: {'it runs' if arguments.run else 'written'}", flush=True)


if __name__ == "__main__":
    main()
