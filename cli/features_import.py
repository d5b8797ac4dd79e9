"""``ssr-bd features import``: features that were computed elsewhere."""

from __future__ import annotations

from dataclasses import asdict

import click

from .options import FILE, common, data_dir_option, dataset_option, preset_option, sets_option
from .output import print_json, print_table
from .settings import settings_of


@click.command("import")
@dataset_option
@data_dir_option
@preset_option
@click.option("--encoder", required=True, help="Name under which `train --encoder` finds them.")
@click.option("--view", default="original", show_default=True, help="original or the view's name.")
@click.option("--train", type=FILE, help="Array of the training images, in image-number order.")
@click.option("--test", type=FILE, help="Array of the test images, in image-number order.")
@click.option("--array", type=FILE, help="Array of any images, in the order of --images.")
@click.option("--images", type=FILE, help="Text file with one image id a line.")
@sets_option
@common
def command(
    dataset, data_dir, preset, encoder, view, train, test, array, images, sets, as_json
) -> None:
    """Bring in features as .npy arrays of shape (n_images, d) or (concepts, images, d)."""
    from braindecode_ssr.errors import UsageError
    from braindecode_ssr.images.imports import import_listed, import_split
    from braindecode_ssr.images.store import FeatureStore
    from braindecode_ssr.resolve import open_dataset, run_spec

    listed, split = bool(array and images), bool(train or test)
    if listed == split or bool(array) != bool(images):
        raise UsageError(
            "--train and/or --test, or --array with --images",
            _given(train=train, test=test, array=array, images=images),
            "see `ssr-bd features import --help`",
        )
    spec = run_spec(settings_of(None, sets, {"dataset": dataset, "preset": preset}))
    source = open_dataset(spec.data, data_dir)
    source.check_images_here()
    store = FeatureStore.of(source)
    if listed:
        done = import_listed(source, store, encoder, view, array, images)
    else:
        done = import_split(source, store, encoder, view, train, test)
    rows = [asdict(done)]
    if as_json:
        print_json(rows)
    else:
        print_table(rows)


def _given(**files) -> str:
    """The options that were given, by name."""
    return " with ".join(f"--{name}" for name, file in files.items() if file) or "neither"
