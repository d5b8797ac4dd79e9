"""``ssr-bd train``, ``evaluate`` and ``report``: single runs, and tables of finished ones."""

from __future__ import annotations

from typing import Any

import click

from . import options as opt
from . import say, show_bars
from .output import print_json, print_table


@click.command("train")
@opt.part("--dataset", "datasets", "things-sim")
@opt.preset
@opt.data_dir
@click.option("--subject", type=opt.SUBJECT, help="The subject to test on.  [default: 1]")
@click.option(
    "--protocol",
    help="intra: train on the same subject; inter: on all others; pooled: on all.  [default: intra]",
    shell_complete=opt.PROTOCOLS,
)
@click.option(
    "--extra-data",
    multiple=True,
    metavar="NAME[=DIR]",
    help="Train on this dataset too, without the concepts that any of them tests; may be repeated.",
)
@opt.part("--method", "methods", "ssr")
@opt.part("--loss", "losses", "the method's")
@opt.training("the method's")
@click.option("--lr", type=float, help="Learning rate.  [default: the method's]")
@click.option("--weight-decay", type=float, help="Of AdamW.  [default: the method's]")
@click.option("--seed", type=int, help="Seed of weights, batches and masks.  [default: 0]")
@opt.device
@opt.out("runs")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Train a finished run again; the new run replaces it once it is complete.",
)
@click.option("--resume", is_flag=True, hidden=True)  # of older scripts; runs always resume
@opt.config
@opt.sets
@opt.words("--log", words="tensorboard wandb mlflow", about="Log each epoch to {} too.")
@click.option("--dry-run", is_flag=True, help="Check and print the resolved run; train nothing.")
@opt.trust
@opt.common
def train(
    data_dir,
    out,
    overwrite,
    resume,
    config,
    sets,
    log,
    dry_run,
    trust,
    as_json,
    extra_data,
    **options,
) -> None:
    """Train a model on one dataset and test it: one run, one table.

    The run folder is made in --out; the last line on stderr is its path. The same command resumes an
    interrupted run, and shows a finished one.
    """
    from braindecode_ssr.resolve import run_spec

    opt.trusting(trust, options["backbone"])
    extra = [one.partition("=") for one in extra_data]
    options["data.extra"] = [{"dataset": n, "data_dir": d or None} for n, _, d in extra] or None
    spec = run_spec(opt.settings_of(config, sets, options))
    if dry_run:
        from braindecode_ssr.resolve import preview

        print_json(preview(spec, data_dir, out))
        return
    from braindecode_ssr.pipeline import train

    how = {"data_dir": data_dir, "out": out, "overwrite": overwrite, "log": log}
    run = train(spec, progress=show_bars(), say=say, **how)
    if run is None:  # only the first of several processes prints
        return
    if as_json:
        print_json({"run": str(run.path), **run.summary})
    else:
        print_summary(run.summary)
    say(f"run folder: {run.path}")


