"""What a zip holds: which of its members are wanted, under which names, and whether it can be trusted."""

from __future__ import annotations

import stat
import zipfile
from pathlib import PurePosixPath

from ..errors import DataError
from .source import Archive

LARGEST = 3
"""A zip that unpacks to more than so many times what is known of it is a bomb, or not the file."""
_JUNK = {".DS_Store", "Thumbs.db", "desktop.ini"}


class OtherArchive(DataError):
    """A zip that is whole, and is not the one that was published."""


def wanted(packed: zipfile.ZipFile, archive: Archive) -> dict[str, zipfile.ZipInfo]:
    """The members to unpack, by their path below the folder to be.

    Parameters
    ----------
    packed : ZipFile
        The archive.
    archive : Archive
        How it becomes a folder.

    Returns
    -------
    dict of str to ZipInfo
        Without folders and what macOS and Windows leave in archives.

    Raises
    ------
    DataError
        If a member would lie outside the folder or is a link, if two would be the same file, if one that is
        needed is not there, or if all together are far too large.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    names = frozenset(archive.names)
    for member in packed.infolist():
        parts = _parts(packed, member)
        if member.is_dir() or _is_junk(parts) or len(parts) < archive.keep:
            continue
        path = "/".join(parts[-archive.keep :])
        if names and path not in names:
            continue
        if path in found:
            raise _no(packed, f"every file once, not {path} twice")
        found[path] = member
    _check_all(packed, archive, found)
    return found


def _parts(packed: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[str, ...]:
    """The path of a member, if it stays where it is put."""
    name = member.orig_filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    outside = ".." in parts or name.startswith(("/", "\\")) or ":" in name or "\x00" in name
    if outside:
        raise _no(packed, f"paths inside its folder, not {name!r}")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _no(packed, f"files, not the link {name!r}")
    return parts


def _is_junk(parts: tuple[str, ...]) -> bool:
    return not parts or "__MACOSX" in parts or parts[-1] in _JUNK or parts[-1].startswith("._")


def _check_all(
    packed: zipfile.ZipFile, archive: Archive, found: dict[str, zipfile.ZipInfo]
) -> None:
    missing = [name for name in archive.names if name not in found]
    if missing or not found:
        there = ", ".join(packed.namelist()[:5]) or "nothing"
        needed = missing[0] if missing else "a file"
        raise _no(packed, f"{needed} among its {len(packed.namelist())} members ({there}, ...)")
    size = sum(member.file_size for member in found.values())
    if archive.unpacked and size > LARGEST * archive.unpacked:
        raise _no(packed, f"about {archive.unpacked} bytes unpacked, not {size}")


def _no(packed: zipfile.ZipFile, expected: str) -> OtherArchive:
    return OtherArchive(
        f"in {packed.filename} {expected}",
        "an archive that is not the published one",
        "nothing was unpacked; download it from another place with --mirror URL",
    )
