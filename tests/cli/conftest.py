"""The command line as users meet it: a process with exit code, stdout and stderr."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from forked import forking_ssr_bd, ssr_bd, started

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def error(self):
        """The one line of an error."""
        lines = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture(scope="session")
def shell(tmp_path_factory):
    """Run ``ssr-bd`` as a process in a folder of its own."""
    home, printed = tmp_path_factory.mktemp("shell"), tmp_path_factory.mktemp("printed")

    def run(*args, cwd=home, env=None, code=None):
        found = {"SSR_DATA": str(home / "data"), **(env or {})}
        command = forking_ssr_bd if "--jobs" in args else ssr_bd
        done = started(command, *map(str, args), folder=printed, cwd=cwd, env=found)
        done.join()
        result = Result(done.exitcode, done.out.read_text(), done.err.read_text())
        if code is not None:
            assert done.exitcode == code, result.out + result.err
        return result

    return run


@pytest.fixture
def call(capfd, tmp_path, monkeypatch):
    """Run ``ssr-bd`` in this process, where imports are paid for already."""
    from braindecode_ssr_cli import main

    def run(*args, code=None):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*map(str, args)])
        out, err = capfd.readouterr()
        if code is not None:
            assert ended.value.code == code, out + err
        return Result(ended.value.code, out, err)

    return run


SMALL = ("--set", "model.width=64", "--set", "model.n_outputs=64")
WIDE = ("--dataset", "things-sim", "--preset", "tiny", "--epochs", 3, "--batch-size", 32)
TINY = (*WIDE, *SMALL)


@pytest.fixture(scope="session")
def tiny_run(shell, sim_dir, tmp_path_factory):
    """A finished run on the tiny simulation, its folder and its printed summary."""
    place = ("--out", tmp_path_factory.mktemp("runs"), "--data-dir", sim_dir)
    done = shell("train", *TINY, "--subject", "5", *place, "--json", code=0)
    return Path(done.json["run"]), done


@pytest.fixture(scope="session")
def written(shell, tmp_path_factory):
    """Subjects 4 and 5 of the tiny simulation in the published layout."""
    out = tmp_path_factory.mktemp("written")
    args = ("--out", out, "--layout", "raw", "--preset", "tiny", "--subject", "4-5", "--json")
    return out, shell("data", "simulate", "things-sim", *args, code=0).json
