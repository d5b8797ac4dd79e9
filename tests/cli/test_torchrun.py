import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from forked import ssr_bd, started

from .conftest import TINY

STILL = ("--set", "model.backbone_params={drop_prob=0.0}")  # each process draws drop-out for itself


def command(run, out):
    data = json.loads((run / "run.json").read_text())["dataset"]["root"]
    args = ["train", *TINY, *STILL, "--subject", 5, "--data-dir", data, "--out", out, "--json"]
    return [str(arg) for arg in args]


@pytest.mark.slow
def test_two_processes_train_one_model_and_print_one_table(call, tiny_run, tmp_path):
    """With the environment that torchrun gives to its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    args = command(tiny_run[0], tmp_path / "2")
    ranks = [{**world, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    processes = [started(ssr_bd, *args, folder=tmp_path, env=rank) for rank in ranks]
    for process in processes:
        process.join(120)
    errors = [process.err.read_text() for process in processes]
    assert [process.exitcode for process in processes] == [0, 0], errors
    assert processes[1].out.read_text() == ""
    together = json.loads(processes[0].out.read_text())
    assert [error.count("run folder: ") for error in errors] == [1, 0]
    alone = call(*command(tiny_run[0], tmp_path / "1"), code=0).json
    assert together["top5"] == alone["top5"]
    runs = [Path(run["run"]) for run in (alone, together)]
    one, two = (pd.read_csv(run / "queries.csv") for run in runs)
    pd.testing.assert_frame_equal(one, two, rtol=1e-3)
    records = [json.loads((run / "run.json").read_text()) for run in runs]
    assert [record["processes"] for record in records] == [1, 2]


@pytest.mark.slow
def test_torchrun(tiny_run, tmp_path):
    launcher = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", "2", "-m", "braindecode_ssr_cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    args = [*launcher, *command(tiny_run[0], tmp_path)]
    done = subprocess.run(args, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    run = Path(json.loads(done.stdout)["run"])
    assert done.stderr.count("run folder: ") == 1
    assert json.loads((run / "run.json").read_text())["processes"] == 2
