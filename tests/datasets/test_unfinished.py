"""A process that prepares is stopped for real; the next one goes on and makes the same store."""

import json
import os
import signal
import time

import numpy as np
import pytest
from forked import started
from toy_recordings import ToyDataset, prepare_slowly, sessions, toy_recording

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.errors import DataError
from braindecode_ssr.files import JOURNAL
from braindecode_ssr.trials.prepare import prepare, trials_path
from braindecode_ssr.trials.store import StoreWriter, TrialStore

SPEC = TrialSpec()


def stopped(folder, how, place):
    """A process that was stopped when it wanted the recording in this place."""
    (folder / "printed").mkdir()
    process = started(prepare_slowly, folder, sessions(), place, folder=folder / "printed")
    while not process.out.read_text():
        assert process.is_alive(), process.err.read_text()
        time.sleep(0.01)
    os.kill(process.pid, how)
    process.join()
    return process.exitcode


def interrupted(folder, place, key="key", spec=SPEC):
    """Stopped by Ctrl-C in this process; what is left."""

    def stop():
        raise KeyboardInterrupt

    dataset = ToyDataset(folder, [*sessions()[:place], stop], key=key)
    with pytest.raises(KeyboardInterrupt):
        prepare(dataset, 1, spec)
    path = trials_path(dataset, 1, spec)
    return path.with_name(f".{path.name}.unfinished")


@pytest.fixture
def cut(monkeypatch):
    """The sessions whose trials are cut, one entry for each recording."""
    done, allocate = [], StoreWriter.allocate

    def counted(store, part, *others):
        trials, there = allocate(store, part, *others)
        done.extend([] if there else [part["session"]])
        return trials, there

    monkeypatch.setattr(StoreWriter, "allocate", counted)
    return done


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return prepare(ToyDataset(tmp_path_factory.mktemp("whole"), sessions()), 1, SPEC)


def assert_same_store(store, expected):
    assert np.array_equal(store.trials, expected.trials)
    assert store.table.equals(expected.table)
    assert store.manifest == expected.manifest
    assert os.listdir(store.path.parent) == [store.path.name]
    assert sorted(os.listdir(store.path)) == sorted(os.listdir(expected.path))


@pytest.mark.parametrize(
    "how, place, again",
    [
        (signal.SIGKILL, 4, [3, 3]),
        (signal.SIGTERM, 5, [3, 3]),
        (signal.SIGINT, 1, [1, 1, 2, 2, 3, 3]),
    ],
)
def test_stopped_and_resumed(tmp_path, expected, cut, how, place, again):
    code = stopped(tmp_path, how, place)
    assert code == (130 if how == signal.SIGINT else -how)
    dataset, said = ToyDataset(tmp_path, sessions()), []
    with pytest.raises(DataError):
        TrialStore.open(trials_path(dataset, 1, SPEC))
    left = list((dataset.derived / "trials").iterdir())
    assert all(folder.name.startswith(".") for folder in left)
    assert len(left) == (0 if (how, place) == (signal.SIGINT, 1) else 1)
    store = prepare(dataset, 1, SPEC, say=said.append)
    assert cut == again
    assert_same_store(store, expected)
    finished = ", ".join(str(session) for session in (1, 2, 3) if session not in again)
    assert said == ([f"subject 1: resuming after session {finished}"] if finished else [])


def test_stopped_twice(tmp_path, expected, cut):
    interrupted(tmp_path, 2)
    stopped(tmp_path, signal.SIGKILL, 4)
    assert_same_store(prepare(ToyDataset(tmp_path, sessions()), 1, SPEC), expected)
    assert cut == [1, 1, 3, 3]


def test_another_file_instead_of_a_finished_one(tmp_path, cut):
    interrupted(tmp_path, 4)
    parts = sessions()
    parts[1] = toy_recording([3, 1, 2], session=1, split="test", fingerprint="another")
    store = prepare(ToyDataset(tmp_path, parts), 1, SPEC)
    assert cut[4:] == [1, 1, 2, 2, 3, 3]
    assert np.array_equal(
        store.trials, prepare(ToyDataset(tmp_path / "new", parts), 1, SPEC).trials
    )


@pytest.mark.parametrize("damage", ["trials", "journal", "spec"])
def test_damaged_leftovers(tmp_path, expected, cut, damage):
    left = interrupted(tmp_path, 4)
    if damage == "trials":
        os.truncate(left / "trials.npy", 1000)
    elif damage == "journal":
        (left / JOURNAL).write_text("{")
    else:
        note = json.loads((left / JOURNAL).read_text())
        note["manifest"]["spec"]["sfreq"] = 100.0
        (left / JOURNAL).write_text(json.dumps(note))
    assert_same_store(prepare(ToyDataset(tmp_path, sessions()), 1, SPEC), expected)
    assert cut[4:] == [1, 1, 2, 2, 3, 3]


def test_what_was_left_of_other_files_is_removed_and_of_other_settings_is_not(tmp_path, expected):
    other = interrupted(tmp_path, 2, spec=TrialSpec(sfreq=100))
    interrupted(tmp_path, 2, key="old files")
    store = prepare(ToyDataset(tmp_path, sessions()), 1, SPEC)
    left = sorted(os.listdir(store.path.parent))
    assert left == sorted([store.path.name, other.name])


def test_a_session_that_continues_after_it_seemed_finished(tmp_path, cut):
    """A second test part of a session needs the noise of its training part: all is made anew."""
    interrupted(tmp_path, 2)
    parts = sessions()
    parts.insert(2, toy_recording([1, 3], session=1, split="test", fingerprint="more"))
    store = prepare(ToyDataset(tmp_path, parts), 1, SPEC)
    assert len(store) == 26 and cut[-7:] == [1, 1, 1, 2, 2, 3, 3]
