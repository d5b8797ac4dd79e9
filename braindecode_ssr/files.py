"""Files and folders that are written whole or not at all, locks, hashes and free space.

A file or folder gets its final name only after its content is on the disk: the content is forced out
(``fsync``), then it is renamed, then the folder that holds the name is forced out. A kill or a power cut
leaves what was there before or what is new, never half of it. The next writer of the same folder removes the
temporary files of writers that are dead.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import DataError, SSRError

if TYPE_CHECKING:
    import numpy as np
    from pydantic import BaseModel
    from threadpoolctl import ThreadpoolController

T = TypeVar("T")

JOURNAL = "unfinished.json"
"""A temporary folder that holds this file outlives its writer, and the next writer goes on in it."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # what file systems without fsync answer
_TEMPORARY = re.compile(
    r"\.(?P<name>.+)\.(?P<pid>\d+)@(?P<host>.+)\.[0-9a-f]{8}(\.old)?\.(part|tmp)"
    r"|\.[^@]+\.(?P<old_pid>\d+)\.part"  # of version 0.1.0
)


# -- files ---------------------------------------------------------------------------------------------------


def atomic_write(
    path: Path, content: str | bytes | Callable[[Path], object], option: str = "--out"
) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : Path
        Its folder is made if it is not there.
    content : str, bytes or callable
        Text is written as UTF-8; a callable gets the path of the temporary file to write to.
    option : str
        What the user chooses another place with, for the error.

    Raises
    ------
    DataError
        If the disk is full or the file cannot be written; nothing is left there then.
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
    """Temporary files that get their names together, when the block has ended without an error.

    Parameters
    ----------
    paths : sequence of Path
        The files to make or replace.
    option : str
        As for :func:`atomic_write`.

    Yields
    ------
    list of Path
        One temporary file for each, to be written by the block.
    """
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
    """Make a folder and those above it, so that they are there after a power cut too."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    sync(*(folder.parent for folder in missing))


def sync(*paths: Path) -> None:
    """Force files, or the names in folders, out to the disk."""
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
    """Turn an OSError of the block into a DataError that says what cannot be written and why."""
    try:
        yield
    except SSRError:  # missing data is an OSError too
        raise
    except OSError as error:
        raise unwritable(path, error, option) from error


def unwritable(path: Path, error: OSError, option: str = "--out") -> DataError:
    """The error for a place that cannot be written."""
    mend = "free some space" if error.errno in _FULL else "check its permissions"
    return DataError(
        f"cannot write {path}: {error.strerror or error}",
        f"{mend} and run the same command again, or choose another place with {option}",
    )


def cached_numbers(path: Path, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Numbers read from a JSON file, or computed and kept there for the next time.

    A file that does not hold numbers is written again; where it cannot be written, the numbers are computed
    each time.

    Parameters
    ----------
    path : Path
        Its name says all that the numbers depend on.
    compute : callable
        Makes them.
    """
    kept = read_json(path)
    if isinstance(kept, dict) and kept and all(isinstance(v, float) for v in kept.values()):
        return kept
    numbers = compute()
    with suppress(DataError):
        atomic_write(path, json.dumps(numbers))
    return numbers


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def load_json(path: Path, model: type[BaseModel], hint: str) -> dict[str, Any]:
    """The object in a JSON file, which has to fit a model.

    Parameters
    ----------
    path : Path
    model : type of pydantic.BaseModel
        What must be in it.
    hint : str
        What the user can do about a file that is damaged, for the error.

    Raises
    ------
    DataError
        If it cannot be read, is no JSON, is nested too deeply, or does not fit; names file and field.
    """
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
    """A temporary folder beside ``path`` that takes its place when the block has ended without an error.

    If the block fails, nothing is left. Of two processes that write at once the last wins, whole.

    Parameters
    ----------
    path : Path
        The folder to make or replace.
    resume : bool
        Go on in the folder of a writer that was killed or interrupted, if it holds a ``JOURNAL``, and leave
        such a folder when interrupted. Only one writer at a time may do so: :func:`lock`.
    merge : bool
        Leave the files of a folder that is there, but for those that are written again.
    option : str
        As for :func:`atomic_write`.

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
                _publish(temporary, path)
        except KeyboardInterrupt:
            if resume and (temporary / JOURNAL).is_file():
                shutil.rmtree(set_aside(path), ignore_errors=True)
                with suppress(OSError):
                    os.replace(temporary, set_aside(path))
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def set_aside(path: Path) -> Path:
    """Where the unfinished folder of ``path`` is kept after Ctrl-C, to be resumed."""
    return path.parent / f".{path.name}.unfinished"


def sync_tree(folder: Path) -> None:
    """Force everything in a folder out to the disk, the files first."""
    files, folders = [], [folder]
    for path in folder.rglob("*"):
        (folders if path.is_dir() else files).append(path)
    sync(*files)
    sync(*folders)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove the temporary files and folders that dead processes of this machine left in a folder.

    Parameters
    ----------
    folder : Path
    name : str, optional
        What is written anew: an unfinished folder of it that could be resumed is removed too.
    """
    for leftover in _leftovers(folder):
        if leftover.is_dir() and not leftover.is_symlink():
            unfinished = _TEMPORARY.fullmatch(leftover.name)["name"]
            if unfinished == name or not (leftover / JOURNAL).is_file():
                shutil.rmtree(leftover, ignore_errors=True)
        else:
            with suppress(OSError):
                leftover.unlink()


