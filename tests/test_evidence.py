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
def ablation():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        spec = importlib.util.spec_from_file_location(
            "ablation", ROOT / "benchmarks" / "ablation.py"
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules["ablation"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
        sys.modules.pop("ablation", None)


def test_the_tables_are_those_of_the_recorded_runs(ablation, tmp_path, capsys):
    sys_argv = ["ablation.py", "--table", "--out", str(RUNS), "--csv", str(tmp_path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys_argv)
        ablation.main()
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    shown = {path.name: path.read_text() for path in (ROOT / "docs").glob("evidence-*.csv")}
    assert made == shown and shown
    assert "ceiling" in capsys.readouterr().out


def test_differences_are_paired_by_subject_and_seed(ablation):
    runs = [json.loads(line) for line in RUNS.read_text().splitlines()]
    for file in (ROOT / "docs").glob("evidence-*.csv"):
        preset, protocol = file.stem.split("-")[1:]
        some = [r for r in runs if (r["preset"], r["protocol"]) == (preset, protocol)]
        top1 = {(r["row"], r["subject"], r["seed"]): 100 * r["top1"] for r in some}
        for row in csv.DictReader(file.read_text().splitlines()):
            if not row["minus ssr"]:
                continue
            keys = [key for key in top1 if key[0] == row["variant"]]
            pairs = [key for key in keys if ("ssr", *key[1:]) in top1]
            ours, theirs = (
                np.array([top1[n, s, k] for _, s, k in pairs]) for n in (row["variant"], "ssr")
            )
            test = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
            assert float(row["minus ssr"]) == pytest.approx((ours - theirs).mean(), abs=0.051)
            low, high = map(float, row["95 % interval"].split(" to "))
            assert (low, high) == pytest.approx((test.low, test.high), abs=0.051)
            assert int(row["runs"]) == len(keys)
            assert float(row["top-1"]) == pytest.approx(np.mean([top1[k] for k in keys]), abs=0.051)
