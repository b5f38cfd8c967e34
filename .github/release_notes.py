"""Print the changelog's section of the version that a tag names, and fail where tag, version and changelog disagree.

python .github/release_notes.py v0.2.0
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def release_notes(tag: str, version: str, changelog: str) -> str:
    """
    Section of the changelog that belongs to a release.

    Parameters
    ----------
    tag : str
        Name of the tag, such as "v0.2.0".
    version : str
        The package's version, such as "0.2.0".
    changelog : str
        Text of CHANGELOG.md; the heading of a released version is "## 0.2.0 - 2026-12-31".

    Returns
    -------
    str
        What stands below the version's heading.

    Raises
    ------
    ValueError
        If the tag is not the version's, or the changelog has no section of it with a date and a text.
    """
    if tag != f"v{version}":
        raise ValueError(f"The tag is {tag}, but the package has version {version}: its tag is v{version}.")
    sections = re.split(r"^## (.*)\n", changelog, flags=re.MULTILINE)[1:]
    for heading, text in zip(sections[::2], sections[1::2], strict=True):
        if heading.split()[:1] != [version]:
            continue
        if not re.fullmatch(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d", heading):
            raise ValueError(f'CHANGELOG.md says "## {heading}": a release has its date, "## {version} - YYYY-MM-DD".')
        if not text.strip():
            raise ValueError(f"The section of {version} in CHANGELOG.md is empty.")
        return text.strip() + "\n"
    raise ValueError(f"CHANGELOG.md has no section of version {version}.")


def main() -> None:
    """Print the notes of the release whose tag is the only argument."""
    (tag,) = sys.argv[1:]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    (path,) = re.findall(r'^\[tool\.hatch\.version\]\npath = "(.*)"$', project, re.MULTILINE)
    (version,) = re.findall(r'^__version__ = "(.*)"$', (ROOT / path).read_text(encoding="utf8"), re.MULTILINE)
    try:
        print(release_notes(tag, version, (ROOT / "CHANGELOG.md").read_text(encoding="utf8")), end="")
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
