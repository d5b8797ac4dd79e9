"""One table of image features on disk: a safetensors file and the manifest that names it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from pydantic import BaseModel, Field

from ..errors import DataError, UsageError
from ..files import atomic_write, load_json, read_json, sha256

FORMAT = 1
MANIFEST = "manifest.json"
AGAIN = "remove the folder {} and make them again: ssr-bd features extract or import"


class Manifest(BaseModel):
    """What must be in the manifest of a table."""

    format: int
    encoder: str
    view: str
    fingerprint: str
    dim: int = Field(ge=1)
    count: int = Field(ge=1)
    image_ids: list[str]
    file: str = Field(pattern=r"^[^/\\]+\.safetensors$")
    sha256: str
    parts: list[dict[str, Any]]


MADE_WITH = ("braindecode_ssr", "torch", "torchvision", "open_clip_torch", "pillow", "numpy")

PLACE = "--cache-dir"
"""What a user chooses another folder for features with."""

IMPORTED = "imported:"
"""How fingerprints of arrays from elsewhere begin; of these we only know that a user put them together."""


WORDS = "+words:"
"""Between an encoder's fingerprint and what makes features of sentences of it: text tower and tokenizer."""


def folder_name(name: str) -> str:
    """A folder name from which :func:`urllib.parse.unquote` gives the name back.

    Raises
    ------
    UsageError
        If the name is empty, or is not one a folder can have.
    """
    quoted = quote(name, safe="")
    if not quoted.strip(".") or len(quoted) > 200:
        raise UsageError("a name of 1 to 200 letters", repr(name), "choose another name")
    return quoted


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder; none if it is not there."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def has_table(folder: Path) -> bool:
    """Whether a table is in a folder."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """What is written about the table in a folder.

    Raises
    ------
    DataError
        If it cannot be read, or is of another format.
    """
    path = folder / MANIFEST
    manifest = load_json(path, Manifest, AGAIN.format(path.parent))
    if manifest["format"] != FORMAT:
        raise _damaged(path, f"format {manifest['format']} instead of {FORMAT}")
    if manifest["count"] != len(manifest["image_ids"]):
        raise _damaged(
            path, f"{len(manifest['image_ids'])} image ids for {manifest['count']} images"
        )
    return manifest


def read_features(folder: Path, manifest: dict[str, Any]) -> np.ndarray:
    """The features that a manifest names, float32 ``(count, dim)``.

    Raises
    ------
    DataError
        If the file is missing, cut short or altered.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / manifest["file"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"{type(error).__name__}: {error.strerror}") from error
    if sha256(content) != manifest["sha256"]:
        raise _damaged(path, f"another content ({len(content)} bytes)")
    try:
        features = load(content)["features"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if features.shape != (manifest["count"], manifest["dim"]) or features.dtype != np.float32:
        raise _damaged(path, f"{features.dtype} of shape {features.shape}")
    return features


def write_table(folder: Path, features: np.ndarray, manifest: dict[str, Any]) -> None:
    """Put a table into a folder in place of the one that is there.

    The features come first, under a name of their own; swapping the manifest in makes them the table.

    Parameters
    ----------
    folder : Path
        Is made if it is not there.
    features : ndarray of float32, shape (n, d)
        The features.
    manifest : dict
        Gets ``format``, ``file``, ``sha256``, ``count``, ``dim`` and ``versions``.

    Raises
    ------
    DataError
        If the folder cannot be written; nothing new is left in it then.
    """
    from safetensors.numpy import save

    content = save({"features": np.ascontiguousarray(features, np.float32)})
    digest = sha256(content)
    n, d = features.shape
    name = f"features-{digest[:16]}.safetensors"
    extra = {"format": FORMAT, "file": name, "sha256": digest, "count": n, "dim": d}
    text = json.dumps({**manifest, **extra, "versions": versions()}, indent=1)
    before = (folder / name).exists()
    try:
        atomic_write(folder / name, content, PLACE)
        atomic_write(folder / MANIFEST, text, PLACE)
    except DataError:
        if not before and (read_json(folder / MANIFEST) or {}).get("file") != name:
            (folder / name).unlink(missing_ok=True)
        raise
    for other in folder.glob("features-*.safetensors"):
        if other.name != name:
            other.unlink()


def versions() -> dict[str, str]:
    """Versions of the packages that features depend on, as far as they are installed."""
    found = {}
    for package in MADE_WITH:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def akin(one: str, other: str) -> bool:
    """Whether features of two fingerprints may stand side by side.

    Equal, both imported, or of one encoder, of images here and of sentences there.
    """
    if one == other or (one.startswith(IMPORTED) and other.startswith(IMPORTED)):
        return True
    (tower, _, text), (other_tower, _, other_text) = one.partition(WORDS), other.partition(WORDS)
    return tower == other_tower and not (text and other_text)


def joint_fingerprint(fingerprints: Sequence[str]) -> str:
    """The fingerprint of a table put together of parts: theirs if all agree, else a digest of all."""
    distinct = sorted(set(fingerprints))
    if len(distinct) == 1:
        return distinct[0]
    return IMPORTED + sha256("\n".join(distinct))


def _damaged(path: Path, found: str) -> DataError:
    return DataError(f"{path} is damaged ({found})", AGAIN.format(path.parent))
