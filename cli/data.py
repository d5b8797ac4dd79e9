"""``ssr-bd data``: find, download, check, list, prepare and simulate datasets."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from braindecode_ssr.errors import UsageError
from braindecode_ssr.files import gigabytes

from . import Group, say, show_bars
from . import options as opt
from .output import print_json, print_rows, print_table

if TYPE_CHECKING:
    from braindecode_ssr.datasets.fetch import DownloadPlan
    from braindecode_ssr.errors import SSRError
    from braindecode_ssr.registry import Label


@click.group("data", cls=Group)
def data() -> None:
    """Find, download, check, prepare and simulate datasets."""


@data.command("images")
@click.argument("dataset", shell_complete=opt.DATASETS)
@opt.source
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@opt.common
def data_images(dataset, preset, data_dir, sets, as_csv, as_json) -> None:
    """Print the images of DATASET in image-number order, training images first.

    This is the order of features without names in `ssr-bd features import`.
    """
    from braindecode_ssr.datasets.base import IMAGE_COLUMNS

    if as_csv and as_json:
        raise UsageError("--csv and --json cannot be combined", "give one of them")
    _, source = opt.opened(dataset, data_dir, preset, sets)
    source.check_images_here()
    images = source.images[IMAGE_COLUMNS].sort_values(
        ["split", "number"], ascending=[False, True], kind="stable"
    )
    if as_csv:
        click.echo(images.to_csv(index=False, lineterminator="\n"), nl=False)
    else:
        print_rows(images.to_dict("records"), as_json)


# -- where, check --------------------------------------------------------------------------------------------


@data.command("where", short_help="Show where files belong, which are there, and their URLs.")
@click.argument("dataset", shell_complete=opt.DATASETS)
@opt.subjects
@opt.source
@opt.common
def data_where(dataset, subjects, preset, data_dir, sets, as_json) -> None:
    """Show where the files of DATASET belong, which are there, and where to download them.

    Does not open the files; `ssr-bd data check` reads them.
    """
    from braindecode_ssr.datasets.fetch import downloadable_forms

    source, files = _inventory(dataset, subjects, preset, data_dir, sets, read=False)
    forms = downloadable_forms(source.name, source.root)
    if as_json:
        content = {"dataset": source.name, "root": str(source.root)}
        print_json({**content, "files": files, "forms": forms})
    else:
        click.echo(_summary(source, files, forms))
        _print_files(source, files)
        _print_forms(source.name, forms)
    if data_dir is not None and not forms:  # what can be downloaded may be put there
        source.check_here()


@data.command("check", short_help="Read the files of DATASET and say what is missing or wrong.")
@click.argument("dataset", shell_complete=opt.DATASETS)
@opt.subjects
@opt.source
@opt.common
def data_check(dataset, subjects, preset, data_dir, sets, as_json) -> None:
    """Read the files of DATASET and show what they contain, what is missing and what is broken.

    Exit code 1 if something that is needed is missing or broken.
    """
    source, files = _inventory(dataset, subjects, preset, data_dir, sets, read=True)
    if as_json:
        print_json({"dataset": source.name, "root": str(source.root), "files": files})
    else:
        click.echo(_summary(source, files, []))
        _print_files(source, files)
    source.check_here()
    for file in files:
        if file["state"] != "found" and (file["state"] != "missing" or file["needed"]):
            raise SystemExit(1)


def _inventory(dataset, subjects, preset, data_dir, sets, *, read: bool) -> tuple[Any, list]:
    from braindecode_ssr.resolve import trials_of

    spec, source = opt.opened(dataset, data_dir, preset, sets)
    files = source.with_spec(trials_of(spec, source)).inventory(subjects or None, read=read)
    return source, files


def _summary(source: Any, files: list[dict[str, Any]], forms: list[dict[str, Any]]) -> str:
    """A paragraph: where the dataset is, how much of it is here, and how to get the rest."""
    text = f"{source.name} at {source.root.absolute()}"
    if files:
        found = [file for file in files if file["state"] == "found"]
        size = gigabytes(sum(file["size"] or 0 for file in found))
        rest = Counter(file["state"] for file in files if file["state"] != "found")
        more = "".join(f", {count} {state}" for state, count in rest.items())
        text += f": {len(found)} of {len(files)} files are here ({size}){more}"
        if rest and forms:
            bytes = gigabytes(forms[0]["common_bytes"] + forms[0]["subject_bytes"])
            command = f"ssr-bd data fetch {source.name} --subject N"
            text += f". The smallest download that trains is `{command}`, {bytes} for one subject."
    return text


def _print_files(source: Any, files: list[dict[str, Any]]) -> None:
    if not files:
        click.echo("no files to download: this dataset is generated, or finds its data itself")
    shown: set[str] = set()
    for file in files:
        size = f", {file['size'] / 1e6:.1f} MB" if file["size"] else ""
        click.echo(f"  {file['state']:<8} {file['what']}{size}: {file['path']}")
        if file["detail"] and file["detail"] != "no such file":
            click.echo(f"           {file['detail']}")
        if file["state"] != "found" and file["source"] not in shown:
            shown.add(file["source"])
            click.echo(f"           from {file['source']}")


def _print_forms(name: str, forms: list[dict[str, Any]]) -> None:
    if forms:
        click.echo(f"download with `ssr-bd data fetch {name} --subject N --form FORM`:")
    for form in forms:
        sizes = {"per subject": form["subject_bytes"], "once": form["common_bytes"]}
        parts = " and ".join(f"{gigabytes(size)} {per}" for per, size in sizes.items() if size)
        about = "" if form["exact"] else "about "
        click.echo(f"  {form['form']:<12} {about}{parts} ({'; '.join(form['licences'])})")
        click.echo(f"               {form['text']}")


# -- fetch ---------------------------------------------------------------------------------------------------

PASSWORD = "SSR_THINGS_PASSWORD"


@data.command("fetch", short_help="Download DATASET; what is there and intact is kept.")
@click.argument("dataset", shell_complete=opt.DATASETS)
@click.option("--subject", "--subjects", "subjects", type=opt.SUBJECTS, help="5, 1,3, 1-10 or all.")
@click.option(
    "--form", help="See `ssr-bd data where DATASET`.  [default: the smallest that trains]"
)
@opt.data_dir
@click.option("--mirror", metavar="URL", help="Another server or folder with the same files.")
@click.option("--replace", is_flag=True, help="Replace files that are not the published ones.")
@click.option("--yes", is_flag=True, help="Do not ask before downloading more than 1 GB.")
@click.option("--dry-run", is_flag=True, help="Show what is there and what would be downloaded.")
@opt.common
def data_fetch(dataset, subjects, form, data_dir, mirror, replace, yes, dry_run, as_json) -> None:
    """Download DATASET: files that are there and intact are kept, missing ones are downloaded and verified.

    An interrupted download resumes when the same command is run again.

    \b
    ssr-bd data fetch things-eeg --subject 5                  1.7 GB with the images
    ssr-bd data fetch things-eeg --subject 5 --form raw       as recorded, 5 to 6.5 GB
    ssr-bd data fetch things-meg --subject 1                  8.3 GB
    ssr-bd data fetch things-meg --form images                all THINGS images, 12 GB
    """  # noqa: D301
    from braindecode_ssr.datasets.fetch import plan_download, run_download

    todo = plan_download(dataset, data_dir, form=form, subjects=subjects)
    content = {"dataset": todo.dataset, "root": str(todo.root), "form": todo.form}
    if dry_run and as_json:
        print_json({**content, "bytes": todo.bytes, "room": todo.room, "files": todo.rows()})
    elif dry_run:
        click.echo(f"{todo.dataset}, form {todo.form}, at {todo.root.absolute()}")
        for row in todo.rows():
            click.echo(f"  {row['state']:<8} {_file_line(row)}")
            click.echo(f"           {row['url']} ({row['licence']}; {row['proof']})")
        click.echo(f"{gigabytes(todo.bytes)} to download, up to {gigabytes(todo.room)} of disk")
    if dry_run:
        return
    interactive = not as_json and sys.stdin.isatty()
    _confirm(todo, yes, interactive)
    password = _password(todo, interactive)

    from braindecode_ssr.datasets.download import Downloader

    downloader = Downloader(say=say, progress=show_bars())
    rows = run_download(todo, downloader, mirror=mirror, password=password, replace_others=replace)
    if as_json:
        print_json({**content, "files": rows})
        return
    for row in rows:
        known = row["proof"] if row["state"] == "fetched" else "was there"
        click.echo(f"  {row['state']:<8} {_file_line(row)}  [{known}]")
    at = f" --data-dir {data_dir}" if data_dir else ""
    extract = f"ssr-bd features extract --dataset {todo.dataset}{at}"
    if todo.form == "images":
        click.echo(f"now: {extract}")
        return
    subject = todo.subjects[0] if todo.subjects else "N"
    click.echo(f"now: ssr-bd data check {todo.dataset} --subject {subject}{at}")
    click.echo(f"     {extract}")
    click.echo(f"     ssr-bd train --dataset {todo.dataset} --subject {subject}{at}")


def _confirm(todo: DownloadPlan, yes: bool, interactive: bool) -> None:
    from braindecode_ssr.datasets.fetch import ASK_ABOVE

    if yes or todo.bytes <= ASK_ABOVE:
        return
    sizes = f"{gigabytes(todo.bytes)} to {todo.root}, up to {gigabytes(todo.room)} of disk"
    if not interactive:
        raise UsageError(f"this would download {sizes}", "add --yes to download more than 1 GB")
    if not click.confirm(f"Download {sizes}?", err=True):
        raise click.Abort


def _password(todo: DownloadPlan, interactive: bool) -> str:
    """The password of the THINGS images, if one is needed: asked for, never stored."""
    if not todo.password:
        return ""
    if given := os.environ.get(PASSWORD):
        return given
    if not interactive:
        raise UsageError(
            "the THINGS images need a password", f"set ${PASSWORD} to the one at {todo.password}"
        )
    click.echo(f"The THINGS images need a password, which is given at {todo.password}.", err=True)
    return click.prompt("Password", hide_input=True, err=True)


def _file_line(row: dict[str, Any]) -> str:
    about = "" if row["exact"] or not row["bytes"] else "about "
    size = f", {about}{gigabytes(row['bytes'])}" if row["bytes"] else ""
    if row["have"] and row["state"] != "fetched":
        size += f" of which {gigabytes(row['have'])} are here"
    detail = f" ({row['detail']})" if row.get("detail") else ""
    return f"{row['what']}{size}: {row['path']}{detail}"


# -- prepare, simulate ---------------------------------------------------------------------------------------


@data.command("prepare")
@click.argument("dataset", shell_complete=opt.DATASETS)
@opt.subjects
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Subjects in parallel."
)
@opt.config
@opt.source
@opt.common
@click.pass_context
def data_prepare(context, dataset, subjects, jobs, preset, data_dir, config, sets, as_json) -> None:
    """Epoch, whiten and store the trials of DATASET, so that runs start at once.

    After a stop or a kill, the same command resumes after the last finished session.
    """
    from braindecode_ssr.registry import natural
    from braindecode_ssr.resolve import trials_of
    from braindecode_ssr.trials.prepare import prepare_many

    spec, source = opt.opened(dataset, data_dir, preset, sets, config)
    source.check_here()
    subjects = [source.check_subject(label) for label in subjects or source.present_subjects]
    options = {"jobs": jobs, "progress": show_bars(), "say": say}
    rows: list[dict[str, Any]] = []
    failed: list[tuple[Label, SSRError]] = []
    try:
        for done in prepare_many(source, subjects, trials_of(spec, source), **options):
            if done.error:
                failed.append((done.subject, done.error))
            elif done.path:
                rows.append(_stored(done.subject, done.path))
    except KeyboardInterrupt:
        say("stopped; sessions that are finished are kept, and the same command resumes after them")
        context.exit(130)
    if failed and len(subjects) == 1:
        raise failed[0][1]
    rows.sort(key=lambda row: natural(cast("Label", row["subject"])))
    if as_json:
        print_json(rows + [{"subject": subject, "error": str(error)} for subject, error in failed])
    else:
        print_table(rows)
    for subject, error in failed:
        click.echo(f"Error: subject {subject}: {error}", err=True)
    context.exit(1 if failed else 0)


def _stored(subject: int | str, path: Path) -> dict[str, object]:
    from braindecode_ssr.trials.store import TrialStore

    store = TrialStore.open(path)
    trials, channels, samples = store.trials.shape
    left_out = sum(store.manifest.get("dropped", {}).values())
    row: dict[str, object] = {"subject": subject, "trials": trials, "left out": left_out}
    return row | {"channels": channels, "samples": samples, "store": str(path)}


@data.command("simulate", short_help="Simulate DATASET in the layout of the published files.")
@click.argument("dataset", shell_complete=opt.DATASETS)
@click.option("--out", type=opt.FOLDER, required=True, help="Folder that becomes the dataset.")
@click.option(
    "--layout",
    type=click.Choice(["raw", "meg"]),
    default="raw",
    help="File layout: raw of THINGS-EEG2, or meg of THINGS-MEG.  [default: raw]",
)
@click.option(
    "--preset",
    default="small",
    show_default=True,
    help="tiny, small or full, or tiny-v1 and so on.",
    shell_complete=opt.known("tiny", "small", "full"),
)
@opt.subjects
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the data."
)
@opt.common
def data_simulate(dataset, out, layout, preset, subjects, seed, as_json) -> None:
    """Simulate DATASET and write its recordings and images in the layout of the published ones.

    `--dataset things-eeg --data-dir OUT` then reads them, or `--dataset things-meg` those of `--layout meg`.
    Image features from the dataset's own encoder are added, so that training needs no network.
    """
    from braindecode_ssr.pipeline import simulate

    choices = {"layout": layout, "preset": preset, "subjects": subjects, "seed": seed}
    written = simulate(dataset, out, **choices, say=say, progress=show_bars())
    if as_json:
        print_json(written)
        return
    click.echo(f"wrote {written['recordings']} recordings of {len(written['subjects'])} subjects")
    click.echo(f"now: ssr-bd train --dataset {written['dataset']} --data-dir {out}")
