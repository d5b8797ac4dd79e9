"""``ssr-bd data images``: the images of a dataset, in the order of features without names."""

from __future__ import annotations

import click

from .options import common, data_dir_option, preset_option, sets_option
from .output import print_json, print_table
from .settings import settings_of


@click.command("images")
@click.argument("dataset")
@preset_option
@data_dir_option
@sets_option
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@common
def command(dataset, preset, data_dir, sets, as_csv, as_json) -> None:
    """Print the images of DATASET in image-number order, training images first.

    This is the order of features without names in `ssr-bd features import`.
    """
    from braindecode_ssr.datasets.base import IMAGE_COLUMNS
    from braindecode_ssr.errors import UsageError
    from braindecode_ssr.resolve import open_dataset, run_spec

    if as_csv and as_json:
        raise UsageError("--csv and --json exclude each other", "give one of them")
    spec = run_spec(settings_of(None, sets, {"dataset": dataset, "preset": preset}))
    source = open_dataset(spec.data, data_dir)
    source.check_images_here()
    images = source.images[IMAGE_COLUMNS].sort_values(
        ["split", "number"], ascending=[False, True], kind="stable"
    )
    if as_csv:
        click.echo(images.to_csv(index=False, lineterminator="\n"), nl=False)
    elif as_json:
        print_json(images.to_dict("records"))
    else:
        print_table(images.to_dict("records"))
