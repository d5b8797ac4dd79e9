"""Room on the disk, asked for before it is used."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DataError, SSRError


def free_bytes(path: Path) -> int:
    """Bytes free on the disk where ``path`` is or will be."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def need_room(path: Path, size: int, what: str) -> None:
    """See that ``size`` bytes fit.

    Raises
    ------
    DataError
        If they do not.
    """
    free = free_bytes(path)
    if size > free:
        raise DataError(
            f"{gigabytes(size)} free at {path.parent} for {what}",
            f"{gigabytes(free)}",
            "free some space, or choose another disk with --data-dir",
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line that a file cannot be written: a full disk, a folder without permission.

    Raises
    ------
    DataError
        Instead of an OSError.
    """
    try:
        yield
    except SSRError:  # missing data is an OSError too
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "free some space" if full else "choose a folder you may write to with --data-dir"
        raise DataError(
            f"room and permission to write {path}",
            f"{error.strerror or error} ({type(error).__name__})",
            f"{mend}; what has come so far is kept",
        ) from error


def gigabytes(size: int) -> str:
    """A size as people say it."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
