"""``ssr-bd data check``: read the files of a dataset and say what is wrong with them."""

from __future__ import annotations

from .inventory import inventory_command

command = inventory_command(
    "check",
    read=True,
    text="""Read the files of DATASET and say what is in them, what is missing and what is broken.

    Exit code 1 if something that is needed is missing or broken.""",
)
