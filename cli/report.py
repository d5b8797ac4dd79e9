"""``ssr-bd report``: tables and pictures of finished runs, from their saved ranks alone."""

from __future__ import annotations

from pathlib import Path

import click

from .options import common, say
from .output import print_json


@click.command("report")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", default="md", show_default=True, help="md, csv, latex or html.")
@click.option("--out", type=click.Path(path_type=Path), help="Write files into this folder.")
@click.option("--plots", is_flag=True, help="Draw pictures too: into --out, or into the HTML.")
@click.option("--against", help="Test the other methods against this one only, not all pairs.")
@common
def command(folders, form, out, plots, against, as_json) -> None:
    """Tables of runs and benchmarks: accuracy with intervals, subjects, tests, published numbers.

    FOLDERS are those of `ssr-bd benchmark`, of runs, or of folders of runs. Nothing is trained or tested.
    """
    from braindecode_ssr.report.build import report_of
    from braindecode_ssr.report.results import read_results
    from braindecode_ssr.report.writing import as_text, check_places, write_report

    check_places(form, out, plots)
    results = read_results(folders, say)
    report = report_of(results, against=against)
    pictures = ()
    if plots:
        from braindecode_ssr.report.pictures import draw

        pictures = draw(results, report)
    files = write_report(report, form, out, pictures) if out else []
    if as_json:
        print_json({**report.as_json(), "files": [str(path) for path in files]})
    elif out:
        click.echo("\n".join(map(str, files)))
    else:
        click.echo(as_text(report, form, pictures), nl=False)
