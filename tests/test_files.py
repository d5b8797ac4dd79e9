"""Files, folders, locks and hashes: whole or not at all, also when processes die."""

import errno
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from braindecode_ssr import files
from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import DataError, MissingDataError
from braindecode_ssr.files import (
    atomic_files,
    atomic_folder,
    atomic_write,
    cached_numbers,
    file_sha256,
    files_sha256,
    forget,
    in_chunks,
    in_threads,
    lock,
    mapping,
    one_thread,
)
from braindecode_ssr.preprocessing.epochs import windows

PAGES = 4096


def fill(path, text):
    with atomic_folder(path) as folder:
        (folder / "file").write_text(text)
        assert not path.exists() or (path / "file").read_text() != text


def test_the_folder_is_there_when_the_block_has_ended(tmp_path):
    fill(tmp_path / "deep" / "store", "one")
    assert (tmp_path / "deep" / "store" / "file").read_text() == "one"
    fill(tmp_path / "deep" / "store", "two")
    assert (tmp_path / "deep" / "store" / "file").read_text() == "two"
    assert os.listdir(tmp_path / "deep") == ["store"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, error):
    fill(tmp_path / "store", "old")
    with pytest.raises(error), atomic_folder(tmp_path / "store") as folder:
        (folder / "file").write_text("half")
        raise error
    assert os.listdir(tmp_path) == ["store"]
    assert (tmp_path / "store" / "file").read_text() == "old"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="No space left") as caught:
        with atomic_folder(tmp_path / "store") as folder:
            (folder / "file").write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_file_missed_by_the_block_is_reported(tmp_path):
    with pytest.raises(MissingDataError, match="^a; b$"):
        with atomic_folder(tmp_path / "store"):
            raise MissingDataError("a", "b")
    assert os.listdir(tmp_path) == []


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        fill(tmp_path / "file" / "store", "text")
    with pytest.raises(DataError, match="cannot write"):
        fill(tmp_path / "file", "text")
    assert os.listdir(tmp_path) == ["file"]


def test_leftovers_of_killed_processes_are_swept_and_only_those(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = socket.gethostname()
    dead = tmp_path / f".store.{gone.pid}@{host}.0123abcd.tmp"
    aside = tmp_path / f".store.{gone.pid}@{host}.0123abcd.old.tmp"
    alive = tmp_path / f".store.{os.getpid()}@{host}.0123abcd.tmp"
    elsewhere = tmp_path / f".store.{gone.pid}@not-{host}.0123abcd.tmp"
    another = tmp_path / f".store2.{gone.pid}@{host}.0123abcd.tmp"
    for folder in (dead, aside, alive, elsewhere, another):
        folder.mkdir()
        (folder / "file").write_text("half")
    fill(tmp_path / "store", "whole")
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == {"store", alive.name, elsewhere.name}


def test_files_of_dead_writers_are_swept_by_the_next_writer_of_their_folder(tmp_path):
    nobody, host = 1 << 22, socket.gethostname()  # no process has such a number
    dead = [f".raw.npy.{nobody}@{host}.0123abcd.part", f".raw.npy.{nobody}.part"]
    kept = [f".raw.npy.{os.getpid()}.part", f".raw.npy.{nobody}@not-{host}.0123abcd.part", "x.part"]
    for name in [*dead, *kept]:
        (tmp_path / name).write_text("half")
    atomic_write(tmp_path / "other.json", "{}")
    assert {entry.name for entry in tmp_path.iterdir()} == {"other.json", *kept}


def test_files_get_their_names_together_or_not_at_all(tmp_path):
    paths = [tmp_path / "deep" / "one", tmp_path / "two"]
    with pytest.raises(ValueError), atomic_files(paths) as parts:
        parts[0].write_text("half")
        raise ValueError
    with pytest.raises(DataError, match="cannot write"), atomic_files(paths) as parts:
        parts[0].write_text("the second is never written")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    with atomic_files(paths) as parts:
        for part in parts:
            part.write_text("whole")
    assert [path.read_text() for path in paths] == ["whole", "whole"]


def test_a_lock_says_whom_it_waits_for(tmp_path):
    script = """
import sys, pathlib
from braindecode_ssr.files import lock
with lock(pathlib.Path(sys.argv[1]), shared=sys.argv[2] == "shared", say=print):
    print("held", flush=True)
    sys.stdin.read()
"""
    for where in ("shared", "own"):
        call = [sys.executable, "-c", script, str(tmp_path / "work"), where]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        holder = subprocess.Popen(call, **pipes)
        holder.stdout.readline()
        said = []

        def say(text, said=said, holder=holder):
            said.append(text)
            holder.kill()

        with lock(tmp_path / "work", shared=where == "shared", say=say):
            assert f"process {holder.pid}" in said[0] and "write work" in said[0]
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    assert not list(tmp_path.iterdir())


def test_locks_are_in_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))
    for name in "abc":
        with lock(tmp_path / name):
            pass
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("ssr-bd-locks-") and len(list(folder.iterdir())) == 3


