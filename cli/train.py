"""``ssr-bd train``: one run, one table."""

from __future__ import annotations

from pathlib import Path

import click

from .options import (
    FILE,
    FOLDER,
    Subject,
    common,
    data_dir_option,
    device_option,
    preset_option,
    say,
    sets_option,
    show_bars,
    trust_option,
    trusting,
)
from .output import print_json, print_summary
from .settings import settings_of


@click.command("train")
@click.option("--dataset", help="Name; see `ssr-bd list datasets`.  [default: things-sim]")
@click.option("--subject", type=Subject(), help="The subject that is tested.  [default: 1]")
@click.option(
    "--protocol", help="intra: train on the same subject; inter: on all others.  [default: intra]"
)
@click.option("--method", help="Name; see `ssr-bd list methods`.  [default: ssr]")
@click.option("--backbone", help="Any braindecode model, or ours; see `ssr-bd list backbones`.")
@click.option("--loss", help="Name; see `ssr-bd list losses`.  [default: the method's]")
@click.option("--encoder", help="Image encoder, or the name features were imported under.")
@click.option("--epochs", type=int, help="[default: the method's]")
@click.option("--batch-size", type=int, help="[default: the method's, less where images are few]")
@click.option("--seed", type=int, help="Of weights, batches and masks.  [default: 0]")
@device_option
@preset_option
@data_dir_option
@click.option("--out", type=FOLDER, default=Path("runs"), show_default=True, help="Place for runs.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Train a finished run anew; the new one replaces it when it is complete.",
)
@click.option(
    "--resume", is_flag=True, help="What happens anyway: an interrupted run is continued."
)
@click.option("--config", type=FILE, help="Settings in a TOML file.")
@sets_option
@click.option("--dry-run", is_flag=True, help="Check and print the resolved run; train nothing.")
@trust_option
@common
def command(
    data_dir, out, overwrite, resume, config, sets, dry_run, trust, as_json, **options
) -> None:
    """Train a model on one dataset and test it: one run, one table.

    The run folder is made below --out; the last line on stderr says where. The same command continues an
    interrupted run, and hands back a finished one.
    """
    from braindecode_ssr.resolve import run_spec

    trusting(trust, options["backbone"])
    spec = run_spec(settings_of(config, sets, options))
    if dry_run:
        from braindecode_ssr.checks import preview

        print_json(preview(spec, data_dir, out))
        return
    from braindecode_ssr.pipeline import train

    run = train(
        spec, data_dir=data_dir, out=out, overwrite=overwrite, progress=show_bars(), say=say
    )
    if run is None:  # of several processes, the first speaks
        return
    if as_json:
        print_json({"run": str(run.path), **run.summary})
    else:
        print_summary(run.summary)
    say(f"run folder: {run.path}")
