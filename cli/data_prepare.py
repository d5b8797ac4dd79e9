"""``ssr-bd data prepare``: window, whiten and store the trials of subjects."""

from __future__ import annotations

from pathlib import Path

import click

from braindecode_ssr.labels import Label

from .options import (
    FILE,
    Subjects,
    common,
    data_dir_option,
    preset_option,
    say,
    sets_option,
    show_bars,
)
from .output import print_json, print_table
from .settings import settings_of


@click.command("prepare")
@click.argument("dataset")
@click.option("--subject", "subjects", type=Subjects(), default="all", help="5, 1,3, 1-10 or all.")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Subjects at a time."
)
@preset_option
@data_dir_option
@click.option("--config", type=FILE, help="Settings in a TOML file.")
@sets_option
@common
@click.pass_context
def command(
    context, dataset, subjects, jobs, preset, data_dir: Path | None, config, sets, as_json
) -> None:
    """Window, whiten and store the trials of DATASET, so that runs start at once.

    What was stopped or killed is gone on with after the last finished session by the same command.
    """
    from braindecode_ssr.datasets.prepare_many import prepare_many
    from braindecode_ssr.labels import natural
    from braindecode_ssr.resolve import open_dataset, run_spec, trials_of

    spec = run_spec(settings_of(config, sets, {"dataset": dataset, "preset": preset}))
    source = open_dataset(spec.data, data_dir)
    source.check_here()
    subjects = [source.check_subject(label) for label in subjects or source.present_subjects]
    rows, failed = [], []
    try:
        for done in prepare_many(
            source, subjects, trials_of(spec, source), jobs=jobs, progress=show_bars(), say=say
        ):
            failed += [done] if done.error else []
            rows += [] if done.error else [_row(done.subject, done.path)]
    except KeyboardInterrupt:
        say("stopped; sessions that are finished are kept, the same command goes on after them")
        context.exit(130)
    if failed and len(subjects) == 1:
        raise failed[0].error
    rows.sort(key=lambda row: natural(row["subject"]))
    if as_json:
        errors = [{"subject": done.subject, "error": str(done.error)} for done in failed]
        print_json(rows + errors)
    else:
        print_table(rows)
    for done in failed:
        say(f"Error: subject {done.subject}: {done.error}")
    context.exit(1 if failed else 0)


def _row(subject: Label, path: Path) -> dict[str, object]:
    from braindecode_ssr.datasets.store import TrialStore

    store = TrialStore.open(path)
    trials, chans, times = store.trials.shape
    left_out = sum(store.manifest.get("dropped", {}).values())
    shape = {"trials": trials, "left out": left_out, "channels": chans, "samples": times}
    return {"subject": subject, **shape, "store": str(path)}