@click.command("evaluate")
@click.argument("run", type=opt.PATH, shell_complete=opt.run_folders)
@click.option(
    *("--evaluation", "--evaluations", "names"),
    type=opt.NAMES,
    shell_complete=opt.EVALUATIONS,
    help="default, as-published, challenge, challenge-warmup, or axes such as "
    "gallery=views+repetitions=1, n-way=50, correction=csls, selection=oracle; "
    "separate several with commas.  [default: as in the run]",
)
@opt.words("--gallery", words="original views concept", about="{}.  [default: as in the run]")
@click.option(
    "--subject",
    type=opt.SUBJECT,
    help="Test on the trials of this person, for a run of several people.  [default: as in the run]",
)
@click.option(
    "--repetitions",
    type=opt.NUMBERS,
    help="Test trials averaged; several, such as 1,2,5,10,20,40,80, give a curve.  [default: all]",
)
@click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="evaluation.key=value; repeatable."
)
@click.option("--queries", type=opt.PATH, help="Write the ranks to this CSV file.")
@click.option(
    "--embeddings",
    type=opt.PATH,
    help="Write brain and image embeddings with image names to this .npz or .safetensors file.",
)
@opt.data_dir
@opt.device
@opt.trust
@opt.common
def evaluate(
    run,
    names,
    gallery,
    subject,
    repetitions,
    sets,
    queries,
    embeddings,
    data_dir,
    device,
    trust,
    as_json,
) -> None:
    """Test a finished run again, in one way or several. The run itself is not changed.

    Results are flagged if they favor the model: an epoch chosen on the test, an altered gallery, a
    transductive correction.
    """
    from braindecode_ssr.files import atomic_write
    from braindecode_ssr.retrieval.evaluations import changes_of, evaluations_of, labeled
    from braindecode_ssr.runs import Run

    opt.trusting(trust)
    changes = changes_of(sets, gallery=gallery)
    asked = evaluations_of(Run(run).spec, names or (), repetitions or (), changes)
    from braindecode_ssr.pipeline import evaluate_each

    options = {"data_dir": data_dir, "device": device or "auto", "progress": show_bars()}
    options["subject"] = subject
    if embeddings:
        from braindecode_ssr.sharing.score import embeddings_writer

        options["embeddings"] = embeddings_writer(embeddings, Run(run).spec, asked)
    done = list(evaluate_each(run, asked, **options))
    summaries = [summary for _, summary in done]
    if queries:
        atomic_write(queries, labeled(done).to_csv(index=False), "--queries")
    several = len(done) > 1
    if as_json:
        print_json({"run": str(run), **({"evaluations": summaries} if several else summaries[0])})
    elif several:
        print_evaluations(summaries)
    else:
        print_summary(summaries[0])


@click.command("report")
@click.argument("folders", nargs=-1, required=True, type=opt.PATH, shell_complete=opt.run_folders)
@opt.format
@click.option("--out", type=opt.PATH, help="Write files into this folder.")
@click.option("--plots", is_flag=True, help="Draw figures too: into --out, or into the HTML page.")
@click.option(
    "--embed-images",
    is_flag=True,
    help="Put small copies of the images that were seen and retrieved into the figures. By default "
    "HTML links the files on this disk. Images of THINGS must not be passed on.",
)
@click.option(
    "--interpret",
    is_flag=True,
    help="Draw what the models decode from, too: accuracy over windows of time and regions of sensors, and "
    "attributions. Uses the models on the test trials of the dataset; about a minute a run.",
)
@opt.device
@opt.trust
@click.option(
    "--against",
    help="Test the other methods against this one only, not all pairs.",
    shell_complete=opt.known(kind="methods"),
)
@opt.common
def report(
    folders, form, out, plots, embed_images, interpret, device, trust, against, as_json
) -> None:
    """Print tables of runs: accuracy with intervals, subjects, tests, published numbers.

    FOLDERS are folders of benchmarks, runs, or several runs. Nothing is trained.
    """
    from braindecode_ssr.reporting import report
    from braindecode_ssr.reporting.render import as_text

    def interpreted(trained):
        from braindecode_ssr.inference.figures import interpretation_pictures
        from braindecode_ssr.inference.trained import load_run

        how = {"trust": trust, "device": device or "auto"}
        whole = [run.path for run in trained if not run.damage]
        return interpretation_pictures([load_run(path, **how) for path in whole], say)

    options = {"plots": plots, "embed_images": embed_images, "against": against, "say": say}
    options["figures"] = interpreted if interpret else None
    made = report(folders, format=form, out=out, **options)
    if as_json:
        print_json({**made.as_json(), "files": [str(path) for path in made.files]})
    elif out:
        click.echo("\n".join(map(str, made.files)))
    else:
        click.echo(as_text(made, form), nl=False)


# -- results of a run ----------------------------------------------------------------------------------------


