"""One source into its place: looked for first, fetched if need be, verified before it gets its name."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError
from ..files import check_free, lock, writing
from .carrier import Carrier
from .content import HEAD, fault, wrong_head
from .members import OtherArchive
from .nemar import bring_subject
from .part import Part
from .source import Archive, Source
from .unpack import Spoilt, unpack

HERE, ABSENT, PACKED, OTHER = "here", "absent", "packed", "other"


@dataclass(frozen=True)
class Look:
    """What is in the place of a source.

    Parameters
    ----------
    state : {"here", "absent", "packed", "other"}
        ``packed``: its archive is here and right; ``other``: a file that is not the published one.
    detail : str
        What was found.
    have : int
        Bytes of the download that are here already.
    """

    state: str
    detail: str = ""
    have: int = 0


def look(source: Source, root: Path) -> Look:
    """Whether a source is in its place, read and compared as far as something is known of it."""
    target = root / source.place
    if source.nemar:
        have = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        return Look(ABSENT, "nemar-py compares what is here" if have else "", have)
    part = Part(root / source.file).size
    if source.archive:
        found = _look_at_folder(source, source.archive, root)
        return replace(found, have=part) if found.state == ABSENT else found
    if not target.is_file():
        return Look(ABSENT, have=part)
    found = fault(target, source)
    if not found:
        return Look(HERE)
    with target.open("rb") as file:
        junk = wrong_head(source.file, file.read(HEAD))
    return Look(ABSENT, f"{junk} is in its place") if junk else Look(OTHER, found)


def bring(
    source: Source,
    root: Path,
    carrier: Carrier,
    *,
    password: str = "",
    replace_others: bool = False,
) -> str:
    """See that a source is in its place.

    Parameters
    ----------
    source : Source
        What is wanted.
    root : Path
        The folder of the dataset.
    carrier : Carrier
        Brings it.
    password : str
        Of its archive.
    replace_others : bool
        Replace a file that is there and is not the published one.

    Returns
    -------
    str
        Where it came from; empty if it was here.

    Raises
    ------
    DataError
        If it cannot be had whole and right, something else is in its place, or there is no room.
    """
    with writing(root, "--data-dir"), lock(root / source.file, "download", say=carrier.say):
        found = look(source, root)
        if found.state == HERE:
            return ""
        if found.state == OTHER and not replace_others:
            raise other_there(source, root, found)
        if source.nemar:
            bring_subject(source, root, source.url)
            return source.url
        if source.archive:
            return _bring_archive(source, source.archive, root, carrier, password)
        return _bring_file(source, root, carrier)


def other_there(source: Source, root: Path, found: Look) -> DataError:
    """The error where a file is in the place of a source that is not the published one."""
    return DataError(
        f"{source.what} or nothing at {root / source.place}",
        f"another file ({found.detail})",
        "move it away, choose another --data-dir, or add --replace",
    )


def _look_at_folder(source: Source, archive: Archive, root: Path) -> Look:
    folder, packed = root / source.place, root / archive.place
    if archive.names:
        missing = [name for name in archive.names if not _is_right(folder / name)]
        whole, detail = not missing, f"not {missing[0]}" if missing else ""
    else:
        n_files = sum(path.is_file() for path in folder.rglob("*")) if folder.is_dir() else 0
        whole, detail = n_files >= archive.count, f"{n_files} of {archive.count} files"
    if whole:
        return Look(HERE)
    if packed.is_file():
        found = fault(packed, source) or ("" if zipfile.is_zipfile(packed) else "no whole zip")
        return Look(ABSENT, f"{packed.name}: {found}: not used") if found else Look(PACKED)
    return Look(ABSENT, detail if folder.is_dir() else "")


def _is_right(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(HEAD if path.suffix in (".npy", ".fif", ".zip") else 16)
    return bool(head) and not wrong_head(path.name, head)


def _bring_file(source: Source, root: Path, carrier: Carrier) -> str:
    target = root / source.place
    part = Part(target)
    check_free(target, max(0, source.bytes - part.size), source.what)
    url = carrier.carry(source, part)
    part.publish(target)
    return url


def _bring_archive(
    source: Source, archive: Archive, root: Path, carrier: Carrier, password: str
) -> str:
    """Unpack the archive that somebody brought, or one that is fetched and forgotten afterwards."""
    folder, packed = root / source.place, root / archive.place
    if look(source, root).state == PACKED:
        _unpack(packed, source, archive, folder, carrier, password)
        return str(packed)
    part = Part(packed)
    check_free(packed, max(0, source.bytes - part.size) + archive.unpacked, source.what)
    for again in (True, False):
        url = carrier.carry(source, part)
        try:
            _unpack(part.path, source, archive, folder, carrier, password)
            break
        except (Spoilt, OtherArchive) as error:  # kept, it would be refused again and again
            part.discard()
            if isinstance(error, OtherArchive) or not again:
                raise
            carrier.say(f"{source.what}: the archive is damaged, downloading it once more")
    part.discard()
    return url


def _unpack(
    path: Path, source: Source, archive: Archive, folder: Path, carrier: Carrier, password: str
) -> None:
    carrier.say(f"unpack {source.what}")
    unpack(path, archive, folder, password)
