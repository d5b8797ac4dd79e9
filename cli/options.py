"""Options that several commands share, and what the values of options become."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from braindecode_ssr.config import merge, nested, parse_setting, read_toml
from braindecode_ssr.errors import UsageError
from braindecode_ssr.registry import Label, typed_label

from . import volume

if TYPE_CHECKING:
    from braindecode_ssr.config import RunSpec
    from braindecode_ssr.datasets.base import ImageDataset

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
PATH = click.Path(path_type=Path)


class Value(click.ParamType):
    """A value that a function makes from text; its errors are ours, not click's."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self.parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value; a value that is no text was parsed before."""
        return self.parse(value) if isinstance(value, str) else value


def _range(text: str) -> range | None:
    """``1-4`` as a range, ``sub-01-sub-04`` too; None for other text."""
    ends = re.fullmatch(r"(?:sub-)?(\d+)-(?:sub-)?(\d+)", text.strip(), re.ASCII)
    if ends and int(ends[1]) > int(ends[2]):
        raise UsageError(f"the range {text!r} runs backward", "write it as a range such as 1-10")
    return range(int(ends[1]), int(ends[2]) + 1) if ends else None


def _subjects(text: str) -> tuple[Label, ...]:
    if text == "all":
        return ()
    parts = [_range(part) or [typed_label(part)] for part in text.split(",")]
    return tuple(dict.fromkeys(label for part in parts for label in part))


def _numbers(text: str, hint: str = "write 5, 1,2,5 or 1-10") -> tuple[int, ...]:
    numbers: list[int] = []
    for part in text.split(","):
        if not re.fullmatch(r"\s*\d+\s*(-\s*\d+\s*)?", part, re.ASCII):
            raise UsageError(f"{text!r} is not a list of numbers", hint)
        numbers += _range(part.replace(" ", "")) or [int(part)]
    return tuple(dict.fromkeys(numbers))


def _seeds(text: str) -> int | tuple[int, ...]:
    numbers = _numbers(text, "write how many (--seeds 3), or which (--seeds 0,3,7 or 4-6)")
    return int(text) if text.strip().isdecimal() else numbers


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if "" in names:
        raise UsageError(
            f"{text!r} has an empty name", "write names with one comma between, as a,b"
        )
    return () if names == ("all",) else names


SUBJECT = Value("subject", typed_label)
"""5, 05 or sub-05; S01 or sub-S01."""

SUBJECTS = Value("subjects", _subjects)
"""5 or 1,3,S07 or 1-10; an empty tuple for all."""

NUMBERS = Value("numbers", _numbers)
"""5 or 1,2,5 or 1-10."""

SEEDS = Value("seeds", _seeds)
"""How many (3) or which (0,3,7 or 4-6)."""

NAMES = Value("names", _names)
"""Names separated by commas; an empty tuple for all."""


# -- completion in the shell ---------------------------------------------------------------------------------

Complete = Callable[[click.Context, click.Parameter, str], list[Any]]


def known(*names: str, kind: str = "", end: str = "") -> Complete:
    """Completes to these names, or to those of a kind of ``ssr-bd list``; after a comma too."""

    def complete(context: click.Context, option: click.Parameter, typed: str) -> list[Any]:
        from .catalog import part_names

        before, comma, last = typed.rpartition(",")
        found = names or part_names(kind)
        begun = [name for name in found if name.lower().startswith(last.lower())]
        return [f"{before}{comma}{name}{end}" for name in begun]

    return complete


def run_folders(context: click.Context, argument: click.Parameter, typed: str) -> list[Any]:
    """Completes to folders of runs, here or one folder below; to any path where there is none."""
    from glob import glob

    folders = [name for depth in ("*", "*/*") for name in sorted(glob(f"{typed}{depth}"))]
    runs = [name for name in folders if Path(name, "run.json").is_file()]
    return runs or [CompletionItem(typed, type="file")]


def words(*flags: str, words: str, about: str = "{}.", **options: Any) -> Any:
    """An option with one of a few words, which the help lists and the shell completes."""
    *others, last = words.split()
    help = about.format(f"{', '.join(others)} or {last}")
    completed = known(*others, last)
    shown = "default" in options
    return click.option(*flags, help=help, shell_complete=completed, show_default=shown, **options)


def part(flag: str, kind: str, default: str = "") -> Any:
    """An option with the name of a part, as `ssr-bd list` shows it."""
    about = f"Name; see `ssr-bd list {kind}`." + (f"  [default: {default}]" if default else "")
    return click.option(flag, required=not default, help=about, shell_complete=known(kind=kind))


