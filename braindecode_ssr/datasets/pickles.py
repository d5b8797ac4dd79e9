"""Read arrays from foreign files without executing any of their content: npy, npz, pt, safetensors, csv.

Published recordings are often pickles, which could run any code when loaded. :class:`ArrayUnpickler` builds
arrays and plain containers and refuses everything else. The file is memory-mapped, and the content of long
arrays stays there: a raw session of THINGS-EEG2 takes 0.35 GB of memory instead of 3.84 GB.
"""

from __future__ import annotations

import json
import mmap
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np
import pandas as pd

from ..errors import DataError, MissingDataError, first_line, listed, reading

MAP_FROM = 1 << 24
"""Length in bytes from which on a byte string of a pickle is not read but stays in the mapped file."""
DOWNLOAD_AGAIN = "remove the file and download it again; 'ssr-bd data where' says from where"

_NPY, _ZIP, _PICKLE = b"\x93NUMPY", b"PK\x03\x04", b"\x80"
_POINTERS = (b"version https://git-lfs", b"/annex/objects", b"../.git/annex", b".git/annex")


# -- pickled and plain arrays --------------------------------------------------------------------------------


def load_npy(path: str | Path) -> Any:
    """A ``.npy`` file: a plain array (memory-mapped), a pickled dict or list, or a bare pickle as of NICE."""
    path = Path(path)
    head = _head(path)
    if head.startswith(_PICKLE):
        return _unpickle(path, 0)
    if not head.startswith(_NPY):
        _refuse(path, head, "a NumPy .npy file")
    start = 10 if head[6:7] == b"\x01" else 12
    start += int.from_bytes(head[8:start], "little")
    header = _head(path, start)
    if b"|O" in header or b"'O'" in header:
        loaded = _unpickle(path, start)
        single = isinstance(loaded, np.ndarray) and loaded.dtype == object and loaded.ndim == 0
        return loaded.item() if single else loaded
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header raises anything
        raise _damaged(path, error) from error


def load_pt(path: str | Path) -> Any:
    """A zipped ``.pt`` file as NumPy arrays, also of pickle protocol 5, which ``torch.load`` refuses."""
    path = Path(path)
    head = _head(path)
    if not head.startswith(_ZIP):
        _refuse(path, head, "a file of torch.save")
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            inside = [e for e in archive.infolist() if e.filename.endswith("/data.pkl")]
            if inside:
                start = inside[0].header_offset + 26
                file.seek(start)
                lengths = np.frombuffer(file.read(4), "<u2")
                start += 4 + int(lengths.sum())
    except Exception as error:  # a damaged directory raises anything
        raise _damaged(path, error) from error
    if not inside or inside[0].compress_type != zipfile.ZIP_STORED:
        kind = "a compressed zip archive" if inside else "a zip archive without data.pkl"
        raise DataError(f"{path} is not a file of torch.save: it is {kind}", DOWNLOAD_AGAIN)
    try:
        return _unpickle(path, start)
    except NeedsTorch:
        with reading(f"the tensors in {path}", DOWNLOAD_AGAIN):  # torch refuses all but tensors
            return _load_tensors(path)


def load_dict(path: str | Path, keys: Iterable[str]) -> dict[str, Any]:
    """The dict in a ``.npy`` or ``.pt`` file; DataError if it is something else or lacks a key."""
    path, keys = Path(path), list(keys)
    loaded = load_pt(path) if path.suffix == ".pt" else load_npy(path)
    if not isinstance(loaded, dict):
        found = f"{path} holds {type(loaded).__name__}, not a dict with the keys {', '.join(keys)}"
        raise DataError(found, DOWNLOAD_AGAIN)
    missing = [key for key in keys if key not in loaded]
    if missing:
        known = ", ".join(map(str, loaded)) or "none"
        raise DataError(
            f"{path} has no {', '.join(missing)} (keys there: {known})",
            "replace it with a file of the right kind; 'ssr-bd data where' lists them",
        )
    return loaded


def _head(path: Path, size: int = 512) -> bytes:
    if not path.is_file():
        reason = f"{path} is a folder, not a file" if path.is_dir() else f"there is no file {path}"
        raise MissingDataError(
            reason,
            "give the right folder with --data-dir; 'ssr-bd data where' says where files come from",
        )
    with reading(path, "check its permissions"), path.open("rb") as file:
        return file.read(size)


