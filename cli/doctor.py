"""``ssr-bd doctor``: versions, devices, folders and what is missing."""

from __future__ import annotations

import click

from .options import common
from .output import print_json, print_table


@click.command("doctor")
@common
def command(as_json: bool) -> None:
    """Show versions, devices, folders and what is missing; exit code 1 if something is."""
    from braindecode_ssr.doctor import examine

    rows = examine()
    if as_json:
        print_json(rows)
    else:
        print_table(rows)
    if any(row["state"] == "missing" for row in rows):
        raise SystemExit(1)
