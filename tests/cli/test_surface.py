"""What users and their scripts rely on: public names, options, keys of JSON and of run folders, weights.

A change of ``tests/data/surface.json`` is a change for users: it belongs in a commit of its own and in the
changelog. ``SSR_WRITE_SURFACE=1 pytest -n0 tests/cli/test_surface.py`` writes the file anew.
"""

import importlib
import json
import os
from pathlib import Path

import click
import pandas as pd
import pytest

from .conftest import WIDE

FILE = Path(__file__).parents[1] / "data" / "surface.json"
PACKAGES = ("", ".models", ".losses", ".images", ".moabb", ".preprocessing")


def names():
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(f"braindecode_ssr{package}")
        for name in module.__all__:
            getattr(module, name)
        found[module.__name__] = sorted(module.__all__)
    return found


def options(command, context=None, path="ssr-bd"):
    context = click.Context(command, info_name=path, parent=context)
    found = {
        path: sorted(
            name
            for param in command.params
            for name in (param.opts + param.secondary_opts if param.opts else [param.name])
        )
    }
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            found |= options(inner, context, f"{path} {name}")
    return found


def command_line():
    import braindecode_ssr_cli as group  # noqa: PLC0415

    return options(group.root)


def keys(value):
    """The keys of a JSON document; of a list those of its first entry."""
    if isinstance(value, list):
        return [keys(value[0])] if value and isinstance(value[0], dict) else []
    return sorted(value) if isinstance(value, dict) else type(value).__name__


def documents(call, run):
    asked = {
        "evaluate": ("evaluate", run, "--json"),
        "report": ("report", run, "--json"),
        "data where": ("data", "where", "things-eeg", "--json"),
        "features check": (
            "features",
            "check",
            "--dataset",
            "things-sim",
            "--preset",
            "tiny",
            "--json",
        ),
        "doctor": ("doctor", "--json"),
        **{
            f"list {kind}": ("list", kind, "--json")
            for kind in ("datasets", "methods", "backbones", "losses", "encoders", "views")
        },
    }
    return {name: keys(call(*args).json) for name, args in asked.items()}


def run_folder(run):
    read = {name: json.loads((run / name).read_text()) for name in ("run.json", "summary.json")}
    return {
        "files": sorted(path.name for path in run.iterdir()),
        "run.json": sorted(read["run.json"]),
        "spec": {part: keys(value) for part, value in read["run.json"]["spec"].items()},
        "summary.json": sorted(read["summary.json"]),
        "queries.csv": list(pd.read_csv(run / "queries.csv")),
        "history.csv": list(pd.read_csv(run / "history.csv")),
    }


def compare(part, found):
    if os.environ.get("SSR_WRITE_SURFACE"):
        kept = json.loads(FILE.read_text()) if FILE.exists() else {}
        FILE.write_text(json.dumps(kept | {part: found}, indent=1, sort_keys=True) + "\n")
    assert found == json.loads(FILE.read_text())[part]


def test_public_names():
    """None may go; new ones, such as the class of a new loss, are written down with the next release."""
    found = names()
    if os.environ.get("SSR_WRITE_SURFACE"):
        compare("names", found)
    frozen = json.loads(FILE.read_text())["names"]
    assert {p: set(frozen[p]) - set(found.get(p, ())) for p in frozen} == {p: set() for p in frozen}


def test_options():
    compare("options", command_line())


def test_run_folder(tiny_run):
    compare("run_folder", run_folder(tiny_run[0]))


def test_json(call, tiny_run, monkeypatch):
    record = json.loads((tiny_run[0] / "run.json").read_text())
    monkeypatch.setenv("SSR_DATA", str(Path(record["dataset"]["root"]).parent))
    compare("json", {"train": keys(tiny_run[1].json), **documents(call, tiny_run[0])})


def test_the_same_seed_still_gives_the_same_weights(call, sim_dir, tmp_path):
    """Up to what processors differ in; bit-identity on one machine is tested where runs are resumed."""
    from safetensors.numpy import load_file

    place = ("--subject", 5, "--data-dir", sim_dir, "--out", tmp_path, "--json")
    run = Path(call("train", *WIDE, *place, code=0).json["run"])
    weights = load_file(run / "model.safetensors")
    norms = {
        name: float((value.astype("float64") ** 2).sum() ** 0.5) for name, value in weights.items()
    }
    if os.environ.get("SSR_WRITE_SURFACE"):
        compare("norms", norms)
    expected = json.loads(FILE.read_text())["norms"]
    assert norms == {
        name: pytest.approx(value, rel=1e-4, abs=1e-6) for name, value in expected.items()
    }
