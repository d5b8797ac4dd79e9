"""Arrays that lie in a file and are mapped into memory: what was read of them can be given back."""

from __future__ import annotations

import mmap

import numpy as np


def mapping(array: np.ndarray) -> mmap.mmap | None:
    """The map that an array, or what it is a view of, lies in; None where it lies in memory."""
    base = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) else None


def forget(array: np.ndarray) -> None:
    """Give back the memory of what was read of a mapped array; it is read again when needed.

    Pages of a mapped file count as memory of the process while they are resident. Nothing is lost of a map
    that is only read, and nothing is done to an array in memory, or where the system cannot do it.
    """
    mapped = mapping(array)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
