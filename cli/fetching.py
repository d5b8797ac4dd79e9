"""What ``data fetch`` asks and prints."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from braindecode_ssr.errors import UsageError
from braindecode_ssr.files import gigabytes

from .output import print_json

if TYPE_CHECKING:
    from braindecode_ssr.fetch import Errand

PASSWORD = "SSR_THINGS_PASSWORD"


def may_fetch(todo: Errand, yes: bool, *, interactive: bool) -> None:
    """Ask before much is fetched.

    Raises
    ------
    UsageError
        If there is nobody to ask, or the answer is no.
    """
    from braindecode_ssr.fetch import ASK_ABOVE

    if yes or todo.bytes <= ASK_ABOVE:
        return
    much = f"{gigabytes(todo.bytes)} to fetch into {todo.root}, {gigabytes(todo.room)} of disk"
    if not (interactive and sys.stdin.isatty()):
        raise UsageError("a word before more than 1 GB is fetched", much, "add --yes")
    if not click.confirm(f"{much}; go on?", err=True):
        raise click.Abort


def password_of(todo: Errand, *, interactive: bool) -> str:
    """The password of the THINGS images, if it is needed: asked for, never kept.

    Raises
    ------
    UsageError
        If it is needed and there is nobody to ask.
    """
    if not todo.password:
        return ""
    if given := os.environ.get(PASSWORD):
        return given
    if not (interactive and sys.stdin.isatty()):
        raise UsageError(
            "the password of the THINGS images", f"no ${PASSWORD}", f"see {todo.password}"
        )
    click.echo(f"The THINGS images need a password. It is told at {todo.password}.", err=True)
    return click.prompt("Password", hide_input=True, err=True)


def print_errand(todo: Errand, as_json: bool) -> None:
    """What is here, and what would be fetched."""
    if as_json:
        print_json(
            {
                "dataset": todo.dataset,
                "root": str(todo.root),
                "form": todo.form,
                "bytes": todo.bytes,
                "room": todo.room,
                "files": todo.rows(),
            }
        )
        return
    click.echo(f"{todo.dataset}, form {todo.form}, at {todo.root.absolute()}")
    for row in todo.rows():
        click.echo(f"  {row['state']:<8} {_line(row)}")
        click.echo(f"           {row['url']} ({row['licence']}; {row['proof']})")
    click.echo(f"{gigabytes(todo.bytes)} to fetch, {gigabytes(todo.room)} of disk while it runs")


def print_fetched(todo: Errand, rows: list[dict[str, Any]], data_dir: Path | None) -> None:
    """What is in its place now, how that is known, and what can be done with it."""
    for row in rows:
        known = row["proof"] if row["state"] == "fetched" else "was here"
        click.echo(f"  {row['state']:<8} {_line(row)}  [{known}]")
    at = f" --data-dir {data_dir}" if data_dir else ""
    subject = todo.subjects[0] if todo.subjects else "N"
    if todo.form == "images":
        click.echo(f"now: ssr-bd features extract --dataset {todo.dataset}{at}")
        return
    click.echo(f"now: ssr-bd data check {todo.dataset} --subject {subject}{at}")
    click.echo(f"     ssr-bd features extract --dataset {todo.dataset}{at}")
    click.echo(f"     ssr-bd train --dataset {todo.dataset} --subject {subject}{at}")


def _line(row: dict[str, Any]) -> str:
    about = "" if row["exact"] or not row["bytes"] else "about "
    size = f", {about}{gigabytes(row['bytes'])}" if row["bytes"] else ""
    if row["have"] and row["state"] != "fetched":
        size += f" of which {gigabytes(row['have'])} are here"
    detail = f" ({row['detail']})" if row.get("detail") else ""
    return f"{row['what']}{size}: {row['path']}{detail}"