def _refuse(path: Path, head: bytes, expected: str, hint: str = DOWNLOAD_AGAIN) -> NoReturn:
    """Raise an error that says what a file of the wrong kind is."""
    found = f"something else ({head[:12]!r})"
    if not head:
        found = "an empty file"
    elif head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        found = "a web page (HTML or XML): the server sent a message instead of the data"
    elif any(pointer in head for pointer in _POINTERS):
        found = "a Git LFS or git-annex pointer, not the data itself"
        hint = "get the content with 'git lfs pull' or 'git annex get', or download the file"
    elif head.startswith(_ZIP):
        found, hint = "a zip archive", "unzip it and put the file of that name in its place"
    elif head.startswith(b"\x1f\x8b"):
        found, hint = "a gzip archive", "decompress it first"
    elif head.startswith((_NPY, _PICKLE)):
        found = "a NumPy or pickle file"
    raise DataError(f"{path} should be {expected} but is {found}", hint)


def _damaged(path: Path, error: BaseException) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path} is truncated or damaged ({reason})", DOWNLOAD_AGAIN)


def _unpickle(path: Path, offset: int) -> Any:
    """Unpickle from a position of a file; long arrays are mapped."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.seek(offset)
        return plain(ArrayUnpickler(mapped, path).load())
    except DataError:
        raise
    except MemoryError as error:
        size = path.stat().st_size / 1e9
        raise DataError(
            f"there is not enough memory for {path} ({size:.1f} GB; a pickle of this kind is read whole)",
            "free memory or use a machine with more",
        ) from error
    except Exception as error:  # hostile or damaged bytes raise anything
        raise _damaged(path, error) from error


def _load_tensors(path: Path) -> Any:
    """A file with tensors, through torch's own restricted reader, as NumPy arrays."""
    import torch

    def array(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        value = value.detach()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()

    rebuild = np.empty(0).__reduce__()[0]
    admitted: list[Any] = [np.ndarray, np.dtype, *{type(np.dtype(c)) for c in "?bBhHiIlLefdSU"}]
    admitted += [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    with torch.serialization.safe_globals(admitted), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about newer pickle protocols
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(loaded, dict):
        return {key: array(value) for key, value in loaded.items()}
    return array(loaded)


# -- the restricted unpickler --------------------------------------------------------------------------------

_SIMPLE_DTYPE = re.compile(r"[?bBhHiIlLqQefdgFDGSUO]\d*|[biufcSU]\d+|O8")


class NeedsTorch(DataError):
    """The pickle holds tensors, which only torch can put together."""


class ArrayUnpickler(pickle._Unpickler):  # the one in Python, whose instructions can be replaced
    """Unpickles arrays and plain containers, and refuses everything else without importing it.

    A long byte string becomes a view of the file, so that the array with this content is mapped.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.FRAME[0]: lambda self: self.read(8),  # its length: a frame would be read as a whole
        pickle.BINBYTES[0]: lambda self: self._load_bytes(bytes, 4),
        pickle.BINBYTES8[0]: lambda self: self._load_bytes(bytes, 8),
        pickle.BYTEARRAY8[0]: lambda self: self._load_bytes(bytearray, 8),
    }

    read: Callable[[int], bytes]
    append: Callable[[Any], None]

    def __init__(self, file: mmap.mmap, path: Path) -> None:
        super().__init__(file)
        self._file, self._path = file, path

    def _load_bytes(self, kind: type, width: int) -> None:
        length, start = int.from_bytes(self.read(width), "little"), self._file.tell()
        if start + length > len(self._file):
            raise pickle.UnpicklingError("pickle data was truncated")
        if length < MAP_FROM:
            self.append(kind(self.read(length)))
        else:
            self._file.seek(start + length)
            self.append(memoryview(self._file)[start : start + length])

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of an admitted name."""
        if (module, name) in _ADMITTED:
            return _ADMITTED[module, name]
        kind = NeedsTorch if module.split(".")[0] == "torch" else DataError
        raise kind(
            f"{self._path} is a pickle that asks for {module}.{name}, which was refused and not executed",
            "do not use this file unless you trust its source; get the published one",
        )

    def persistent_load(self, pid: Any) -> Any:
        """Tensors lie outside the pickle; torch reads them."""
        raise NeedsTorch(f"{self._path} holds tensors", "save arrays instead")


class _Call:
    """An admitted function: a pickle can call it but not alter it."""

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
        if state[1] not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"a byte order {state[1]!r}")
        self.order = state[1]

    def numpy(self) -> np.dtype:
        dtype, order = np.dtype(self.text), self.order
        return dtype if order in "=|" else dtype.newbyteorder("<" if order == "<" else ">")


class _Array(np.ndarray):
    """An array while it is unpickled: its state is checked before NumPy takes it."""

    mapped: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        dtype, count = dtype.numpy(), _count(shape)
        objects = dtype.hasobject
        if not isinstance(content, list if objects else bytes | bytearray | memoryview):
            raise pickle.UnpicklingError("an array without its content")
        if len(content) != (count if objects else count * dtype.itemsize):
            raise pickle.UnpicklingError("an array of another size than its content")
        if isinstance(content, memoryview):
            self.mapped = np.ndarray(shape, dtype, content, order="F" if fortran else "C")
            return
        checked: Any = (1, shape, dtype, bool(fortran), content if objects else bytes(content))
        super().__setstate__(checked)


def _count(shape: Any) -> int:
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise pickle.UnpicklingError(f"a shape {shape!r}")
    return int(np.prod(shape, dtype=object))


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> _Array:
    return _Array((0,), np.int8)


def _frombuffer(content: Any, dtype: _Dtype, shape: Any, order: Literal["C", "F"]) -> np.ndarray:
    kind = dtype.numpy()
    if kind.hasobject or _count(shape) * kind.itemsize != len(content):
        raise pickle.UnpicklingError("an array of another size than its content")
    flat: np.ndarray = np.frombuffer(content, kind)
    return flat.reshape(shape, order=order)


def _scalar(dtype: _Dtype, content: Any = b"") -> Any:
    kind = dtype.numpy()
    if kind.hasobject or not isinstance(content, bytes):
        raise pickle.UnpicklingError("a scalar without its content")
    return np.frombuffer(content, kind, count=1)[0]


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Call(_Dtype),
    ("_codecs", "encode"): _Call(_latin1),
    ("collections", "OrderedDict"): _Call(dict),
}
for _module in ("builtins", "__builtin__"):
    _ADMITTED[_module, "set"] = _Call(set)
    _ADMITTED[_module, "frozenset"] = _Call(frozenset)
    _ADMITTED[_module, "bytes"] = _Call(lambda: b"")
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = _Call(_reconstruct)
    _ADMITTED[f"{_core}.multiarray", "scalar"] = _Call(_scalar)
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _Call(_frombuffer)


