"""``ssr-bd retrieve``, ``finetune``, ``push`` and ``export``: what a trained run is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options as opt
from . import say, show_bars
from .output import print_json, print_table
from .runs import print_flags


@click.command("retrieve")
@click.argument("run", shell_complete=opt.run_folders)
@click.argument("recordings", nargs=-1, required=True, metavar="RECORDING...", type=opt.FILE)
@click.option("--images", type=opt.FOLDER, required=True, help="Folder of the candidate images.")
@click.option(
    "--events",
    multiple=True,
    type=opt.FILE,
    help="When images were shown: a TSV with the columns onset and image, or one onset (seconds) a line; "
    "once for each recording.  [default: the annotations]",
)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Images to list.")
@click.option(
    "--whitening",
    shell_complete=opt.known("recording", "run", "none"),
    help="recording: fitted on the new trials; run: that of the training sessions; none.  "
    "[default: recording, if the run was trained on whitened trials]",
)
@click.option(
    "--average",
    shell_complete=opt.known("image", "none"),
    default="image",
    show_default=True,
    help="image: average all trials of an image; none: each trial is a query.",
)
@click.option("--html", type=opt.FILE, help="Write a page that shows the images.")
@click.option("--embed-images", is_flag=True, help="Put copies of the images into the page.")
@opt.device
@opt.trust
@opt.common
def retrieve(
    run, recordings, images, events, top, whitening, average, html, embed_images, device, trust,
    as_json,
) -> None:  # fmt: skip
    """Retrieve the images that a person saw, from new recordings in any format that MNE reads.

    RUN is a run folder, or ORG/NAME on the Hugging Face Hub. Channels are joined by name; epochs are cut,
    resampled and whitened as in training. Trials of the same image are averaged over all recordings.

    \b
    ssr-bd retrieve runs/RUN sub-05_task-test_eeg.vhdr --images pictures --html page.html
    """  # noqa: D301
    opt.trusting(trust)
    from braindecode_ssr.datasets.recordings import ImageFolder
    from braindecode_ssr.inference.trained import retrieve
    from braindecode_ssr.retrieval.ranks import FLAGS, chance, summarize

    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        say(text)

    folder = ImageFolder(images)
    options: dict[str, Any] = {"events": list(events) or None, "average": average, "top": top}
    options |= {"whitening": whitening or "auto", "progress": show_bars(), "say": note}
    table = retrieve(run, list(recordings), folder, trust=trust, device=device or "auto", **options)
    n_images, flags = len(folder.images), table.attrs["flags"]
    content: dict[str, Any] = {"run": str(run), "recordings": list(map(str, recordings))}
    content |= {"notes": notes, "n_queries": len(table), "n_gallery": n_images, "flags": flags}
    title = f"{len(table)} queries among {n_images} images"
    if "rank" in table:
        content |= {**summarize(table["rank"].to_numpy()), **chance(n_images)}
        metrics = ("top1", "top5", "chance_top1", "chance_top5")
        top1, top5, *guess = (f"{100 * content[metric]:.1f}" for metric in metrics)
        title += f": top-1 {top1} %, top-5 {top5} % (chance {guess[0]} and {guess[1]} %)"
    if html:
        from braindecode_ssr.reporting.render import retrieval_page

        lines = [Path(run).name, *notes, *(f"! {flag}: {FLAGS[flag]}" for flag in flags)]
        retrieval_page(table, folder, html, title, lines, embed=embed_images)
        content["html"] = str(html)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    if as_json:
        print_json({**content, "queries": rows})
        return
    click.echo(f"{title}\n")
    names = [name for name in table if "score" not in name]
    print_table([{n: "-" if row[n] is None else row[n] for n in names} for row in rows])
    print_flags([content])


@click.command("finetune")
@click.argument("run", shell_complete=opt.run_folders)
@click.option(
    "--subject", type=opt.SUBJECT, help="The person.  [default: the tested subject of RUN]"
)
@click.option(
    "--trials",
    type=opt.NUMBERS,
    default="200",
    show_default=True,
    help="Training trials of the person, the first that were shown; several, such as 50,100,200, give a "
    "curve.",
)
@click.option(
    "--dataset",
    help="Where the person is.  [default: the dataset of RUN]",
    shell_complete=opt.DATASETS,
)
@opt.words(
    "--freeze",
    words="none backbone head",
    default="none",
    about="What is not trained: {} (the two projectors).",
)
@click.option(
    "--tuning",
    type=click.Choice(["full", "frozen", "lora"]),
    help="What of the backbone is trained.  [default: as in RUN]",
)
@click.option("--epochs", type=click.IntRange(1), help="[default: 20]")
@click.option("--lr", type=float, help="Learning rate.  [default: that of RUN]")
@click.option("--seed", type=int, help="[default: that of RUN]")
@opt.out("runs")
@click.option("--overwrite", is_flag=True, help="Train finished runs again.")
@opt.data_dir
@opt.device
@opt.trust
@opt.common
def finetune(run, trials, subject, dataset, data_dir, device, trust, as_json, **options) -> None:
    """Train RUN further on a few trials of another person, and test it on that person.

    Each result is a run folder like any other, flagged `finetuned`. The first row of the table is RUN on
    that person as it is. The same command resumes what was interrupted.

    \b
    ssr-bd finetune runs/RUN --subject 7 --trials 50,100,200 --freeze backbone
    """  # noqa: D301
    opt.trusting(trust)
    from braindecode_ssr import calibrate
    from braindecode_ssr.inference.trained import load_run

    how = {"trust": trust, "device": device or "auto"}
    start = load_run(run, **how)
    where = {"subject": subject, "dataset": dataset, "data_dir": data_dir, "progress": show_bars()}
    options = {name: value for name, value in options.items() if value is not None} | how
    options["say"] = say
    results = [(0, start.path, calibrate.untouched(start, **where))]
    for n in trials:
        done = calibrate.finetune(start, trials=n, **where, **options)
        results.append((n, done.path, done.summary))
    keys = ("top1", "top5", "mrr", "n_queries", "n_gallery", "chance_top1")
    rows: list[dict[str, Any]] = []
    table: list[dict[str, Any]] = []
    for n, path, numbers in results:
        rows.append({"trials": n, "run": str(path), **{key: numbers[key] for key in keys}})
        row = {"trials": n} | {f"top-{k} %": round(100 * numbers[f"top{k}"], 1) for k in (1, 5)}
        table.append({**row, "MRR": round(numbers["mrr"], 3), "run": path.name})
    if as_json:
        print_json({"run": str(start.path), "subject": subject, "rows": rows})
        return
    last = rows[-1]
    click.echo(f"{last['n_queries']} queries among {last['n_gallery']} images, flagged finetuned\n")
    print_table(table)


@click.command("push")
@click.argument("run", type=opt.PATH, shell_complete=opt.run_folders)
@click.argument("name", metavar="ORG/NAME")
@click.option("--to", type=opt.FOLDER, help="Write the files to ORG/NAME in this folder instead.")
@click.option("--private", is_flag=True, help="Only the owner can see a new repository.")
@opt.common
def push(run, name, to, private, as_json) -> None:
    """Upload a run to the Hugging Face Hub: weights, configuration, model card, settings and ranks.

    Images, checkpoints and the path of the data are not uploaded. Log in first with `hf auth login`.
    """
    from braindecode_ssr.sharing.export import push

    place = push(run, name, to=to, private=private)
    if as_json:
        print_json({"run": str(run), "name": name, "place": place})
    else:
        click.echo(place)


@click.command("export")
@click.argument("run", shell_complete=opt.run_folders)
@opt.words(
    *("--format", "form"),
    words="embeddings onnx torchscript torch-export challenge",
    required=True,
)
@click.option("--out", type=opt.FOLDER, help="Folder.  [default: export in the run folder]")
@opt.data_dir
@opt.trust
@opt.common
def export(run, form, out, data_dir, trust, as_json) -> None:
    """Write the model of a run, or its embeddings of the test, for other programs.

    What was written is read again and compared with the run. export.json says what the model takes.
    """
    opt.trusting(trust)
    from braindecode_ssr.sharing.export import export

    done = export(run, form, out, data_dir=data_dir, trust=trust, progress=show_bars())
    if as_json:
        print_json(done)
        return
    for name in done["files"]:
        click.echo(Path(done["folder"]) / name)
    click.echo(f"largest difference from the run: {done['difference']:.1e} of its largest output")
