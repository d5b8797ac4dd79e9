"""The README's line for each published table: whole, and a grid that can be run."""

import json
import re
import shlex
from pathlib import Path

import pytest

from braindecode_ssr.methods import METHODS

ROOT = Path(__file__).parents[2]
TABLES = {  # rows of the tables that SSR reports, see the notes on published tables
    ("things-eeg", "intra"): "bravl nice atm cogcapturer neural-mcrl ve-sdn ubp neurobridge ssr",
    ("things-eeg", "inter"): "bravl nice atm ubp neural-mcrl neurobridge ssr",
    ("things-meg", "intra"): "nice ubp neurobridge ssr",
    ("things-meg", "inter"): "ubp neurobridge ssr",
}


def commands(text):
    """The lines that fill a table, by dataset and protocol, as words."""
    found, text = {}, re.sub(r"\\\n\s*", "", text)
    for line in re.findall(r"ssr-bd benchmark --dataset things-[em]eg [^`\n]+", text):
        words = shlex.split(line)[2:]
        options = dict(zip(words[::2], words[1::2], strict=True))
        found[options["--dataset"], options["--protocols"]] = options
    return found


LINES = commands((ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_page_on_grids_says_the_same():
    page = commands((ROOT / "docs" / "benchmark.rst").read_text(encoding="utf-8"))
    for where, options in page.items():
        assert {**options, "--out": None} == {**LINES[where], "--out": None}
    assert len(page) == len(LINES) == 4


@pytest.mark.parametrize("where", TABLES)
def test_every_row_of_a_table_is_in_its_line(where):
    dataset, protocol = where
    names = LINES[where]["--methods"].split(",")
    assert names == TABLES[where].split()
    assert all(METHODS[name].published[dataset][protocol] for name in names)
    assert LINES[where]["--evaluations"] == "default,as-published"
    assert LINES[where]["--seeds"] == "5" and LINES[where]["--subjects"] == "all"


@pytest.fixture(scope="module")
def things_eeg(tmp_path_factory):
    """Two simulated subjects in the published layout."""
    from braindecode_ssr.pipeline import simulate

    folder = tmp_path_factory.mktemp("tables") / "EEG"
    simulate("things-sim", folder, layout="raw", preset="tiny", subjects=(1, 2))
    return folder


@pytest.mark.parametrize("protocol", ["intra", pytest.param("inter", marks=pytest.mark.slow)])
def test_it_is_a_grid(things_eeg, protocol, tmp_path, capfd):
    from braindecode_ssr_cli import main

    line = {**LINES["things-eeg", protocol], "--seeds": "1", "--data-dir": str(things_eeg)}
    words = [word for option in {**line, "--out": str(tmp_path)}.items() for word in option]
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", *words, "--dry-run", "--json"])
    out, err = capfd.readouterr()
    assert ended.value.code == 0, err
    runs = json.loads(out)["runs"]
    assert {run["method"] for run in runs} == set(line["--methods"].split(","))
    assert {run["seed"] for run in runs} == {0}
    assert {run["subject"] for run in runs} == {1, 2}