def plain(value: Any, known: dict[int, tuple[Any, Any]] | None = None) -> Any:
    """Replace arrays under construction by plain arrays, in all containers.

    ``known`` keeps what is shared shared, so that a small pickle cannot unfold into a large one.
    """
    known = {} if known is None else known
    if id(value) in known:
        return known[id(value)][1]
    found = value
    if isinstance(value, _Array):
        found = value.view(np.ndarray) if value.mapped is None else value.mapped
        if found.dtype.hasobject:
            entries = np.empty(found.size, dtype=object)
            for place, entry in enumerate(found.flat):
                entries[place] = plain(entry, known)
            found.flat[:] = entries
    elif isinstance(value, dict):
        found = {key: plain(entry, known) for key, entry in value.items()}
    elif isinstance(value, list | tuple):
        found = type(value)(plain(entry, known) for entry in value)
    elif isinstance(value, memoryview):
        found = bytes(value)
    elif isinstance(value, _Dtype | _Call):
        raise pickle.UnpicklingError("a bare dtype or function where data should be")
    known[id(value)] = value, found
    return found


# -- features and names of images ----------------------------------------------------------------------------

FEATURES = ("img_features", "features", "embeddings")
"""Keys of the features in files that hold several arrays."""
NAMES = ("imageids", "imageid", "files", "file", "names", "name", "images", "image")
"""Keys and columns of image names, best first, in lower case and without ``_``."""
OTHER_NAMES = re.compile(
    r"(image|img|picture|stimulus|stim)s?(id|name|file|filename|path)?s?|stimuli"
    r"|(id|filename|filepath|path|key)s?"
)
OTHER_COLUMNS = ("split", "number", "concept")  # of `ssr-bd data images --csv`


