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
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well.

    When the block fails, nothing is left. What a killed process left behind is swept by the next one
    that writes the same folder. Of two processes that write at once the last wins, whole.

    Parameters
    ----------
    path : Path
        The folder to make or replace.

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
        sweep(path)
        temporary.mkdir()
        yield temporary
        _publish(temporary, path)
    except OSError as error:
        raise DataError(
            f"room and permission to write {path}",
            f"{error.strerror or error} ({type(error).__name__})",
            "free some space, or choose a folder you may write to",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def sweep(path: Path) -> None:
    """Remove what killed processes of this machine left behind when they wrote ``path``."""
    mine = re.compile(rf"\.{re.escape(path.name)}\.(\d+)@(.+)\.[0-9a-f]{{8}}(\.old)?\.tmp")
    for leftover in path.parent.glob(".*.tmp"):
        match = mine.fullmatch(leftover.name)
        if match and match[2] == socket.gethostname() and not _alive(int(match[1])):
            shutil.rmtree(leftover, ignore_errors=True)


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
