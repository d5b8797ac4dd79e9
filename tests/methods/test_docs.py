"""The page on methods says what the files say."""

import importlib.util
import re
from pathlib import Path
from textwrap import dedent

from braindecode_ssr.methods import METHODS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "methods.rst").read_text(encoding="utf-8")


def written():
    spec = importlib.util.spec_from_file_location("methods_list", DOCS / "methods_list.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.text()


def test_the_list_is_up_to_date():
    listed = (DOCS / "methods_list.inc").read_text(encoding="utf-8")
    assert listed == written(), "run python docs/methods_list.py"
    assert all(f"\n``{name}``" in listed and METHODS[name].source in listed for name in METHODS)


def test_what_it_shows_is_a_method():
    shown = {}
    exec(dedent(PAGE.rpartition(".. code-block:: python\n\n")[2]), shown)  # noqa: S102
    assert shown["MINE"].settings_for("things-meg", "inter")["trials"]["sfreq"] == 100.0


def test_its_commands_name_methods():
    named = re.findall(r"--method ([\w-]+)", PAGE)
    assert named and set(named) <= set(METHODS)
