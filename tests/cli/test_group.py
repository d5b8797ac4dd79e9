import subprocess
import sys
import time

import pytest

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


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom braindecode_ssr_cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'mne', 'pydantic', 'braindecode'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


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
        (("list", "datasetz"), "datasets"),
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