def load_features(path: str | Path) -> tuple[np.ndarray, list[str] | None]:
    """Features as float32, and the names of their images if the file holds them, else None.

    ``.npz``, ``.pt``, ``.pth`` and ``.safetensors`` hold one array, or one named ``img_features``,
    ``features`` or ``embeddings``, and names as a list of strings ``image_ids``, ``files``, ``names`` or
    the like (in safetensors a JSON list in the metadata). ``.csv`` and ``.tsv`` have a column of names
    (``image_id``, ``file``, ``name``, ``image``) and one per feature; columns ``split``, ``number`` and
    ``concept`` are ignored.
    """
    path = Path(path)
    content = load_arrays(path)
    found = {key: _as_names(value) for key, value in content.items() if _rank(key) is not None}
    lists = {key: names for key, names in found.items() if names is not None}
    arrays = {k: v for k, v in content.items() if isinstance(v, np.ndarray) and k not in lists}
    array = _only({k: v for k, v in arrays.items() if v.dtype.kind not in "US"}, path)
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
        wrong = f"{path} has {len(lists[key])} names in {key!r}, but {len(rows)} rows of features"
        raise DataError(wrong, "write one name for each row, in the order of the rows")
    return rows, lists[key]


def load_arrays(path: Path) -> dict[str, Any]:
    """Arrays, names and texts of a file by key, as :func:`load_features` reads them."""
    read = READERS.get(path.suffix.lower(), _read_npy)
    if not path.is_file():
        raise MissingDataError(f"no such file: {path}", "give the path of an existing file")
    try:
        return read(path)
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error


def read_names(path: Path) -> list[str]:
    """Names of images: the lines of a text file that are not blank, or a column of a csv or tsv file."""
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            lists, _ = _table(path)
            return lists[_best(lists)]
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        found = f"no such list of image names: {path}"
        raise MissingDataError(found, "give its path with --images") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a list of image names: {error}",
            "write one image per line as UTF-8 text, and give the file with --images",
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
    head = _head(path)
    if not head.startswith(_NPY):
        _refuse(
            path, head, "an array written by numpy.save", "save it with numpy.save(file, array)"
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
        if key not in content and text.lstrip().startswith(("[", "{")):
            content[key] = json.loads(text)
    return content


def _read_pt(path: Path) -> dict[str, Any]:
    loaded = _load_tensors(path)
    content = loaded if isinstance(loaded, dict) else {"features": loaded}
    return {str(key): value for key, value in content.items()}


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


def _read_table(path: Path) -> dict[str, Any]:
    """The names and features ``(n, d)`` of a table; an index that pandas wrote is ignored."""
    lists, table = _table(path)
    columns = [
        name
        for name in table.columns
        if name.casefold() not in OTHER_COLUMNS
        and not (name.startswith("Unnamed: ") and (table[name] == np.arange(len(table))).all())
    ]
    kinds = {name: table[name].dtype.kind for name in columns}
    stems = {name: re.sub(r"\d+", "", name) for name in columns}
    decimal = {stems[name] for name in columns if kinds[name] == "f"}
    whole = {name for name in columns if kinds[name] in "iu" and stems[name] in decimal}
    other = [name for name in columns if kinds[name] != "f" and name not in whole]
    if other or not columns:
        names = listed([repr(name) for name in other], 5)
        named = f"the columns {names} of {path} do not look like features"
        raise DataError(
            named if columns else f"{path} has no column of features",
            "keep the column of image names and one column of decimal numbers for each feature",
        )
    return {**lists, "features": table[columns].to_numpy(np.float64)}


def _only(arrays: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """The only array of a file, or the one that is named like features."""
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
    text = first_line(error)
    if "allow_pickle" in text or "Object arrays" in text or "weights_only" in str(error).lower():
        return DataError(
            f"{path} holds a pickle of Python objects, which was refused and not executed",
            "save the features with numpy.save(file, array) as floating-point numbers, or with names as "
            "numpy.savez(file, features=array, image_ids=numpy.array(names, dtype=str))",
        )
    found = f"{path} cannot be read: {text}"
    return DataError(found, "the file seems to be cut short or damaged; get it again")


READERS: dict[str, Callable[[Path], dict[str, Any]]] = {".npz": _read_npz}
READERS |= {".safetensors": _read_safetensors, ".pt": _read_pt, ".pth": _read_pt}
READERS |= {".csv": _read_table, ".tsv": _read_table}
