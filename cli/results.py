"""``ssr-bd score``, ``ensemble``, ``results`` and ``leaderboard``: results of any program, together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import Group, say, show_bars
from . import options as opt
from .output import print_json
from .runs import print_evaluations

image_names = click.option(
    "--images",
    type=opt.PATH,
    help="Image names for arrays without any: a text file, one a line.",
)
scored_folder = click.option(
    "--out", type=opt.FOLDER, help="Folder for queries.csv and summary.json, for `ssr-bd report`."
)


def labels_of_result(function: Any) -> Any:
    """What tables say about similarities that come from no run."""
    for option in (
        click.option(
            "--flags", type=opt.NAMES, help="What readers must know, such as test-selection."
        ),
        click.option(
            "--dataset", help="For tables, as the next four.", shell_complete=opt.DATASETS
        ),
        opt.words("--protocol", words="intra inter pooled"),
        click.option("--backbone", shell_complete=opt.known(kind="backbones")),
        click.option("--subject", type=opt.SUBJECT),
        click.option("--seed", type=click.IntRange(0)),
        click.option("--method", help="[default: the name of the file, or the methods of members]"),
    ):
        function = option(function)
    return function


@click.command("score")
@click.argument("file")
@click.option("--gallery", help="File of image embeddings; FILE then holds brain embeddings.")
@image_names
@click.option(
    *("--evaluation", "--evaluations", "names"),
    type=opt.NAMES,
    shell_complete=opt.EVALUATIONS,
    default="default",
    help="default, correction=csls, n-way=50 or several with + or commas.  [default: default]",
)
@labels_of_result
@scored_folder
@opt.common
def score(file, gallery, images, names, flags, out, as_json, **labels) -> None:
    """Score similarities of any program: queries in rows, candidates in columns, larger is nearer.

    FILE is a matrix (npy, npz, pt, safetensors, csv), `FILE:KEY` for one of several arrays, a file of
    `ssr-bd evaluate --embeddings`, or brain embeddings with --gallery. Rows and columns are joined by the
    names of images. Nothing in a file is executed.
    """
    from braindecode_ssr.sharing.score import read_similarity, score_each

    found = read_similarity(file, gallery, images, say).labeled(flags=flags, **labels)
    done = list(score_each(found, names or ("default",)))
    _show(done, out, as_json)


@click.command("ensemble")
@click.argument("sources", nargs=-1, required=True, shell_complete=opt.run_folders)
@opt.words("--weights", words="equal validation", default="equal")
@click.option(
    "--evaluation",
    shell_complete=opt.EVALUATIONS,
    help="default, or axes such as correction=csls.  [default: as the runs were tested]",
)
@image_names
@labels_of_result
@opt.data_dir
@opt.device
@scored_folder
@opt.trust
@opt.common
def ensemble(sources, device, out, trust, as_json, **options) -> None:
    """Average the standardized similarities of runs, and rank the candidates by the mean.

    SOURCES are run folders of one dataset, protocol and subject, such as several seeds, encoders or methods;
    or files as for `ssr-bd score`. Weights are equal, or the top-1 of each run on its held-out training
    concepts. The result is flagged, and its size is part of its name.
    """
    from braindecode_ssr.sharing.ensemble import ensemble

    opt.trusting(trust)
    more: dict[str, Any] = {"device": device or "auto", "progress": show_bars(), "say": say}
    _show([ensemble(sources, **options, **more)], out, as_json)


def _show(done, out: Path | None, as_json: bool) -> None:
    from braindecode_ssr.sharing.score import write_scored

    if out:
        write_scored(out, done)
    summaries = [summary for _, summary in done]
    if as_json:
        print_json(summaries[0] if len(summaries) == 1 else {"evaluations": summaries})
    else:
        print_evaluations(summaries)
    if out:
        say(f"folder: {out}")


@click.group("results", cls=Group)
def results() -> None:
    """Write results of runs as small files that add up: see `ssr-bd leaderboard`."""


@results.command("add")
@click.argument("runs", nargs=-1, required=True, type=opt.PATH, shell_complete=opt.run_folders)
@click.option("--to", type=opt.FOLDER, required=True, help="The results folder.")
@opt.common
def add(runs, to, as_json) -> None:
    """Write one JSON file for each method, dataset, protocol, evaluation, subject and seed.

    RUNS are folders of runs, benchmarks, `ssr-bd score` or `ssr-bd ensemble`, or folders that hold them.
    """
    from braindecode_ssr.reporting.leaderboard import add_results

    files = add_results(runs, to, say)
    if as_json:
        print_json({"to": str(to), "files": [str(file) for file in files]})
    else:
        click.echo("".join(f"{file}\n" for file in files), nl=False)


@click.command("leaderboard")
@click.argument("folder", type=opt.PATH)
@opt.format
@click.option(
    "--out", type=opt.PATH, help="Write files, such as the page report.html, into this folder."
)
@opt.common
@click.pass_context
def leaderboard(context, folder, form, out, as_json) -> None:
    """Print the tables of a results folder, best first.

    Files that lack version, flags or digest, were changed or do not add up are refused, and named; the exit
    code is then 1.
    """
    from braindecode_ssr.reporting.leaderboard import leaderboard
    from braindecode_ssr.reporting.render import as_text, write_report

    report, refused = leaderboard(folder, say)
    files = [str(path) for path in write_report(report, form, out)] if out else []
    if as_json:
        print_json({**report.as_json(), "files": files, "refused": refused})
    else:
        click.echo("\n".join(files) if out else as_text(report, form).rstrip("\n"))
    context.exit(1 if refused else 0)