def _set_cache(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """Put the folder in $SSR_CACHE until the command ends, so that other processes use it too."""
    if value is None:
        return
    before = os.environ.get("SSR_CACHE")
    os.environ["SSR_CACHE"] = str(value.absolute())

    def restore() -> None:
        os.environ.pop("SSR_CACHE")
        if before is not None:
            os.environ["SSR_CACHE"] = before

    ctx.find_root().call_on_close(restore)


def data_dir(function: Any) -> Any:
    """--data-dir, and --cache-dir for what is computed from the data."""
    data = click.option(
        "--data-dir",
        type=FOLDER,
        help="Folder of the dataset.  [default: <dataset> below $SSR_DATA or MNE's data folder]",
    )
    cache = click.option(
        "--cache-dir",
        type=FOLDER,
        expose_value=False,
        callback=_set_cache,
        help="Folder for prepared trials and features.  [default: $SSR_CACHE, else 'ssr' in --data-dir]",
    )
    return data(cache(function))


DATASETS = known(kind="datasets")
PROTOCOLS = known("intra", "inter", "pooled")
EVALUATIONS = known(
    *("default", "as-published", "challenge", "challenge-warmup", "gallery=views"),
    *("gallery=concept", "repetitions=", "n-way=50", "correction=csls", "correction=hungarian"),
    *("correction=sinkhorn", "selection=oracle"),
)
format = words("--format", "form", words="md csv latex html", default="md")
preset = click.option(
    "--preset",
    help="Size of a simulated dataset: tiny, small or full, or tiny-v1 and so on.",
    shell_complete=known("tiny", "small", "full", "tiny-v1", "small-v1", "full-v1"),
)
device = words("--device", words="auto cpu cuda cuda:1 mps", about="{}.  [default: auto]")
subjects = click.option(
    *("--subject", "--subjects", "subjects"),
    type=SUBJECTS,
    default="all",
    help="5, 1,3, 1-10 or all.  [default: all]",
)
encoder = click.option(
    "--encoder",
    help="Image encoder, or the name features were imported under; see `ssr-bd list encoders`.",
    shell_complete=known(kind="encoders"),
)


def training(default: str) -> Callable[[Any], Any]:
    """--backbone, --encoder, --epochs and --batch-size, by default those of ``default``."""
    backbone = click.option(
        "--backbone",
        help=f"Any braindecode model, or ours; see `ssr-bd list backbones`.  [default: {default}]",
        shell_complete=known(kind="backbones"),
    )
    epochs = click.option(
        "--epochs", type=int, help=f"Passes over the trials.  [default: {default}]"
    )
    batch_size = click.option(
        "--batch-size",
        type=int,
        help=f"Trials in a batch.  [default: {default}, or less if images are few]",
    )
    return lambda function: backbone(encoder(epochs(batch_size(function))))


config = click.option("--config", type=FILE, help="Settings in a TOML file.")
sets = click.option(
    *("--set", "sets"),
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting; repeatable. See `ssr-bd list settings`.",
    shell_complete=known(kind="settings", end="="),
)
trust = click.option(
    "--trust",
    is_flag=True,
    help="Import any class named in a run folder, a file or --set: it can run any code.",
)


def out(default: str, about: str = "Folder for run folders.") -> Any:
    return click.option("--out", type=FOLDER, default=Path(default), show_default=True, help=about)


def common(function: Any) -> Any:
    """--json, -q, -v and --debug, on every command."""
    json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
    return json(volume(debug(function)))


def source(function: Any) -> Any:
    """--data-dir, --preset and --set: the options that say which data are meant."""
    return data_dir(preset(sets(function)))


def trusting(trust: bool, backbone: str | None = None) -> None:
    """Import what the user trusts until the command ends: all classes with --trust, else the one given."""
    from braindecode_ssr.models.names import trusting

    click.get_current_context().with_resource(trusting(trust or backbone or False))


# -- settings ------------------------------------------------------------------------------------------------


def settings_of(
    config: Path | None, sets: tuple[str, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """Nested settings: options override ``--set``, which overrides the configuration file."""
    layers = [read_toml(config)] if config else []
    return merge(*layers, *map(parse_setting, sets), nested(options))


def opened(
    dataset: str,
    data_dir: Path | None,
    preset: str | None,
    sets: tuple[str, ...],
    config: Path | None = None,
) -> tuple[RunSpec, ImageDataset]:
    from braindecode_ssr.datasets import open_dataset
    from braindecode_ssr.resolve import run_spec

    spec = run_spec(settings_of(config, sets, {"dataset": dataset, "preset": preset}))
    return spec, open_dataset(spec.data, data_dir)
