"""What ``data where`` and ``data check`` have in common: a list of files, each with its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from braindecode_ssr.files import gigabytes

from .options import Subjects, common, data_dir_option, preset_option, sets_option
from .output import print_json
from .settings import settings_of


def inventory_command(name: str, *, read: bool, text: str) -> click.Command:
    """A command that lists the files of a dataset; with ``read`` it fails if one is not whole."""

    @click.command(name, help=text)
    @click.argument("dataset")
    @click.option("--subject", "subjects", type=Subjects(), help="5, 1,3 or 1-10.")
    @preset_option
    @data_dir_option
    @sets_option
    @common
    def command(dataset, subjects, preset, data_dir: Path | None, sets, as_json: bool) -> None:
        from braindecode_ssr.fetch import offered
        from braindecode_ssr.resolve import open_dataset, run_spec, trials_of

        spec = run_spec(settings_of(None, sets, {"dataset": dataset, "preset": preset}))
        source = open_dataset(spec.data, data_dir)
        files = source.as_asked(trials_of(spec, source)).inventory(subjects or None, read=read)
        forms = [] if read else offered(source.name, source.root)
        whole = all(_is_well(file) for file in files)
        if as_json:
            told = {"dataset": source.name, "root": str(source.root), "files": files}
            print_json(told if read else {**told, "forms": forms})
        else:
            _print(source.name, source.root, files)
            _print_forms(source.name, forms)
        if read or (data_dir is not None and not forms):  # what can be fetched may go there
            source.check_here()
        if read and not whole:
            raise SystemExit(1)

    return command


def _is_well(file: dict[str, Any]) -> bool:
    return file["state"] == "found" or (file["state"] == "missing" and not file["needed"])


def _print(name: str, root: Path, files: list[dict[str, Any]]) -> None:
    click.echo(f"{name} at {root.absolute()}")
    if not files:
        click.echo("nothing to bring: this dataset is made when it is asked for")
    said: set[str] = set()
    for file in files:
        size = f", {file['size'] / 1e6:.1f} MB" if file["size"] else ""
        click.echo(f"  {file['state']:<8} {file['what']}{size}: {file['path']}")
        if file["detail"] and file["detail"] != "no such file":
            click.echo(f"           {file['detail']}")
        if file["state"] != "found" and file["source"] not in said:
            said.add(file["source"])
            click.echo(f"           from {file['source']}")


def _print_forms(name: str, forms: list[dict[str, Any]]) -> None:
    if not forms:
        return
    click.echo(f"to be had with `ssr-bd data fetch {name} --subject N --form FORM`:")
    for form in forms:
        sizes = {"a subject": form["subject_bytes"], "once": form["common_bytes"]}
        about = "" if form["exact"] else "about "
        said = about + " and ".join(
            f"{gigabytes(size)} {for_}" for for_, size in sizes.items() if size
        )
        click.echo(f"  {form['form']:<12} {said} ({'; '.join(form['licences'])})")
        click.echo(f"               {form['text']}")
