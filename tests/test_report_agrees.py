"""A report does not contradict itself, nor what the GUI suggests."""

import itertools
import json
import re

import numpy as np
import pytest

from spikeinterface_huidurep.curation import load_analyzer, suggest_curation
from spikeinterface_huidurep.curation.extension import EXTENSION_NAME
from spikeinterface_huidurep.curation.neighbours import near_units
from spikeinterface_huidurep.curation.picture_data import EmbeddingMap
from spikeinterface_huidurep.curation.report_page import report
from spikeinterface_huidurep.curation.report_pairs import MAX_DISTANCE_UM, merges_section, pairs_to_tell

PROBABILITY = np.array([0.91, 0.42, 0.977, 0.1, 0.605, 0.33])


def test_two_units_in_one_cloud_of_the_picture_are_told_of(analyzer_folder):
    """Whichever two they are, and wherever their vectors lie."""
    analyzer = load_analyzer(analyzer_folder)
    extension = analyzer.get_extension(EXTENSION_NAME)
    units = np.asarray(extension.get_data(outputs="unit_index"))
    near = near_units(extension.get_data(outputs="location"), units, 6, MAX_DISTANCE_UM)
    pairs = [(a, b) for a, b in itertools.combinations(range(6), 2) if near[a, b]]
    assert len(pairs) >= 4
    rng = np.random.default_rng(0)
    for a, b in pairs:
        # each unit a cloud of its own, but for these two
        cloud = np.where(units == b, a, units)
        xy = np.column_stack([100.0 * cloud, 100.0 * (cloud % 2)]) + rng.normal(size=(len(units), 2))
        told = pairs_to_tell(analyzer, EmbeddingMap(xy, units, np.arange(6), None))
        assert {(a, b)} <= set(zip(told["a"], told["b"], strict=True))
        page = merges_section(told)
        assert "None:" not in page and f'href="#unit-{a}"' in page and f'href="#unit-{b}"' in page
        if (a, b) != (0, 5):
            assert "meet in the picture of the embedding, but not in the vectors" in page


@pytest.fixture
def told(analyzer_folder, tmp_path):
    """An analyzer with a unit of two neurons and halves of another, and the page of its report."""
    analyzer = load_analyzer(analyzer_folder)
    analyzer.sorting.set_property("good_probability", PROBABILITY)
    analyzer = analyzer.merge_units([[1, 2]], merging_mode="soft", sparsity_overlap=0.1)
    analyzer.sorting.set_property("good_probability", PROBABILITY[: len(analyzer.unit_ids)])
    return analyzer, report(analyzer, tmp_path / "report").html.read_text(encoding="utf8")


def test_figures_cards_and_table_say_the_same_of_each_unit(told):
    analyzer, page = told
    table = page[page.index('id="table"') :]
    heads = re.findall(r"<th(?: [^>]*)?>(?:<button[^>]*>)?([^<]+)", table)
    counts = analyzer.sorting.count_num_spikes_per_unit(outputs="dict")
    depths = analyzer.get_extension("unit_locations").get_data()[:, 1]
    rows = re.findall(r"<tr[^>]*>(<td.*?)</tr>", table, re.S)
    assert len(rows) == len(analyzer.unit_ids)
    for place, (unit, row) in enumerate(zip(analyzer.unit_ids, rows, strict=True)):
        cells = dict(zip(heads, re.findall(r"<td[^>]*>(?:<a[^>]*>)?([^<]*)", row), strict=True))
        card = re.search(rf'<article class="unit" id="unit-{place}">.*?</article>', page, re.S).group()
        assert cells["unit"] == str(unit) and f"Unit {unit} <small>" in card
        assert cells["spikes"] == f"{counts[unit]:,}" and f"{counts[unit]:,} spikes" in card
        assert float(cells["depth, µm"]) == pytest.approx(depths[place], abs=0.51)
        assert cells["one neuron, probability"] == f"{PROBABILITY[place]:.2f}"
        assert f"one neuron with probability {PROBABILITY[place]:.2f}" in card
        assert (cells["label"] or "no label") in card and f"main contact {cells['channel']}" in card


def test_the_report_tells_of_what_the_gui_suggests(told):
    analyzer, page = told
    curation = json.loads(json.dumps(suggest_curation(analyzer)))
    suggested = re.findall(r'<li class="own">(.*?)</li>', page)
    merges = [text for text in suggested if "a merge is suggested" in text]
    splits = [text for text in suggested if "may be two neurons" in text]
    assert len(merges) == len(curation["merges"]) == 1 and len(splits) == len(curation["splits"]) == 1
    for text, group in zip(merges, curation["merges"], strict=True):
        assert all(f">Unit {unit}<" in text for unit in group["unit_ids"])
    assert f">Unit {curation['splits'][0]['unit_id']}<" in splits[0]
