"""A look at the machine: what is installed, what can compute, where data would be."""

from __future__ import annotations

import importlib
import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .resolve import data_root

NEEDED = ("torch", "torchvision", "braindecode", "moabb", "mne", "skorch", "open_clip_torch")
ROOM_GB = 5


def examine() -> list[dict[str, str]]:
    """Rows of ``what``, ``found`` and ``state`` (``"ok"``, ``"missing"`` or ``"note"``)."""
    return [*_packages(), *_audio(), *_devices(), *_folders()]


def _packages() -> list[dict[str, str]]:
    rows = []
    for name in NEEDED:
        try:
            rows.append(_row(name, version(name), "ok"))
        except PackageNotFoundError:
            rows.append(_row(name, f"not installed: pip install {name}", "missing"))
    return rows


def _audio() -> list[dict[str, str]]:
    """Whether torchaudio loads: braindecode imports it, and it refuses a torch of another CUDA version."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        mend = "install torch and torchaudio of one CUDA version, as `pip install .` does"
        return [_row("torchaudio", f"does not load ({why}): {mend}", "missing")]
    return [_row("torchaudio", version("torchaudio"), "ok")]


def _devices() -> list[dict[str, str]]:
    import torch

    rows = [_row("cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}", "ok")]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        rows.append(_row(f"cuda:{index}", f"{properties.name}, {memory}", "ok"))
    if not torch.cuda.is_available():
        rows.append(_row("cuda", "none: training runs on the CPU", "note"))
    return rows


def _folders() -> list[dict[str, str]]:
    base = data_root("things-eeg").parent
    there = base if base.exists() else next(p for p in base.absolute().parents if p.exists())
    free = shutil.disk_usage(there).free / 2**30
    source = "$SSR_DATA" if os.environ.get("SSR_DATA") else "MNE's data folder"
    rows = [
        _row("data", f"{base} ({source}), {free:.0f} GiB free", "ok" if free > ROOM_GB else "note"),
        _row("writable", str(there), "ok" if os.access(there, os.W_OK) else "missing"),
        _row("cache", os.environ.get("SSR_CACHE") or "in each data folder ($SSR_CACHE)", "note"),
    ]
    for name in ("things-eeg", "things-sim"):
        found = Path(base / name).exists()
        rows.append(_row(name, "there" if found else f"not at {base / name}", "note"))
    return rows


def _row(what: str, found: str, state: str) -> dict[str, str]:
    return {"what": what, "found": found, "state": state}
