"""Pictures of a sort, and the report: what they show, and that the page needs nothing else."""

import re
import shutil

import numpy as np
import pytest
import spikeinterface.core as sc
from spikeinterface.core.motion import Motion
from spikeinterface.sorters import run_sorter

from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.curation import load_analyzer
from spikeinterface_huidurep.curation.curation_file import read_curation
from spikeinterface_huidurep.curation.extension import EXTENSION_NAME
from spikeinterface_huidurep.curation.pictures import (
    LABEL_COLORS,
    draw_embedding,
    draw_motion,
    draw_probe,
    draw_quality,
    draw_templates,
)
from spikeinterface_huidurep.curation.report_page import motion_of_output, motion_of_sort, report, save_motions
from spikeinterface_huidurep.curation.sort_folder import load_sort


def points_of(axes) -> np.ndarray:
    return np.concatenate([np.asarray(collection.get_offsets()) for collection in axes.collections])


def test_the_motion_is_taken_away(analyzer_folder):
    analyzer = load_analyzer(analyzer_folder)
    still = draw_motion(analyzer)
    rasters = [axes for axes in still.axes if "time" in axes.get_xlabel()]
    assert len(rasters) == 1 and "no motion" in rasters[0].get_title()
    n_spikes = len(analyzer.get_extension("random_spikes").get_data())
    assert len(points_of(rasters[0])) == n_spikes

    times = np.arange(0, 15.5, 0.5)
    motion = Motion([np.where(times < 7, 0.0, 30.0)[:, None]], [times], np.array([40.0]))
    before, after = [axes for axes in draw_motion(analyzer, motion).axes if "time" in axes.get_xlabel()]
    raw, registered = points_of(before), points_of(after)
    np.testing.assert_array_equal(raw[:, 0], registered[:, 0])
    shift = raw[:, 1] - registered[:, 1]
    assert set(np.round(shift[raw[:, 0] < 6])) == {0} and set(np.round(shift[raw[:, 0] > 8])) == {30}
    assert any(len(line.get_xdata()) == len(times) for line in before.lines)

    # each shank its own: of these two only the units of the second move
    analyzer.sorting.set_property("group", np.array([0, 0, 0, 1, 1, 1]))
    figure = draw_motion(analyzer, {"0": None, "1": motion})
    before, after = [axes for axes in figure.axes if "time" in axes.get_xlabel()]
    late = points_of(before)[:, 0] > 8
    shift = np.round((points_of(before) - points_of(after))[late, 1])
    units = analyzer.get_extension(EXTENSION_NAME).get_data(outputs="unit_index")
    spikes = analyzer.sorting.to_spike_vector()[analyzer.get_extension("random_spikes").get_data()]
    moved = np.sum((units >= 3) & (spikes["sample_index"] > 8 * 30000))
    assert set(shift) == {0, 30} and np.sum(shift == 30) == moved


def test_every_unit_is_drawn(analyzer_folder):
    analyzer = load_analyzer(analyzer_folder)
    names = {str(unit) for unit in analyzer.unit_ids}
    probe = draw_probe(analyzer)
    assert {text.get_text() for text in probe.axes[0].texts} == names
    np.testing.assert_allclose(points_of(probe.axes[0]), analyzer.get_extension("unit_locations").get_data()[:, :2])

    templates = draw_templates(analyzer)
    assert {axes.get_title().split()[0] for axes in templates.axes} == names
    troughs = {axes.get_title().split()[0]: axes.lines[1].get_ydata().min() for axes in templates.axes}
    assert troughs["2"] == pytest.approx(analyzer.get_extension("templates").get_unit_template(2).min(), rel=1e-5)

    quality = draw_quality(analyzer)
    heights = [bar.get_height() for bar in quality.axes[0].patches]
    assert heights == [4, 1, 1]  # good, MUA, noise
    legend = {text.get_text() for text in quality.legends[0].get_texts()}
    assert legend == {"good", "MUA", "noise"} <= set(LABEL_COLORS)


def test_the_map_keeps_units_together(analyzer_folder, curation_recording):
    analyzer = load_analyzer(analyzer_folder)
    figure = draw_embedding(analyzer)
    axes = figure.axes[0]
    clouds = [np.asarray(collection.get_offsets()) for collection in axes.collections]
    assert len(clouds) == 6 and {text.get_text() for text in axes.texts} == {str(unit) for unit in range(6)}
    middles = np.array([np.median(cloud, axis=0) for cloud in clouds])
    distances = np.linalg.norm(middles[:, None] - middles[None], axis=2) + 1e9 * np.eye(6)
    a, b = curation_recording[2]
    assert distances[a].argmin() == b and distances[b].argmin() == a


