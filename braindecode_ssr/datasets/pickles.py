"""Long byte strings of a pickle, left in their file: the arrays made of them are mapped, not read.

The bytes of an array lie in a pickle as they lay in memory. Here a pickle of gigabytes is walked through
without reading them (``pickletools`` knows how long each instruction is) and written again with a short mark
in their place. The short pickle is then unpickled as any other, under the same restrictions, and an array
whose content is a mark is mapped from the file.
"""

from __future__ import annotations

import json
import mmap
import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import pandas as pd

from ..errors import DataError, MissingDataError

LONG = 1 << 24
"""Bytes from which on a string is left in the file."""
MOST_BYTES, MOST_INSTRUCTIONS = 1 << 24, 2_000_000
"""Of everything else in the pickle: beyond these it is of other things, and not worth the walk."""

_FRAME = b"\x95"
_LONG_BYTES = {b"B": 4, b"\x8e": 8, b"\x96": 8}  # BINBYTES, BINBYTES8, BYTEARRAY8
_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_TWO_LINES = ("GLOBAL", "INST")


class LeftBytes:
    """Byte strings of one file that a mark stands for.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._secret = path, os.urandom(16)
        self._places: dict[bytes, tuple[int, int]] = {}
        self._used: set[bytes] = set()
        self._map: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, content: object) -> bool:
        return isinstance(content, bytes) and content in self._places

    @property
    def all_used(self) -> bool:
        """Whether every mark has become an array; one that has not is in the place of something else."""
        return self._used == set(self._places)

    def leave(self, offset: int, length: int) -> bytes:
        """A mark for these bytes, which no file can foresee."""
        mark = self._secret + len(self._places).to_bytes(4, "little")
        self._places[mark] = offset, length
        return mark

    def length(self, mark: bytes) -> int:
        """How many bytes a mark stands for."""
        return self._places[mark][1]

    def array(self, mark: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
        """The array whose content the bytes are, mapped from the file, not to be written.

        It begins wherever the bytes do, so that it may not be aligned.
        """
        if self._map is None:
            with self._path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._used.add(mark)
        return np.ndarray(shape, dtype, self._map, self._places[mark][0], order=order)


def shortened(file: IO[bytes], left: LeftBytes) -> IO[bytes] | None:
    """The pickle that begins where the file stands, long byte strings replaced by marks.

    Parameters
    ----------
    file : binary file
    left : LeftBytes
        Learns where they lie.

    Returns
    -------
    binary file, or None
        None if there is nothing to leave, or too much else.

    Raises
    ------
    pickle.UnpicklingError
        If the pickle is cut off or is none.
    """
    short = BytesIO()
    for _ in range(MOST_INSTRUCTIONS):
        code = _exactly(file, 1)
        try:
            argument = _argument(file, code)
        except OverflowError:
            return None
        if code in _LONG_BYTES and len(argument) == _LONG_BYTES[code]:
            code, argument = b"C", _skip(file, int.from_bytes(argument, "little"), left)
        if code != _FRAME:  # the lengths of frames are no longer true, and not needed
            short.write(code + argument)
        if code == b".":
            return BytesIO(short.getvalue()) if len(left) else None
        if short.tell() > MOST_BYTES:
            return None
    return None


def _skip(file: IO[bytes], length: int, left: LeftBytes) -> bytes:
    """Pass over bytes; what follows an instruction that puts their mark in their place."""
    mark = left.leave(file.tell(), length)
    if file.seek(length, os.SEEK_CUR) > os.fstat(file.fileno()).st_size:
        raise pickle.UnpicklingError("pickle data was truncated")
    return bytes([len(mark)]) + mark


def _argument(file: IO[bytes], code: bytes) -> bytes:
    """What follows an instruction and belongs to it; of a long byte string only its length."""
    known = pickletools.code2op.get(code.decode("latin1"))
    if known is None:
        raise pickle.UnpicklingError(f"an unknown instruction {code!r}")
    if known.arg is None:
        return b""
    if known.arg.n >= 0:
        return _exactly(file, known.arg.n)
    if known.arg.n == pickletools.UP_TO_NEWLINE:
        lines = 2 if known.name in _TWO_LINES else 1
        return b"".join(file.readline(MOST_BYTES) for _ in range(lines))
    width = _exactly(file, _LENGTHS[known.arg.n])
    length = int.from_bytes(width, "little")
    if code in _LONG_BYTES and length >= LONG:
        return width
    return width + _exactly(file, length)


def _exactly(file: IO[bytes], length: int) -> bytes:
    if length > MOST_BYTES:
        raise OverflowError("a long string that is not of bytes")
    content = file.read(length)
    if len(content) < length:
        raise pickle.UnpicklingError("pickle data was truncated")
    return content


_SIMPLE_DTYPE = re.compile(r"[?bBhHiIlLqQefdgFDGSUO]\d*|[biufcSU]\d+|O8")
_ORDERS = {"<": "<", ">": ">", "=": "=", "|": "="}


class NeedsTorch(DataError):
    """The pickle holds tensors, which only torch can put together."""


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler whose whole world is arrays and plain containers.

    Parameters
    ----------
    file : binary file
        The pickle.
    path : Path
        Where it is from, for messages.
    left : LeftBytes, optional
        Byte strings that the pickle has marks for: arrays made of them are mapped.
    """

    def __init__(self, file: IO[bytes], path: Path, left: LeftBytes | None = None) -> None:
        super().__init__(file)
        self._path, self._left = path, left

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of an admitted name; every other one is refused, unimported."""
        if (module, name) in _ADMITTED:
            admitted = _ADMITTED[module, name]
            return admitted if admitted not in _MAPPING else _Call(partial(admitted, self._left))
        kind = NeedsTorch if module.split(".")[0] == "torch" else DataError
        raise kind(
            f"arrays and plain containers only in {self._path}",
            f"a pickle that asks for {module}.{name}, which was refused and not executed",
            "do not use this file unless you trust its source; get the published one",
        )

    def persistent_load(self, pid: Any) -> Any:
        """Tensors lie outside the pickle; torch reads them."""
        raise NeedsTorch(f"arrays only in {self._path}", "tensors", "save arrays instead")


class _Call:
    """An admitted function: can be called by a pickle and not altered by one."""

    __slots__ = ("_function",)

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a pickle may not alter a function")


class _Dtype:
    """A dtype while it is unpickled: one letter, a size, a byte order, no fields."""

    __slots__ = ("order", "text")

    def __init__(self, text: Any, *flags: Any) -> None:
        if not isinstance(text, str) or not _SIMPLE_DTYPE.fullmatch(text):
            raise pickle.UnpicklingError(f"a dtype {text!r}")
        self.text, self.order = text, "="

    def __setstate__(self, state: Any) -> None:
        if state[2] is not None or state[4]:
            raise pickle.UnpicklingError("a dtype with fields")
        self.order = _ORDERS[state[1]]

    def numpy(self) -> np.dtype:
        """The dtype itself, made anew."""
        dtype = np.dtype(self.text)
        return dtype if self.order == "=" else dtype.newbyteorder(self.order)


class _Array(np.ndarray):
    """An array while it is unpickled: its state is checked before NumPy takes it.

    ``left`` are the byte strings that were left in the file, ``mapped`` is the array made of one.
    """

    left: LeftBytes | None = None
    mapped: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        dtype, count = dtype.numpy(), _count(shape)
        objects = dtype.hasobject
        if self.left is not None and content in self.left:
            self.mapped = _mapped(self.left, content, dtype, shape, "F" if fortran else "C")
            return
        if not isinstance(content, list if objects else bytes | bytearray):
            raise pickle.UnpicklingError("an array without its content")
        if len(content) != (count if objects else count * dtype.itemsize):
            raise pickle.UnpicklingError("an array of another size than its content")
        super().__setstate__(
            (1, shape, dtype, bool(fortran), content if objects else bytes(content))
        )


def _count(shape: Any) -> int:
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise pickle.UnpicklingError(f"a shape {shape!r}")
    return int(np.prod(shape, dtype=object))


def _mapped(
    left: LeftBytes, mark: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str
) -> np.ndarray:
    if dtype.hasobject or _count(shape) * dtype.itemsize != left.length(mark):
        raise pickle.UnpicklingError("an array of another size than its content")
    return left.array(mark, dtype, shape, order)


def _reconstruct(left: LeftBytes | None, kind: Any, shape: Any, typecode: Any) -> _Array:
    array = _Array((0,), np.int8)
    array.left = left
    return array


def _frombuffer(
    left: LeftBytes | None, content: Any, dtype: _Dtype, shape: Any, order: str
) -> np.ndarray:
    kind = dtype.numpy()
    if left is not None and content in left:
        return _mapped(left, content, kind, shape, order)
    if kind.hasobject or _count(shape) * kind.itemsize != len(content):
        raise pickle.UnpicklingError("an array of another size than its content")
    return np.frombuffer(content, kind).reshape(shape, order=order)


def _scalar(dtype: _Dtype, content: Any = b"") -> Any:
    kind = dtype.numpy()
    if kind.hasobject or not isinstance(content, bytes):
        raise pickle.UnpicklingError("a scalar without its content")
    return np.frombuffer(content, kind, count=1)[0]


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Call(_Dtype),
    ("_codecs", "encode"): _Call(_latin1),
    ("collections", "OrderedDict"): _Call(dict),
    **{
        (module, name): _Call(kind)
        for module in ("builtins", "__builtin__")
        for name, kind in {"set": set, "frozenset": frozenset, "bytes": _no_bytes}.items()
    },
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _Call(_scalar)),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}


_MAPPING = (_reconstruct, _frombuffer)
"""Those that are told which byte strings were left in the file."""


def plain(value: Any, known: dict[int, tuple[Any, Any]] | None = None) -> Any:
    """Arrays under construction made plain arrays, in all containers; leftovers refused.

    Parameters
    ----------
    value : object
        What was unpickled.
    known : dict, optional
        What was made of each object already, by identity: what is shared stays shared, so that a small
        pickle cannot unfold into a large one.

    Raises
    ------
    pickle.UnpicklingError
        If a dtype or function is where data should be.
    """
    known = {} if known is None else known
    if id(value) not in known:
        known[id(value)] = value, _plain(value, known)
    return known[id(value)][1]


def _plain(value: Any, known: dict[int, tuple[Any, Any]]) -> Any:
    if isinstance(value, _Array):
        if value.mapped is not None:
            return value.mapped
        value = value.view(np.ndarray)
        if value.dtype.hasobject:
            value.flat[:] = _filled([plain(entry, known) for entry in value.flat])
        return value
    if isinstance(value, dict):
        return {key: plain(entry, known) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(entry, known) for entry in value)
    if isinstance(value, _Dtype | _Call):
        raise pickle.UnpicklingError("a bare dtype or function where data should be")
    return value


def _filled(entries: list[Any]) -> np.ndarray:
    filled = np.empty(len(entries), dtype=object)
    for place, entry in enumerate(entries):
        filled[place] = entry
    return filled


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
            if path.stat().st_size - offset >= LONG:
                file.seek(offset)
                left = LeftBytes(path)
                short = shortened(file, left)
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
