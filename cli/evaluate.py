"""``ssr-bd evaluate``: test a finished run again, another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import (
    Names,
    Numbers,
    common,
    data_dir_option,
    device_option,
    show_bars,
    trust_option,
    trusting,
)
from .output import print_evaluations, print_json, print_summary


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--evaluation",
    "names",
    type=Names(),
    help="default, as-published, or axes such as gallery=views+repetitions=1, n-way=50, correction=csls, "
    "selection=oracle; several with commas.  [default: as in the run]",
)
@click.option("--gallery", help="original, views or concept.  [default: as in the run]")
@click.option(
    "--repetitions",
    type=Numbers(),
    help="Test trials averaged; several, such as 1,2,5,10,20,40,80, make a curve.  [default: all]",
)
@click.option("--set", "sets", multiple=True, help="evaluation.key=value; may be repeated.")
@click.option(
    "--queries", type=click.Path(path_type=Path), help="Write the ranks to this CSV file."
)
@data_dir_option
@device_option
@trust_option
@common
def command(
    run: Path,
    names: tuple[str, ...] | None,
    gallery: str | None,
    repetitions: tuple[int, ...] | None,
    sets: tuple[str, ...],
    queries: Path | None,
    data_dir: Path | None,
    device: str | None,
    trust: bool,
    as_json: bool,
) -> None:
    """Test a finished run again, in one way or several. The run is left as it is.

    What was not obtained in the open way (an epoch chosen on the test, an altered gallery, a transductive
    correction) is flagged.
    """
    from braindecode_ssr.evaluations import changes_of, evaluations_of, labelled
    from braindecode_ssr.files import atomic_write
    from braindecode_ssr.runs import Run

    trusting(trust)
    changes = changes_of(sets, gallery=gallery)
    asked = evaluations_of(Run(run), names or (), repetitions or (), changes)
    from braindecode_ssr.pipeline import evaluate_each

    options: dict[str, Any] = {"data_dir": data_dir, "device": device or "auto"}
    done = list(evaluate_each(run, asked, progress=show_bars(), **options))
    summaries = [summary for _, summary in done]
    if queries:
        atomic_write(queries, labelled(done).to_csv(index=False))
    if as_json and len(done) > 1:
        print_json({"run": str(run), "evaluations": summaries})
    elif as_json:
        print_json({"run": str(run), **summaries[0]})
    elif len(done) > 1:
        print_evaluations(summaries)
    else:
        print_summary(summaries[0])
