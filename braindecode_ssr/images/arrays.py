"""Features, and the names of their images, from files made elsewhere; nothing in them is executed."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, MissingDataError

FEATURES = ("img_features", "features", "embeddings")
"""Keys under which features are looked for in files that hold several arrays."""
NAMES = ("imageids", "imageid", "files", "file", "names", "name", "images", "image")
"""Keys and columns of image names, best first, in lower case and without ``_``; others match below."""
OTHER_NAMES = re.compile(
    r"(image|img|picture|stimulus|stim)s?(id|name|file|filename|path)?s?|stimuli"
    r"|(id|filename|filepath|path|key)s?"
)
OTHER_COLUMNS = ("split", "number", "concept")
"""Columns of ``ssr-bd data images --csv`` that are neither names nor features."""


def load_features(path: str | Path) -> tuple[np.ndarray, list[str] | None]:
    """Features as float32, and the names of their images if the file holds them.

    Parameters
    ----------
    path : path-like
        ``.npy``: one array. ``.npz``, ``.pt``, ``.pth``, ``.safetensors``: one array, or one named
        ``img_features``, ``features`` or ``embeddings``; names are a list of strings ``image_ids``,
        ``files``, ``names`` or the like (in safetensors, a JSON list in the metadata). ``.csv``, ``.tsv``:
        a column of names (``image_id``, ``file``, ``name``, ``image``) and a column per feature; columns
        ``split``, ``number`` and ``concept`` are ignored.

    Returns
    -------
    features : ndarray of float32
        As in the file; ``(n, d)`` if there are names.
    names : list of str, length n, or None
        None if the file has no names.

    Raises
    ------
    MissingDataError
        If the file is not there.
    DataError
        If it is cut short, is no such file, has another number of names than of features, or holds objects:
        those would have to be executed.
    """
    path = Path(path)
    read = READERS.get(path.suffix.lower(), _read_npy)
    if not path.is_file():
        raise MissingDataError(f"no such file: {path}", "give the path of the features")
    try:
        content = read(path)
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    found = {key: _as_names(value) for key, value in content.items() if _rank(key) is not None}
    lists = {key: names for key, names in found.items() if names is not None}
    array = _only({k: v for k, v in content.items() if k not in lists and _is_array(v)}, path)
    if array.dtype.kind != "f" or array.ndim < 2:
        raise DataError(
            f"{path} holds {array.dtype} of shape {array.shape}, not floating-point features with images "
            "along the first axis",
            "save the features alone, or with the names of their images",
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not lists:
        return array, None
    key = _best(lists)
    rows = array.reshape(-1, array.shape[-1])
    if len(lists[key]) != len(rows):
        raise DataError(
            f"{path} has {len(lists[key])} names in {key!r}, but {len(rows)} rows of features",
            "write one name for each row, in the order of the rows",
        )
    return rows, lists[key]


def read_names(path: Path) -> list[str]:
    """Names of images from a list: lines of a text file that are not blank, or a column of a table.

    Raises
    ------
    MissingDataError
        If the file is not there.
    DataError
        If it is not text, or is a ``.csv`` or ``.tsv`` without a column of names.
    """
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            lists, _ = _table(path)
            return lists[_best(lists)]
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise MissingDataError(
            f"no such list of image names: {path}", "give its path with --images"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a list of image names: {error}",
            "write one image a line as UTF-8 text, and give the file with --images",
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _rank(key: str) -> int | None:
    """How likely a key is that of image names, 0 first; None if it is not."""
    plain = re.sub(r"[\W_]", "", key.casefold())
    if plain in NAMES:
        return NAMES.index(plain)
    return len(NAMES) if OTHER_NAMES.fullmatch(plain) else None


def _best(lists: dict[str, list[str]]) -> str:
    """The key of the list that most likely names images; lists of whole numbers come last."""
    return min(lists, key=lambda key: (all(map(str.isdecimal, lists[key])), _rank(key), key))


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind not in "US"


def _as_names(value: Any) -> list[str] | None:
    """A list of names, or None if the value is none; whole numbers count as names."""
    if isinstance(value, np.ndarray):
        listed = value.dtype.kind in "US" if value.ndim > 1 else value.dtype.kind in "USiu"
        listed = listed and value.ndim > 0
        value = value.reshape(-1).tolist() if listed else None
    if not isinstance(value, list | tuple) or not value:
        return None
    if not any(isinstance(name, str | bytes | int) for name in value):
        return None
    return [name.decode() if isinstance(name, bytes) else str(name) for name in value]


def _read_npy(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        head = file.read(6)
    if head != b"\x93NUMPY":
        kind = "a zip archive (.npz?)" if head[:2] == b"PK" else f"a file beginning with {head!r}"
        kind = "a web page" if head.lstrip()[:1] == b"<" else kind
        raise DataError(
            f"{path} is {kind}, not an array written by numpy.save",
            "get the file itself, or save the array with numpy.save",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"features": np.load(path, allow_pickle=False)}


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        content = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        texts = file.metadata() or {}
    for key, text in texts.items():
        if key not in content and text.lstrip().startswith("["):
            content[key] = json.loads(text)
    return content


def _read_pt(path: Path) -> dict[str, Any]:
    import torch

    def plain(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        value = value.detach()
        return (value.float() if value.is_floating_point() else value).numpy()

    loaded = torch.load(path, map_location="cpu", weights_only=True)
    tensors = loaded if isinstance(loaded, dict) else {"features": loaded}
    return {str(key): plain(value) for key, value in tensors.items()}


def _read_table(path: Path) -> dict[str, Any]:
    lists, table = _table(path)
    return {**lists, "features": _feature_columns(table, path)}


def _table(path: Path) -> tuple[dict[str, list[str]], pd.DataFrame]:
    """The columns of a table that may name images, and a table of all others."""
    layout: dict[str, Any] = {
        "sep": "\t" if path.suffix.lower() == ".tsv" else ",",
        "encoding": "utf-8-sig",
        "index_col": False,
    }
    header = [str(name) for name in pd.read_csv(path, nrows=0, **layout).columns]
    columns = [name for name in header if _rank(name) is not None]
    if not columns:
        raise DataError(
            f"{path} has no column with the names of the images: it begins with "
            f"{', '.join(map(repr, header[:4]))}",
            "add a column 'image_id', or save features without names with numpy.save",
        )
    names = pd.read_csv(path, usecols=columns, dtype=str, keep_default_na=False, **layout)
    table = pd.read_csv(path, usecols=lambda name: name not in columns, **layout)
    return {name: names[name].str.strip().tolist() for name in columns}, table


def _feature_columns(table: pd.DataFrame, path: Path) -> np.ndarray:
    """The features of a table ``(n, d)``; the index that pandas writes is none of them."""
    left = [
        name
        for name in table.columns
        if name.casefold() not in OTHER_COLUMNS
        and not (name.startswith("Unnamed: ") and (table[name] == np.arange(len(table))).all())
    ]
    kinds = {name: table[name].dtype.kind for name in left}
    alike = {re.sub(r"\d+", "", name) for name in left if kinds[name] == "f"}
    other = [
        name
        for name in left
        if kinds[name] not in "fiu"
        or (kinds[name] in "iu" and re.sub(r"\d+", "", name) not in alike)
    ]
    if other or not left:
        raise DataError(
            f"the columns {', '.join(map(repr, other[:5]))} of {path} do not look like features"
            if left
            else f"{path} has no column of features",
            "keep the column of image names and one column of decimal numbers for each feature",
        )
    return table[left].to_numpy(np.float64)


def _only(arrays: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """The one array of a file, or the one that is named as features are."""
    named = [arrays[key] for key in FEATURES if key in arrays]
    floats = [array for array in arrays.values() if array.dtype.kind == "f" and array.ndim > 1]
    candidates = named or (floats if len(floats) == 1 else list(arrays.values()))
    if len(candidates) != 1:
        held = f"several arrays, {len(arrays)}: {', '.join(list(arrays)[:5])}"
        raise DataError(
            f"{path} holds {held if arrays else 'no array of floating-point features'}",
            f"save the features alone, or as one array named {' or '.join(FEATURES)}",
        )
    return candidates[0]


def _unreadable(path: Path, error: Exception) -> DataError:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "allow_pickle" in text or "Object arrays" in text or "weights_only" in str(error).lower():
        return DataError(
            f"{path} holds a pickle of Python objects, which was refused and not executed",
            "save the features with numpy.save(file, array) as floating-point numbers, or with names as "
            "numpy.savez(file, features=array, image_ids=numpy.array(names, dtype=str))",
        )
    return DataError(
        f"{path} cannot be read: {text}",
        "the file seems to be cut short or damaged; get it again",
    )


READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pt": _read_pt,
    ".pth": _read_pt,
    ".csv": _read_table,
    ".tsv": _read_table,
}
