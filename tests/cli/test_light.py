"""What answers without the seconds that heavy imports take: one interpreter, which may import ever more."""

import os
import subprocess
import sys

import bids_trees
import numpy as np
from random_ranks import query_rows, run_rows, write_tables

CODE = """
import sys
from pathlib import Path

folder = Path(sys.argv[1])

def light(what, *heavy):
    loaded = [name for name in ("torch", "braindecode", "sklearn", *heavy) if name in sys.modules]
    assert not loaded, f"{what} loads {loaded}"

def command(*args):
    try:
        main([*map(str, args)])
    except SystemExit as ended:
        assert not ended.code, args

from braindecode_ssr_cli import main

command("--help")
light("--help", "numpy", "pandas", "mne", "pydantic")

from braindecode_ssr.images import ENCODERS, VIEWS, FeatureStore, extract
from braindecode_ssr.images.encoders import encoder_name

assert {"pyramid", "open-clip"} <= {*ENCODERS} and "blur" in [*VIEWS]
assert not FeatureStore(folder / "nowhere").encoders() and encoder_name("RN50/openai")
light("listing encoders and views", "PIL", "open_clip", "mne")

from braindecode_ssr.datasets import DATASETS

for name in ("things-eeg", "things-eeg1", "bids"):
    assert len(DATASETS[name](folder / "study").inventory()) > 1
light("data where", "mne", "mne_bids")

command("report", folder / "bench")
light("report", "mne", "scipy.stats", "matplotlib", "PIL")

import braindecode_ssr.pipeline
from braindecode_ssr.resolve import run_spec

class Said(Exception):
    pass

def say(text):
    raise Said

spec = run_spec({"data": {"preset": "tiny"}})
try:
    braindecode_ssr.pipeline.train(spec, data_dir=folder, out=folder, say=say)
except Said:
    light("the first line of train")

sim = ("things-sim", "--preset", "tiny", "--data-dir", folder)
command("data", "check", "things-sim", "--data-dir", folder)
command("features", "import", "--dataset", *sim, "--encoder", "e", "--train", folder / "a.npy",
        "--view", "blur")
command("data", "prepare", *sim, "--subject", "1")
light("data check, features import and data prepare")
print("all is light", file=sys.stderr)
"""


def test_heavy_imports_wait_until_they_are_needed(tmp_path):
    bids_trees.write_study(tmp_path / "study", ("Pz", "Oz"))
    queries = query_rows(0)
    write_tables(tmp_path / "bench", queries, run_rows(queries))
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(96, 8)))
    env = {**os.environ, "SSR_DATA": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, env=env
    )
    assert done.stderr.endswith("all is light\n"), done.stderr
