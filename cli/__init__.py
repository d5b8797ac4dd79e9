"""The command line ``ssr-bd``: groups that load commands when called, and errors in one line."""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import logging
import os
import sys
import time
import traceback
from contextlib import nullcontext, redirect_stdout, suppress
from typing import Any

import click

from braindecode_ssr import __version__
from braindecode_ssr.errors import SSRError, UsageError
from braindecode_ssr.registry import unknown_name

from . import output

START = time.perf_counter()
RESUMES = "what is finished is kept: run the same command again to resume"
STOPPED_CODE = 130


# -- how much is printed on stderr ---------------------------------------------------------------------------


def _volume() -> dict[str, bool]:
    context = click.get_current_context(silent=True)
    return context.find_root().meta if context else {}


def _set_volume(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().meta[str(option.name)] = True
        if option.name == "verbose":
            logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


def volume(function: Any) -> Any:
    options: dict[str, Any] = {"is_flag": True, "expose_value": False, "callback": _set_volume}
    quiet = click.option("-q", "--quiet", help="Print results and errors only.", **options)
    told = "Print the seconds of each step, and what other libraries log."
    return quiet(click.option("-v", "--verbose", help=told, **options)(function))


def say(text: str) -> None:
    asked = _volume()
    if not asked.get("quiet"):
        since = f"{time.perf_counter() - START:7.1f} s  " if asked.get("verbose") else ""
        click.echo(since + text, err=True)


def show_bars() -> bool:
    """Whether to show progress bars: only if stderr is a terminal, and not with -q."""
    return sys.stderr.isatty() and not _volume().get("quiet")


# -- commands ------------------------------------------------------------------------------------------------


class Group(click.Group):
    """A group that prints its help when no command is given, and suggests the nearest to a misspelled one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            raise unknown_name("command", args[0], known)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not isinstance(command, click.Group):
            _check_repeated(command, rest)
        return name, command, rest


def _check_repeated(command: click.Command, args: list[str]) -> None:
    """Refuse a subject or seed that is given twice: click would use the last in silence."""
    for option in command.params:
        if option.name not in {"subject", "subjects", "seed", "seeds"}:
            continue
        given = [word for word in args if word.split("=")[0] in option.opts]
        if len(given) > 1:
            raise UsageError(
                f"{option.opts[0]} is given {len(given)} times, and {command.name} takes it once",
                f"leave one {option.opts[0]}; several subjects or seeds make a grid: "
                "`ssr-bd benchmark --subjects 1,2`",
            )


class LazyGroup(Group):
    """A group that imports commands when called; ``table`` has the module and help of each."""

    def __init__(self, *args, table: dict[str, tuple[str, str]], **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        parts = vars(importlib.import_module(f".{self.table[cmd_name][0]}", __package__)).values()
        return next(p for p in parts if isinstance(p, click.Command) and p.name == cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])


@click.group(
    name="ssr-bd",
    cls=LazyGroup,
    table={
        "train": ("runs", "Train a model and test it: one run, one table."),
        "evaluate": ("runs", "Test a finished run again, in other ways."),
        "score": ("results", "Score similarities or embeddings of any program."),
        "ensemble": ("results", "Average the similarities of several runs or files."),
        "benchmark": (
            "benchmark",
            "Train and test a grid of methods, subjects and seeds: one table.",
        ),
        "report": ("runs", "Make tables and figures of finished runs from their saved ranks."),
        "results": ("results", "Write results of runs as small files that add up."),
        "leaderboard": ("results", "Make a table or page of many people's results."),
        "retrieve": ("trained", "Retrieve the images that a person saw in a new recording."),
        "finetune": ("trained", "Train a run further on a few trials of another person."),
        "push": ("trained", "Upload a run to the Hugging Face Hub."),
        "export": ("trained", "Write a run's model or embeddings for other programs."),
        "data": ("data", "Find, download, check, prepare and simulate datasets."),
        "features": ("features", "Extract, import and check image features."),
        "list": (
            "info",
            "List datasets, methods, backbones, losses, encoders, views and settings.",
        ),
        "show": ("info", "Show all that is known of a method, backbone, dataset or setting."),
        "doctor": ("info", "Show versions, devices, folders and what is missing."),
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="ssr-bd")
@volume
def root() -> None:
    """Decode which image a person saw, from EEG or MEG.

    \b
    ssr-bd train --dataset things-sim --subject 5
    ssr-bd train --dataset things-eeg --subject 5 --data-dir DIR
    """  # noqa: D301


def main(args: list[str] | None = None) -> None:
    """Run the command line; an error is one line on stderr, with a traceback only with --debug."""
    args = sys.argv[1:] if args is None else args
    if sys.stdout is None:  # closed by the parent process
        sys.stdout = open(os.devnull, "w")
    documents, output.stdout = output.documents, sys.stdout
    _tune_system(keep_memory=args[:1] != ["data"])  # which prepares trials in little memory
    try:
        with redirect_stdout(sys.stderr) if "--json" in args else nullcontext():
            code = root.main(args, prog_name="ssr-bd", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in args:
            traceback.print_exc()
        text, hint, code = _described(error)
        line = " ".join(f"{text}; {hint}".split()) if hint else text
        click.echo(line if code == STOPPED_CODE else f"Error: {line}", err=True)
        if "--json" in args and output.documents == documents:
            output.print_json({"error": text, "hint": hint, "exit_code": code})
    sys.exit(code if isinstance(code, int) else 0)


def _tune_system(keep_memory: bool) -> None:
    """Set what Python, OpenMP and glibc need for quick training; the user's own settings come first."""
    # imports make a million objects that stay, which are searched for garbage again and again, and at the end
    gc.set_threshold(20_000)
    atexit.register(gc.freeze)
    # threads of torch that spin longer while they wait slow each other down on a busy machine
    os.environ.setdefault("GOMP_SPINCOUNT", "100000")
    # memory that each step frees and asks for again is kept: new pages took a third of the time
    kept = {"MALLOC_MMAP_THRESHOLD_": (-3, 2**25), "MALLOC_TRIM_THRESHOLD_": (-1, 2**28)}
    if not keep_memory or sys.platform != "linux" or any(name in os.environ for name in kept):
        return
    for name, (option, size) in kept.items():
        os.environ[name] = str(size)  # for the processes of a benchmark
        with suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).mallopt(option, size)


