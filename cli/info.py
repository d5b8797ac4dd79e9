"""``ssr-bd list`` and ``doctor``: the parts to choose from, and whether this machine has what is needed."""

from __future__ import annotations

import importlib
import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from braindecode_ssr.errors import first_line
from braindecode_ssr.registry import unknown_name

from . import options as opt
from .catalog import catalogue, part_names
from .output import fits, print_json, print_rows

KINDS = "datasets methods backbones image-heads losses encoders views settings".split()
ONE = {"loss": "losses"} | {kind.removesuffix("s"): kind for kind in KINDS if kind != "losses"}
ALIKE = {"model": "backbones", "models": "backbones"}
DETAILS = {
    "methods": ("encoder", "views", "seeds", "flags", "citation"),
    "backbones": ("feature_point", "width", "step_ms", "needs", "adjusted", "reason"),
}
"""Columns that a terminal has no room for; ``show`` has them."""


def _kind(text: str) -> str:
    """One of ``KINDS``, from its singular or plural."""
    kind = (ONE | ALIKE).get(text.lower(), text.lower())
    if kind not in KINDS:
        raise unknown_name("kind of part", text, KINDS)
    return kind


@click.command("list")
@click.argument(
    "kind",
    type=opt.Value("kind", _kind),
    metavar=f"{{{'|'.join(KINDS)}}}",
    shell_complete=opt.known(*KINDS),
)
@opt.common
def list_parts(kind: str, as_json: bool) -> None:
    """List datasets, methods, backbones, image heads, losses, encoders, views, or settings for --set."""
    rows = catalogue(kind)
    if not as_json:  # a column has texts and numbers, and is empty where nothing is known
        known = [{k: "" if v is None else v for k, v in row.items()} for row in rows]
        rows = [{k: v for k, v in row.items() if isinstance(v, str | int)} for row in known]
        if kind in DETAILS and not fits(rows):
            rows = [{k: v for k, v in row.items() if k not in DETAILS[kind]} for row in rows]
            click.echo(f"all that is known of one: ssr-bd show {kind[:-1]} NAME\n", err=True)
    print_rows(rows, as_json)


def names_to_show(context: click.Context, argument: click.Parameter, typed: str) -> list[str]:
    """Completes to the names of the kind that was typed before."""
    names = part_names(context.params["kind"])
    return [name for name in names if name.lower().startswith(typed.lower())]


@click.command("show")
@click.argument(
    "kind",
    type=opt.Value("kind", _kind),
    metavar=f"{{{'|'.join(ONE)}}}",
    shell_complete=opt.known(*ONE),
)
@click.argument("name", shell_complete=names_to_show)
@opt.common
def show(kind: str, name: str, as_json: bool) -> None:
    """Show all that is known of one part, such as `show method ssr` or `show setting train.lr`."""
    rows = {row["name"]: row for row in catalogue(kind)}
    found = next((known for known in rows if known.lower() == name.lower()), None)
    if found is None:
        raise unknown_name(next(k for k in ONE if ONE[k] == kind), name, list(rows))
    if as_json:
        print_json(rows[found])
        return
    for key, value in rows[found].items():
        for number, line in enumerate(_lines(value)):
            label = key.replace("_", " ") if number == 0 else ""
            click.echo(click.wrap_text(line, 100, f"{label:<20}", " " * 20))


def _lines(value: Any) -> list[str]:
    """A value as lines for a reader: ``things-eeg intra top1: 60.1, 67.4``; nothing if it is empty."""
    if value in (None, "", [], {}):
        return []
    if isinstance(value, dict):
        lines = [(key, line) for key, inner in value.items() for line in _lines(inner)]
        return [f"{key}{' ' if ': ' in line else ': '}{line}" for key, line in lines]
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return value
    return [", ".join(map(str, value)) if isinstance(value, list) else str(value)]


@click.command("doctor")
@opt.common
def doctor(as_json: bool) -> None:
    """Show versions, devices, folders and what is missing; exit code 1 if something is missing."""
    rows = examine()
    print_rows(rows, as_json)
    if any(row["state"] == "missing" for row in rows):
        raise SystemExit(1)


