"""Matches the two halves of each recording of the suite `days`: how many good units find themselves?

    python studies/days_halves.py OUTPUT --templates LIBRARIES --sets days_tetrode days_64_far

OUTPUT is that of ``huidurep benchmark --suite days``, whose sorts are used again. A unit is good if its accuracy is 0.8
and more.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spikeinterface.core import SortingAnalyzer, create_sorting_analyzer

from spikeinterface_huidurep.benchmark import DAYS, get_days
from spikeinterface_huidurep.benchmark.days import NEURON
from spikeinterface_huidurep.benchmark.days_benchmark import sorted_days
from spikeinterface_huidurep.benchmark.days_measures import found_units
from spikeinterface_huidurep.matching import match_units


def halves_of(analyzer: SortingAnalyzer) -> list[SortingAnalyzer]:
    """Analyzers of the first and the second half of a recording of one segment."""
    n = analyzer.get_num_samples(0)
    parts = []
    for start, end in ((0, n // 2), (n // 2, n)):
        sorting = analyzer.sorting.frame_slice(start, end)
        recording = analyzer.recording.frame_slice(start, end)
        parts.append(create_sorting_analyzer(sorting, recording, sparse=False))
    return parts


def measure(analyzer: SortingAnalyzer, good: set) -> tuple[int, int, int]:
    """Good units, those of them that are matched with themselves, and matches of two units."""
    matches = match_units(halves_of(analyzer), n_jobs=1).matches
    right = {row.unit_a for row in matches.itertuples() if row.unit_a == row.unit_b}
    return len(good), len(good & right), int((matches["unit_a"] != matches["unit_b"]).sum())


def days_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of the arguments with which sets of days are sorted."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--templates", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(DAYS))
    parser.add_argument("--duration", type=float, default=60.0)
    parser.add_argument("--n-jobs", type=int)
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = days_parser(__doc__)
    arguments = parser.parse_args(argv)
    print("| sessions | good units | matched with themselves | wrong |")
    print("|---|---|---|---|")
    for name in arguments.sets:
        truths = get_days(name, arguments.cache, arguments.templates, arguments.duration)
        analyzers = sorted_days(truths, "huidurep", arguments.output, n_jobs=arguments.n_jobs)
        total = [0, 0, 0]
        for truth, analyzer in zip(truths, analyzers or [], strict=False):
            found = found_units(truth.sorting, analyzer.sorting, truth.sorting.get_property(NEURON))
            counts = measure(analyzer, set(analyzer.unit_ids[found.best].tolist()))
            total = [a + b for a, b in zip(total, counts, strict=True)]
        print(f"| {name} | {total[0]} | {total[1]} | {total[2]} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
