"""Sphinx settings. ``sphinx-build -W docs docs/_build/html`` works without a network.

``SSR_DOCS_ONLINE=1`` adds links into the documentation of braindecode, MNE, torch and others.
"""

import os
import sys
from pathlib import Path

os.environ["DOCSTRING_INHERITANCE_ENABLE"] = "1"  # before braindecode: models inherit parameters
os.environ.setdefault("MPLBACKEND", "Agg")

import braindecode_ssr  # noqa: E402

project = "braindecode_ssr"
author = "braindecode_ssr developers"
copyright = f"2026, {author}"
release = version = braindecode_ssr.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_click",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
default_role = "literal"

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's sections say it, with shapes
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = f"braindecode_ssr {version}"
html_theme_options = {"navigation_with_keys": False, "show_prev_next": False}
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": ["../tutorials"],
    "gallery_dirs": ["auto_tutorials"],
    "filename_pattern": "/plot_",
    "doc_module": ("braindecode_ssr",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "first_notebook_cell": "# pip install braindecode-ssr matplotlib\n%matplotlib inline",
}
# gallery: its settings hold no functions, so they are cached; the rest is nothing a reader meets
suppress_warnings = ["config.cache"]


def _skip(app, what, name, obj, skip, options):
    """Leave out what sklearn adds to every estimator and nobody here calls."""
    return skip or (name.startswith("set_") and name.endswith("_request"))


def _draw(app):
    """Draw the picture of `layout.rst` from the imports of the package."""
    sys.path.insert(0, str(Path(__file__).parent))
    from layout import draw

    draw()


def setup(app):
    """Connect the hooks above."""
    app.connect("builder-inited", _draw)
    app.connect("autodoc-skip-member", _skip)


if os.environ.get("SSR_DOCS_ONLINE"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "mne": ("https://mne.tools/stable", None),
        "skorch": ("https://skorch.readthedocs.io/en/stable", None),
        "braindecode": ("https://braindecode.org/stable", None),
        "moabb": ("https://moabb.neurotechx.com/docs", None),
    }
