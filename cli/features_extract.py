"""``ssr-bd features extract``: features of a dataset's images and of their views."""

from __future__ import annotations

import click

from .options import (
    common,
    data_dir_option,
    dataset_option,
    device_option,
    preset_option,
    say,
    sets_option,
    show_bars,
)
from .output import print_json, print_table
from .settings import settings_of


@click.command("extract")
@dataset_option
@data_dir_option
@preset_option
@click.option(
    "--encoder", help="See `ssr-bd list encoders`; A+B for several.  [default: the dataset's]"
)
@click.option(
    "--view", "views", multiple=True, help="Repeatable.  [default: original and SSR's four]"
)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@device_option
@sets_option
@common
def command(dataset, data_dir, preset, encoder, views, batch_size, device, sets, as_json) -> None:
    """Compute features of a dataset's images and of their views; goes on where it was cut off."""
    from braindecode_ssr.devices import pick_device
    from braindecode_ssr.images.encoders import encoder_name, parts_of
    from braindecode_ssr.images.extract import extract
    from braindecode_ssr.images.store import FeatureStore
    from braindecode_ssr.methods import METHODS
    from braindecode_ssr.resolve import open_dataset, run_spec

    spec = run_spec(settings_of(None, sets, {"dataset": dataset, "preset": preset}))
    source = open_dataset(spec.data, data_dir)
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
    if as_json:
        print_json(rows)
    else:
        print_table(rows)
