"""Sphinx directives whose content comes from the package itself, so that a page cannot disagree with the code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from code_map import draw_map, read_map
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx_gallery.scrapers import figure_rst

from spikeinterface_huidurep.parameters import DEFAULT_PARAMS, PARAMS_DESCRIPTION

DOCS = Path(__file__).parent.parent
ADVICE = DOCS / "parameter_advice.json"
# pages that are written when there are results to tell
OPTIONAL_PAGES = ("encoder", "results", "promises")
# figures of the examples that are on their page already
_SHOWN: list[Any] = []


def read_advice() -> dict[str, str]:
    """When to touch each parameter, by its name; written by hand."""
    return json.loads(ADVICE.read_text(encoding="utf8"))


class Parameters(SphinxDirective):
    """``{huidurep-parameters}``: every parameter with its default, its description and when to touch it."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(ADVICE))
        advice = read_advice()
        entries = nodes.definition_list()
        for name, default in DEFAULT_PARAMS.items():
            term = nodes.term("", "", nodes.literal(text=name), nodes.Text(" = "), nodes.literal(text=repr(default)))
            term["ids"].append(f"parameter-{name.replace('_', '-')}")
            description = nodes.paragraph(text=PARAMS_DESCRIPTION[name])
            when = nodes.paragraph("", "", nodes.strong(text="When to touch it: "), nodes.Text(advice[name]))
            entries += nodes.definition_list_item("", term, nodes.definition("", description, when))
        return [entries]


class CodeMap(SphinxDirective):
    """``{huidurep-code-map}``: which packages there are and which imports which, read from the sources."""

    option_spec = {"alt": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        svg = draw_map(read_map())
        return [nodes.raw("", f'<div role="img" aria-label="{self.options.get("alt", "")}">{svg}</div>', format="html")]


def scrape_figures(block: tuple, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Sphinx-gallery's scraper for figures that pyplot does not know, such as those of `curation.draw_templates`."""
    from matplotlib.figure import Figure

    shown = block_vars["example_globals"].get("figure")
    # pyplot numbers its own figures, and sphinx-gallery's other scraper shows them
    if not isinstance(shown, Figure) or hasattr(shown, "number") or any(shown is earlier for earlier in _SHOWN):
        return ""
    _SHOWN.append(shown)
    path = next(block_vars["image_path_iterator"])
    shown.savefig(path, dpi=100)
    return figure_rst([path], gallery_conf["src_dir"])


def adapt_source(app: Sphinx, name: str, source: list[str]) -> None:
    """Take optional pages that do not exist out of the table of contents; the model card is a page of the site."""
    if name == "index":
        missing = {page for page in OPTIONAL_PAGES if not (DOCS / f"{page}.md").is_file()}
        source[0] = "\n".join(line for line in source[0].split("\n") if line.strip() not in missing)
    source[0] = source[0].replace("](../pretrained/MODEL_CARD.md", "](model_card.md")


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    app.add_directive("huidurep-parameters", Parameters)
    app.add_directive("huidurep-code-map", CodeMap)
    app.connect("source-read", adapt_source)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
