"""Files and folders that are written whole or not at all, locks, hashes and free space.

A file or folder gets its final name only after its content is on the disk: ``fsync`` of the content, rename,
``fsync`` of the folder. A kill or a power cut leaves either the old or the new content, never half of it. The
next writer in the same folder removes the temporary files of dead writers.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import mmap
import os
import re
import shutil
import socket
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import DataError, SSRError

if TYPE_CHECKING:
    import numpy as np
    from pydantic import BaseModel
    from threadpoolctl import ThreadpoolController

S = TypeVar("S")
T = TypeVar("T")

JOURNAL = "unfinished.json"
"""A temporary folder with this file outlives its writer, and the next writer resumes in it."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # from file systems without fsync
_TEMPORARY = re.compile(
    r"\.(?P<name>.+)\.(?P<pid>\d+)@(?P<host>.+)\.[0-9a-f]{8}(\.old)?\.(part|tmp)"
    r"|\.[^@]+\.(?P<old_pid>\d+)\.part"  # of version 0.1.0
)


# -- files ---------------------------------------------------------------------------------------------------


def atomic_write(
    path: Path, content: str | bytes | Callable[[Path], object], option: str = "--out"
) -> None:
    """Write a file whole or not at all, and its folder if needed.

    A callable gets the path of the temporary file to write to. ``option`` is that with which the user
    chooses another place, for the DataError on a full disk.
    """
    with atomic_files([Path(path)], option) as (part,):
        if isinstance(content, str):
            part.write_text(content, encoding="utf-8")
        elif isinstance(content, bytes):
            part.write_bytes(content)
        else:
            content(part)


@contextmanager
def atomic_files(paths: Sequence[Path], option: str = "--out") -> Iterator[list[Path]]:
    """A temporary file per path; all get their names together when the block ends without an error."""
    parts = [path.with_name(f".{path.name}.{_mark()}.part") for path in paths]
    with writing(paths[0], option):
        try:
            folders = dict.fromkeys(path.parent for path in paths)
            for folder in folders:
                make_folder(folder)
                sweep(folder)
            yield parts
            sync(*parts)
            for part, path in zip(parts, paths, strict=True):
                os.replace(part, path)
            sync(*folders)
        finally:
            for part in parts:
                with suppress(OSError):
                    part.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Create a folder and its parents so that they survive a power cut."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    sync(*(folder.parent for folder in missing))


@contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """Create a folder, which must be writable; it is removed at the end if it is still empty."""
    with writing(path):
        make_folder(path)
        with tempfile.TemporaryFile(dir=path):
            pass
    try:
        yield
    finally:
        with suppress(OSError):
            path.rmdir()


def sync(*paths: Path) -> None:
    """``fsync`` files, or folders with the names in them."""
    if len(paths) < 3:
        for path in paths:
            _sync(path)
        return
    with ThreadPoolExecutor(16) as pool:  # the system commits many at once
        list(pool.map(_sync, paths))


def _sync(path: Path) -> None:
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):  # Windows has no fsync of folders
        return
    number = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(number)


@contextmanager
def writing(path: Path, option: str = "--out") -> Iterator[None]:
    """Turn an OSError of the block into a DataError that says what could not be written and why."""
    try:
        yield
    except SSRError:  # missing data is an OSError too
        raise
    except OSError as error:
        raise unwritable(path, error, option) from error


def unwritable(path: Path, error: OSError, option: str = "--out") -> DataError:
    fix = "free some space" if error.errno in _FULL else "check its permissions"
    return DataError(
        f"cannot write {path}: {error.strerror or error}",
        f"{fix} and run the same command again, or choose another place with {option}",
    )


