"""``ssr-bd list``: what there is to choose from."""

from __future__ import annotations

from typing import Any

import click

from .options import common
from .output import print_json, print_table

KINDS = ["datasets", "methods", "backbones", "image-heads", "losses", "encoders", "views"]


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@common
def command(kind: str, as_json: bool) -> None:
    """List datasets, methods, backbones, image heads, losses, encoders or views."""
    from braindecode_ssr.catalogue import catalogue

    rows = catalogue(kind)
    if as_json:
        print_json(rows)
    else:
        print_table([_flat(row) for row in rows])


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """What fits in a column; what is not known is empty."""
    known = {key: "" if value is None else value for key, value in row.items()}
    return {key: value for key, value in known.items() if isinstance(value, str | int)}
