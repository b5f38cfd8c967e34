"""Lists of plain Markdown as Sphinx wants them: pages as tables of contents, names as the reference."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent


def tables_of_contents(text: str) -> list[str]:
    """Hidden tables of contents, one for each section of the index that lists pages."""
    tables = []
    for section in text.split("\n## ")[1:]:
        caption, _, rest = section.partition("\n")
        pages = re.findall(r"^- \[[^\]]+\]\(([\w/.]+)\)$", rest, re.MULTILINE)
        # pages that are written when there are results to tell may be missing
        pages = [page for page in pages if (DOCS / page).is_file()]
        entries = "\n".join(
            page.replace("examples/README.rst", "auto_examples/index").removesuffix(".md") for page in pages
        )
        tables.append(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n:maxdepth: 1\n\n{entries}\n```\n")
    return tables


def summaries(reference: str) -> str:
    """The names of the reference as reStructuredText, of which Sphinx makes their pages."""
    names = re.findall(r"^- `(spikeinterface_huidurep\S*)`$", reference, re.MULTILINE)
    return ".. autosummary::\n   :toctree: api/generated\n\n" + "".join(f"   {name}\n" for name in names)


def as_summary(names: re.Match) -> str:
    """A list of names as a table with a page for each."""
    lines = "".join(f"   {name}\n" for name in re.findall(r"`(\S+)`", names.group()))
    return f"```{{eval-rst}}\n.. autosummary::\n   :toctree: api/generated\n\n{lines}```\n"
