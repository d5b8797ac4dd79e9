"""A zip becomes a folder: whole, or not at all."""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from ..errors import DataError
from ..files import atomic_folder, check_free
from .members import wanted
from .source import Archive

ENCRYPTED = 0x1
SLOW = 50_000_000
"""Encrypted bytes from which on several processes are worth their start: Python decrypts 1 MB a second."""


class Spoilt(DataError):
    """An archive whose bytes are not those that were packed."""


def unpack(path: Path, archive: Archive, folder: Path, password: str = "", jobs: int = 0) -> int:
    """Unpack a zip into a temporary folder beside ``folder``, compare every CRC-32, then give it its name.

    Files that are in ``folder`` already and are not in the archive stay.

    Parameters
    ----------
    path : Path
        The zip, whatever it is called.
    archive : Archive
        How it becomes a folder.
    folder : Path
        The folder to be.
    password : str
        If it has one.
    jobs : int
        Processes that decrypt; 0 for one a core.

    Returns
    -------
    int
        Files unpacked.

    Raises
    ------
    Spoilt
        If the zip is cut off or damaged.
    DataError
        If it holds what it should not, the password is wrong, or the disk is full.
    """
    with atomic_folder(folder, merge=True) as temporary:
        return len(_unpack(path, archive, temporary, password, jobs))


def _unpack(
    path: Path, archive: Archive, folder: Path, password: str, jobs: int
) -> Collection[str]:
    with _opened(path) as packed:
        members = wanted(packed, archive)
        encrypted = [name for name, member in members.items() if member.flag_bits & ENCRYPTED]
        size = sum(member.file_size for member in members.values())
        check_free(folder, size, f"what is in {path.name}")
        if encrypted:
            _check_password(packed, members[encrypted[0]], password)
    for parent in {(folder / name).parent for name in members}:
        parent.mkdir(parents=True, exist_ok=True)
    tasks = [(member.filename, folder / name) for name, member in members.items()]
    jobs = (jobs or os.cpu_count() or 1) if encrypted and size > SLOW else 1
    if jobs == 1:
        _extract(path, tasks, password)
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            parts = [pool.submit(_extract, path, tasks[i::jobs], password) for i in range(jobs)]
            for part in parts:
                part.result()
    return members


def _extract(path: Path, tasks: list[tuple[str, Path]], password: str) -> None:
    """Unpack some members, each to its own path."""
    with _opened(path) as packed:
        for name, target in tasks:
            try:
                with packed.open(name, pwd=password.encode() or None) as source:
                    with target.open("xb") as file:
                        shutil.copyfileobj(source, file, 1 << 20)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise _spoilt(path, f"{name}: {error}") from error
            except RuntimeError as error:  # an unknown compression or encryption
                raise _cannot(path, name, error) from error


def _check_password(packed: zipfile.ZipFile, member: zipfile.ZipInfo, password: str) -> None:
    """Decrypt one whole file: the check byte of the format lets one wrong password of 256 pass."""
    expected = "the password of the THINGS images"
    where = "https://osf.io/52wrx tells it to those who accept the terms"
    if not password:
        raise DataError(
            expected, "none", f"{where}; give it when asked, or in $SSR_THINGS_PASSWORD"
        )
    try:
        with packed.open(member, pwd=password.encode()) as file:
            while file.read(1 << 20):
                pass
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(expected, "another one, or a damaged archive", where) from error
    except RuntimeError as error:
        if "password" in str(error).lower():
            raise DataError(expected, "another one", f"{where}; the download is kept") from error
        raise _cannot(Path(packed.filename or ""), member.filename, error) from error


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, ValueError, UnicodeDecodeError) as error:
        raise _spoilt(path, str(error)) from error


def _spoilt(path: Path, why: str) -> Spoilt:
    return Spoilt(f"a whole zip at {path}", why, "it is not used; fetch it again")


def _cannot(path: Path, name: str, error: Exception) -> DataError:
    mend = f"unpack {path} by hand, for example with 7z"
    return DataError("a zip that Python can unpack", f"{name}: {error}", mend)
