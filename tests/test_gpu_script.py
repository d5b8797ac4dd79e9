"""The script that measures a GPU works, so that it is ready when there is one."""

import importlib
from pathlib import Path

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
@pytest.mark.usefixtures("runs_here")
def test_small_sizes_on_a_cpu(sim_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    out = tmp_path / "gpu.csv"
    gpu = importlib.import_module("gpu")
    gpu.main(["--small", "--device", "cpu", "--data-dir", str(sim_dir), "--csv", str(out)])
    said = capsys.readouterr().out
    assert "CPU" in said and "say nothing about speed" in said
    table = pd.read_csv(out)
    epochs, grid = (table[table["table"] == name] for name in ("epoch", "grid"))
    rows = [tuple(row) for row in epochs[["backbone", "channels", "precision"]].to_numpy()]
    assert rows == [(b, n, p) for _, b, n, _ in gpu.MODELS for p in gpu.PRECISIONS]
    assert (epochs["ratio"] - epochs["ours s"] / epochs["bare s"]).abs().max() < 0.1
    assert grid["runs"].tolist() == [2, 2] and grid["precision"].tolist() == list(gpu.PRECISIONS)
    assert grid["top-5 %"].between(grid["top-1 %"], 100).all()
