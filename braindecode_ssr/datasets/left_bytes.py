"""Long byte strings of a pickle, left in their file: the arrays made of them are mapped, not read.

The bytes of an array lie in a pickle as they lay in memory. Here a pickle of gigabytes is walked through
without reading them (``pickletools`` knows how long each instruction is) and written again with a short mark
in their place. The short pickle is then unpickled as any other, under the same restrictions, and an array
whose content is a mark is mapped from the file.
"""

from __future__ import annotations

import mmap
import os
import pickle
import pickletools
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

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
