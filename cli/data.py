"""``ssr-bd data``: find, fetch, check, list, prepare and simulate datasets."""

from __future__ import annotations

from pathlib import Path

import click

from braindecode_ssr.labels import Label

from . import Group
from .options import (
    FILE,
    FOLDER,
    Subjects,
    common,
    data_dir_option,
    preset_option,
    say,
    sets_option,
    settings_of,
    show_bars,
)
from .output import (
    inventory_command,
    may_fetch,
    password_of,
    print_errand,
    print_fetched,
    print_json,
    print_table,
)


@click.group("data", cls=Group)
def data() -> None:
    """Find, fetch, check, prepare and simulate datasets."""


@data.command("images")
@click.argument("dataset")
@preset_option
@data_dir_option
@sets_option
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@common
def data_images(dataset, preset, data_dir, sets, as_csv, as_json) -> None:
    """Print the images of DATASET in image-number order, training images first.

    This is the order of features without names in `ssr-bd features import`.
    """
    from braindecode_ssr.datasets import open_dataset
    from braindecode_ssr.datasets.base import IMAGE_COLUMNS
    from braindecode_ssr.errors import UsageError
    from braindecode_ssr.resolve import run_spec

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


data_check = inventory_command(
    "check",
    read=True,
    text="""Read the files of DATASET and say what is in them, what is missing and what is broken.

    Exit code 1 if something that is needed is missing or broken.""",
)


@data.command("fetch")
@click.argument("dataset")
@click.option("--subject", "subjects", type=Subjects(), help="5, 1,3, 1-10 or all.")
@click.option(
    "--form", help="See `ssr-bd data where DATASET`.  [default: the smallest that trains]"
)
@data_dir_option
@click.option("--mirror", metavar="URL", help="Another place that holds the same files.")
@click.option("--replace", is_flag=True, help="Replace files that are not the published ones.")
@click.option("--yes", is_flag=True, help="Do not ask before more than 1 GB is fetched.")
@click.option("--dry-run", is_flag=True, help="Say what is here and what would be fetched.")
@common
def data_fetch(
    dataset, subjects, form, data_dir: Path | None, mirror, replace, yes, dry_run, as_json
) -> None:
    """Fetch DATASET: what is here and right is left alone, what is missing comes whole and verified.

    A download that is cut off or stopped goes on when the same command is run again.

    \b
    ssr-bd data fetch things-eeg --subject 5                  1.7 GB with the images
    ssr-bd data fetch things-eeg --subject 5 --form raw       as recorded, 5 to 6.5 GB
    ssr-bd data fetch things-meg --subject 1                  8.3 GB
    ssr-bd data fetch things-meg --form images                all THINGS images, 12 GB
    """  # noqa: D301
    from braindecode_ssr.datasets.fetch import plan_download, run_download

    todo = plan_download(dataset, data_dir, form=form, subjects=subjects)
    if dry_run:
        print_errand(todo, as_json)
        return
    may_fetch(todo, yes, interactive=not as_json)
    password = password_of(todo, interactive=not as_json)

    from braindecode_ssr.datasets.download import Downloader

    downloader = Downloader(say=say, progress=show_bars())
    rows = run_download(todo, downloader, mirror=mirror, password=password, replace_others=replace)
    if as_json:
        print_json(
            {"dataset": todo.dataset, "root": str(todo.root), "form": todo.form, "files": rows}
        )
    else:
        print_fetched(todo, rows, data_dir)


@data.command("prepare")
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
def data_prepare(
    context, dataset, subjects, jobs, preset, data_dir: Path | None, config, sets, as_json
) -> None:
    """Window, whiten and store the trials of DATASET, so that runs start at once.

    What was stopped or killed is gone on with after the last finished session by the same command.
    """
    from braindecode_ssr.datasets import open_dataset
    from braindecode_ssr.labels import natural
    from braindecode_ssr.resolve import run_spec, trials_of
    from braindecode_ssr.trials.prepare_many import prepare_many

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
    from braindecode_ssr.trials.store import TrialStore

    store = TrialStore.open(path)
    trials, chans, times = store.trials.shape
    left_out = sum(store.manifest.get("dropped", {}).values())
    shape = {"trials": trials, "left out": left_out, "channels": chans, "samples": times}
    return {"subject": subject, **shape, "store": str(path)}


@data.command("simulate")
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
def data_simulate(dataset: str, out: Path, layout: str, preset, subjects, seed, as_json) -> None:
    """Simulate DATASET and write its recordings and images as the real ones are published.

    `--dataset things-eeg --data-dir OUT` then reads them, or `--dataset things-meg` those of
    `--layout meg`. The features of the images from the dataset's own encoder are put beside them, so
    that training needs no network.
    """
    from braindecode_ssr.pipeline import simulate

    choices = {"layout": layout, "preset": preset, "subjects": subjects, "seed": seed}
    written = simulate(dataset, out, **choices, say=say, progress=show_bars())
    if as_json:
        print_json(written)
    else:
        click.echo(
            f"wrote {written['recordings']} recordings of {len(written['subjects'])} subjects"
        )
        click.echo(f"now: ssr-bd train --dataset {written['dataset']} --data-dir {out}")


data_where = inventory_command(
    "where",
    read=False,
    text="""Say where the files of DATASET are looked for, which are there, and where they can be had.

    Only looks; see `ssr-bd data check` to have them read.""",
)


data.add_command(data_check)


data.add_command(data_where)
