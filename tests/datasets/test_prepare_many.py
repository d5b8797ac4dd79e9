import json
import os
from dataclasses import replace
from multiprocessing import Pipe

import numpy as np
import pytest
from forked import SERVER
from toy_people import People

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.errors import DataError
from braindecode_ssr.trials import prepare as module
from braindecode_ssr.trials.prepare import prepare, prepare_many, trials_path
from braindecode_ssr.trials.store import TrialStore

SPEC = TrialSpec()


@pytest.fixture(autouse=True)
def _forked(monkeypatch):
    """Processes that have their imports already."""
    monkeypatch.setattr(module, "get_context", lambda how: SERVER)


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_that_fails_does_not_keep_the_others_from_it(tmp_path, jobs, capsys):
    said, dataset = [], People(tmp_path, {2: "cut off"})
    done = prepare_many(dataset, [1, 2, 3], SPEC, jobs=jobs, progress=True, say=said.append)
    done = {ended.subject: ended for ended in done}
    assert set(done) == {1, 2, 3}
    assert isinstance(done[2].error, DataError) and done[2].path is None
    assert str(done[2].error) == "the file is cut off; download it again"
    for subject in (1, 3):
        assert done[subject].path == trials_path(dataset, subject, SPEC)
        alone = prepare(People(tmp_path / "alone", {}), subject, SPEC)
        assert np.array_equal(TrialStore.open(done[subject].path).trials, alone.trials)
        assert alone.table["subject"].unique().tolist() == [subject]
    captured = capsys.readouterr()
    assert captured.out == "" and "trials of subject 3: 100%" in captured.err
    assert ("2 subjects in parallel" in said[0]) == (jobs == 2)


def test_a_process_that_is_killed_is_named_and_its_sessions_are_kept(tmp_path):
    dataset = People(tmp_path, {1: "killed"})
    done = {ended.subject: ended for ended in prepare_many(dataset, [1, 2], SPEC, jobs=2)}
    assert done[2].error is None
    assert "exit code -9" in str(done[1].error) and "fewer --jobs" in str(done[1].error)
    said = []
    assert len(prepare(People(tmp_path, {}), 1, SPEC, say=said.append)) == 6
    assert said == ["subject 1: resuming after session 1"]
    assert not [name for name in os.listdir(dataset.derived / "trials") if name.startswith(".")]


def test_closing_the_iterator_stops_the_work(tmp_path):
    dataset = People(tmp_path, {1: "waits", 2: "waits"})
    done = prepare_many(dataset, [1, 2, 3], SPEC, jobs=3)
    assert next(done).subject == 3
    done.close()
    assert len(prepare(People(tmp_path, {}), 1, SPEC)) == 6


def test_an_orphaned_process_stops_and_keeps_what_is_finished(tmp_path):
    """As when the process that started it is killed."""

    class Mute(People):
        def recordings(self, subject):
            for session in (1, 2):
                for part in super().recordings(subject):
                    yield replace(part, session=session)
                ours.close()

    ours, theirs = Pipe(duplex=False)
    with theirs:
        module._work(theirs, Mute(tmp_path, {}), 1, SPEC, 1, False)
    (left,) = (tmp_path / "ssr" / "trials").iterdir()
    assert left.name.endswith(".unfinished")
    assert len(json.loads((left / "unfinished.json").read_text())["finished"]) == 2


def test_the_memory_for_each_is_reported(monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda: 10_000_000_000)
    assert module._memory_line(4) == "4 subjects in parallel, 2.5 GB of free memory for each"
    assert "use fewer --jobs" in module._memory_line(20)
    monkeypatch.setattr(module, "free_memory", lambda: None)
    assert module._memory_line(4) == "4 subjects in parallel"


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="Linux says what is free")
def test_free_memory_as_psutil_says():
    import psutil

    assert module.free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
