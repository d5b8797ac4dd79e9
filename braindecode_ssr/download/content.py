"""What a file must begin with, and what servers send instead of it."""

from __future__ import annotations

import re
from pathlib import Path

from ..files import file_sha256
from .source import Source

HEAD = 1 << 16
"""Bytes looked at to tell a file from a page."""
_ZIP = (b"PK\x03\x04",)
_HEADS = {
    ".zip": _ZIP,
    ".pt": _ZIP,
    ".npy": (b"\x93NUMPY", b"\x80"),  # or a bare pickle
    ".jpg": (b"\xff\xd8\xff",),
    ".fif": (b"\x00\x00\x00\x64\x00\x00\x00\x1f",),  # the tag FIFF_FILE_ID
}
_PAGE = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|script|\?xml)", re.I)
_PAGES = (
    (b"quota|too many users", "Google Drive's page that the download quota is used up"),
    (b"captcha|challenge|awswaf|cloudflare|are you a robot", "a firewall's page for browsers"),
    (b"virus scan", "Google Drive's page that asks to confirm the download"),
    (b"sign in|log in", "a page that asks to log in"),
    (b"<error>|accessdenied", "an error page of the storage"),
)


def page(head: bytes) -> str:
    """What kind of web page these bytes begin, or nothing if they are none.

    Parameters
    ----------
    head : bytes
        The first bytes of an answer, some thousand of them.
    """
    if not _PAGE.match(head[:1024]):
        return ""
    for pattern, kind in _PAGES:
        if re.search(pattern, head, re.I):
            return kind
    title = re.search(rb"<title[^>]*>(.*?)</title", head, re.I | re.S)
    text = " ".join(title[1].decode("utf-8", "replace").split())[:80] if title else ""
    return f"a web page ({text})" if text else "a web page"


def wrong_head(name: str, head: bytes) -> str:
    """What these first bytes are, if they cannot begin a file of this name; else nothing.

    Parameters
    ----------
    name : str
        Its ending says what is expected: zip, npy, pt, jpg, fif, csv or tsv; any
        other is only known not to be a page.
    head : bytes
        The first bytes, at least eight of them unless the file is shorter.
    """
    if found := page(head):
        return found
    kind = Path(name).suffix.lower()
    if kind in (".csv", ".tsv"):
        return "binary data" if b"\x00" in head else ""
    if kind in _HEADS and not head.startswith(_HEADS[kind]):
        return f"something that is no {kind[1:]} file" if head else "nothing"
    return ""


def fault(path: Path, source: Source) -> str:
    """What is wrong with a file that was downloaded or lies here, or nothing.

    Size and SHA-256 are compared where they are known, the first bytes always.
    """
    size = path.stat().st_size
    if source.size and size != source.size:
        return f"{size} bytes instead of {source.size}"
    with path.open("rb") as file:
        if found := wrong_head(source.file, file.read(HEAD)):
            return found
    if not source.sha256:
        return ""
    found = file_sha256(path)
    return "" if found == source.sha256 else f"SHA-256 {found} instead of {source.sha256}"
