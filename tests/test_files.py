import errno
import os
import socket
import subprocess
import sys

import pytest

from braindecode_ssr.errors import DataError, MissingDataError
from braindecode_ssr.files import atomic_folder


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


def test_a_file_missed_by_the_block_is_told_as_such(tmp_path):
    with pytest.raises(MissingDataError, match="^expected a; found b; c$"):
        with atomic_folder(tmp_path / "store"):
            raise MissingDataError("a", "b", "c")
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
