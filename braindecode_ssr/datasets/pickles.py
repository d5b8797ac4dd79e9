"""Arrays and plain containers out of pickled files, and nothing else: no pickle runs code here.

Public EEG arrays are pickles (``np.save`` of a dict, ``pickle.dump``, ``torch.save``), and a pickle may
call any function. The reader here admits what an array is made of (its reconstruction, its dtype,
its bytes) and containers of Python's own; every other name is refused before it is imported.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..errors import DataError, MissingDataError
from . import left_bytes
from .restricted import ArrayUnpickler, NeedsTorch, plain

_NPY, _ZIP, _PICKLE = b"\x93NUMPY", b"PK\x03\x04", b"\x80"
_POINTERS = (b"version https://git-lfs", b"/annex/objects", b"../.git/annex", b".git/annex")
DOWNLOAD_AGAIN = "remove the file and download it again; 'ssr-bd data where' says from where"


def load_npy(path: str | Path) -> Any:
    """What a ``.npy`` file holds: an array, or the container pickled in it.

    Parameters
    ----------
    path : path-like
        A plain array (memory-mapped, not read), an object array as ``np.save`` writes a dict, or a
        bare pickle without npy header, as NICE writes them.

    Returns
    -------
    ndarray, dict, list or other plain container
        A 0-d object array is unwrapped, so that a dict comes back as a dict.

    Raises
    ------
    MissingDataError
        If there is no such file.
    DataError
        If the file is empty, truncated, a web page, a zip, a Git LFS pointer, or a pickle that holds
        anything but arrays and plain containers; nothing of it is executed.
    """
    path = Path(path)
    head = _head(path)
    if head.startswith(_NPY):
        return _load_plain_or_pickled(path, head)
    if head.startswith(_PICKLE):
        return _unpickle_at(path, 0)
    _refuse_head(path, head, "a NumPy .npy file")


def load_pt(path: str | Path) -> Any:
    """What a ``.pt`` file of ``torch.save`` holds, with arrays as NumPy arrays.

    ``torch.load(weights_only=True)`` cannot read pickle protocol 5, in which the published files are
    written, so the pickle inside is read here; files with tensors are left to torch.

    Parameters
    ----------
    path : path-like
        A file written by ``torch.save`` since torch 1.6 (a zip).

    Raises
    ------
    MissingDataError
        If there is no such file.
    DataError
        As :func:`load_npy`.
    """
    path = Path(path)
    head = _head(path)
    if not head.startswith(_ZIP):
        _refuse_head(path, head, "a file of torch.save")
    offset = _pickle_offset(path)
    try:
        return _unpickle_at(path, offset)
    except NeedsTorch:
        return _load_tensors(path)


def load_dict(path: str | Path, keys: Iterable[str]) -> dict[str, Any]:
    """The dict in a ``.npy`` or ``.pt`` file, which has to have these keys.

    Raises
    ------
    DataError
        If the file holds something else, or a key is missing.
    """
    path = Path(path)
    loaded = load_pt(path) if path.suffix == ".pt" else load_npy(path)
    keys = list(keys)
    if not isinstance(loaded, dict):
        found = f"{type(loaded).__name__} in {path}"
        raise DataError(f"a dict with the keys {', '.join(keys)}", found, DOWNLOAD_AGAIN)
    missing = [key for key in keys if key not in loaded]
    if missing:
        known = ", ".join(map(str, loaded)) or "none"
        raise DataError(
            f"the keys {', '.join(keys)} in {path}",
            f"no {', '.join(missing)} (keys there: {known})",
            "put the file of the right kind in its place; 'ssr-bd data where' lists them",
        )
    return loaded


def _head(path: Path, size: int = 512) -> bytes:
    """The first bytes of a file that has to be there."""
    if not path.is_file():
        raise MissingDataError(
            f"a file at {path}",
            "a folder" if path.is_dir() else "nothing there",
            "give the right folder with --data-dir; 'ssr-bd data where' says where files come from",
        )
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise DataError(f"a readable file at {path}", str(error), "mend its permissions") from error


def _refuse_head(path: Path, head: bytes, expected: str) -> NoReturn:
    """Raise, saying what a file of the wrong kind is."""
    found, mend = f"something else ({head[:12]!r})", DOWNLOAD_AGAIN
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        found = "an empty file"
    elif text.startswith(b"<"):
        found = "a web page (HTML or XML): the server sent a message instead of the data"
    elif any(pointer in head for pointer in _POINTERS):
        found = "a Git LFS or git-annex pointer, not the data itself"
        mend = "fetch the content with 'git lfs pull' or 'git annex get', or download the file"
    elif head.startswith(_ZIP):
        found, mend = "a zip archive", "unzip it and put the file of that name in its place"
    elif head.startswith(b"\x1f\x8b"):
        found, mend = "a gzip archive", "decompress it first"
    elif head.startswith((_NPY, _PICKLE)):
        found = "a NumPy or pickle file"
    raise DataError(f"{expected} at {path}", found, mend)


def _load_plain_or_pickled(path: Path, head: bytes) -> Any:
    wide = head[6:7] != b"\x01"
    length = int.from_bytes(head[8 : 12 if wide else 10], "little")
    start = (12 if wide else 10) + length
    header = _head(path, start)
    if b"|O" in header or b"'O'" in header:
        return _unwrap(_unpickle_at(path, start))
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header raises anything
        raise _broken(path, error) from error


def _unwrap(loaded: Any) -> Any:
    single = isinstance(loaded, np.ndarray) and loaded.dtype == object and loaded.ndim == 0
    return loaded.item() if single else loaded


def _broken(path: Path, error: BaseException) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"a whole file at {path}", f"it is truncated or damaged ({reason})", DOWNLOAD_AGAIN
    )


def _unpickle_at(path: Path, offset: int) -> Any:
    """Unpickle from a position of a file; long arrays are mapped, or read once where they cannot be."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size - offset >= left_bytes.LONG:
                file.seek(offset)
                left = left_bytes.LeftBytes(path)
                short = left_bytes.shortened(file, left)
                if short is not None:
                    loaded = plain(ArrayUnpickler(short, path, left).load())
                    if left.all_used:
                        return loaded
            file.seek(offset)
            return plain(ArrayUnpickler(file, path).load())
    except DataError:
        raise
    except MemoryError as error:
        size = path.stat().st_size / 1e9
        raise DataError(
            f"enough memory for {path} ({size:.1f} GB, read whole because of the kind of pickle it is)",
            "too little",
            "free memory or use a machine with more",
        ) from error
    except Exception as error:  # hostile or damaged bytes raise anything
        raise _broken(path, error) from error


