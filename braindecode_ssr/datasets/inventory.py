"""Rows of `data where` and `data check`: is a file there, what is in it, where can it be had."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingDataError, SSRError
from ..files import gigabytes

if TYPE_CHECKING:
    from .download import Source

FOUND, MISSING, BROKEN = "found", "missing", "broken"


def row(
    what: str,
    path: Path,
    source: Source | str = "",
    read: Callable[[], str] | None = None,
    *,
    needed: bool = True,
) -> dict[str, Any]:
    """A row of :meth:`.ImageDataset.inventory`; ``read`` opens the file, and its error is the state."""
    fields: dict[str, Any] = {"state": FOUND, "what": what, "path": str(path), "size": 0}
    fields |= {"detail": "", "source": described(source), "needed": needed}
    if not path.is_file():
        return fields | {"state": MISSING, "detail": "no such file"}
    fields["size"] = path.stat().st_size
    if not fields["size"]:
        return fields | {"state": BROKEN, "detail": "an empty file"}
    try:
        return fields | {"detail": read() if read else ""}
    except SSRError as error:
        return fields | fault(error)


def fault(error: SSRError) -> dict[str, Any]:
    """State and detail of a row whose file is missing or broken."""
    missing = isinstance(error, MissingDataError)
    return {"state": MISSING if missing else BROKEN, "detail": error.message}


def images_row(
    what: str,
    folder: Path,
    source: Source | str,
    files: Iterable[Callable[[], Path]],
    is_image: Callable[[Path], bool] = lambda path: True,
) -> dict[str, Any]:
    """The row of a folder of images, which are needed unless features are imported."""
    paths, missing = [], []
    for file in files:
        try:
            paths.append(file())
        except MissingDataError as error:
            missing.append(error.message)
    broken = [path for path in paths if not is_image(path)]
    detail = f"{len(paths)} of {len(paths) + len(missing)} here"
    if missing:
        detail += f" (needed unless features are imported); {missing[0]}"
    if broken:
        detail += f"; {len(broken)} are not images, the first {broken[0]}"
    return row(what, paths[0].parent.parent if paths else folder, source, needed=False) | {
        "state": BROKEN if broken else MISSING if missing else FOUND,
        "size": sum(path.stat().st_size for path in paths),
        "detail": detail,
    }


def described(source: Source | str) -> str:
    """The address of a source, what it is, its size and license, and where it goes, in a line."""
    if isinstance(source, str):
        return source
    size = f", {'' if source.size else 'about '}{gigabytes(source.bytes)}" if source.bytes else ""
    if source.archive:
        size += f", {gigabytes(source.on_disk)} unpacked"
    return f"{source.url} ({source.what}{size}; {source.licence}) -> {source.place}"