def print_summary(summary: dict[str, Any]) -> None:
    channels = summary["channels"]
    channels = channels if isinstance(channels, str) else f"{len(channels)} channels"
    views = "+".join(summary["views"]) or "originals only"
    parts = ", a part for each subject" if summary.get("subjects") == "own" else ""
    correction = summary["correction"]
    corrected = "" if correction == "none" else f", {correction} correction"
    selected = {
        "last": "last epoch",
        "validation": f"epoch {summary['epoch']}, best on held-out training concepts",
        "oracle": f"epoch {summary['epoch']}, best on this very test",
    }[summary["selection"]]
    click.echo(
        f"{summary['dataset']}, subject {summary['subject']}, {summary['protocol']}-subject, "
        f"{summary['n_gallery']}-way zero-shot retrieval\n"
        f"  trained    {summary['method']}, {summary['backbone']}{parts}, {channels}, "
        f"{summary['encoder']} ({views}), {summary['epochs']} epochs, seed {summary['seed']}\n"
        f"  tested     {summary['n_queries']} queries, {_repetitions(summary)} trials averaged, "
        f"gallery {summary['gallery']}{corrected}, {selected}"
    )
    print_flags([summary])
    click.echo()
    lines = [["", "top-1", "top-5", "median rank", "mean rank", "MRR"]]
    for name, prefix in ((summary["method"], ""), ("ceiling", "ceiling_"), ("chance", "chance_")):
        if f"{prefix}top1" in summary:
            lines.append([name, *(percent(summary[f"{prefix}{k}"]) for k in ("top1", "top5"))])
    lines[1] += [f"{summary[name]:.1f}" for name in ("median_rank", "mean_rank")]
    lines[1] += [f"{summary['mrr']:.3f}"]
    for first, *rest in lines:
        click.echo(f"  {first:<11}" + "".join(f"{cell:>13}" for cell in rest))


def print_evaluations(summaries: list[dict[str, Any]]) -> None:
    """Several evaluations of a run, or of similarities of any program: one row each, flags below."""
    first = summaries[0]
    data = f"{first['dataset']}, subject {first['subject']}"
    if scored := "scored_by" in first:
        title = f"{first['method']}: {data}, {first['n_queries']} queries, zero-shot retrieval "
        title += "[95 % interval over queries]"
    else:
        title = f"{data}, {first['protocol']}-subject, zero-shot retrieval, {first['method']}, "
        title += f"{first['backbone']}, seed {first['seed']}"
    click.echo(f"{title}\n")
    rows = []
    for one in summaries:
        ceiling = percent(one["ceiling_top1"]) if "ceiling_top1" in one else "-"
        row = {"evaluation": one["evaluation"]}
        if not scored:
            epoch = "-" if one["epoch"] is None else one["epoch"]
            row |= {"repetitions": _repetitions(one), "epoch": epoch}
        for name, key in (("top-1", "top1"), ("top-5", "top5")):
            row[name] = percent(one[key])
            if scored:
                row[name] += f" [{100 * one[f'{key}_low']:.1f}, {100 * one[f'{key}_high']:.1f}]"
        row |= {"median rank": f"{one['median_rank']:.1f}", "MRR": f"{one['mrr']:.3f}"}
        row |= {"candidates": one["n_gallery"]} if scored else {"ceiling": ceiling}
        row |= {"chance": percent(one["chance_top1"]), "flags": ", ".join(one["flags"]) or "-"}
        rows.append(row)
    print_table(rows)
    print_flags(summaries)


def print_flags(summaries: list[dict[str, Any]]) -> None:
    from braindecode_ssr.retrieval.evaluations import FLAGS

    flags = {flag for summary in summaries for flag in summary["flags"]}
    for flag in filter(flags.__contains__, FLAGS):
        click.echo(f"  ! {flag}: {FLAGS[flag]}")


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _repetitions(summary: dict[str, Any]) -> str:
    fewest, most = summary["repetitions"], summary["repetitions_max"]
    return str(fewest) if fewest == most else f"{fewest} to {most}"
