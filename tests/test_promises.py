"""The table of promises in docs/promises.md names tests that exist."""

import re


def test_every_promise_has_its_test(project_root):
    text = (project_root / "docs" / "promises.md").read_text(encoding="utf8")
    rows = [
        line for line in text.splitlines() if line.startswith("|") and "---" not in line and "Promise |" not in line
    ]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`( \(slow\))?", row)
        assert named, row
        for file, test, slow in named:
            source = (project_root / "tests" / file).read_text(encoding="utf8")
            found = re.search(rf"((?:^@.*\n)*)^def {test}\(", source, re.MULTILINE)
            assert found, f"{file} has no {test}"
            assert ("mark.slow" in found.group(1)) == bool(slow), f"{file}::{test}"
