"""Pictures of a sort, and the report: what they show, and that the page needs nothing else."""

import re
import shutil

import numpy as np
import pytest
import spikeinterface.core as sc
from spikeinterface.core.motion import Motion
from spikeinterface.sorters import run_sorter

from spikeinterface_huidurep.cli import main
from spikeinterface_huidurep.curation import interactive, load_analyzer
from spikeinterface_huidurep.curation.curation_file import read_curation, read_suggestions
from spikeinterface_huidurep.curation.decisions import read_decisions
from spikeinterface_huidurep.curation.extension import EXTENSION_NAME
from spikeinterface_huidurep.curation.picture_data import _apart, make_raster, probe_labels
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


def test_a_motion_in_the_times_of_the_recording_lies_over_its_spikes(analyzer_folder):
    """The recording starts at 1,000 s and was paused for an hour; the picture has neither."""
    plain, clock = load_analyzer(analyzer_folder), load_analyzer(analyzer_folder)
    recording = clock.recording
    while recording.get_parent() is not None:  # SpikeInterface asks the first of a chain for the time
        recording = recording.get_parent()
    times = np.arange(clock.get_num_samples(0)) / clock.sampling_frequency
    paused = 1000 + times + np.where(times < 7, 0, 3600)
    recording.set_times(paused, segment_index=0)
    bins = np.arange(0, 15.5, 0.5)
    moved = np.where(bins < 7, 0.0, 30.0)[:, None]
    rasters = [
        make_raster(analyzer, {None: Motion([moved], [at], np.array([40.0]))})
        for analyzer, at in ((plain, bins), (clock, 1000 + bins + np.where(bins < 7, 0, 3600)))
    ]
    np.testing.assert_allclose(rasters[1].times, rasters[0].times)
    np.testing.assert_allclose(rasters[1].registered, rasters[0].registered, atol=0.1)
    assert np.ptp(rasters[0].depths - rasters[0].registered) > 25


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


def without_scripts(page: str) -> str:
    """A page without its scripts, bokeh's among them, and without the data of pictures."""
    return re.sub(r"base64,[^\s\"]+", "", re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL))


@pytest.mark.parametrize("with_bokeh", [True, False])
def test_a_report_is_one_page(with_bokeh, analyzer_folder, tmp_path, monkeypatch):
    if with_bokeh:
        pytest.importorskip("bokeh")
    else:
        monkeypatch.setattr(interactive, "is_possible", lambda: False)
    analyzer = load_analyzer(analyzer_folder)
    files = report(analyzer, tmp_path / "report", title="A <sort>", facts={"Sorter": "another"})
    assert [path.name for path in files.pictures] == [
        "motion.png", "probe.png", "templates.png", "embedding.png", "quality.png",
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files.pictures)
    whole = files.html.read_text(encoding="utf8")
    page = without_scripts(whole)
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page) and "http" not in page
    assert "<h1>A &lt;sort&gt;</h1>" in page and "another" in page and "6 (4 good, 1 MUA, 1 noise)" in page
    assert len(re.findall(r'<div id="[\w-]+" data-root-id=', page)) == (3 if with_bokeh else 0)
    assert ("Bokeh" in whole) == with_bokeh
    # each unit has its pictures, and the table leads there
    for place in range(6):
        assert page.count(f'<article class="unit" id="unit-{place}">') == 1
        assert f'<td class="text" data-value="{place}"><a href="#unit-{place}">{place}</a></td>' in page
    assert page.count("Autocorrelogram of unit") == 6
    for head in ("rate, Hz", "amplitude, µV", "depth, µm", "contamination, share"):
        assert f">{head}<" in page
    # the halves of a unit, and what speaks for their being one
    (suggested,) = re.findall(r'<li class="own">.*?</li>', page)
    assert ">Unit 0<" in suggested and ">Unit 5<" in suggested and "a merge is suggested" in suggested
    assert "their spikes lie among each other in the embedding" in suggested.replace("Their", "their")
    assert "May be one neuron with unit 5" in page
    for quality_of in ("good", "MUA", "noise"):
        assert f'data-value="{quality_of}"' in page

    # without embeddings there is a report all the same
    analyzer.delete_extension(EXTENSION_NAME)
    files = report(analyzer, tmp_path / "report")
    assert "embedding.png" not in [path.name for path in files.pictures]
    assert "may be one neuron" not in files.html.read_text(encoding="utf8")