def cached_numbers(path: Path, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Numbers read from a JSON file whose name says all that they depend on, or computed and stored there."""
    kept = read_json(path)
    if isinstance(kept, dict) and kept and all(isinstance(v, float) for v in kept.values()):
        return kept
    numbers = compute()
    with suppress(DataError):
        atomic_write(path, json.dumps(numbers))
    return numbers


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def load_json(path: Path, model: type[BaseModel], hint: str) -> dict[str, Any]:
    """The object in a JSON file; DataError with this hint if it does not fit a pydantic model."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        model.model_validate(content, strict=True)
    except RecursionError:
        reason = "it is nested too deeply"
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:  # of JSON, Unicode and pydantic
        reason = str(error)
        if hasattr(error, "errors"):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    else:
        return content
    raise DataError(f"{path} is damaged ({' '.join(reason.split())[:200]})", hint)


# -- folders -------------------------------------------------------------------------------------------------


@contextmanager
def atomic_folder(
    path: Path, *, resume: bool = False, merge: bool = False, option: str = "--data-dir"
) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends without an error.

    With ``resume`` it is the folder of a writer that was killed or interrupted, if that holds a ``JOURNAL``,
    and such a folder is left when interrupted: only one writer at a time may do so, see :func:`lock`.
    With ``merge`` the files of an existing folder are kept, except those that are written again.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name}.{_mark()}.tmp"
    with writing(path, option):
        try:
            make_folder(path.parent)
            if not (resume and _taken_over(path, temporary)):
                temporary.mkdir()
            sweep(path.parent, None if resume else path.name)
            yield temporary
            sync_tree(temporary)
            if merge and path.exists():
                _merge(temporary, path)
            else:
                publish(temporary, path)
        except KeyboardInterrupt:
            if resume and (temporary / JOURNAL).is_file():
                shutil.rmtree(set_aside(path), ignore_errors=True)
                with suppress(OSError):
                    os.replace(temporary, set_aside(path))
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def set_aside(path: Path) -> Path:
    """Where the unfinished folder of ``path`` is kept after Ctrl-C."""
    return path.parent / f".{path.name}.unfinished"


