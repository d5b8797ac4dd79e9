"""``ssr-bd data prepare``: window, whiten and store the trials of subjects."""

from __future__ import annotations

from pathlib import Path

import click

from .options import FILE, Subjects, common, data_dir_option, preset_option, say, show_bars
from .output import print_json, print_table
from .settings import settings_of


@click.command("prepare")
@click.argument("dataset")
@click.option("--subject", "subjects", type=Subjects(), default="all", help="5, 1,3, 1-10 or all.")
@preset_option
@data_dir_option
@click.option("--config", type=FILE, help="Settings in a TOML file.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting; repeatable.")
@common
def command(dataset, subjects, preset, data_dir: Path | None, config, sets, as_json) -> None:
    """Window, whiten and store the trials of DATASET, so that runs start at once."""
    from braindecode_ssr.datasets.prepare import prepare
    from braindecode_ssr.resolve import open_dataset, run_spec

    spec = run_spec(settings_of(config, sets, {"dataset": dataset, "preset": preset}))
    source = open_dataset(spec.data, data_dir)
    rows = []
    for subject in subjects or source.present_subjects:
        say(f"prepare subject {subject}")
        store = prepare(source, source.check_subject(subject), spec.trials, progress=show_bars())
        trials, chans, times = store.trials.shape
        shape = {"trials": trials, "channels": chans, "samples": times}
        rows.append({"subject": subject, **shape, "store": str(store.path)})
    if as_json:
        print_json(rows)
    else:
        print_table(rows)