def _leftovers(folder: Path) -> list[Path]:
    """What dead processes of this machine have left in a folder."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(".")]
    matches = [(name, _TEMPORARY.fullmatch(name)) for name in names]
    here = (None, socket.gethostname())
    return [
        folder / name
        for name, match in matches
        if match and match["host"] in here and not _alive(int(match["pid"] or match["old_pid"]))
    ]


def _taken_over(path: Path, temporary: Path) -> bool:
    """Make the unfinished folder of a writer that is gone one's own; renaming it is the claim."""
    left = [
        folder
        for folder in _leftovers(path.parent)
        if _TEMPORARY.fullmatch(folder.name)["name"] == path.name
    ]
    for folder in (set_aside(path), *left):
        if (folder / JOURNAL).is_file():
            with suppress(OSError):
                os.replace(folder, temporary)
                return True
    return False


def _mark() -> str:
    """Names the writer of a temporary file, so that others can see whether it is alive."""
    return f"{os.getpid()}@{socket.gethostname()}.{uuid.uuid4().hex[:8]}"


def _alive(pid: int) -> bool:
    if os.name == "nt":  # there, os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
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
        f"another process keeps writing {path}", "let one of the two end before starting the other"
    )


def _merge(temporary: Path, path: Path) -> None:
    """Move files one by one into the folder that is there."""
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
    """Wait until no other process does the same to the same path.

    The lock ends with the process that holds it, however that ends.

    Parameters
    ----------
    path : Path
        What is worked on; need not be there.
    purpose : str
        Of what is done; other purposes do not wait for it.
    shared : bool
        The lock is a file beside ``path``, which other machines see on a shared disk. Otherwise it is in the
        system's temporary folder, and leaves nothing beside ``path``.
    say : callable, optional
        Is told whom it waits for.
    """
    from filelock import FileLock, Timeout

    if shared:
        make_folder(path.parent)
        file = path.with_name(f".{path.name}.{purpose}.lock")
    else:
        user = os.getuid() if hasattr(os, "getuid") else "user"
        name = sha256(f"{purpose} {path.absolute()}")[:16]
        file = Path(tempfile.gettempdir()) / f"ssr-bd-{user}-{name}.lock"
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
    """The SHA-256 of a text or of bytes, in hexadecimal."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


_HASHES: dict[str, list[str]] = {}
"""By path of a file: its state when it was hashed, see :func:`_state`, and its SHA-256."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of the content of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(paths: Iterable[Path], cache: Path | None = None) -> list[str]:
    """The SHA-256 of the content of each of some files.

    A file is hashed once, and again only when its size, its times or its place on the disk have changed.

    Parameters
    ----------
    paths : iterable of Path
    cache : Path, optional
        JSON file in which hashes are kept for other processes, if it can be written.
    """
    files = [Path(os.path.realpath(path)) for path in paths]
    states = {str(file): _state(file) for file in files}

    def unknown() -> list[str]:
        return [name for name in states if _HASHES.get(name, [None])[0] != states[name]]

    if cache is not None and unknown():
        kept = read_json(cache)
        kept = kept if isinstance(kept, dict) else {}
        _HASHES.update({name: kept[name] for name in unknown() if _is_hash(kept.get(name))})
    if missing := unknown():
        with ThreadPoolExecutor(4) as pool:
            for name, digest in zip(
                missing, pool.map(file_sha256, map(Path, missing)), strict=True
            ):
                _HASHES[name] = [states[name], digest]
        if cache is not None:
            with suppress(DataError):
                kept = read_json(cache)
                kept = kept if isinstance(kept, dict) else {}
                new = {name: _HASHES[name] for name in states}
                atomic_write(cache, json.dumps(kept | new, indent=0))
    return [_HASHES[str(file)][1] for file in files]