def test_a_report_is_one_page(analyzer_folder, tmp_path):
    analyzer = load_analyzer(analyzer_folder)
    files = report(analyzer, tmp_path / "report", title="A <sort>", facts={"Sorter": "another"})
    assert [path.name for path in files.pictures] == [
        "motion.png", "probe.png", "templates.png", "embedding.png", "quality.png",
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files.pictures)
    page = files.html.read_text(encoding="utf8")
    assert page.count("data:image/png;base64,") == 5
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page) and "http" not in re.sub(r"base64,\S+", "", page)
    assert "<h1>A &lt;sort&gt;</h1>" in page and "another" in page and "6 (4 good, 1 MUA, 1 noise)" in page
    assert "0 and 5" in page and page.count('<tr class="own">') == 1
    for quality_of in ("good", "MUA", "noise"):
        assert f'data-value="{quality_of}"' in page

    # without embeddings there is a report all the same
    analyzer.delete_extension(EXTENSION_NAME)
    files = report(analyzer, tmp_path / "report")
    assert "embedding.png" not in [path.name for path in files.pictures]
    assert "may be one neuron" not in files.html.read_text(encoding="utf8")


def test_sorting_with_a_report(tetrode_recording, _quick_similarity, tmp_path, capsys):
    recording, _ = tetrode_recording
    folder, output = tmp_path / "recording", tmp_path / "out"
    recording.save(folder=folder)
    arguments = ["sort", str(folder), "--output", str(output), "--report", "--param", "freq_min=400"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "report.html" in printed and f"huidurep gui {output}" in printed
    assert {path.name for path in output.iterdir()} == {"sorter", "sorting", "analyzer", "report"}
    assert not (output / "sorter/sorter_output/intermediate").exists()
    analyzer = load_analyzer(output / "analyzer")
    assert list(analyzer.unit_ids) == list(sc.load(output / "sorting").unit_ids)
    assert len(read_curation(analyzer)["manual_labels"]) == len(analyzer.unit_ids)
    page = (output / "report/report.html").read_text(encoding="utf8")
    assert "freq_min=400" in page and "not corrected" in page and "Spike sorting of recording" in page
    assert main(arguments) == 2  # what is there stays

    # afterwards: a new report of the analyzer that is there, and what a new analyzer would be made of
    assert main(["report", str(output), "--output", str(tmp_path / "elsewhere")]) == 0
    assert (tmp_path / "elsewhere/report.html").is_file()
    sorting, again, params = load_sort(output)
    assert params["freq_min"] == 400 and "freq_max" not in params
    assert list(sorting.unit_ids) == list(analyzer.unit_ids) and again.get_num_samples() == recording.get_num_samples()
    shutil.rmtree(output / "analyzer")
    shutil.rmtree(output / "sorting")
    assert main(["report", str(output)]) == 2
    assert "did not come to an end" in capsys.readouterr().err


def test_a_report_of_a_folder_of_run_sorter(tetrode_recording, _quick_similarity, tmp_path, capsys):
    """The GUI says how an analyzer is made, and the report makes it; of parts of a recording, for each."""
    recording, _ = tetrode_recording
    folder = tmp_path / "sort"
    sorting = run_sorter("huidurep", recording, folder=folder, n_jobs=1, freq_min=400.0)
    for inside in (folder, folder / "sorter_output", folder / "sorter_output" / "sorting"):
        assert main(["gui", str(inside)]) == 2
        assert f"huidurep report {folder} makes it" in capsys.readouterr().err
    assert main(["gui", str(tmp_path)]) == 2
    assert f"such as {folder}" in capsys.readouterr().err
    assert main(["report", str(folder)]) == 0
    assert f"huidurep gui {folder}" in capsys.readouterr().out
    assert list(load_analyzer(folder).unit_ids) == list(sorting.unit_ids)
    assert "freq_min=400" in (folder / "report" / "report.html").read_text(encoding="utf8")
    # a sort that failed
    shutil.rmtree(folder / "analyzer")
    (folder / "spikeinterface_log.json").write_text('{"error": true}', encoding="utf8")
    assert main(["report", str(folder)]) == 2
    assert "did not come to an end" in capsys.readouterr().err


def test_the_motion_of_a_sort_is_found(tmp_path):
    assert motion_of_sort(tmp_path) == {}
    motion = Motion([np.ones((3, 1))], [np.arange(3.0)], np.array([0.0]))
    for name in ("motion", "group_1/motion"):
        motion.save(tmp_path / "sorter_output/intermediate" / name)
    found = motion_of_sort(tmp_path)
    save_motions(found, tmp_path / "kept")
    assert set(motion_of_output(tmp_path / "kept")) == {None, "1"} and motion_of_output(tmp_path) == {}
    assert set(found) == {None, "1"}
    np.testing.assert_array_equal(found["1"].displacement[0], motion.displacement[0])
