"""Options that several commands share."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from braindecode_ssr.config import merge, parse_setting, read_toml
from braindecode_ssr.errors import UsageError
from braindecode_ssr.labels import Label, typed_label

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


class Subject(click.ParamType):
    """A subject as people write it: 5, 05 or sub-05; S01 or sub-S01."""

    name = "subject"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Label:
        """The label of the subject."""
        return typed_label(value)


class Subjects(click.ParamType):
    """Subjects as people write them: 5 or 1,3,S07 or 1-10 or all."""

    name = "subjects"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The labels in order, or an empty tuple for all."""
        if value is None or isinstance(value, tuple):
            return value
        if value == "all":
            return ()
        labels: list[Label] = []
        for part in str(value).split(","):
            ends = re.fullmatch(r"(?:sub-)?(\d+)-(?:sub-)?(\d+)", part.strip())
            if ends is None:
                labels.append(typed_label(part))
            elif int(ends[1]) > int(ends[2]):
                raise UsageError(f"the range {part!r} falls", "write it as a range such as 1-4")
            else:
                labels += range(int(ends[1]), int(ends[2]) + 1)
        return tuple(dict.fromkeys(labels))


class Names(click.ParamType):
    """Names with commas between, or all."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The names in order, or an empty tuple for all."""
        if value is None or isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(name.strip() for name in str(value).split(",")))
        if "" in names:
            raise UsageError(
                "names with one comma between two", repr(value), "write for example a,b"
            )
        return () if names == ("all",) else names


class Numbers(click.ParamType):
    """Whole numbers as people write them: 5 or 1,2,5 or 1-10."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The numbers in order, each once."""
        if value is None or isinstance(value, tuple):
            return value
        numbers: list[int] = []
        for part in str(value).split(","):
            first, dash, last = (piece.strip() for piece in part.partition("-"))
            ends = (first, last) if dash else (first, first)
            if not all(end.isdecimal() for end in ends) or int(ends[0]) > int(ends[1]):
                raise UsageError(
                    "whole numbers such as 5, 1,2,5 or 1-10", repr(value), "write it so"
                )
            numbers += range(int(ends[0]), int(ends[1]) + 1)
        return tuple(dict.fromkeys(numbers))


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")


def _set_cache(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """Processes that are started find the folder where this one does, in $SSR_CACHE."""
    if value is None:
        return
    before = os.environ.get("SSR_CACHE")
    os.environ["SSR_CACHE"] = str(value.absolute())

    def restore() -> None:
        os.environ.pop("SSR_CACHE")
        if before is not None:
            os.environ["SSR_CACHE"] = before

    ctx.find_root().call_on_close(restore)


def data_dir_option(function: Any) -> Any:
    """--data-dir, and --cache-dir for what is made of the data."""
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


preset_option = click.option("--preset", help="Size of a simulated dataset: tiny, small or full.")
device_option = click.option(
    "--device", help="auto, cpu, cuda, cuda:1 or mps.  [default: auto]", default=None
)
dataset_option = click.option("--dataset", required=True, help="Name; see `ssr-bd list datasets`.")
sets_option = click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting; repeatable."
)
trust_option = click.option(
    "--trust",
    is_flag=True,
    help="Import any class that a run folder, file or --set names: it can run any code.",
)


def common(function: Any) -> Any:
    """--json and --debug, on every command."""
    return json_option(debug_option(function))


def trusting(trust: bool, backbone: str | None = None) -> None:
    """Until the command ends, import what the user trusts: with --trust all classes, else what was typed."""
    from braindecode_ssr.models.names import trusting

    click.get_current_context().with_resource(trusting(trust or backbone or False))


def say(text: str) -> None:
    """A line of progress, on stderr."""
    click.echo(text, err=True)


def show_bars() -> bool:
    """Whether progress bars make sense: stderr is a terminal."""
    return sys.stderr.isatty()


WHERE = {
    "method": "method",
    "dataset": "data.dataset",
    "subject": "data.subject",
    "protocol": "data.protocol",
    "preset": "data.preset",
    "backbone": "model.backbone",
    "encoder": "images.encoder",
    "loss": "loss.name",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "seed": "train.seed",
    "device": "train.device",
}


def settings_of(
    config: Path | None, sets: tuple[str, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """A file's settings, over them those of ``--set``, over them the options that were given."""
    given: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        nested: Any = value
        for part in reversed(WHERE[name].split(".")):
            nested = {part: nested}
        given = merge(given, nested)
    layers = [read_toml(config)] if config else []
    return merge(*layers, *map(parse_setting, sets), given)
