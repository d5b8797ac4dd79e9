"""``ssr-bd features check``: the features that are there."""

from __future__ import annotations

import click

from .options import common, data_dir_option, dataset_option, preset_option, sets_option
from .output import print_json, print_table
from .settings import settings_of


@click.command("check")
@dataset_option
@data_dir_option
@preset_option
@sets_option
@common
def command(dataset, data_dir, preset, sets, as_json) -> None:
    """Check the features that are there: readable, whole, one row for each image of the dataset."""
    from braindecode_ssr.images.check import check_features
    from braindecode_ssr.resolve import open_dataset, run_spec

    spec = run_spec(settings_of(None, sets, {"dataset": dataset, "preset": preset}))
    source = open_dataset(spec.data, data_dir)
    source.check_images_here()
    rows = check_features(source)
    if as_json:
        print_json(rows)
    else:
        print_table(rows)
    if any(row["problem"] for row in rows):
        raise SystemExit(1)
