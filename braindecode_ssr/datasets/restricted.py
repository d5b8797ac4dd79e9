"""The world of a pickle that may hold arrays and plain containers, and nothing else.

``pickle.Unpickler`` gets every class and function through ``find_class``. Here that hands out stand-ins
of the few names an array is made of, none of which a pickle can alter; sizes and dtypes are checked before
NumPy sees them, since NumPy itself trusts what a pickle says of them.
"""

from __future__ import annotations

import pickle
import re
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import DataError
from .left_bytes import LeftBytes

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