def sync_tree(folder: Path) -> None:
    files: list[Path] = []
    folders = [folder]
    for path in folder.rglob("*"):
        (folders if path.is_dir() else files).append(path)
    sync(*files)
    sync(*folders)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what dead processes of this machine left in a folder, except what could be resumed.

    Of ``name``, which is written from scratch, nothing stays.
    """
    for leftover, unfinished in _leftovers(folder):
        if leftover.is_dir() and not leftover.is_symlink():
            if unfinished == name or not (leftover / JOURNAL).is_file():
                shutil.rmtree(leftover, ignore_errors=True)
        else:
            with suppress(OSError):
                leftover.unlink()


def _leftovers(folder: Path) -> list[tuple[Path, str | None]]:
    """What dead processes of this machine left in a folder, and the names it was for."""
    with os.scandir(folder) as entries:
        matches = [_TEMPORARY.fullmatch(entry.name) for entry in entries]
    return [
        (folder / match[0], match["name"])
        for match in matches
        if match
        and match["host"] in (None, socket.gethostname())
        and not _alive(int(match["pid"] or match["old_pid"]))
    ]


def _taken_over(path: Path, temporary: Path) -> bool:
    """Rename the unfinished folder of a dead writer to ``temporary``, which claims it."""
    left = [folder for folder, name in _leftovers(path.parent) if name == path.name]
    for folder in (set_aside(path), *left):
        if (folder / JOURNAL).is_file():
            with suppress(OSError):
                os.replace(folder, temporary)
                return True
    return False


def _mark() -> str:
    """Part of a temporary name by which others can see whether its writer is alive."""
    return f"{os.getpid()}@{socket.gethostname()}.{uuid.uuid4().hex[:8]}"


def _alive(pid: int) -> bool:
    if os.name == "nt":  # there, os.kill would end the process
        return True
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True


def publish(temporary: Path, path: Path) -> None:
    """Replace a folder; try again if another machine that shares the disk interferes."""
    aside = temporary.with_name(temporary.name.removesuffix(".tmp") + ".old.tmp")
    with lock(path, "publish"):
        for _ in range(100):
            with suppress(FileNotFoundError, NotADirectoryError):
                os.replace(path, aside)
            try:
                os.replace(temporary, path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    with suppress(OSError):
                        os.replace(aside, path)
                    raise
            else:
                sync(path.parent)
                return
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    raise DataError(
        f"another process keeps writing {path}",
        "wait until it has finished, then run the same command again",
    )


def _merge(temporary: Path, path: Path) -> None:
    folders = {path}
    for file in [file for file in temporary.rglob("*") if not file.is_dir()]:
        target = path / file.relative_to(temporary)
        make_folder(target.parent)
        os.replace(file, target)
        folders.add(target.parent)
    sync(*folders)


# -- locks, hashes, space ------------------------------------------------------------------------------------


@contextmanager
def lock(
    path: Path,
    purpose: str = "write",
    *,
    shared: bool = False,
    say: Callable[[str], object] | None = None,
) -> Iterator[None]:
    """Wait until no other process does the same, ``purpose``, to the same path, which need not exist.

    The lock is released when its process ends, in whatever way. ``shared`` locks with a file beside
    ``path``, which other machines see on a shared disk, otherwise with one in the system's temporary
    folder, which stays: deleted while another process opens it, it would be held twice.
    """
    from filelock import FileLock, Timeout

    if shared:
        make_folder(path.parent)
        file = path.with_name(f".{path.name}.{purpose}.lock")
    else:
        user = os.getuid() if hasattr(os, "getuid") else "user"
        name = sha256(f"{purpose} {path.absolute()}")[:16]
        folder = Path(tempfile.gettempdir()) / f"ssr-bd-locks-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / f"{name}.lock"
    held, holder = FileLock(file), file.with_suffix(".by")
    try:
        held.acquire(timeout=0)
    except Timeout:
        if say is not None:
            who = "another process"
            with suppress(OSError):
                who = holder.read_text(encoding="utf-8")
            say(f"waiting for {who} to {purpose} {path.name}")
        held.acquire()
    try:
        if say is not None:
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        if shared:
            with suppress(OSError):
                file.unlink()
        held.release()


def sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


_HASHES: dict[str, list[str]] = {}
"""By path of a file: its :func:`_state` when it was hashed, and its SHA-256."""


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(paths: Iterable[Path], cache: Path | None = None) -> list[str]:
    """The SHA-256 of each file, computed again only when its size, times or place on the disk change.

    ``cache`` is a JSON file that keeps the hashes for other processes, if it can be written.
    """
    files = [Path(os.path.realpath(path)) for path in paths]
    states = {str(file): _state(file) for file in files}

    def unknown() -> list[str]:
        return [name for name in states if _HASHES.get(name, [None])[0] != states[name]]

    def cached() -> dict[str, Any]:
        kept = read_json(cache) if cache is not None else None
        return kept if isinstance(kept, dict) else {}

    if unknown():
        kept = cached()
        _HASHES.update({name: kept[name] for name in unknown() if _is_hash(kept.get(name))})
    if missing := unknown():
        with ThreadPoolExecutor(4) as pool:
            digests = pool.map(file_sha256, map(Path, missing))
            _HASHES.update({n: [states[n], d] for n, d in zip(missing, digests, strict=True)})
        if cache is not None:
            with suppress(DataError):
                new = {name: _HASHES[name] for name in states}
                atomic_write(cache, json.dumps(cached() | new, indent=0))
    return [_HASHES[str(file)][1] for file in files]


def file_key(paths: Iterable[Path], cache: Path | None = None) -> str:
    """A digest of the names and contents of files; moving or touching them does not change it."""
    paths = list(paths)
    hashes = files_sha256(paths, cache)
    return sha256("".join(f"{p.name}:{h}\n" for p, h in zip(paths, hashes, strict=True)))[:32]


def _is_hash(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(e, str) for e in entry)


def _state(path: Path) -> str:
    """Changes whenever the content of a file does: its ctime cannot be set back."""
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


def derived_folder(own: Path) -> Path:
    """The folder for what can be computed again: ``own``, or one below ``$SSR_CACHE`` or the user's cache."""
    own, asked = own.absolute(), os.environ.get("SSR_CACHE")
    if asked:
        base = Path(asked).expanduser().absolute()
        if base in own.parents:
            return own
    elif can_write(own):
        return own
    else:
        import pooch

        base = Path(pooch.os_cache("braindecode_ssr"))
        _say_once(
            f"{own} cannot be written: derived files are stored in {base} "
            "(choose another place with --cache-dir or $SSR_CACHE)"
        )
    return base / f"{own.parent.name}-{sha256(os.path.realpath(own.parent))[:8]}" / own.name


