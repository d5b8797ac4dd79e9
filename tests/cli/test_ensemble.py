import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.config import merge
from braindecode_ssr.retrieval.ranks import rank_of_target, similarity


@pytest.fixture
def other_run(tiny_run, tmp_path):
    """Another seed of the same run, and a function that changes its settings."""
    path = tmp_path / "other"
    shutil.copytree(tiny_run[0], path, ignore=shutil.ignore_patterns("checkpoint"))
    from safetensors.numpy import load_file, save_file

    weights = load_file(path / "model.safetensors")
    rng = np.random.default_rng(0)
    for name, value in weights.items():
        if value.ndim > 1:
            weights[name] = value + (0.5 * value.std() * rng.normal(size=value.shape)).astype("f")
    save_file(weights, path / "model.safetensors")

    def change(spec):
        record = json.loads((tiny_run[0] / "run.json").read_text())
        (path / "run.json").write_text(json.dumps(merge(record, {"spec": spec})))
        return path

    change({"train": {"seed": 1}})
    return path, change


def test_two_runs_together(call, tiny_run, other_run, tmp_path):
    runs, out = [tiny_run[0], other_run[0]], tmp_path / "out"
    nears = []
    for number, run in enumerate(runs):
        call("evaluate", run, "--embeddings", tmp_path / f"{number}.npz", code=0)
        held = np.load(tmp_path / f"{number}.npz")
        near = similarity(held["brain"], held["gallery"])
        nears.append((near - near.mean(1, keepdims=True)) / near.std(1, keepdims=True))
    targets = [held["gallery_ids"].tolist().index(name) for name in held["brain_ids"]]
    expected = rank_of_target(sum(nears), np.array(targets))
    done = call("ensemble", *runs, "--out", out, "--json", code=0).json
    assert pd.read_csv(out / "queries.csv")["rank"].tolist() == expected.tolist()
    assert (done["method"], done["flags"], done["subject"]) == (
        "ssr, ensemble of 2",
        ["ensemble"],
        5,
    )
    assert done["ensemble"]["members"] == [run.name for run in runs]
    shown = call("report", out, tiny_run[0], code=0).out
    assert "ssr, ensemble of 2 †" in shown
    files = call("ensemble", tmp_path / "0.npz", tmp_path / "1.npz", "--json", code=0).json
    assert files["top1"] == done["top1"] and files["mrr"] == done["mrr"]


def test_seeds_are_tested_on_the_same_trials(call, tiny_run, other_run, tmp_path, monkeypatch):
    from braindecode_ssr.trials.store import TrialStore

    seeds, average = [], TrialStore.average

    def seen(self, *args, **options):
        seeds.append(options["seed"])
        return average(self, *args, **options)

    monkeypatch.setattr(TrialStore, "average", seen)
    once = ("--evaluation", "repetitions=1+correction=csls", "--json")
    done = call("ensemble", tiny_run[0], other_run[0], *once, code=0).json
    assert seeds == [0, 0] and done["repetitions"] == 1
    assert done["evaluation"] == "repetitions=1+correction=csls"
    assert done["flags"] == ["transductive", "ensemble"]
    trials = ("--evaluation", "challenge-warmup")  # each trial is a query
    assert "average=none" in call("ensemble", tiny_run[0], other_run[0], *trials, code=2).error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": {"subject": 6}}, "differ in subject: 5 and 6"),
        ({"data": {"seed": 1}}, "differ in preset"),
        ({"data": {"protocol": "inter"}}, "differ in protocol: intra and inter"),
        ({"evaluation": {"repetitions": 2}}, "differ in repetitions"),
    ],
)
def test_runs_that_do_not_belong_together(call, tiny_run, other_run, change, words):
    other = other_run[1](merge({"train": {"seed": 1}}, change))
    assert words in call("ensemble", tiny_run[0], other, code=1).error


def test_weights_come_from_held_out_training_concepts(call, tiny_run, other_run):
    runs = tiny_run[0], other_run[0]
    asked = ("--weights", "validation", "--json")
    assert "validation_concepts=20" in call("ensemble", *runs, *asked, code=2).error
    copy = other_run[0].with_name("copy")
    shutil.copytree(other_run[0], copy)
    for run, last in ((copy, 0.1), (other_run[0], 0.3)):
        history = pd.read_csv(run / "history.csv")
        history["valid_top1"] = [0.9, *[last] * (len(history) - 1)]
        history.to_csv(run / "history.csv", index=False)
    out = other_run[0].with_name("out")
    done = call("ensemble", copy, other_run[0], *asked, "--out", out, code=0).json
    assert done["ensemble"]["weights"] == pytest.approx([0.25, 0.75])
    assert done["ensemble"]["how"] == "validation"
    to = other_run[0].with_name("results")
    [file] = call("results", "add", out, "--to", to, "--json", code=0).json["files"]
    again = json.loads(Path(file).read_text())
    own = call("results", "add", other_run[0], "--to", to, "--json", code=0).json["files"][0]
    assert again["ensemble"]["settings"] == 2 * [Path(own).stem.rpartition("_")[2]]
    from braindecode_ssr.reporting.leaderboard import settings_of

    name = Path(file).stem.rpartition("_")[2]
    again["subject"], again["ensemble"]["weights"] = 6, [0.4, 0.6]  # of somebody else
    assert settings_of(again) == name
    again["ensemble"]["settings"][0] = "other"
    assert settings_of(again) != name