NEEDED = (
    *("braindecode_ssr", "numpy", "scipy", "pandas", "pydantic", "click"),
    *("scikit-learn", "torch", "torchvision", "braindecode", "moabb", "mne", "mne-bids", "skorch"),
    *("open_clip_torch", "timm", "huggingface-hub", "safetensors"),
)
EXTRAS = ("tensorboard", "wandb", "mlflow", "onnx", "onnxscript", "onnxruntime", "distributed")
VARIABLES = (
    *("SSR_DATA", "SSR_CACHE", "MNE_DATA", "HF_HOME", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
)
MIN_FREE_GB = 5


def examine() -> list[dict[str, str]]:
    """Rows of ``what``, ``found`` and ``state`` (``"ok"``, ``"missing"`` or ``"note"``)."""
    there = [name for name in VARIABLES if name in os.environ]
    variables = [_row(f"${name}", os.environ[name], "note") for name in there]
    return [*_packages(), *_audio(), *_devices(), *_folders(), *variables]


def _packages() -> list[dict[str, str]]:
    from braindecode_ssr import __file__ as here
    from braindecode_ssr.runs import git_commit

    rows = [_row("python", f"{platform.python_version()} on {platform.platform()}", "ok")]
    rows += [_row("installed in", f"{Path(here).parent}, commit {git_commit() or 'unknown'}", "ok")]
    for name in NEEDED:
        try:
            rows.append(_row(name, version(name), "ok"))
        except PackageNotFoundError:
            rows.append(_row(name, f"not installed: pip install {name}", "missing"))
    for name in EXTRAS:
        with suppress(PackageNotFoundError):
            rows.append(_row(name, version(name), "ok"))
    return rows


def _audio() -> list[dict[str, str]]:
    """Whether torchaudio loads: braindecode imports it, and it needs a torch for the same CUDA version."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError) as error:
        hint = "install torch and torchaudio for the same CUDA version, as `pip install .` does"
        return [_row("torchaudio", f"does not load ({first_line(error)}): {hint}", "missing")]
    return [_row("torchaudio", version("torchaudio"), "ok")]


def _devices() -> list[dict[str, str]]:
    import torch

    from braindecode_ssr.runs import machine

    here = machine()
    rows = [_row("cpu", f"{here['cores']} cores, torch uses {here['threads']}", "ok")]
    blas = ", ".join(here["blas"]) or "unknown"
    rows += [_row("numerics", f"{here['cpu']}, BLAS {blas}, torch kernels {here['aten']}", "ok")]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        rows.append(_row(f"cuda:{index}", f"{properties.name}, {memory}", "ok"))
    if not torch.cuda.is_available():
        rows.append(_row("cuda", "none: training runs on the CPU", "note"))
    elif torch.version.cuda:
        rows.append(_row("cuda", f"{torch.version.cuda}, which this torch is built for", "ok"))
    return rows


def _folders() -> list[dict[str, str]]:
    from braindecode_ssr.datasets import data_root
    from braindecode_ssr.files import free_bytes, nearest_existing

    base = data_root("things-eeg").parent
    there, free = nearest_existing(base), free_bytes(base) / 2**30
    source = "$SSR_DATA" if os.environ.get("SSR_DATA") else "MNE's data folder"
    state = "ok" if free > MIN_FREE_GB else "note"
    rows = [
        _row("data", f"{base} ({source}), {free:.0f} GiB free", state),
        _row("writable", str(there), "ok" if os.access(there, os.W_OK) else "missing"),
        _row("cache", os.environ.get("SSR_CACHE") or "in each data folder ($SSR_CACHE)", "note"),
    ]
    for name in part_names("datasets"):
        found = Path(base / name).exists()
        rows.append(_row(name, "found" if found else f"not at {base / name}", "note"))
    return rows


def _row(what: str, found: str, state: str) -> dict[str, str]:
    return {"what": what, "found": found, "state": state}
