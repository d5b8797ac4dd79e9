"""``ssr-bd features``: extract, import and check image features."""

from __future__ import annotations

from dataclasses import asdict

import click

from . import Group, say, show_bars
from . import options as opt
from .output import print_rows


@click.group("features", cls=Group)
def features() -> None:
    """Extract, import and check image features."""


@features.command("check")
@opt.part("--dataset", "datasets")
@opt.source
@opt.common
def features_check(dataset, data_dir, preset, sets, as_json) -> None:
    """Check that features are readable and complete: one row for each image of the dataset."""
    from braindecode_ssr.images.features import feature_rows

    _, source = opt.opened(dataset, data_dir, preset, sets)
    source.check_images_here()
    rows = feature_rows(source)
    print_rows(rows, as_json)
    if any(row["problem"] for row in rows):
        raise SystemExit(1)


@features.command("extract")
@opt.part("--dataset", "datasets")
@opt.source
@click.option(
    "--encoder",
    help="See `ssr-bd list encoders`; A+B for several.  [default: the dataset's]",
    shell_complete=opt.known(kind="encoders"),
)
@click.option(
    *("--view", "views"),
    multiple=True,
    help="See `ssr-bd list views`; repeatable.  [default: original and the four of SSR]",
    shell_complete=opt.known(kind="views"),
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Images in a batch.",
)
@opt.device
@opt.common
def features_extract(
    dataset, data_dir, preset, encoder, views, batch_size, device, sets, as_json
) -> None:
    """Compute features of a dataset's images and of their views; resumes if it was interrupted."""
    from braindecode_ssr.images.encoders import encoder_name, parts_of
    from braindecode_ssr.images.features import extract
    from braindecode_ssr.images.store import FeatureStore
    from braindecode_ssr.methods import METHODS
    from braindecode_ssr.training.distributed import pick_device

    _, source = opt.opened(dataset, data_dir, preset, sets)
    source.check_images_here()
    device = pick_device(device or "auto")
    names = parts_of(encoder_name(encoder or source.default_encoder))
    store = FeatureStore.of(source)
    views = views or ("original", *METHODS["ssr"].views)
    options = {"batch_size": batch_size, "device": device, "progress": show_bars(), "say": say}
    for name in names:
        extract(source, name, views, store, **options)
    rows = [
        {"encoder": name, "view": view, "images": len(store.image_ids(name, view))}
        for name in names
        for view in views
    ]
    print_rows(rows, as_json)


@features.command("import")
@opt.part("--dataset", "datasets")
@opt.source
@click.option("--encoder", required=True, help="Name under which `train --encoder` finds them.")
@click.option(
    "--view",
    default="original",
    show_default=True,
    help="original or the view's name.",
    shell_complete=opt.known(kind="views"),
)
@click.option("--train", type=opt.FILE, help="Features of all training images.")
@click.option("--test", type=opt.FILE, help="Features of all test images.")
@click.option(
    "--array", type=opt.FILE, help="Features of any images, with names or in the order of --images."
)
@click.option(
    "--images",
    type=opt.FILE,
    help="Text file with one image id or file name per line, or a .csv with such a column.",
)
@opt.common
def features_import(
    dataset, data_dir, preset, encoder, view, train, test, array, images, sets, as_json
) -> None:
    """Import features from .npy, .npz, .pt, .safetensors or .csv files.

    Files with names (npz, pt, safetensors: a list image_ids, files or names; csv: a column image_id, file or
    name) are matched by name. Arrays without names, of shape (n_images, d) or (concepts, images, d), must be
    in image-number order: see `ssr-bd data images`.
    """
    from braindecode_ssr.errors import UsageError
    from braindecode_ssr.images.imports import import_listed, import_split
    from braindecode_ssr.images.store import FeatureStore

    if bool(array) == bool(train or test) or (images and not array):
        given = {"train": train, "test": test, "array": array, "images": images}
        names = " with ".join(f"--{name}" for name, file in given.items() if file)
        raise UsageError(
            f"{names or 'no file'} given, but features come from "
            "--train and/or --test, or --array with --images",
            "see `ssr-bd features import --help`",
        )
    _, source = opt.opened(dataset, data_dir, preset, sets)
    source.check_images_here()
    store = FeatureStore.of(source)
    if array:
        done = import_listed(source, store, encoder, view, array, images, say)
    else:
        done = import_split(source, store, encoder, view, train, test, say)
    print_rows([asdict(done)], as_json)
