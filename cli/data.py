"""``ssr-bd data``: find, fetch, check, list, prepare and simulate datasets."""

import click

from .group import LazyGroup


@click.group(
    "data",
    cls=LazyGroup,
    prefix="data_",
    table={
        "where": "Say where a dataset is looked for, and where it can be had.",
        "fetch": "Fetch a dataset, verify it and put it in its place.",
        "check": "Check the files of a dataset.",
        "images": "Print the images of a dataset in image-number order.",
        "prepare": "Window, whiten and store the trials of subjects.",
        "simulate": "Write simulated recordings and images in the published layout.",
    },
)
def command() -> None:
    """Find, fetch, check, prepare and simulate datasets."""
