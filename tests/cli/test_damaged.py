"""Files that are damaged or made up: one sentence that names the file, and the others still count."""

import errno
import json
import os
import shutil
import sys

import pytest

DEEP = "[" * 100_000


def changed(**changes):
    """The JSON object of a run with some keys replaced; None removes one."""

    def change(text):
        content = {**json.loads(text), **changes}
        return json.dumps({key: value for key, value in content.items() if value is not None})

    return change


DAMAGES = [
    *(("run.json", lambda text, content=content: content) for content in ("[]", "null", DEEP, "")),
    *(("summary.json", lambda text, content=content: content) for content in ("[]", "null", DEEP)),
    ("run.json", changed(dataset="things-sim")),
    ("run.json", changed(dataset={"root": 5})),
    ("run.json", changed(features="pyramid")),
    ("run.json", changed(spec=[])),
    (
        "run.json",
        lambda text: (
            text.replace('"backbone_params": {}', '"backbone_params": {"a": %s}')
            % ("[" * 400 + "]" * 400)
        ),
    ),
    ("summary.json", changed(top1=1.5)),
    ("summary.json", changed(flags=5)),
    ("summary.json", changed(n_gallery="many")),
    ("summary.json", changed(train_subjects=7)),
]


def copy_of(tiny_run, folder):
    return shutil.copytree(tiny_run[0], folder, ignore=shutil.ignore_patterns("checkpoint"))


def damaged(tiny_run, folder, name, change):
    copy_of(tiny_run, folder)
    (folder / name).write_text(change((folder / name).read_text()))
    return folder


@pytest.mark.parametrize(("name", "change"), DAMAGES)
def test_a_damaged_run_is_named(call, tiny_run, tmp_path, name, change):
    folder = damaged(tiny_run, tmp_path / "damaged", name, change)
    done = call("evaluate", folder)
    assert done.code in (1, 2) and str(folder) in done.error and name in done.error
    assert "foreseen" not in done.err
    assert str(folder) in call("report", folder, code=1).error


def test_damaged_runs_do_not_stop_the_report_of_others(call, tiny_run, tmp_path):
    whole = copy_of(tiny_run, tmp_path / "whole")
    alone = call("report", whole, code=0).out
    broken = [
        damaged(tiny_run, tmp_path / f"{number:02d}", *damage) / damage[0]
        for number, damage in enumerate(DAMAGES)
    ]
    done = call("report", tmp_path, code=0)
    left_out = [line for line in done.err.splitlines() if line.startswith("left out:")]
    assert len(left_out) == len(broken) == len(DAMAGES)
    for file, line in zip(broken, sorted(left_out), strict=True):
        assert str(file) in line
    assert done.out == alone


def test_a_run_without_its_place_of_data(call, tiny_run, tmp_path):
    folder = copy_of(tiny_run, tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({"spec": record["spec"]}))
    assert "--data-dir" in call("evaluate", folder, code=1).error


@pytest.mark.parametrize("rank", ["1.5", "1e308", "0", "999", "-3", "nan", "first", ""])
def test_an_impossible_rank(call, tiny_run, tmp_path, rank):
    folder = copy_of(tiny_run, tmp_path / "run")
    lines = (folder / "queries.csv").read_text().splitlines()
    place = lines[0].split(",").index("rank")
    cells = lines[3].split(",")
    lines[3] = ",".join([*cells[:place], rank, *cells[place + 1 :]])
    (folder / "queries.csv").write_text("\n".join(lines) + "\n")
    assert str(folder / "queries.csv") in call("report", folder, code=1).error


def failing(monkeypatch, error):
    """Make ``ssr-bd doctor`` raise an error."""
    import braindecode_ssr_cli.info

    def fail():
        raise error

    monkeypatch.setattr(braindecode_ssr_cli.info, "examine", fail)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/data/Raw_data"), "/data/Raw_data"),
        (OSError(errno.EIO, "Input/output error", "a", None, "b"), "a and b"),
        (MemoryError(), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory"),
        (RecursionError("maximum recursion depth exceeded"), "nested"),
        (ValueError("embedded null byte"), "NUL"),
        (EOFError(), "ended before"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_system_errors_are_sentences(call, monkeypatch, error, words):
    failing(monkeypatch, error)
    done = call("doctor")
    assert done.code in (1, 2) and words in done.error and "foreseen" not in done.error


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_standard_output_that_is_full(call, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        error = call("list", "losses", code=1).error
    assert "cannot be printed: No space left" in error


def test_a_standard_output_that_is_closed(call, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    call("list", "losses", code=0)
