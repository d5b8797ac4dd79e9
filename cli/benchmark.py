"""``ssr-bd benchmark``: a grid of runs, one table."""

from __future__ import annotations

from pathlib import Path

import click

from . import say, show_bars
from .options import (
    DATASETS,
    EVALUATIONS,
    FOLDER,
    NAMES,
    PROTOCOLS,
    SUBJECTS,
    common,
    config_option,
    data_dir_option,
    device_option,
    encoder_option,
    known,
    preset_option,
    sets_option,
    settings_of,
    trust_option,
    trusting,
)
from .output import print_json, print_table

COUNT = click.IntRange(1)


@click.command("benchmark")
@click.option(
    "--dataset",
    help="Name; see `ssr-bd list datasets`.  [default: things-sim]",
    shell_complete=DATASETS,
)
@preset_option
@data_dir_option
@click.option(
    *("--methods", "--method", "methods"),
    type=NAMES,
    required=True,
    help="Names separated by commas, or all; see `ssr-bd list methods`.",
    shell_complete=known(kind="methods"),
)
@click.option(
    *("--subjects", "--subject", "subjects"),
    type=SUBJECTS,
    default="all",
    help="5, 1,3, 1-10 or all available.  [default: all]",
)
@click.option(
    *("--protocols", "--protocol", "protocols"),
    type=NAMES,
    default="intra",
    help="intra, inter, pooled, or several: intra,inter.  [default: intra]",
    shell_complete=PROTOCOLS,
)
@click.option(
    *("--seeds", "--seed", "seeds"),
    default="1",
    help="How many (3) or which (0,3,7 or 4-6).  [default: 1]",
)
@click.option(
    *("--evaluations", "--evaluation", "evaluations"),
    type=NAMES,
    default="default",
    shell_complete=EVALUATIONS,
    help="default, as-published, or axes such as repetitions=1.  [default: default]",
)
@click.option(
    "--ensemble",
    type=NAMES,
    default=(),
    shell_complete=known("seeds", "methods"),
    help="Add rows for the mean similarities of all seeds of a method, of all methods, or both: "
    "seeds,methods.",
)
@click.option("--jobs", type=COUNT, default=1, show_default=True, help="Runs in parallel.")
@click.option(
    "--threads",
    type=COUNT,
    default=1,
    show_default=True,
    help="Threads of each run. The last digits of results depend on it, but not on --jobs.",
)
@click.option(
    "--cluster",
    shell_complete=known("local", "slurm", "tcp://"),
    help="Do the runs through Dask: local, slurm or tcp://host:port.",
)
@click.option(
    "--backbone",
    help="The same for all methods.  [default: each method's own]",
    shell_complete=known(kind="backbones"),
)
@encoder_option
@click.option("--epochs", type=int, help="The same for all methods.  [default: each method's own]")
@click.option("--batch-size", type=int, help="Trials in a batch.  [default: each method's own]")
@device_option
@click.option(
    "--out",
    type=FOLDER,
    default=Path("benchmark"),
    show_default=True,
    help="Folder for tables and runs.",
)
@config_option
@sets_option
@click.option("--dry-run", is_flag=True, help="Print the grid and its expected cost; do nothing.")
@trust_option
@common
@click.pass_context
def benchmark(
    context, jobs, cluster, data_dir, out, config, sets, dry_run, trust, as_json, **options
) -> None:
    """Train and test every combination of method, subject, protocol and seed, and print one table.

    Finished runs are kept: the same command resumes after a stop, and a larger grid reuses what is there.
    """
    from braindecode_ssr.benchmarking.plan import cost_line, grid_preview, plan_benchmark

    trusting(trust, options["backbone"])
    axes = ("methods", "subjects", "protocols", "seeds", "evaluations", "ensemble", "threads")
    grid = {name: options.pop(name) for name in axes}
    plan = plan_benchmark(settings_of(config, sets, options), out, data_dir, **grid)
    preview = grid_preview(plan, out, jobs)
    if dry_run and as_json:
        print_json(preview)
    elif dry_run:
        print_table(
            [
                row | {"seconds": "unknown" if row["seconds"] is None else row["seconds"]}
                for row in preview["runs"]
            ]
        )
    say(cost_line(preview, jobs))
    if dry_run:
        return
    from braindecode_ssr.benchmarking.run import run_plan, summary_rows, summary_tables

    done = run_plan(plan, out, jobs=jobs, cluster=cluster, progress=show_bars(), say=say)
    rows = summary_rows(done.queries, done.runs)
    if as_json:
        print_json({"out": str(out), "summary": rows, "failed": done.failed})
    else:
        for number, table in enumerate(summary_tables(rows)):
            click.echo("\n" * bool(number) + table.title)
            print_table(table.rows, indent="  ")
            for note in table.notes:
                click.echo(f"  {note}")
    for error, runs in done.failed_by_error.items():
        click.echo(f"failed: {', '.join(runs)}: {error}", err=True)
    say(f"tables: {out / 'queries.csv'}, {out / 'runs.csv'}")
    context.exit(1 if done.failed else 0)
