"""Unpack published zip files: whole or not at all, and nothing outside their folder."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path, PurePosixPath

from ..errors import DataError
from ..files import atomic_folder, check_free, gigabytes

LARGEST_RATIO = 3
"""A zip file that unpacks to more than this many times the known size is a bomb, or another file."""
PARALLEL_FROM = 50_000_000
"""Encrypted bytes from which several processes pay off: Python decrypts about 1 MB a second."""
PASSWORD_HELP = "https://osf.io/52wrx gives it to those who accept the terms"
_ENCRYPTED = 0x1
_JUNK = {".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Archive:
    """How a zip file becomes a folder, which must hold all of ``names``, or at least ``count`` files."""

    place: str  # the zip file below the dataset folder
    keep: int = 1  # how many trailing path components of a member are kept
    names: tuple[str, ...] = ()  # what is unpacked; empty: everything
    count: int = 1
    unpacked: int = 0  # about how many bytes that is; 0: unknown
    password: str = ""  # where users find the password


class WrongArchive(DataError):
    """A zip file that is intact but not the published one."""


class DamagedArchive(DataError):
    """A zip file that is cut short or whose bytes have changed."""


def unpack(path: Path, archive: Archive, folder: Path, password: str = "", jobs: int = 0) -> int:
    """Unpack a zip file into ``folder``, changed only after every CRC-32 was verified; the number of files.

    Files that are there already and not in the archive stay; ``jobs`` processes decrypt (0: one per core).
    """
    with atomic_folder(folder, merge=True) as temporary:
        with _open(path) as packed:
            members = _members(packed, archive)
            encrypted = [member for member in members.values() if member.flag_bits & _ENCRYPTED]
            size = sum(member.file_size for member in members.values())
            check_free(temporary, size, f"unpacking {path.name}")
            if encrypted:
                _check_password(packed, encrypted[0], password)
        for parent in {(temporary / name).parent for name in members}:
            parent.mkdir(parents=True, exist_ok=True)
        tasks = [(member.filename, temporary / name) for name, member in members.items()]
        jobs = (jobs or os.cpu_count() or 1) if encrypted and size > PARALLEL_FROM else 1
        if jobs == 1:
            _extract(path, tasks, password)
        else:
            with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
                parts = [pool.submit(_extract, path, tasks[i::jobs], password) for i in range(jobs)]
                for part in parts:
                    part.result()
    return len(members)


def _members(packed: zipfile.ZipFile, archive: Archive) -> dict[str, zipfile.ZipInfo]:
    """The members to unpack, by their path below the folder."""

    def wrong(reason: str) -> WrongArchive:
        return WrongArchive(
            f"{packed.filename} is not the published archive: {reason}",
            "nothing was unpacked; download it from another address with --mirror URL",
        )

    found: dict[str, zipfile.ZipInfo] = {}
    names = frozenset(archive.names)
    for member in packed.infolist():
        name = member.orig_filename
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or ":" in name or "\x00" in name:
            raise wrong(f"{name!r} lies outside its folder")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise wrong(f"{name!r} is a link")
        junk = not parts or "__MACOSX" in parts or parts[-1] in _JUNK or parts[-1].startswith("._")
        kept = "/".join(parts[-archive.keep :])
        if member.is_dir() or junk or len(parts) < archive.keep or (names and kept not in names):
            continue
        if kept in found:
            raise wrong(f"it holds {kept} twice")
        found[kept] = member
    missing = [name for name in archive.names if name not in found]
    if missing or not found:
        there = ", ".join(packed.namelist()[:5]) or "none"
        needed = missing[0] if missing else "a file"
        raise wrong(f"{needed} is not among its {len(packed.namelist())} members ({there}, ...)")
    size = sum(member.file_size for member in found.values())
    if archive.unpacked and size > LARGEST_RATIO * archive.unpacked:
        raise wrong(f"it unpacks to {gigabytes(size)} instead of {gigabytes(archive.unpacked)}")
    return found


def _extract(path: Path, tasks: list[tuple[str, Path]], password: str) -> None:
    with _open(path) as packed:
        for name, target in tasks:
            try:
                with packed.open(name, pwd=password.encode() or None) as source:
                    with target.open("xb") as file:
                        shutil.copyfileobj(source, file, 1 << 20)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise _damaged(path, f"{name}: {error}") from error
            except RuntimeError as error:  # an unknown compression or encryption
                found = f"Python cannot unpack {name} in {path}: {error}"
                raise DataError(found, "unpack it yourself, for example with 7z") from error


def _check_password(packed: zipfile.ZipFile, member: zipfile.ZipInfo, password: str) -> None:
    """Decrypt a whole file: one wrong password in 256 passes the check byte of the format."""
    if not password:
        found = "the archive needs the password of the THINGS images"
        raise DataError(found, f"{PASSWORD_HELP}; enter it when asked, or set $SSR_THINGS_PASSWORD")
    try:
        with packed.open(member, pwd=password.encode()) as file:
            while file.read(1 << 20):
                pass
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "password" not in str(error).lower():
            return  # a compression or encryption that Python does not know: unpacking says so
        wrong = "the password of the THINGS images is wrong, or the archive is damaged"
        raise DataError(wrong, f"{PASSWORD_HELP}; the download is kept") from error


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, ValueError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> DamagedArchive:
    return DamagedArchive(f"the zip file {path} is damaged: {reason}", "download it again")
