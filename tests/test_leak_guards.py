"""Training has no path to the trials that are tested: by its imports, by its words, and by what it does."""

import ast
import hashlib
from pathlib import Path

import numpy as np
import pytest
from test_architecture import ALL, TREES, imported, parsed

from braindecode_ssr.config import build
from braindecode_ssr.pipeline import train
from braindecode_ssr.trials.store import AveragedTrials, TrialStore

TRAINS = ("training.retriever", "training.callbacks", "training.ridge", "training.distributed")
PREPARES = ("training.data", "trials.averages")
TESTS = ("evaluation", "pipeline", "retrieval.evaluations")


def reached(module, graph):
    """Every module of the project that a module imports, and those that these import, and so on."""
    found, to_do = set(), [module]
    while to_do:
        new = {other for other in graph.get(to_do.pop(), ()) if other not in found}
        found |= new
        to_do += new
    return found


@pytest.fixture(scope="module")
def graph():
    return {name: set(imported(name, file)) for name, file in ALL}


@pytest.mark.parametrize("module", [*TRAINS, *PREPARES])
def test_what_trains_reaches_nothing_that_tests(module, graph):
    found = reached(f"braindecode_ssr.{module}", graph)
    assert not found & {f"braindecode_ssr.{other}" for other in TESTS}


def test_the_guard_sees_a_path(graph):
    assert "braindecode_ssr.training.callbacks" in reached("braindecode_ssr.pipeline", graph)
    assert "braindecode_ssr.inference.evaluation" in reached("braindecode_ssr_cli.runs", graph)


@pytest.mark.parametrize("module", [*TRAINS, *PREPARES])
def test_what_trains_has_no_word_for_the_test(module):
    path = TREES["braindecode_ssr"].joinpath(*module.split(".")).with_suffix(".py")
    words = {node.value for node in ast.walk(parsed(path)) if isinstance(node, ast.Constant)}
    assert not words & {"test", "oracle"}


def test_the_pipeline_hands_its_test_set_to_the_test_alone():
    tree = parsed(TREES["braindecode_ssr"] / "pipeline.py")
    whole = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "train")
    calls = [node for node in ast.walk(whole) if isinstance(node, ast.Call)]
    trained = max(call.lineno for call in calls if "fit" in ast.unparse(call.func))
    uses = [
        (ast.unparse(call.func), call.lineno > trained)
        for call in calls
        for given in [*call.args, *(keyword.value for keyword in call.keywords)]
        if isinstance(given, ast.Name) and given.id == "test"
    ]
    names = [n for n in ast.walk(whole) if isinstance(n, ast.Name) and n.id == "test"]
    # it is made, gets the gallery of an image encoder that was trained, and is handed over
    assert sorted(uses) == [("replace", True), ("score_run", True)]
    assert sum(name.lineno < trained for name in names) == 1


def fingerprints(folder):
    """A hash of every file of weights of a run."""
    files = [folder / "model.safetensors", *sorted((folder / "epochs").glob("*"))]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("solver", ["gradient", "ridge-decoding"])
def test_other_test_trials_change_the_ranks_and_no_weight(solver, sim_dir, tmp_path, monkeypatch):
    closed = solver != "gradient"
    choice = (
        {} if closed else {"keep": "every", "selection": "validation", "validation_concepts": 6}
    )
    settings = {
        "method": solver if closed else "contrast",
        "data": {"dataset": "things-sim", "preset": "tiny", "subject": 1},
        "model": {"backbone": "linear"} if closed else {"width": 64, "n_outputs": 64},
        "train": {"epochs": 3, "batch_size": 32, "device": "cpu", "solver": solver, **choice},
        "evaluation": {"selection": "trained" if closed else "oracle"},
    }
    honest = train(build(settings), data_dir=sim_dir, out=tmp_path / "honest")
    average = TrialStore.average

    def noise(self, split, **options):
        found = average(self, split, **options)
        if split != "test":
            return found
        x = np.random.default_rng(0).normal(size=found.x.shape).astype("float32")
        return AveragedTrials(x, found.table)

    monkeypatch.setattr(TrialStore, "average", noise)
    other = train(build(settings), data_dir=sim_dir, out=tmp_path / "other")
    assert not other.queries["score"].equals(honest.queries["score"])
    assert fingerprints(Path(other.path)) == fingerprints(Path(honest.path))
    assert len(fingerprints(Path(other.path))) == (1 if closed else 4)
