"""Sphinx settings. ``sphinx-build -W docs docs/_build/html`` works without a network.

``SSR_DOCS_ONLINE=1`` adds links into the documentation of braindecode, MNE, torch and others.
"""

import inspect
import os
import pydoc
import re
import sys
from pathlib import Path

os.environ["DOCSTRING_INHERITANCE_ENABLE"] = "1"  # before braindecode: models inherit parameters
os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).parent))  # layout.py and course.py

from docutils import nodes  # noqa: E402
from sphinx.util.inspect import stringify_signature  # noqa: E402
from sphinx.util.nodes import make_refnode  # noqa: E402

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
autosummary_ignore_module_all = False  # public names are loaded when they are asked for
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's sections say it, with shapes
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = f"braindecode_ssr {version}"
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "header_links_before_dropdown": 8,
}
# pages without pages below them need no navigation at the left
html_sidebars = {name: [] for name in ("index", "install", "whats_new", "cite")}
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": ["../tutorials"],
    "gallery_dirs": ["auto_tutorials"],
    "filename_pattern": "/plot_",
    "doc_module": ("braindecode_ssr",),
    "backreferences_dir": "generated/backreferences",
    "within_subsection_order": "course.place",
    "minigallery_sort_order": "course.place",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "ignore_repr_types": "matplotlib",
    "first_notebook_cell": "# pip install braindecode-ssr matplotlib\n%matplotlib inline",
}
# gallery: its settings hold no functions, so they are cached; the rest is nothing a reader meets
suppress_warnings = ["config.cache"]


def _skip(app, what, name, obj, skip, options):
    """Leave out what sklearn adds to every estimator and nobody here calls."""
    return skip or (name.startswith("set_") and name.endswith("_request"))


def _signature(app, what, name, obj, options, signature, returns):
    """The parameters of models, whose ``__new__`` comes from the Hugging Face Hub; defaults by name."""
    if what == "class" and signature == "(*args, **kwargs)":
        signature = stringify_signature(inspect.signature(obj), show_annotation=False)
    if signature:
        signature = re.sub(r"<(?:class '[\w.]*?|function )(\w+)'?>", r"\1", signature)
    return signature, returns


def _types(app, what, name, obj, options, lines):
    """Say the type of a field, such as the choices of a setting, which autodoc leaves out."""
    cls, _, field = name.rpartition(".")
    kind = getattr(pydoc.locate(cls), "__annotations__", {}).get(field)
    if what == "attribute" and isinstance(kind, str) and not kind.startswith("ClassVar"):
        lines += ["", f":type: ``{kind}``", ""]


def _identity(name):
    """The object behind a dotted name, by the module that defines it."""
    obj = pydoc.locate(name)
    return getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)


def _public_path(app, env, node, contnode):
    """Link a name by any import path to where its object is documented."""
    if node.get("refdomain") != "py" or not node["reftarget"].startswith("braindecode_ssr."):
        return None
    objects = env.get_domain("py").objects
    if not hasattr(env, "ssr_public"):
        env.ssr_public = {_identity(name): name for name in objects}
    name = env.ssr_public.get(_identity(node["reftarget"]))
    if name is None or _identity(name)[1] is None:
        return None
    entry = objects[name]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name)


def _model_links(app, doctree, docname):
    """Link the models in the table of backbones to their pages, braindecode's to those of braindecode."""
    if docname != "backbones":
        return
    import braindecode.models

    objects = app.env.get_domain("py").objects
    for row in doctree.findall(nodes.row):
        for literal in list(row[0].findall(nodes.literal))[:1]:
            name = literal.astext()
            own = objects.get(f"braindecode_ssr.models.{name}")
            if own:
                to = own.docname, own.node_id
                link = make_refnode(app.builder, docname, *to, literal.deepcopy(), name)
            elif hasattr(braindecode.models, name):
                page = f"https://braindecode.org/stable/generated/braindecode.models.{name}.html"
                link = nodes.reference("", "", literal.deepcopy(), refuri=page, internal=False)
            else:
                continue
            literal.replace_self(link)


def _changes(app, path, parent, content):
    """Read ``CHANGELOG.md`` as reStructuredText."""
    if path.name != "CHANGELOG.md":
        return
    text = "".join(
        f"\\ ``{part}``\\ " if i % 2 else re.sub(r"([*|_\\])", r"\\\1", part)
        for i, part in enumerate(content[0].split("`"))
    )
    text = re.sub(r"\[([^]]+)\]\(([^)]+)\)", r"`\1 <\2>`__", text)
    content[0] = re.sub(r"^## (.+)$", lambda m: f"{m[1]}\n{'-' * len(m[1])}", text, flags=re.M)


def _draw(app):
    """Draw the picture of `layout.rst` from the imports of the package."""
    from layout import draw

    draw()


def setup(app):
    """Connect the hooks above."""
    app.connect("builder-inited", _draw)
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _types)
    app.connect("missing-reference", _public_path)
    app.connect("include-read", _changes)
    app.connect("doctree-resolved", _model_links)


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
