"""Two processes that fetch the same file take turns, and the second says for whom it waits."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other process of this user and machine fetches ``path``.

    The lock lies in the system's temporary folder and ends with the process that holds it, however that
    ends.

    Parameters
    ----------
    path : Path
        What is fetched.
    say : callable
        Is told who is waited for.
    """
    from filelock import FileLock, Timeout

    name = hashlib.sha256(f"fetch {path.absolute()}".encode()).hexdigest()[:16]
    user = os.getuid() if hasattr(os, "getuid") else "user"
    file = Path(tempfile.gettempdir()) / f"ssr-bd-{user}-{name}.lock"
    holder, lock = file.with_suffix(".by"), FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text(encoding="utf-8") if holder.is_file() else "another process"
        say(f"{path.name} is being fetched by {who}: waiting for it")
        lock.acquire()
    try:
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
