"""A table, in Markdown, of the figures that `python -m pytest benchmarks --benchmark-json FILE` wrote.

python benchmarks/table.py cost.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

COLUMNS = {
    "channels": "Channels",
    "duration_s": "Length, s",
    "run_time_s": "Run time, s",
    "ratio": "Time / length",
    "peak_memory_gb": "Memory, GB",
    "accuracy": "Accuracy",
    "found": "Found",
    "true_units": "of",
    "false": "False",
}


def main(path: Path) -> None:
    """Print the table."""
    runs = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    print("|", " | ".join(COLUMNS.values()), "|")
    print("|" + "---|" * len(COLUMNS))
    for run in runs:
        print("|", " | ".join(_text(run["extra_info"][name]) for name in COLUMNS), "|")


def _text(value: float | int) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