def file_key(paths: Iterable[Path], cache: Path | None = None) -> str:
    """A digest of the names and contents of files; moving or touching them does not change it.

    Parameters
    ----------
    paths : iterable of Path
    cache : Path, optional
        Where their hashes are kept, see :func:`files_sha256`.
    """
    paths = list(paths)
    hashes = files_sha256(paths, cache)
    return sha256("".join(f"{p.name}:{h}\n" for p, h in zip(paths, hashes, strict=True)))[:32]


def _is_hash(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(e, str) for e in entry)


def _state(path: Path) -> str:
    """Changes whenever the content of a file does: the time of the last change (ctime) cannot be set back."""
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


def derived_folder(own: Path) -> Path:
    """Where files are kept that are made of others and can be made again.

    ``own`` itself, such as the folder ``ssr`` of a dataset; below ``$SSR_CACHE`` if that is set; or below the
    user's cache folder, which is said in a line, if ``own`` cannot be written, as on a read-only disk.
    """
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
            f"{own} cannot be written: what is made of the data is kept in {base} "
            "(choose another place with --cache-dir or $SSR_CACHE)"
        )
    return base / f"{own.parent.name}-{sha256(os.path.realpath(own.parent))[:8]}" / own.name


def can_write(path: Path) -> bool:
    """Whether a folder can be written, or made if it is not there."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return os.access(there, os.W_OK | os.X_OK)


@lru_cache(maxsize=64)
def _say_once(text: str) -> None:
    if parent_process() is None:  # workers of a benchmark need not repeat it
        logging.getLogger("braindecode_ssr").warning(text)


def free_bytes(path: Path) -> int:
    """Bytes free on the disk where ``path`` is or will be."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def check_free(path: Path, size: int, what: str, option: str = "--data-dir") -> None:
    """Raise DataError unless ``size`` bytes fit where ``path`` is or will be."""
    free = free_bytes(path)
    if size > free:
        raise DataError(
            f"{what} needs {gigabytes(size)}, and {gigabytes(free)} are free at {path.parent}",
            f"free some space, or choose another disk with {option}",
        )


def gigabytes(size: int) -> str:
    """A size as people say it."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


# -- arrays that are larger than memory ----------------------------------------------------------------------


def in_chunks(work: Callable[[slice], T], n_trials: int, size: int) -> Iterator[T]:
    """What ``work`` gives for each slice of trials, in order.

    Slices are worked on by as many threads as the linear algebra would take, each product by a single
    one: results do not depend on the number of threads, and nothing waits in spin locks on a busy
    machine. ``OMP_NUM_THREADS`` and ``threadpoolctl`` are heeded.

    Parameters
    ----------
    work : callable
        Takes a slice of trials.
    n_trials, size : int
        All trials, and those of a slice.

    Yields
    ------
    object
        The results.
    """
    slices = [slice(first, min(first + size, n_trials)) for first in range(0, n_trials, size)]
    threads = min(_threads(), len(slices))
    with one_thread():
        if threads < 2:
            yield from map(work, slices)
            return
        pool = ThreadPoolExecutor(threads)
        try:
            yield from pool.map(work, slices)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def one_thread() -> AbstractContextManager:
    """Within it, each product of numpy is done by the thread that asks for it.

    For products that are small, or few: waking and waiting for others costs more than they save,
    seconds on a busy machine.
    """
    return _libraries().limit(limits=1, user_api="blas")


def _threads() -> int:
    """As many as the linear algebra of numpy may take now."""
    widths = [library["num_threads"] for library in _libraries().info()]
    return max(widths, default=1)


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def mapping(array: np.ndarray) -> mmap.mmap | None:
    """The map that an array, or what it is a view of, lies in; None where it lies in memory."""
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base


def forget(array: np.ndarray) -> None:
    """Give back the memory of what was read of a mapped array; it is read again when needed.

    Pages of a mapped file count as memory of the process while they are resident. Nothing is done to an array
    in memory, or where the system cannot do it.
    """
    mapped = mapping(array)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
