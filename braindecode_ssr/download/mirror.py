"""Another place that holds the same files: a folder of a web server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..errors import DataError, UsageError
from .content import page
from .source import Source

if TYPE_CHECKING:
    from .carrier import Carrier

INDEX = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(\S.*)")
_LARGEST = 10_000_000


@dataclass(frozen=True)
class Mirror:
    """A place that holds files under the names they have below the folder of the dataset.

    What is published of a file holds for a mirror too. Only where the mirror has a list ``SHA256SUMS``, as
    the tool ``sha256sum`` writes it, does that list decide, and the report says so: whoever names a mirror
    trusts its list.

    Parameters
    ----------
    url : str
        The folder.
    sums : dict of str to str
        SHA-256 by path.
    """

    url: str
    sums: dict[str, str] = field(default_factory=dict)

    def source(self, source: Source) -> Source:
        """The same file here."""
        here = source.at(f"{self.url}/{quote(source.file)}")
        own = self.sums.get(source.file, source.sha256)
        return here if own == source.sha256 else here.certified(own, "of the mirror's own list")


def open_mirror(url: str, carrier: Carrier) -> Mirror:
    """Read the list of a mirror, if it has one.

    Raises
    ------
    UsageError
        If it is no address of the web.
    DataError
        If it cannot be reached, or its list is none.
    """
    if not re.match(r"https?://[^/]", url):
        raise UsageError("a mirror as https://host/folder", repr(url), "give its address")
    url = url.rstrip("/")
    return Mirror(url, _sums(f"{url}/{INDEX}", carrier.text(f"{url}/{INDEX}", _LARGEST)))


def _sums(url: str, text: str | None) -> dict[str, str]:
    if text is None or page(text[:1024].encode()):
        return {}
    sums = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _LINE.fullmatch(line)
        if match is None:
            expected = f"lines 'SHA-256  path' in {url}"
            raise DataError(expected, repr(line[:80]), "have it written by sha256sum")
        sums[match[2]] = match[1].lower()
    return sums
