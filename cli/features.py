"""``ssr-bd features``: extract, import and check image features."""

import click

from .group import LazyGroup


@click.group(
    "features",
    cls=LazyGroup,
    prefix="features_",
    table={
        "extract": "Compute features of a dataset's images and of their views.",
        "import": "Bring in features that were computed elsewhere.",
        "check": "Check the features that are there.",
    },
)
def command() -> None:
    """Extract, import and check image features."""
