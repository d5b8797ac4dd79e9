"""``ssr-bd benchmark``: a grid of runs, one table."""

from __future__ import annotations

import click

from . import options as opt
from . import say, show_bars
from .output import print_json, print_table

COUNT = click.IntRange(1)


@click.command("benchmark")
@opt.part("--dataset", "datasets", "things-sim")
@opt.preset
@opt.data_dir
@click.option(
    *("--methods", "--method", "methods"),
    type=opt.NAMES,
    required=True,
    help="Names separated by commas, or all; see `ssr-bd list methods`.",
    shell_complete=opt.known(kind="methods"),
)
@click.option(
    *("--subjects", "--subject", "subjects"),
    type=opt.SUBJECTS,
    default="all",
    help="5, 1,3, 1-10 or all available.  [default: all]",
)
@click.option(
    *("--protocols", "--protocol", "protocols"),
    type=opt.NAMES,
    default="intra",
    help="intra, inter, pooled, or several: intra,inter.  [default: intra]",
    shell_complete=opt.PROTOCOLS,
)
@click.option(
    *("--seeds", "--seed", "seeds"),
    type=opt.SEEDS,
    default="1",
    help="How many (3) or which (0,3,7 or 4-6).  [default: 1]",
)
@click.option(
    *("--evaluations", "--evaluation", "evaluations"),
    type=opt.NAMES,
    default="default",
    shell_complete=opt.EVALUATIONS,
    help="default, as-published, or axes such as repetitions=1.  [default: default]",
)
@click.option(
    "--ensemble",
    type=opt.NAMES,
    default=(),
    shell_complete=opt.known("seeds", "methods"),
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
    shell_complete=opt.known("local", "slurm", "tcp://"),
    help="Do the runs through Dask: local, slurm or tcp://host:port.",
)
@opt.training("each method's own")
@opt.device
@opt.out("benchmark", "Folder for tables and runs.")
@opt.config
@opt.sets
@click.option("--dry-run", is_flag=True, help="Print the grid and its expected cost; do nothing.")
@opt.trust
@opt.common
@click.pass_context
def benchmark(
    context, jobs, cluster, data_dir, out, config, sets, dry_run, trust, as_json, **options
) -> None:
    """Train and test every combination of method, subject, protocol and seed, and print one table.

    Finished runs are kept: the same command resumes after a stop, and a larger grid reuses what is there.
    """
    from braindecode_ssr.benchmarking.plan import cost_line, grid_preview, plan_benchmark

    opt.trusting(trust, options["backbone"])
    axes = ("methods", "subjects", "protocols", "seeds", "evaluations", "ensemble", "threads")
    grid = {name: options.pop(name) for name in axes}
    plan = plan_benchmark(opt.settings_of(config, sets, options), out, data_dir, **grid)
    preview = grid_preview(plan, out, jobs)
    if dry_run and as_json:
        print_json(preview)
    elif dry_run:
        runs = preview["runs"]
        print_table([{k: "unknown" if v is None else v for k, v in row.items()} for row in runs])
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
            click.echo("\n" * bool(number) + table.caption)
            cells = [dict(zip(table.head, row, strict=True)) for row in table.rows]
            print_table(cells, indent="  ")
            for note in table.notes:
                click.echo(f"  {note}")
    for error, runs in done.failed_by_error.items():
        click.echo(f"failed: {', '.join(runs)}: {error}", err=True)
    say(f"tables: {out / 'queries.csv'}, {out / 'runs.csv'}")
    context.exit(1 if done.failed else 0)
