"""Plain arrays from files of elsewhere; nothing in them is executed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, MissingDataError

FEATURES = ("img_features", "features")
"""Keys under which features are looked for in files that hold several arrays."""


def load_array(path: str | Path) -> np.ndarray:
    """An array of real numbers from ``.npy``, ``.safetensors`` or ``.pt``, as float32.

    Parameters
    ----------
    path : path-like
        A file with one array, or with one named ``img_features`` or ``features``.

    Raises
    ------
    MissingDataError
        If it is not there.
    DataError
        If it is cut short, is no such file, or holds objects: those would have to be executed.
    """
    path = Path(path)
    read = READERS.get(path.suffix.lower(), _read_npy)
    if not path.is_file():
        raise MissingDataError(f"an array at {path}", "no such file", "give the path of the file")
    try:
        array = read(path)
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    if array.dtype.kind != "f" or array.ndim < 2:
        raise DataError(
            "an array of floating-point features, images first",
            f"{array.dtype} of shape {array.shape} in {path}",
            "save the features alone",
        )
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        head = file.read(6)
    if head != b"\x93NUMPY":
        kind = "a zip archive (.npz?)" if head[:2] == b"PK" else f"a file beginning with {head!r}"
        kind = "a web page" if head.lstrip()[:1] == b"<" else kind
        raise DataError(
            f"an array written by numpy.save in {path}",
            kind,
            "get the file itself, or save the array with numpy.save",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.load(path, allow_pickle=False)


def _read_safetensors(path: Path) -> np.ndarray:
    from safetensors.numpy import load_file

    return _only(load_file(path), path)


def _read_pt(path: Path) -> np.ndarray:
    import torch

    loaded = torch.load(path, map_location="cpu", weights_only=True)
    tensors = loaded if isinstance(loaded, dict) else {"features": loaded}
    return _only(
        {k: v.detach().float().numpy() for k, v in tensors.items() if isinstance(v, torch.Tensor)},
        path,
    )


def _only(arrays: dict[str, Any], path: Path) -> np.ndarray:
    """The one array of a file, or the one that is named as features are."""
    named = [arrays[key] for key in FEATURES if key in arrays]
    candidates = named[:1] or list(arrays.values())
    if len(candidates) != 1:
        raise DataError(
            f"one array, or one named {' or '.join(FEATURES)}, in {path}",
            f"{len(arrays)}: {', '.join(list(arrays)[:5])}",
            "save the features alone",
        )
    return candidates[0]


def _unreadable(path: Path, error: Exception) -> DataError:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "allow_pickle" in text or "Object arrays" in text or "weights_only" in str(error).lower():
        return DataError(
            f"a plain array in {path}",
            "a pickle of Python objects, which was refused and not executed",
            "save the features with numpy.save(file, array) as floating-point numbers",
        )
    return DataError(
        f"an array in {path}", text, "the file seems to be cut short or damaged; get it again"
    )


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".safetensors": _read_safetensors,
    ".pt": _read_pt,
    ".pth": _read_pt,
}
