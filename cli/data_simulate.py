"""``ssr-bd data simulate``: recordings and images in the published layout."""

from __future__ import annotations

from pathlib import Path

import click

from .options import FOLDER, Subjects, common, say, show_bars
from .output import print_json


@click.command("simulate")
@click.argument("dataset")
@click.option("--out", type=FOLDER, required=True, help="Folder that becomes the dataset.")
@click.option(
    "--layout",
    type=click.Choice(["raw", "meg"]),
    default="raw",
    help="Published form: raw of THINGS-EEG2, meg of THINGS-MEG.  [default: raw]",
)
@click.option("--preset", default="small", show_default=True, help="tiny, small or full.")
@click.option("--subject", "subjects", type=Subjects(), default="all", help="5, 1,3 or 1-10.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the data.")
@common
def command(dataset: str, out: Path, layout: str, preset, subjects, seed, as_json) -> None:
    """Simulate DATASET and write its recordings and images as the real ones are published.

    `--dataset things-eeg --data-dir OUT` then reads them, or `--dataset things-meg` those of
    `--layout meg`. The features of the images from the dataset's own encoder are put beside them, so
    that training needs no network.
    """
    from braindecode_ssr.simulate import simulate

    choices = {"layout": layout, "preset": preset, "subjects": subjects, "seed": seed}
    written = simulate(dataset, out, **choices, say=say, progress=show_bars())
    if as_json:
        print_json(written)
    else:
        click.echo(
            f"wrote {written['recordings']} recordings of {len(written['subjects'])} subjects"
        )
        click.echo(f"now: ssr-bd train --dataset {written['dataset']} --data-dir {out}")
