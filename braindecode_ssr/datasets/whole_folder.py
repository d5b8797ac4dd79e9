"""Folders that are there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import DataError


@contextmanager
def whole_folder(path: Path, *, journal: str | None = None) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well.

    When the block fails, nothing is left. What a killed process left behind is swept by the next one
    that writes the same folder. Of two processes that write at once the last wins, whole.

    Parameters
    ----------
    path : Path
        The folder to make or replace.
    journal : str, optional
        Name of a file in which the writer notes what in the folder is finished. A folder that has one
        outlives a killed process and Ctrl-C, and the next writer of the same folder, if it names a
        journal too, goes on in it. Only one writer at a time may do so: :func:`one_at_a_time`.

    Yields
    ------
    Path
        The temporary folder to write into.

    Raises
    ------
    DataError
        If the disk is full or the folder cannot be written.
    """
    path = Path(path)
    mark = f"{os.getpid()}@{socket.gethostname()}.{uuid.uuid4().hex[:8]}"
    temporary = path.parent / f".{path.name}.{mark}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if journal is None or not _taken_over(path, temporary, journal):
            temporary.mkdir()
        sweep(path, journal)
        yield temporary
        _publish(temporary, path)
    except KeyboardInterrupt:
        if journal and (temporary / journal).is_file():
            _replace(temporary, set_aside(path))
        raise
    except DataError:  # one of them is a FileNotFoundError
        raise
    except OSError as error:
        raise DataError(
            f"room and permission to write {path}",
            f"{error.strerror or error} ({type(error).__name__})",
            "free some space, or choose a folder you may write to",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def set_aside(path: Path) -> Path:
    """Where the folder that is to become ``path`` waits, after Ctrl-C, to be gone on with."""
    return path.parent / f".{path.name}.unfinished"


@contextmanager
def one_at_a_time(path: Path, what: str = "make") -> Iterator[None]:
    """Wait until no other process of this user and machine does the same with the same folder.

    The lock lies in the system's temporary folder, so that nothing is left beside ``path``; it ends with
    the process that holds it, however that ends.
    """
    from filelock import FileLock

    name = hashlib.sha256(f"{what} {path.absolute()}".encode()).hexdigest()[:16]
    user = os.getuid() if hasattr(os, "getuid") else "user"
    with FileLock(Path(tempfile.gettempdir()) / f"ssr-bd-{user}-{name}.lock"):
        yield


def sweep(path: Path, journal: str | None = None) -> None:
    """Remove what killed processes of this machine left behind when they wrote ``path``.

    Parameters
    ----------
    path : Path
    journal : str, optional
        Folders that hold a file of this name are left, to be gone on with.
    """
    for leftover in _leftovers(path):
        if journal is None or not (leftover / journal).is_file():
            shutil.rmtree(leftover, ignore_errors=True)


def _leftovers(path: Path) -> list[Path]:
    """Folders of dead processes of this machine that wrote ``path``."""
    mine = re.compile(rf"\.{re.escape(path.name)}\.(\d+)@(.+)\.[0-9a-f]{{8}}(\.old)?\.tmp")
    matches = [(folder, mine.fullmatch(folder.name)) for folder in path.parent.glob(".*.tmp")]
    return [
        folder
        for folder, match in matches
        if match and match[2] == socket.gethostname() and not _alive(int(match[1]))
    ]


def _taken_over(path: Path, temporary: Path, journal: str) -> bool:
    """Make the folder of a writer that was stopped or killed one's own; renaming it is the claim."""
    for folder in (set_aside(path), *_leftovers(path)):
        if (folder / journal).is_file():
            with suppress(OSError):
                os.rename(folder, temporary)
                return True
    return False


def _replace(folder: Path, target: Path) -> None:
    """Rename a folder, removing what is there; what cannot be renamed is left to the next sweep."""
    shutil.rmtree(target, ignore_errors=True)
    with suppress(OSError):
        os.rename(folder, target)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _publish(temporary: Path, path: Path) -> None:
    """Rename, moving aside whatever folder is there.

    Processes of this machine do it one after the other; one of another machine on a shared disk may still
    come between, so it is tried more than once.
    """
    aside = temporary.with_name(temporary.name.removesuffix(".tmp") + ".old.tmp")
    with one_at_a_time(path, "publish"):
        for _ in range(100):
            with suppress(FileNotFoundError, NotADirectoryError):
                os.rename(path, aside)
                shutil.rmtree(aside, ignore_errors=True)
            try:
                os.rename(temporary, path)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        raise DataError(
            f"to put {path} in its place",
            "another process that keeps putting its own there",
            "let one of the two end first",
        )
