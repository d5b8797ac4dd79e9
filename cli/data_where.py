"""``ssr-bd data where``: where a dataset is looked for, and where it can be had."""

from __future__ import annotations

from .inventory import inventory_command

command = inventory_command(
    "where",
    read=False,
    text="""Say where the files of DATASET are looked for, which are there, and where they can be had.

    Only looks; see `ssr-bd data check` to have them read.""",
)
