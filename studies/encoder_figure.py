"""Draw the table of docs/encoder.md: the encoder's score in each row of episodes beside those of SVD, and the bars.

    python studies/encoder_figure.py docs/encoder.md docs/images/encoder_scores.png

The table is the first one of the page whose first column is *episodes*.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

#: Columns of the table: how each is drawn.
SHOWN = {
    "encoder": {"marker": "o", "color": "#1f4e79", "s": 40},
    "SVD, common channels": {"marker": "s", "color": "0.55", "s": 25},
    "SVD, own channels": {"marker": "^", "color": "#c55a11", "s": 30},
    "bar": {"marker": "|", "color": "black", "s": 110},
}


def read_table(page: Path) -> pd.DataFrame:
    """The table's numbers by row of episodes; NaN where a cell is empty."""
    lines = page.read_text(encoding="utf8").splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("| episodes |")), None)
    if start is None:
        raise ValueError(f"{page} has no table whose first column is 'episodes'")
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
    table = pd.DataFrame(rows[2:], columns=rows[0]).set_index("episodes")
    return table[list(SHOWN)].apply(pd.to_numeric, errors="coerce")


def draw(table: pd.DataFrame) -> Figure:
    """One line a row of episodes, the first one on top."""
    figure = Figure(figsize=(8, 0.27 * len(table) + 1.2), layout="constrained")
    axis = figure.subplots()
    places = range(len(table))[::-1]
    for name, style in SHOWN.items():
        axis.scatter(table[name], places, label=name, zorder=2, **style)
    axis.set_yticks(places, table.index)
    axis.set(xlabel="adjusted Rand index", xlim=(0.4, 1.01))
    axis.grid(axis="y", color="0.9", zorder=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=len(SHOWN), frameon=False, fontsize=8)
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Read the page, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args(arguments)
    draw(read_table(options.page)).savefig(options.picture, dpi=90)
    return 0


if __name__ == "__main__":
    sys.exit(main())