def nearest_existing(path: Path) -> Path:
    """The file or folder, or the nearest folder above it that exists."""
    places = (path, *path.absolute().parents)
    return next((place for place in places if os.path.lexists(place)), path)


def can_write(path: Path) -> bool:
    return os.access(nearest_existing(path), os.W_OK | os.X_OK)


@lru_cache(maxsize=64)
def _say_once(text: str) -> None:
    if parent_process() is None:  # workers of a benchmark do not repeat it
        logging.getLogger("braindecode_ssr").warning(text)


def free_bytes(path: Path) -> int:
    return shutil.disk_usage(nearest_existing(path)).free


def check_free(path: Path, size: int, what: str, option: str = "--data-dir") -> None:
    """Raise DataError unless ``size`` bytes fit where ``path`` is or will be."""
    free = free_bytes(path)
    if size > free:
        raise DataError(
            f"{what} needs {gigabytes(size)}, and {gigabytes(free)} are free at {path.parent}",
            f"free some space, or choose another disk with {option}",
        )


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


# -- arrays that are larger than memory ----------------------------------------------------------------------


def in_chunks(work: Callable[[slice], T], n_trials: int, size: int) -> Iterator[T]:
    """The results of ``work`` for slices of ``size`` trials, :func:`in_threads`."""
    slices = [slice(first, min(first + size, n_trials)) for first in range(0, n_trials, size)]
    return in_threads(work, slices)


def in_threads(work: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """The results of ``work`` for items, in order, computed in threads, and few of them ahead.

    There are as many threads as BLAS would use (``OMP_NUM_THREADS``, ``threadpoolctl``), and each product
    uses one: results do not depend on their number, and nothing waits in spin locks on a busy machine.
    """
    threads = _threads()
    with one_thread():
        if threads < 2:
            yield from map(work, items)
            return
        pool = ThreadPoolExecutor(threads)
        waiting: deque[Future[T]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _OneThread:
    """The limit that several threads may set and leave in any order: the first sets it, the last lifts it."""

    def __init__(self) -> None:
        self.lock, self.inside, self.before = Lock(), 0, 1
        self.limit: Any = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self.lock:
            if not self.inside:
                self.before = _threads()
                self.limit = _libraries().limit(limits=1, user_api="blas")
            self.inside += 1
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1
                if not self.inside:
                    self.limit.restore_original_limits()


_ONE_THREAD = _OneThread()


def one_thread() -> AbstractContextManager:
    """Within it, BLAS uses one thread: for few or small products, waking others costs more than it saves."""
    return _ONE_THREAD()


def _threads() -> int:
    """How many threads BLAS uses, or would without the limit."""
    if _ONE_THREAD.inside:
        return _ONE_THREAD.before
    return max((library["num_threads"] for library in _libraries().info()), default=1)


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def mapping(array: np.ndarray) -> mmap.mmap | None:
    """The memory map that an array or its base lies in; None for an array in memory."""
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base


def forget(array: np.ndarray) -> None:
    """Release the resident pages of a mapped array, which count as memory, where the system can."""
    mapped = mapping(array)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
