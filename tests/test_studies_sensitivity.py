"""The table of what the constants change: complete, as its figures say, and made of sorts that are as claimed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import spikeinterface.core as sc

from spikeinterface_huidurep.parameters import DEFAULT_PARAMS

STUDIES = Path(__file__).resolve().parent.parent / "studies"


@pytest.fixture
def study(monkeypatch):
    """The modules of the study: (sensitivity, constants, sensitivity_table)."""
    monkeypatch.syspath_prepend(str(STUDIES))
    import constants
    import sensitivity
    import sensitivity_table

    yield sensitivity, constants, sensitivity_table
    for name in ("sensitivity", "constants", "sensitivity_table"):
        sys.modules.pop(name, None)


@pytest.fixture
def tiny(study, monkeypatch):
    """One recording of ten seconds in place of the study's; gives what makes it."""
    from spikeinterface_huidurep.benchmark.recordings import GroundTruth

    def make():
        recording, truth = sc.generate_ground_truth_recording(
            durations=[10.0], sampling_frequency=30000.0, num_channels=4, num_units=4, seed=0
        )
        return GroundTruth("tiny", recording, truth, None, STUDIES, {})

    source = study[0].Source("tiny", make)
    monkeypatch.setattr(study[0], "RECORDINGS", {"tiny": source})
    return source


def test_each_constant_stands_in_the_table(study):
    """A new number in stages/ or criteria.py, or a new field of criteria, needs a row: figures, or why there are none.

    `python studies/sensitivity.py` measures it, `--render` lists it as not measured yet.
    """
    _, constants, table = study
    results = json.loads((STUDIES / "sensitivity.json").read_text(encoding="utf8"))
    written = (STUDIES / "sensitivity.md").read_text(encoding="utf8")
    found = constants.find_constants()
    assert written == table.render(found, results)
    sections = {part.split("\n")[0]: part for part in written.split("\n## ")[1:]}
    for one in found:
        assert f"| `{one.name}` |" in sections[one.file], one.key


def test_what_is_said_of_constants_is_said_of_some_that_there_are(study):
    _, constants, _ = study
    found = constants.find_constants()
    known, files = {one.key for one in found}, {one.file for one in found}
    assert len(found) > 100
    assert not set(constants.NOT_SWEPT) - known
    assert not set(constants.PARAMETER_OF) - known
    assert not set(constants.YARDSTICKS) - set(DEFAULT_PARAMS)
    assert not set(constants.PARAMETER_OF.values()) - set(DEFAULT_PARAMS)
    assert not constants.OF_MOTION - known
    assert not constants.SHARE_OF_MOST - known
    assert not set(constants.ACTS_IN) - known - files
    assert {one.room for one in found} <= set(constants.ROOMS)


def test_a_constant_is_changed_wherever_it_is_known_and_put_back(study):
    from spikeinterface_huidurep.stages.matching import confidence
    from spikeinterface_huidurep.stages.result.cleaning import CleaningCriteria
    from spikeinterface_huidurep.stages.templates import whitened
    from spikeinterface_huidurep.stages.units import split

    _, constants, _ = study
    by_key = {one.key: one for one in constants.find_constants()}
    with constants.patched(by_key["templates/whitened.py: N_SUBSAMPLE"], 10):
        assert whitened.N_SUBSAMPLE == split.N_SUBSAMPLE == 10
    with constants.patched(by_key["matching/confidence.py: LEAST_SHARE"], 0.6):
        assert confidence.estimate_confidence.__kwdefaults__["least_share"] == 0.6
    with constants.patched(by_key["result/cleaning.py: CleaningCriteria.min_explained"], 0.3):
        assert CleaningCriteria.in_samples(30000.0).min_explained == 0.3
    with constants.patched(by_key["units/loop.py: UnitCriteria.amplitude_std"], 0.2) as changes:
        assert changes == {"amplitude_std": 0.2}
    with constants.patched(by_key["parameters.py: min_confidence"], 0.5) as changes:
        assert changes == {"min_confidence": 0.5}
    assert whitened.N_SUBSAMPLE == split.N_SUBSAMPLE == 8
    assert confidence.estimate_confidence.__kwdefaults__["least_share"] == confidence.LEAST_SHARE == 0.5
    assert CleaningCriteria.in_samples(30000.0).min_explained == 0.4


