"""The page on methods says what the files say."""

import importlib.util
import re
import tomllib
from pathlib import Path
from textwrap import dedent

from braindecode_ssr.methods import METHODS, Method
from braindecode_ssr_cli.catalog import _method_row as method_row

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "methods.rst").read_text(encoding="utf-8")


def methods_list():
    spec = importlib.util.spec_from_file_location("methods_list", DOCS / "methods_list.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_is_up_to_date():
    listed = (DOCS / "methods_list.inc").read_text(encoding="utf-8")
    assert listed == methods_list().text(), "run python docs/methods_list.py"
    joined = " ".join(listed.split())
    assert all(f"\n``{name}``" in listed and METHODS[name].source in joined for name in METHODS)


def test_the_table_of_backbones_is_up_to_date():
    listed = (DOCS / "backbones_list.inc").read_text(encoding="utf-8")
    assert listed == methods_list().backbones(), "run python docs/methods_list.py"


def shown():
    """The methods of the page: one as a file, one in Python."""
    file = dedent(re.search(r"mine\.toml``.*?code-block:: toml\n\n(.*?)\n\n\S", PAGE, re.S)[1])
    python = {}
    exec(dedent(PAGE.rpartition(".. code-block:: python\n\n")[2]), python)  # noqa: S102
    return Method(name="mine", **tomllib.loads(file)), python["MINE"]


def test_what_it_shows_is_a_method_both_ways():
    file, python = shown()
    assert file == python
    assert file.settings_for("things-meg", "inter")["trials"]["sfreq"] == 100.0


def test_a_method_needs_neither_counted_parameters_nor_published_numbers():
    page = methods_list()
    rows = [method_row(shown()[0])]
    assert "``mine``" in page.table(page.recipe(rows)) and "``mine``" not in str(
        page.published(rows)
    )
    assert "--method mine" in page.section(rows[0])


def test_its_commands_name_methods():
    named = re.findall(r"--method ([\w-]+)", PAGE)
    assert named and set(named) <= set(METHODS)
