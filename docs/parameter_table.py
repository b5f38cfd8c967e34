"""
Write the table of docs/parameters.md from the sorter and the advice: `python docs/parameter_table.py`.

A table of the page itself, not of the site, so that it is read on a forge as well. tests/test_docs.py checks that it is
that of the present version.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from spikeinterface_huidurep.parameters import DEFAULT_PARAMS, PARAMS_DESCRIPTION

HERE = Path(__file__).parent
PAGE, ADVICE = HERE / "parameters.md", HERE / "parameter_advice.json"
BEGIN, END = "<!-- table: python docs/parameter_table.py writes it -->", "<!-- end of the table -->"


def render() -> str:
    """The table: every parameter with its default, its description and when to touch it, in the order of the stages."""
    advice = json.loads(ADVICE.read_text(encoding="utf8"))
    lines = ["| parameter | default | what it is | when to touch it |", "|---|---|---|---|"]
    for name, default in DEFAULT_PARAMS.items():
        texts = (PARAMS_DESCRIPTION[name], advice[name])
        # no bars in a cell, and no angle brackets, which a forge takes for HTML
        cells = [text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for text in texts]
        lines.append("| " + " | ".join([f"`{name}`", f"`{default!r}`", *cells]) + " |")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """The page with the present table between its marks."""
    return re.sub(
        f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}\n\n{render()}\n\n{END}", page, flags=re.S
    )


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf8")), encoding="utf8")
