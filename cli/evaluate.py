"""``ssr-bd evaluate``: test a finished run again, another way."""

from __future__ import annotations

from pathlib import Path

import click

from .options import common, data_dir_option, device_option, show_bars
from .output import print_json, print_summary


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--gallery", help="original, views or concept.  [default: as in the run]")
@click.option("--repetitions", type=int, help="Test trials averaged.  [default: all]")
@click.option(
    "--queries", type=click.Path(path_type=Path), help="Write the ranks to this CSV file."
)
@data_dir_option
@device_option
@common
def command(run, gallery, repetitions, queries, data_dir, device, as_json) -> None:
    """Test a finished run again, with another gallery or fewer repetitions. The run is left as it is."""
    from braindecode_ssr.pipeline import evaluate
    from braindecode_ssr.resolve import evaluation_spec
    from braindecode_ssr.runs import Run, write_atomically

    evaluation = evaluation_spec(Run(run).spec, gallery=gallery, repetitions=repetitions)
    table, summary = evaluate(
        run, evaluation, data_dir=data_dir, device=device or "auto", progress=show_bars()
    )
    if queries:
        write_atomically(queries, table.to_csv(index=False))
    if as_json:
        print_json({"run": str(run), **summary})
    else:
        print_summary(summary)
