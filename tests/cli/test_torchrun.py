import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from .conftest import TINY

STILL = ("--set", "model.backbone_params={drop_prob=0.0}")  # each process draws drop-out for itself


def test_torchrun_trains_one_model_and_prints_one_table(shell, call, tiny_run, tmp_path):
    path, _ = tiny_run
    data = json.loads((path / "run.json").read_text())["dataset"]["root"]
    args = ["train", *TINY, *STILL, "--subject", 5, "--data-dir", data, "--json"]
    launcher = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    command = ["--nproc-per-node", "2", "-m", "braindecode_ssr_cli", *args, "--out", tmp_path / "2"]
    done = subprocess.run(
        [*launcher, *map(str, command)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)
    assert done.stderr.count("run folder: ") == 1
    alone = call(*args, "--out", tmp_path / "1", code=0).json
    assert together["top5"] == alone["top5"]
    runs = [Path(run["run"]) for run in (alone, together)]
    one, two = (pd.read_csv(run / "queries.csv") for run in runs)
    pd.testing.assert_frame_equal(one, two, rtol=1e-3)
    records = [json.loads((run / "run.json").read_text()) for run in runs]
    assert [record["processes"] for record in records] == [1, 2]
