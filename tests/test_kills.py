"""Commands that are killed at random moments end, given again, with the files of one that was left alone."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pandas as pd
import psutil
import pytest

pytestmark = pytest.mark.slow

MOMENTS = 20
TINY = ("--dataset", "things-sim", "--preset", "tiny")
SETTINGS = ("train.keep=every", "train.ema=0.9", "train.validation_concepts=4")
COMMANDS = {
    "train": (
        *("train", *TINY, "--subject", "5", "--epochs", "6", "--out", "out"),
        *(word for setting in SETTINGS for word in ("--set", setting)),
    ),
    "prepare": ("data", "prepare", "things-eeg", "--subject", "all", "--jobs", "2"),
    "extract": (
        *("features", "extract", *TINY, "--encoder", "pyramid"),
        *("--view", "original", "--view", "blur", "--view", "noise", "--batch-size", "4"),
    ),
    "benchmark": (
        *("benchmark", *TINY, "--subjects", "5", "--epochs", "3", "--out", "out", "--jobs", "2"),
        *("--methods", "contrast,ridge-decoding", "--evaluations", "default,repetitions=1"),
    ),
}
VOLATILE = {"git", "train_seconds", "dur", "written", "event_lr", "source", "sources"}
"""What is told of time and place, and differs between two commands that do the same."""


def hears_ctrl_c():
    """A shell that starts the tests in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Place:
    """A folder in which a command is given, with its own data."""

    def __init__(self, folder, command, recordings):
        self.folder, self.data = folder, folder / "data"
        folder.mkdir(parents=True)
        if command == "prepare":
            shutil.copytree(recordings, self.data)
        place = ("--data-dir", str(self.data))
        self.call = [sys.executable, "-W", "ignore", "-m", "braindecode_ssr_cli"]
        self.call += [*COMMANDS[command], *place]

    def start(self):
        """The command in a process group of its own."""
        with (self.folder / "errors.txt").open("ab") as errors:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": errors, "cwd": self.folder}
            return subprocess.Popen(
                self.call, start_new_session=True, preexec_fn=hears_ctrl_c, **quiet
            )

    def done(self):
        """Give the command and wait for its end; the seconds of computing it took."""
        process = self.start()
        worked = wait(process)
        assert process.returncode == 0, (self.folder / "errors.txt").read_text()[-2000:]
        return worked

    def files(self):
        """The content of every file, but for time, place, and what only a resumed run needs."""
        found = {}
        for base in (self.folder / "out", self.data / "ssr"):
            for path in base.rglob("*") if base.is_dir() else ():
                name = str(path.relative_to(self.folder))
                if path.is_file() and "checkpoint" not in path.parts and path.name != "sha256.json":
                    found[name] = _content(path)
        return found


def _content(path):
    if path.name in ("run.json", "summary.json", "manifest.json", "benchmark.json"):
        return _steady(json.loads(path.read_text()))
    if path.suffix == ".csv":
        table = pd.read_csv(path)
        return table.drop(columns=VOLATILE & set(table.columns)).to_csv()
    return path.read_bytes()


def _steady(value):
    if isinstance(value, dict):
        return {k: _steady(v) for k, v in value.items() if k not in {*VOLATILE, "root"}}
    return [_steady(each) for each in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Raw files of three simulated subjects."""
    folder = tmp_path_factory.mktemp("raw") / "things-eeg"
    call = [sys.executable, "-m", "braindecode_ssr_cli", "data", "simulate", "things-sim"]
    call += ["--preset", "tiny", "--layout", "raw", "--subject", "1-3", "--out", str(folder)]
    subprocess.run(call, check=True, capture_output=True)
    return folder


def wait(process, seconds=np.inf):
    """Wait until a command has computed for so long, or has ended; how long it has.

    Processor time of all its processes, because the time on the wall depends on what else the machine does.
    """
    worked, end = 0.0, time.monotonic() + 1200
    while worked < seconds and process.poll() is None:
        assert time.monotonic() < end
        with suppress(psutil.Error):
            tree = psutil.Process(process.pid)
            tree = [tree, *tree.children(recursive=True)]
            worked = max(worked, sum(sum(each.cpu_times()[:4]) for each in tree))
        time.sleep(0.01)
    return worked


def strike(process, chance):
    """Kill a process alone or with its workers, stop it, or press Ctrl-C; False if it had ended."""
    how = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    together = chance.random() < 0.7
    if process.poll() is not None:
        return False
    (os.killpg if together or how == signal.SIGINT else os.kill)(process.pid, how)
    process.wait(120)
    return True


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_killed_and_given_again(command, tmp_path, recordings):
    left_alone = Place(tmp_path / "left alone", command, recordings)
    whole = left_alone.done()
    expected = left_alone.files()
    assert expected
    chance, struck, place, kills = random.Random(command), 0, None, 0
    takes = [whole] * 4  # the first start in a place, the next one, which has less to do, ...
    for start in range(3 * MOMENTS):
        if place is None:
            place, kills = Place(tmp_path / str(start), command, recordings), 0
        process = place.start()
        worked = wait(process, chance.uniform(0.1, 0.95) * takes[kills])
        if strike(process, chance):
            struck, kills = struck + 1, kills + 1
        else:  # it was faster than that
            assert process.returncode == 0
            takes[kills], kills = worked, 4
        if kills == 4 or struck == MOMENTS:  # four kills on top of each other, then the end
            place.done()
            same(place.files(), expected)
            hidden = [p.name for p in place.folder.rglob(".*") if p.name != ".lock"]
            assert not hidden, f"{hidden} are left"
            shutil.rmtree(place.folder)
            place = None
        if struck == MOMENTS:
            return
    raise AssertionError(f"only {struck} of {3 * MOMENTS} commands were killed before they ended")


def same(found, expected):
    assert set(found) == set(expected)
    different = [name for name in expected if found[name] != expected[name]]
    assert not different


def test_the_comparison_sees_a_bit(tmp_path):
    for name, value in (("one", 1.0), ("two", np.nextafter(1.0, 2))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", value)
    one, two = ({"x": _content(tmp_path / name / "x.npy")} for name in ("one", "two"))
    with pytest.raises(AssertionError):
        same(one, two)
