"""``ssr-bd data fetch``: bring a dataset, or say what would be brought."""

from __future__ import annotations

from pathlib import Path

import click

from .fetching import may_fetch, password_of, print_errand, print_fetched
from .options import Subjects, common, data_dir_option, say, show_bars
from .output import print_json


@click.command("fetch")
@click.argument("dataset")
@click.option("--subject", "subjects", type=Subjects(), help="5, 1,3, 1-10 or all.")
@click.option(
    "--form", help="See `ssr-bd data where DATASET`.  [default: the smallest that trains]"
)
@data_dir_option
@click.option("--mirror", metavar="URL", help="Another place that holds the same files.")
@click.option("--replace", is_flag=True, help="Replace files that are not the published ones.")
@click.option("--yes", is_flag=True, help="Do not ask before more than 1 GB is fetched.")
@click.option("--dry-run", is_flag=True, help="Say what is here and what would be fetched.")
@common
def command(
    dataset, subjects, form, data_dir: Path | None, mirror, replace, yes, dry_run, as_json
) -> None:
    """Fetch DATASET: what is here and right is left alone, what is missing comes whole and verified.

    A download that is cut off or stopped goes on when the same command is run again.

    \b
    ssr-bd data fetch things-eeg --subject 5                  1.7 GB with the images
    ssr-bd data fetch things-eeg --subject 5 --form raw       as recorded, 5 to 6.5 GB
    ssr-bd data fetch things-meg --subject 1                  8.3 GB
    ssr-bd data fetch things-meg --form images                all THINGS images, 12 GB
    """  # noqa: D301
    from braindecode_ssr.fetch import errand, run_errand

    todo = errand(dataset, data_dir, form=form, subjects=subjects)
    if dry_run:
        print_errand(todo, as_json)
        return
    may_fetch(todo, yes, interactive=not as_json)
    password = password_of(todo, interactive=not as_json)

    from braindecode_ssr.download.carrier import Carrier

    carrier = Carrier(say=say, progress=show_bars())
    rows = run_errand(todo, carrier, mirror=mirror, password=password, replace_others=replace)
    if as_json:
        print_json(
            {"dataset": todo.dataset, "root": str(todo.root), "form": todo.form, "files": rows}
        )
    else:
        print_fetched(todo, rows, data_dir)