def test_what_follows_from_a_constant_changes_with_it_and_is_none_of_its_own(study):
    from spikeinterface_huidurep.stages.matching.assignment import MatchingCriteria
    from spikeinterface_huidurep.stages.motion import alignment, path
    from spikeinterface_huidurep.stages.traces import blanks

    _, constants, _ = study
    by_key = {one.key: one for one in constants.find_constants()}
    with constants.patched(by_key["motion/path.py: COST_OF_JUMP"], 18.0):
        assert path.COST_OF_JUMP == alignment.COST_OF_JUMP == alignment.BEYOND_UM == 18.0
    with constants.patched(by_key["traces/caching.py: STEPS_PER_NOISE"], 50):
        assert blanks.SILENCE == 0.02
    with constants.patched(by_key["matching/rules.py: UNEXPLAINED_MOVING"], 0.03):
        assert MatchingCriteria().unexplained == 0.03
    assert (alignment.BEYOND_UM, blanks.SILENCE, MatchingCriteria().unexplained) == (15.0, 1 / 64, 0.02)
    assert not {"motion/alignment.py: BEYOND_UM", "traces/blanks.py: SILENCE"} & set(by_key)
    assert "matching/assignment.py: MatchingCriteria.unexplained" not in by_key


def test_one_name_has_one_value(study):
    """In the rooms of `stages/`; `units` and `grouping` are left out."""
    _, constants, _ = study
    values: dict[str, set] = {}
    for one in constants.find_constants():
        if one.room not in ("units", "grouping"):
            values.setdefault(one.name, set()).add(one.value)
    assert {name: found for name, found in values.items() if len(found) > 1} == {}


def test_no_constant_that_decides_is_compiled_in(study):
    """What numba has compiled cannot be changed: `PursuitRules` hands constants to it."""
    _, constants, _ = study
    deciding = {one.key for one in constants.find_constants() if one.decides}
    assert not constants.compiled_constants() & deciding


def test_values_go_down_and_up_by_a_fifth(study):
    _, constants, _ = study
    for value, down, up in ((0.5, 0.4, 0.6), (10, 8, 12), (2, 1, 3), ((1.0, 1.5), (0.8, 1.2), (1.2, 1.8))):
        one = constants.Constant("units/loop.py", "X", value)
        assert (one.changed("down"), one.changed("up")) == (down, up)


def test_a_constant_is_measured_and_not_measured_again(study, tiny, tmp_path, capsys):
    arguments = [
        "--only",
        "UnitCriteria.sure",
        "--results",
        str(tmp_path / "a.json"),
        "--table",
        str(tmp_path / "a.md"),
    ]
    assert study[0].main(arguments) == 0
    row = json.loads((tmp_path / "a.json").read_text())["rows"]["units/loop.py: UnitCriteria.sure"]
    assert (row["value"], row["down"]["value"], row["up"]["value"]) == (0.6, 0.48, 0.72)
    assert set(row["down"]["figures"]) == {"tiny"}
    assert "`UnitCriteria.sure` | 0.6 |" in (tmp_path / "a.md").read_text()
    assert "UnitCriteria.sure up" in capsys.readouterr().out
    assert study[0].main(arguments) == 0
    assert "UnitCriteria.sure" not in capsys.readouterr().out


def test_sorts_that_reuse_stages_are_those_that_do_not(study, tiny):
    """Of a constant of each kind: the spikes with all stages run anew, and with only those that it acts in."""
    from contextlib import ExitStack

    sensitivity, constants, _ = study
    by_key = {one.key: one for one in constants.find_constants()}
    with ExitStack() as stack:
        case = sensitivity.Case.made("tiny", tiny, stack)
        for key in (
            "peaks/detection.py: LEAST_TRACE",
            "units/mixtures.py: WIDTH",
            "matching/confidence.py: LEAST_SHARE",
        ):
            with constants.patched(by_key[key], by_key[key].changed("up")) as changes:
                quick = case.changed(by_key[key].stages, changes)
                assert quick == case.changed(constants.ALL_STAGES, changes), key
        assert case.changed(constants.ALL_STAGES, {}) == [*case.figures, "same"]
