"""Sphinx configuration; ``make docs`` builds the site."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

# before SpikeInterface and numba are imported: examples run on one core
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from plain_pages import summaries  # noqa: E402

import spikeinterface_huidurep  # noqa: E402

project = "spikeinterface-huidurep"
author = "The spikeinterface-huidurep developers"
version = release = spikeinterface_huidurep.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "huidurep_docs",
]
exclude_patterns = ["_build", "examples", "_ext", "api_names.rst"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Pages are made for the names of the reference before Sphinx reads it, which is a plain list.
NAMES = HERE / "api_names.rst"
NAMES.write_text(summaries((HERE / "api.md").read_text(encoding="utf8")), encoding="utf8")
autosummary_generate = [NAMES.name]
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "HuiduRep spike sorting"
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"**": ["globaltoc.html"], "index": []}
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "ignore_pattern": r"spikeglx_folder\.py",
    "copyfile_regex": r"spikeglx_folder\.py",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "capture_repr": ("_repr_html_", "__repr__"),
    "matplotlib_animations": False,
    "image_scrapers": ("matplotlib", "huidurep_docs.scrape_figures"),
}

# what libraries say to their own developers is no warning about these pages
warnings.filterwarnings("ignore", category=DeprecationWarning)
# generated recordings and their truth are saved or used at once, nothing is lost
warnings.filterwarnings("ignore", message="The extractor is not serializable")
warnings.filterwarnings("ignore", message="The recording registered to this sorting object")