def _pickle_offset(path: Path) -> int:
    """Where the pickle lies in a file of ``torch.save``, which stores it uncompressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [e for e in archive.infolist() if e.filename.endswith("/data.pkl")]
        with path.open("rb") as file:
            entry = entries[0]
            file.seek(entry.header_offset + 26)
            lengths = file.read(4)
    except IndexError:
        found = "a zip archive without data.pkl"
        raise DataError(f"a file of torch.save at {path}", found, DOWNLOAD_AGAIN) from None
    except Exception as error:  # a damaged directory raises anything
        raise _broken(path, error) from error
    if entry.compress_type != zipfile.ZIP_STORED:
        raise DataError(f"a file of torch.save at {path}", "a compressed zip", DOWNLOAD_AGAIN)
    skip = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    return entry.header_offset + 30 + skip


def _load_tensors(path: Path) -> Any:
    """A file with tensors, through torch's own restricted reader."""
    import torch

    rebuild = np.empty(0).__reduce__()[0]
    admitted: list[Any] = [np.ndarray, np.dtype, *{type(np.dtype(c)) for c in "?bBhHiIlLefdSU"}]
    admitted += [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    try:
        with torch.serialization.safe_globals(admitted), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of newer pickle protocols, which then fail or do not
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        found = f"tensors that torch's restricted reader refuses ({str(error).splitlines()[0]})"
        raise DataError(f"arrays and tensors only in {path}", found, DOWNLOAD_AGAIN) from error
    if isinstance(loaded, dict):
        return {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in loaded.items()}
    return loaded