def _described(error: BaseException) -> tuple[str, str, int]:
    """What is wrong, what to do about it, and the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", RESUMES, STOPPED_CODE
    if isinstance(error.__cause__, EOFError):  # click treats it as the end of input
        error = SSRError(
            "a file ended before it was complete",
            "run the same command with --debug to see which one, and remove that file",
        )
    error = _explained(error)
    if isinstance(error, SSRError):
        return error.message, error.hint, error.exit_code
    if isinstance(error, click.Abort):
        by_hand = isinstance(error.__cause__, KeyboardInterrupt)
        return "stopped", RESUMES if by_hand else "", STOPPED_CODE
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "ssr-bd"
        hint = f"see `{command} --help`"
        if isinstance(error, click.NoSuchOption):
            hint += _as_setting(error)
        return error.format_message().rstrip("."), hint, error.exit_code
    first = (str(error).splitlines() or [""])[0]
    hint = "this is unexpected: add --debug to see where, and please report it with `ssr-bd doctor`"
    return f"{type(error).__name__}: {first}", hint, 1


def _as_setting(error: click.NoSuchOption) -> str:
    """The setting that an unknown option such as ``--lr`` may stand for, if the command takes settings."""
    from braindecode_ssr.config import meant_setting

    takes = (
        {name for option in error.ctx.command.params for name in option.opts}
        if error.ctx
        else set()
    )
    setting = meant_setting(error.option_name.lstrip("-")) if "--set" in takes else None
    return f"; did you mean --set {setting}=...?" if setting else ""


def _explained(error: BaseException) -> BaseException:
    """Errors of the machine and of files as sentences; others unchanged."""
    if isinstance(error, SSRError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        names = [
            os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None
        ]
        return SSRError(
            f"cannot use {' and '.join(names)}: {error.strerror or error}",
            "check that it is there and its permissions, and run the same command again",
        )
    if isinstance(error, OSError) and _was_printing(error):
        return SSRError(
            f"the result cannot be printed: {error.strerror or error}",
            "files that were written are kept; run the same command again with another standard output",
        )
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return SSRError(
            "this machine has too little free memory",
            "close other programs, lower --batch-size, --jobs or --set train.memory, or use a machine "
            "with more",
        )
    if isinstance(error, RecursionError):
        return SSRError(
            "a file or setting is nested too deeply",
            "run the same command with --debug to see which one",
        )
    if isinstance(error, ValueError) and "null byte" in str(error):
        return UsageError("the name of a file or folder holds a NUL character", "correct the name")
    return error


def _was_printing(error: OSError) -> bool:
    """Whether an error comes from printing; what else is printed is then discarded."""
    if traceback.extract_tb(error.__traceback__)[-1].name != "echo":
        return False
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


__all__ = ["main"]
