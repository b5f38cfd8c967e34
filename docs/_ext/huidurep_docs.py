"""
What the site adds to the pages of docs/, which are plain Markdown, to be read on a forge as well.

Links to what lies outside of docs/ become pages, and the packages get a drawing.
"""

from __future__ import annotations

import re
from typing import Any

from code_map import draw_map, read_map
from docutils import nodes
from docutils.parsers.rst import directives
from plain_pages import as_summary, tables_of_contents
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx_gallery.scrapers import figure_rst

# figures of the examples that are on their page already
_SHOWN: list[Any] = []


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
    """Make pages of the site of plain ones."""
    text = source[0]
    if name == "index":
        text += "".join(tables_of_contents(text))
    elif name == "api":
        text = re.sub(r"(?:^- `spikeinterface_huidurep\S*`\n?)+", as_summary, text, flags=re.MULTILINE)
    elif name == "model_card":
        text = "```{include} ../pretrained/MODEL_CARD.md\n```\n"
    elif name == "contributing":
        text = f"```{{include}} ../CONTRIBUTING.md\n:relative-docs: docs/\n```\n\n{CODE_MAP}"
    text = text.replace("](../pretrained/MODEL_CARD.md", "](model_card.md")
    text = re.sub(r"\]\(examples/(plot_\w+)\.py\)", r"](auto_examples/\1.rst)", text)
    source[0] = text.replace("](examples/README.rst)", "](auto_examples/index.rst)")


CODE_MAP = """## A map of the code

An arrow goes from the package that imports to the one that is imported; the drawing is made from the sources.

```{huidurep-code-map}
:alt: The subpackages of spikeinterface_huidurep and the imports between them
```
"""


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    app.add_directive("huidurep-code-map", CodeMap)
    app.connect("source-read", adapt_source)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