@pytest.mark.parametrize("width", [390, 1366])
def test_a_report_in_a_browser(width, browser, analyzer_folder, tmp_path):
    """It asks for nothing from elsewhere, fits the screen, and its figures answer."""
    pytest.importorskip("bokeh")
    files = report(load_analyzer(analyzer_folder), tmp_path / "report")
    context = browser.new_context(viewport={"width": width, "height": 800}, offline=True)
    page, asked, wrong = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(error))
    page.goto(files.html.as_uri())
    page.wait_for_function("window.Bokeh && Object.keys(Bokeh.index).length >= 3")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = page.locator(".bk-Figure").evaluate_all("figures => figures.map(one => one.clientWidth)")
    assert len(drawn) == 3 and all(250 < one <= width for one in drawn)
    page.get_by_role("link", name="3", exact=True).click()
    assert page.url.endswith("#unit-3")
    assert not wrong and all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def test_a_unit_has_one_depth(analyzer_folder):
    """In the raster, in the table and on the probe."""
    analyzer = load_analyzer(analyzer_folder)
    raster = make_raster(analyzer, {})
    places = analyzer.get_extension("unit_locations").get_data()[:, 1]
    for unit in range(6):
        assert np.median(raster.depths[raster.units == unit]) == pytest.approx(places[unit], abs=0.01)


def test_names_do_not_cover_each_other():
    depths = np.array([50.0, 51, 52, 300, 52.5, 310])
    at = probe_labels(depths, 400.0)
    assert (np.argsort(at) == np.argsort(depths)).all()
    assert np.diff(np.sort(at)).min() >= 400 / 28 - 1e-6
    assert abs(at[3] - 300) < 10 and np.abs(at - depths).max() < 25
    assert probe_labels(np.zeros(100), 400.0) is None
    middles = np.array([[0.0, 0.0], [0.1, 0.0], [0.05, 0.1], [5.0, 5.0]])
    moved = _apart(middles, np.array([1.0, 0.5]))
    np.testing.assert_array_equal(moved[3], middles[3])
    assert np.diff(np.sort(moved[:3, 1])).min() >= 0.499


LOG = """\
2026-01-02 10:00:00,000 INFO the sort begins: spikeinterface-huidurep 9.9
2026-01-02 10:00:00,000 WARNING 9 silent channel(s) left out: of an earlier sort
2026-01-02 10:00:01,000 INFO the sort begins: spikeinterface-huidurep 9.9
2026-01-02 10:00:01,100 INFO recording: 32 channels, 30000 Hz, 60.0 s in 1 segment(s), float32
2026-01-02 10:00:01,200 WARNING 2 silent channel(s) left out: 3, 4
2026-01-02 10:00:01,300 INFO blanks on 2 channel(s) are filled, up to 3.1 % of the time (channel 7)
2026-01-02 10:00:02,000 INFO preprocess: 1.0 s
2026-01-02 10:00:02,000 INFO about 12 min left
2026-01-02 10:00:03,000 INFO embed spikes: 98530 found
2026-01-02 10:00:03,500 INFO motion: not corrected, the probe moves less than 4 um
2026-01-02 10:00:04,000 INFO assign spikes: 108270 found
2026-01-02 10:00:05,000 INFO cleaning: 1 of 14 units dropped that echo a larger unit
2026-01-02 10:00:06,000 WARNING UserWarning: something new (file.py:3)
Traceback (most recent call last):
"""


def test_the_decisions_of_a_sort_in_sentences(tmp_path):
    (tmp_path / "huidurep.log").write_text(LOG)
    assert read_decisions(tmp_path / "huidurep.log") == [
        ("Silent channels were left out (2): 3, 4.", True),
        ("Blanks on some channels (2) were filled in, up to 3.1 % of the time on channel 7.", False),
        ("Motion was not corrected: the probe moves less than 4 µm.", False),
        ("Template matching found 108,270 spikes.", False),
        ("1 of 14 units were left out that echo a larger unit.", False),
        ("UserWarning: something new (file.py:3)", True),
    ]
    assert read_decisions(tmp_path / "none.log") == []


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
    assert len(read_suggestions(analyzer)["manual_labels"]) == len(analyzer.unit_ids)
    assert read_curation(analyzer) is None
    page = (output / "report/report.html").read_text(encoding="utf8")
    assert "freq_min=400" in page and "not corrected" in page and "Spike sorting of recording" in page
    # what the log says is told in sentences, and nothing as it is in the log
    decisions = re.search(r'id="decisions">.*?</ul>', page, re.DOTALL).group()
    assert "Template matching found" in decisions and "Motion was not corrected: " in decisions
    for item in re.findall(r"<li.*?</li>", decisions):
        assert item.endswith((".</li>", ":</li>")), item
    assert main(arguments) == 2  # what is there stays

    # afterwards: a new report of the analyzer that is there, and what a new analyzer would be made of
    assert main(["report", str(output), "--output", str(tmp_path / "elsewhere")]) == 0
    again = (tmp_path / "elsewhere/report.html").read_text(encoding="utf8")
    assert "freq_min=400" in again and "save_intermediate" not in again and decisions in again
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
