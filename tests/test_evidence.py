"""The evidence page of the documentation says what its recorded runs say."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "docs" / "evidence.jsonl"


@pytest.fixture(scope="module")
def evidence():
    path = ROOT / "benchmarks" / "evidence.py"
    spec = importlib.util.spec_from_file_location("evidence", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_recorded_runs(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evidence.py", "--table", "--csv", str(tmp_path)])
    evidence.main()
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    shown = {path.name: path.read_text() for path in (ROOT / "docs").glob("evidence-*.csv")}
    assert made == shown and shown


def test_differences_are_paired_by_subject(evidence):
    """Means over seeds first, then Student's interval over subjects, by scipy's paired test."""
    runs = [json.loads(line) for line in RUNS.read_text().splitlines()]
    for file in (ROOT / "docs").glob("evidence-*.csv"):
        preset = file.stem.removeprefix("evidence-").removesuffix("-pairs")
        top1: dict[tuple, list[float]] = {}
        for run in runs:
            if run["preset"] == preset:
                top1.setdefault((run["row"], run["subject"]), []).append(100 * run["top1"])
        subjects = sorted({subject for _, subject in top1})

        def scores(row, top1=top1, subjects=subjects):
            return np.array([np.mean(top1[row, subject]) for subject in subjects])

        for row in csv.DictReader(file.read_text().splitlines()):
            ours = scores(row["row"])
            if "top-1" in row:
                assert int(row["subjects"]) == len(subjects)
                assert float(row["top-1"]) == pytest.approx(ours.mean(), abs=0.051)
            if row["row"] != evidence.REFERENCE:
                theirs = scores(row.get("against", evidence.REFERENCE))
                test = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
                low, high = map(float, row["95 % interval"].split(" to "))
                assert (low, high) == pytest.approx((test.low, test.high), abs=0.051)
                assert float(row["difference"]) == pytest.approx((ours - theirs).mean(), abs=0.051)


IN_README = {
    "linear encoding model": "encoding",
    "SSR (": "ssr",
    "the same with shuffled partners": "ssr, shuffled partner",
    "SSR without reconstruction": "triple: the three contrasts",
    "plain contrast": "contrast on originals",
    "ridge regression": "ridge-decoding",
}


def test_readme_shows_the_numbers_of_these_tables():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = {
        preset: {
            row["row"]: row
            for row in csv.DictReader((ROOT / "docs" / f"evidence-{preset}.csv").open())
        }
        for preset in ("small-v1", "small")
    }
    for begin, name in IN_README.items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {begin}"))
        cells = [cell.strip() for cell in line.strip("|").split("|")[1:]]
        expected = []
        for rows in tables.values():
            row, reference = rows[name], name == "contrast on originals"
            # -51.6 to -44.1 there as here; 12.4 to 16.2 without signs where both ends are above zero
            difference = f"{row['difference']} ({row['95 % interval'].replace('+', '')})"
            expected += [f"{row['top-1']} / {row['top-5']}", "" if reference else difference]
        assert cells == expected, name
    (sentence,) = (line for line in text.splitlines() if line.startswith("**What SSR earns"))
    for name in ("ssr", "ssr, shuffled partner"):
        for rows in tables.values():
            assert rows[name]["difference"].removeprefix("+") in sentence
