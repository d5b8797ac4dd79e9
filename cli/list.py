"""``ssr-bd list``: what there is to choose from."""

from __future__ import annotations

import click

from .options import common
from .output import print_json, print_table

KINDS = ["datasets", "methods", "backbones", "losses", "encoders", "views"]


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@common
def command(kind: str, as_json: bool) -> None:
    """List datasets, methods, backbones, losses, encoders or views."""
    from braindecode_ssr.catalogue import catalogue

    rows = catalogue(kind)
    if as_json:
        print_json(rows)
    else:
        print_table([{k: v for k, v in row.items() if isinstance(v, str | int)} for row in rows])
