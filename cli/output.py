"""What commands print on stdout."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from braindecode_ssr.errors import UsageError
from braindecode_ssr.files import gigabytes

from .options import Subjects, common, data_dir_option, preset_option, sets_option, settings_of

if TYPE_CHECKING:
    from braindecode_ssr.datasets.fetch import DownloadPlan


def print_json(content: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(content, indent=2, default=str))


def print_table(rows: list[dict[str, Any]]) -> None:
    """Rows with the same keys as aligned columns; numbers to the right."""
    if not rows:
        return
    names = list(rows[0])
    cells = [[_text(row[name]) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    numeric = [all(isinstance(row[name], int | float) for row in rows) for name in names]
    for line in [names, *cells]:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def print_summary(summary: dict[str, Any]) -> None:
    """The retrieval table of a run, with how its numbers were obtained."""
    channels = summary["channels"]
    channels = channels if isinstance(channels, str) else f"{len(channels)} channels"
    views = "+".join(summary["views"]) or "originals only"
    parts = ", a part for each subject" if summary.get("subjects") == "own" else ""
    click.echo(
        f"{summary['dataset']}, subject {summary['subject']}, {summary['protocol']}-subject, "
        f"{summary['n_gallery']}-way zero-shot retrieval\n"
        f"  trained    {summary['method']}, {summary['backbone']}{parts}, {channels}, {summary['encoder']} "
        f"({views}), {summary['epochs']} epochs, seed {summary['seed']}\n"
        f"  tested     {summary['n_queries']} queries, {_repetitions(summary)} trials averaged, gallery "
        f"{summary['gallery']}{_correction(summary['correction'])}, {_selection(summary)}"
    )
    print_flags([summary])
    click.echo()
    print_aligned(summary)


def print_evaluations(summaries: list[dict[str, Any]]) -> None:
    """A run tested in several ways: one row each, with how its numbers were obtained, flags below."""
    first = summaries[0]
    click.echo(
        f"{first['dataset']}, subject {first['subject']}, {first['protocol']}-subject, zero-shot "
        f"retrieval, {first['method']}, {first['backbone']}, seed {first['seed']}\n"
    )
    print_table([_row(summary) for summary in summaries])
    print_flags(summaries)


def print_flags(summaries: list[dict[str, Any]]) -> None:
    """What a reader of flagged numbers must know, one line for each word."""
    from braindecode_ssr.retrieval.evaluations import FLAGS

    words = {word for summary in summaries for word in summary["flags"]}
    for word in (known for known in FLAGS if known in words):
        click.echo(f"  ! {word}: {FLAGS[word]}")


def print_aligned(summary: dict[str, Any]) -> None:
    """Reached, ceiling where the truth is known, and chance, one below the other."""
    lines = [("", "top-1", "top-5", "median rank", "mean rank", "MRR")]
    lines.append(
        (
            summary["method"],
            _percent(summary["top1"]),
            _percent(summary["top5"]),
            f"{summary['median_rank']:.1f}",
            f"{summary['mean_rank']:.1f}",
            f"{summary['mrr']:.3f}",
        )
    )
    for name in ("ceiling", "chance"):
        if f"{name}_top1" in summary:
            both = (_percent(summary[f"{name}_{k}"]) for k in ("top1", "top5"))
            lines.append((name, *both, "", "", ""))
    for first, *rest in lines:
        click.echo((f"  {first:<11}" + "".join(f"{cell:>13}" for cell in rest)).rstrip())


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _row(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "evaluation": summary["evaluation"],
        "repetitions": _repetitions(summary),
        "epoch": "-" if summary["epoch"] is None else summary["epoch"],
        **{name.replace("top", "top-"): _percent(summary[name]) for name in ("top1", "top5")},
        "median rank": f"{summary['median_rank']:.1f}",
        "MRR": f"{summary['mrr']:.3f}",
        "ceiling": _percent(summary["ceiling_top1"]) if "ceiling_top1" in summary else "-",
        "chance": _percent(summary["chance_top1"]),
        "flags": ", ".join(summary["flags"]) or "-",
    }


def _repetitions(summary: dict[str, Any]) -> str:
    fewest, most = summary["repetitions"], summary["repetitions_max"]
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def _selection(summary: dict[str, Any]) -> str:
    epoch = summary["epoch"]
    return {
        "last": "last epoch",
        "validation": f"epoch {epoch}, best on held-out training concepts",
        "oracle": f"epoch {epoch}, best on this very test",
    }[summary["selection"]]


def _correction(name: str) -> str:
    return "" if name == "none" else f", {name} correction"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def inventory_command(name: str, *, read: bool, text: str) -> click.Command:
    """A command that lists the files of a dataset; with ``read`` it fails if one is not whole."""

    @click.command(name, help=text)
    @click.argument("dataset")
    @click.option("--subject", "subjects", type=Subjects(), help="5, 1,3 or 1-10.")
    @preset_option
    @data_dir_option
    @sets_option
    @common
    def command(dataset, subjects, preset, data_dir: Path | None, sets, as_json: bool) -> None:
        from braindecode_ssr.datasets import open_dataset
        from braindecode_ssr.datasets.fetch import downloadable_forms
        from braindecode_ssr.resolve import run_spec, trials_of

        spec = run_spec(settings_of(None, sets, {"dataset": dataset, "preset": preset}))
        source = open_dataset(spec.data, data_dir)
        files = source.as_asked(trials_of(spec, source)).inventory(subjects or None, read=read)
        forms = [] if read else downloadable_forms(source.name, source.root)
        whole = all(_is_well(file) for file in files)
        if as_json:
            told = {"dataset": source.name, "root": str(source.root), "files": files}
            print_json(told if read else {**told, "forms": forms})
        else:
            _print(source.name, source.root, files)
            _print_forms(source.name, forms)
        if read or (data_dir is not None and not forms):  # what can be fetched may go there
            source.check_here()
        if read and not whole:
            raise SystemExit(1)

    return command


def _is_well(file: dict[str, Any]) -> bool:
    return file["state"] == "found" or (file["state"] == "missing" and not file["needed"])


def _print(name: str, root: Path, files: list[dict[str, Any]]) -> None:
    click.echo(f"{name} at {root.absolute()}")
    if not files:
        click.echo("no files to download: this dataset is generated, or reads its data by itself")
    said: set[str] = set()
    for file in files:
        size = f", {file['size'] / 1e6:.1f} MB" if file["size"] else ""
        click.echo(f"  {file['state']:<8} {file['what']}{size}: {file['path']}")
        if file["detail"] and file["detail"] != "no such file":
            click.echo(f"           {file['detail']}")
        if file["state"] != "found" and file["source"] not in said:
            said.add(file["source"])
            click.echo(f"           from {file['source']}")


def _print_forms(name: str, forms: list[dict[str, Any]]) -> None:
    if not forms:
        return
    click.echo(f"to be had with `ssr-bd data fetch {name} --subject N --form FORM`:")
    for form in forms:
        sizes = {"a subject": form["subject_bytes"], "once": form["common_bytes"]}
        about = "" if form["exact"] else "about "
        said = about + " and ".join(
            f"{gigabytes(size)} {for_}" for for_, size in sizes.items() if size
        )
        click.echo(f"  {form['form']:<12} {said} ({'; '.join(form['licences'])})")
        click.echo(f"               {form['text']}")


PASSWORD = "SSR_THINGS_PASSWORD"


def may_fetch(todo: DownloadPlan, yes: bool, *, interactive: bool) -> None:
    """Ask before much is fetched.

    Raises
    ------
    UsageError
        If there is nobody to ask, or the answer is no.
    """
    from braindecode_ssr.datasets.fetch import ASK_ABOVE

    if yes or todo.bytes <= ASK_ABOVE:
        return
    much = f"{gigabytes(todo.bytes)} to fetch into {todo.root}, {gigabytes(todo.room)} of disk"
    if not (interactive and sys.stdin.isatty()):
        raise UsageError("a word before more than 1 GB is fetched", much, "add --yes")
    if not click.confirm(f"{much}; go on?", err=True):
        raise click.Abort


def password_of(todo: DownloadPlan, *, interactive: bool) -> str:
    """The password of the THINGS images, if it is needed: asked for, never kept.

    Raises
    ------
    UsageError
        If it is needed and there is nobody to ask.
    """
    if not todo.password:
        return ""
    if given := os.environ.get(PASSWORD):
        return given
    if not (interactive and sys.stdin.isatty()):
        raise UsageError(
            "the password of the THINGS images", f"no ${PASSWORD}", f"see {todo.password}"
        )
    click.echo(f"The THINGS images need a password. It is told at {todo.password}.", err=True)
    return click.prompt("Password", hide_input=True, err=True)


def print_errand(todo: DownloadPlan, as_json: bool) -> None:
    """What is here, and what would be fetched."""
    if as_json:
        print_json(
            {
                "dataset": todo.dataset,
                "root": str(todo.root),
                "form": todo.form,
                "bytes": todo.bytes,
                "room": todo.room,
                "files": todo.rows(),
            }
        )
        return
    click.echo(f"{todo.dataset}, form {todo.form}, at {todo.root.absolute()}")
    for row in todo.rows():
        click.echo(f"  {row['state']:<8} {_line(row)}")
        click.echo(f"           {row['url']} ({row['licence']}; {row['proof']})")
    click.echo(f"{gigabytes(todo.bytes)} to fetch, {gigabytes(todo.room)} of disk while it runs")


def print_fetched(todo: DownloadPlan, rows: list[dict[str, Any]], data_dir: Path | None) -> None:
    """What is in its place now, how that is known, and what can be done with it."""
    for row in rows:
        known = row["proof"] if row["state"] == "fetched" else "was here"
        click.echo(f"  {row['state']:<8} {_line(row)}  [{known}]")
    at = f" --data-dir {data_dir}" if data_dir else ""
    subject = todo.subjects[0] if todo.subjects else "N"
    if todo.form == "images":
        click.echo(f"now: ssr-bd features extract --dataset {todo.dataset}{at}")
        return
    click.echo(f"now: ssr-bd data check {todo.dataset} --subject {subject}{at}")
    click.echo(f"     ssr-bd features extract --dataset {todo.dataset}{at}")
    click.echo(f"     ssr-bd train --dataset {todo.dataset} --subject {subject}{at}")


def _line(row: dict[str, Any]) -> str:
    about = "" if row["exact"] or not row["bytes"] else "about "
    size = f", {about}{gigabytes(row['bytes'])}" if row["bytes"] else ""
    if row["have"] and row["state"] != "fetched":
        size += f" of which {gigabytes(row['have'])} are here"
    detail = f" ({row['detail']})" if row.get("detail") else ""
    return f"{row['what']}{size}: {row['path']}{detail}"