def test_a_file_is_hashed_again_when_its_content_changes_and_only_then(tmp_path, monkeypatch):
    path, cache, hashed = tmp_path / "signal", tmp_path / "cache" / "sha256.json", []

    def counted(path):
        hashed.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(files, "file_sha256", counted)
    path.write_bytes(b"one")
    first, state = files_sha256([path], cache), path.stat()
    assert files_sha256([path], cache) == first == [file_sha256(path)] and len(hashed) == 1
    monkeypatch.setattr(files, "_HASHES", {})  # another process
    assert files_sha256([path], cache) == first and len(hashed) == 1
    path.write_bytes(b"two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # same size, same time
    assert files_sha256([path], cache) == [file_sha256(path)] != first
    os.utime(path)
    assert files_sha256([path], cache) == [file_sha256(path)]
    for damage in ("", "[]", "{"):
        cache.write_text(damage)
        monkeypatch.setattr(files, "_HASHES", {})
        assert files_sha256([path], cache) == [file_sha256(path)]


def test_two_writers_at_once_leave_one_whole_folder(tmp_path):
    script = """
import sys, pathlib
from braindecode_ssr.files import atomic_folder
for turn in range(30):
    with atomic_folder(pathlib.Path(sys.argv[1])) as folder:
        for name in "abcd":
            (folder / name).write_text(f"{sys.argv[2]} {turn}")
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "store"), name])
        for name in ("first", "second")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert os.listdir(tmp_path) == ["store"]
    assert len({(tmp_path / "store" / name).read_text() for name in "abcd"}) == 1


NUMBERS = {"top1": 0.1 + 0.2, "top5": 1.0}


def fail():
    raise AssertionError("it was known")


def test_a_second_time_is_read_to_the_last_digit(tmp_path):
    path = tmp_path / "deep" / "numbers.json"
    assert cached_numbers(path, lambda: NUMBERS) == NUMBERS
    assert cached_numbers(path, fail) == NUMBERS
    assert [file.name for file in path.parent.iterdir()] == ["numbers.json"]


@pytest.mark.parametrize("text", ["", "{", "[1.0]", '{"top1": "0.3"}', "\udcff"])
def test_a_damaged_file_is_rewritten(tmp_path, text):
    path = tmp_path / "numbers.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert cached_numbers(path, lambda: NUMBERS) == NUMBERS
    assert json.loads(path.read_text()) == NUMBERS


def test_a_place_that_cannot_be_written_remembers_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "numbers.json"
    assert cached_numbers(path, lambda: NUMBERS) == NUMBERS
    with pytest.raises(AssertionError, match="it was known"):
        cached_numbers(path, fail)


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(AssertionError):
        cached_numbers(tmp_path / "deep" / "numbers.json", fail)
    assert not list(tmp_path.iterdir())


def test_each_question_about_the_ceiling_has_a_file_of_its_own(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        ThingsSim, "_ceiling", lambda self, *question: asked.append(question) or NUMBERS
    )
    questions = [(1, None, None), (2, None, None), (1, 4, None), (1, None, TrialSpec(stop=0.5))]
    for _ in range(2):
        for question in questions:
            ThingsSim(tmp_path, "tiny").ceiling(*question)
    ThingsSim(tmp_path, "tiny", seed=1).ceiling(1)
    assert len(asked) == len(questions) + 1


@pytest.mark.parametrize("threads", [1, 3])
def test_every_trial_once_and_in_order(monkeypatch, threads):
    monkeypatch.setattr(files, "_threads", lambda: threads)
    parts = list(in_chunks(lambda part: list(range(part.start, part.stop)), 23, 5))
    assert sum(parts, []) == list(range(23))
    assert [len(part) for part in parts] == [5, 5, 5, 5, 3]
    assert list(in_chunks(lambda part: part, 0, 5)) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_is_passed_on(monkeypatch, threads):
    monkeypatch.setattr(files, "_threads", lambda: threads)
    with pytest.raises(ZeroDivisionError):
        list(in_chunks(lambda part: 1 // (part.start - 10), 23, 5))


def test_linear_algebra_is_left_as_it_was():
    def widths():
        return [library["num_threads"] for library in threadpool_info()]

    np.ones((50, 50)) @ np.ones((50, 50))
    before = widths()
    list(in_chunks(lambda part: None, 10, 2))
    assert widths() == before


def test_the_limit_of_threads_lasts_until_the_last_one_leaves_it():
    """Whichever came first: two threads that each restored what they had found left BLAS with one."""

    def widths():
        return {library["num_threads"] for library in files._libraries().info()}

    with threadpool_limits(2, user_api="blas"):
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert widths() == {1}
        assert files._threads() == 2  # what runs within it still uses threads of its own
        second.__exit__(None, None, None)
        assert widths() == {2}


def test_few_results_are_made_ahead(monkeypatch):
    monkeypatch.setattr(files, "_threads", lambda: 2)
    begun = []
    results = in_threads(lambda number: begun.append(number) or number, range(20))
    assert next(results) == 0
    assert len(begun) <= 3  # recordings of a session are large
    assert list(results) == list(range(1, 20))


def resident(array):
    """Bytes of a mapped file that are resident in this process, as Linux counts them."""
    with open("/proc/self/smaps", encoding="ascii") as file:
        lines = file.read().splitlines()
    start = next(place for place, line in enumerate(lines) if line.endswith(array.filename.name))
    return 1024 * next(int(x.split()[1]) for x in lines[start:] if x.startswith("Rss:"))


@pytest.fixture
def recording(tmp_path):
    data = np.random.default_rng(0).normal(0, 1e-5, (8, 64 * PAGES)).astype("<f8")
    data.tofile(tmp_path / "recording")
    return data, np.memmap(tmp_path / "recording", "<f8", "r", shape=data.shape)


def test_the_map_of_views_and_none_of_arrays(recording):
    data, mapped = recording
    assert mapping(data) is mapping(data[1:]) is None
    assert mapping(mapped[2:, ::3].T) is mapping(np.asarray(mapped)) is mapped._mmap
    forget(data)
    forget(mapped)
    assert np.array_equal(mapped, data)


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="Linux says what is resident")
def test_what_was_read_is_given_back(recording):
    data, mapped = recording
    mapped.sum()
    assert resident(mapped) >= data.nbytes
    forget(mapped[3:5])
    assert resident(mapped) < data.nbytes / 10
    samples = np.arange(500, data.shape[1] - 1200, 200)
    windows(mapped, samples, 1000.0, TrialSpec())
    assert resident(mapped) < data.nbytes / 10


@pytest.mark.parametrize("step", [200, 3000, -3000])
def test_windows_of_a_map_that_is_not_aligned_are_the_same_to_the_bit(tmp_path, recording, step):
    data, _ = recording
    (tmp_path / "shifted").write_bytes(b"abc" + data.tobytes())
    raw = np.memmap(tmp_path / "shifted", np.uint8, "r")
    shifted = np.ndarray(data.shape, "<f8", raw, 3)
    assert not shifted.flags.aligned
    samples = np.arange(500, data.shape[1] - 1200, abs(step))[:: np.sign(step)]
    for spec in (TrialSpec(), TrialSpec(baseline="none", sfreq=100)):
        expected = windows(data, samples, 1000.0, spec)
        assert np.array_equal(windows(shifted, samples, 1000.0, spec), expected)
        out = np.zeros_like(expected)
        assert windows(data, samples, 1000.0, spec, out=out) is out
        assert np.array_equal(out, expected)
