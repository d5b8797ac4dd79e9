"""``ssr-bd benchmark``: a grid of runs, one table."""

from __future__ import annotations

from pathlib import Path

import click

from .options import (
    FILE,
    FOLDER,
    Names,
    Subjects,
    common,
    data_dir_option,
    device_option,
    preset_option,
    say,
    sets_option,
    settings_of,
    show_bars,
    trust_option,
    trusting,
)
from .output import print_json, print_table


@click.command("benchmark")
@click.option("--dataset", help="Name; see `ssr-bd list datasets`.  [default: things-sim]")
@click.option("--methods", type=Names(), required=True, help="Names with commas between, or all.")
@click.option(
    "--subjects", type=Subjects(), default="all", help="5, 1,3, 1-10 or all that are here."
)
@click.option("--protocols", type=Names(), default="intra", help="intra, inter or intra,inter.")
@click.option("--seeds", default="1", help="How many (3) or which (0,3,7 or 4-6).  [default: 1]")
@click.option(
    "--evaluations",
    type=Names(),
    default="default",
    help="default, as-published, and axes such as repetitions=1.  [default: default]",
)
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time."
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of each run. Last digits depend on it, and not on --jobs.",
)
@click.option("--cluster", help="Do the runs through Dask: local, slurm or tcp://host:port.")
@click.option("--backbone", help="The same for all methods.  [default: each method's own]")
@click.option("--encoder", help="Image encoder, or the name features were imported under.")
@click.option("--epochs", type=int, help="The same for all methods.  [default: each method's own]")
@click.option("--batch-size", type=int, help="[default: each method's own]")
@device_option
@preset_option
@data_dir_option
@click.option(
    "--out", type=FOLDER, default=Path("benchmark"), show_default=True, help="Tables and runs."
)
@click.option(
    "--resume", is_flag=True, help="What happens anyway: finished runs are not done again."
)
@click.option("--config", type=FILE, help="Settings in a TOML file.")
@sets_option
@click.option("--dry-run", is_flag=True, help="Print the grid and what it may cost; do nothing.")
@trust_option
@common
@click.pass_context
def benchmark(
    context,
    methods,
    subjects,
    protocols,
    seeds,
    evaluations,
    jobs,
    threads,
    cluster,
    data_dir,
    out,
    resume,
    config,
    sets,
    dry_run,
    trust,
    as_json,
    **options,
) -> None:
    """Train and test every method, subject, protocol and seed with each other, and print one table.

    Finished runs are kept: the same command goes on after a stop, and a larger grid takes what is there.
    """
    from braindecode_ssr.benchmark.plan import asked_plan
    from braindecode_ssr.benchmark.tables import as_read, cost_line, grid_preview

    trusting(trust, options["backbone"])
    axes = {"methods": methods, "subjects": subjects, "protocols": protocols, "seeds": seeds}
    axes |= {"evaluations": evaluations, "threads": threads}
    plan = asked_plan(settings_of(config, sets, options), out, data_dir, **axes)
    preview = grid_preview(plan, out, jobs)
    if dry_run:
        print_json(preview) if as_json else print_table(as_read(preview["runs"]))
    say(cost_line(preview, jobs))
    if dry_run:
        return
    from braindecode_ssr.benchmark.run import benchmark
    from braindecode_ssr.benchmark.tables import summary_rows, summary_text

    done = benchmark(plan, out, jobs=jobs, cluster=cluster, progress=show_bars(), say=say)
    rows = summary_rows(done.queries, done.runs)
    if as_json:
        print_json({"out": str(out), "summary": rows, "failed": done.failed})
    else:
        click.echo(summary_text(rows))
    for error, runs in done.failed_by_error.items():
        say(f"failed: {', '.join(runs)}: {error}")
    say(f"tables: {out / 'queries.csv'}, {out / 'runs.csv'}")
    context.exit(1 if done.failed else 0)
