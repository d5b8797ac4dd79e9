import os
import re
import sys
import time

import pytest
from forked import on_a_terminal, ssr_bd

COMMANDS = [
    ("train",),
    ("evaluate",),
    ("benchmark",),
    ("list",),
    ("doctor",),
    ("data", "where"),
    ("data", "check"),
    ("data", "prepare"),
    ("data", "simulate"),
    ("features", "extract"),
    ("features", "import"),
    ("features", "check"),
]


def test_help_lists_every_command(shell):
    done = shell("--help", code=0)
    for name in ("train", "evaluate", "benchmark", "data", "features", "list", "doctor"):
        assert f"\n  {name} " in done.out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_json_and_debug(call, command):
    done = call(*command, "--help", code=0)
    assert "--json" in done.out and "--debug" in done.out
    assert len(done.out.splitlines()) > 5


def test_freed_memory_is_kept_but_where_trials_are_prepared(call, monkeypatch):
    names = ("GOMP_SPINCOUNT", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")

    def after(*args):
        call(*args, "--help", code=0)
        return [os.environ.get(name) for name in names]

    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert after("data", "prepare") == ["100000", None, None]
    kept = ["33554432", "268435456"] if sys.platform == "linux" else [None, None]
    assert after("train") == ["100000", *kept]
    for name in names:
        monkeypatch.setenv(name, "5")  # the user's own
    assert after("train") == ["5", "5", "5"]


@pytest.mark.parametrize("group", [(), ("data",), ("features",)])
def test_a_group_alone_shows_its_help(call, group):
    done = call(*group, code=0)
    assert done.out.startswith(" ".join(("Usage: ssr-bd", *group))) and "Commands:" in done.out


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("trian",), "did you mean 'train'?"),
        (("data", "prepair"), "did you mean 'prepare'?"),
        (("train", "--epoch", "3"), "--epoch"),
        (("train", "--learning-rate", "1e-3"), "--set train.lr"),
        (("benchmark", "--sfreq", "100"), "--set trials.sfreq"),
        (("list", "datasetz"), "did you mean 'datasets'"),
        (("train", "--seed", "x"), "--seed"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(call, args, expected):
    done = call(*args, code=2)
    assert expected in done.error and done.out == ""


def test_debug_shows_the_traceback(call):
    done = call("train", "--method", "sssr", "--debug", code=2)
    assert "Traceback" in done.err and "did you mean 'ssr'" in done.err


def test_a_file_that_ends_early_is_an_error_and_no_interrupt(call, monkeypatch):
    def ended(*args, **kwargs):
        raise EOFError("Ran out of input")

    monkeypatch.setattr("braindecode_ssr.resolve.run_spec", ended)
    assert "ended before it was complete" in call("train", "--dry-run", code=1).error


def test_version(shell):
    from braindecode_ssr import __version__

    assert __version__ in shell("--version", code=0).out


@pytest.mark.slow
def test_help_answers_in_under_300_milliseconds(shell):
    shell("--help")
    times = []
    for _ in range(5):
        start = time.perf_counter()
        shell("--help")
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3


def screen(text):
    """The lines that a terminal shows in the end."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[\d*[A-Z]|[^\x1b]", text):
        if piece == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\r":
            column = 0
        elif piece.startswith("\x1b"):
            row -= int(piece[2:-1] or 1) if piece.endswith("A") else 0
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + piece + line[column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


@pytest.mark.skipif(sys.platform != "linux", reason="a terminal as Linux has it")
@pytest.mark.slow  # waits for a bar on a terminal, which a busy machine may draw late
def test_ctrl_c_leaves_a_clean_last_line(sim_dir, tmp_path):
    tiny = ("--preset", "tiny", "--subject", "5", "--batch-size", "32", "--epochs", "4000")
    place = ("--data-dir", str(sim_dir), "--out", str(tmp_path))
    code, seen = on_a_terminal(ssr_bd, "train", *tiny, *place, until="/4000 [", typed=b"\x03")
    lines = [line for line in screen(seen) if line]
    assert code == 130 and "Traceback" not in seen
    assert lines[-1].startswith("stopped; what is finished is kept") and seen.endswith("\n")
    assert sum("/4000 [" in line for line in lines) == 1 and "/4000 [" in lines[-2]


def test_bars_side_by_side_leave_only_lines(capfd):
    from braindecode_ssr.trials.prepare import TrialBar, say_beside
    from braindecode_ssr_cli import say

    bars = [TrialBar(subject, True, leave=False).__enter__() for subject in (1, 2, 3)]
    for bar in bars:
        bar.expect(10)
    for subject, bar in enumerate(bars, 1):
        bars[-1].advance(5)
        say_beside(say, f"subject {subject} is prepared")
        bar.__exit__()
    lines = [line for line in screen(capfd.readouterr().err) if line]
    assert lines == [f"subject {subject} is prepared" for subject in (1, 2, 3)]


def test_quiet_and_verbose(call, sim_dir):
    prepare = ("data", "prepare", "things-sim", "--preset", "tiny", "--subject", 5)
    for before, after in (((), ("-q",)), (("-q",), ())):
        done = call(*before, *prepare, "--data-dir", sim_dir, *after, code=0)
        assert done.err == "" and "channels" in done.out
    timed = call("-v", *prepare, "--data-dir", sim_dir, code=0).err
    assert re.match(r" *\d+\.\d s  prepare subject 5\n", timed)


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (
            ("train", "--dataset", "things-sin"),
            2,
            ("unknown dataset: 'things-sin'", "'things-sim'"),
        ),
        (("train", "--seed", "x"), 2, ("--seed", "ssr-bd train --help")),
        (("evaluate", "no/run"), 1, ("no/run", "")),
    ],
    ids=["ours", "click", "files"],
)
def test_an_error_is_json_too(call, args, code, expected):
    done = call(*args, "--json", code=code)
    assert sorted(done.json) == ["error", "exit_code", "hint"] and done.json["exit_code"] == code
    assert expected[0] in done.json["error"] and expected[1] in done.json["hint"]
    assert done.json["error"] in done.error


def test_what_libraries_print_is_no_part_of_the_json(call, monkeypatch):
    from braindecode_ssr_cli import info

    def chatty(kind):
        print("Loading weights from local directory")
        return [{"name": "blur"}]

    monkeypatch.setattr(info, "catalogue", chatty)
    done = call("list", "views", "--json", code=0)
    assert done.json == [{"name": "blur"}] and "Loading weights" in done.err


def test_a_command_that_has_printed_its_json_prints_no_second(call, tmp_path):
    done = call("data", "check", "things-eeg", "--data-dir", tmp_path / "none", "--json", code=1)
    assert {file["state"] for file in done.json["files"]} == {"missing"} and done.error


@pytest.mark.parametrize(
    ("args", "typed", "expected"),
    [
        (["train", "--dataset"], "thi", ["things-sim", "things-eeg", "things-meg"]),
        (["train", "--backbone"], "eegn", ["EEGNet", "EEGNeX"]),
        (["train", "--set"], "train.lr", ["train.lr=", "train.lr_of="]),
        (["benchmark", "--methods"], "ssr,nic", ["ssr,nice"]),
        (["features", "extract", "--view"], "bl", ["blur"]),
        (["show", "loss"], "contrast", ["contrast"]),
        (["data", "where"], "bi", ["bids"]),
        (["evaluate", "--evaluation"], "n-", ["n-way=50"]),
    ],
    ids=lambda part: "-".join(part) if isinstance(part, list) else part,
)
def test_values_are_completed(args, typed, expected):
    found = completions(args, typed)
    assert set(expected) <= set(found)
    assert all(name.lower().startswith(typed) for name in found)


def completions(args, typed):
    from click.shell_completion import ShellComplete

    from braindecode_ssr_cli import root

    complete = ShellComplete(root, {}, "ssr-bd", "_SSR_BD_COMPLETE")
    return [item.value for item in complete.get_completions(args, typed)]


def test_run_folders_are_completed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/a_run", "runs/b_run", "runs/other"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a_run", "b_run"):
        (tmp_path / "runs" / name / "run.json").touch()
    for command in ("evaluate", "report", "retrieve", "export"):
        assert completions([command], "ru") == ["runs/a_run", "runs/b_run"]
    assert completions(["finetune"], "runs/b") == ["runs/b_run"]


def test_kinds_of_parts_in_singular_and_plural(call):
    assert call("list", "view", code=0).out == call("list", "views", code=0).out
    assert call("list", "models", "--json", code=0).json[0]["name"] == "EEGProject"
    assert call("show", "views", "blur", code=0).out == call("show", "view", "blur", code=0).out
