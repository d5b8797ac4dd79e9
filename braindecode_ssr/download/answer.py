"""What a server answers when a file, or the rest of one, is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .content import HEAD, page
from .part import Part
from .patience import asked_wait

if TYPE_CHECKING:
    import requests

PIECE = 1 << 15
"""Bytes that are read at a time; as many can be lost when a connection breaks."""
_PASSING = {408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524}
_FIREWALL = {202: "the server does not hand it out yet", 403: "the server refuses (403)"}


class Again(Exception):
    """A try that failed, where another may not.

    Parameters
    ----------
    reason : str
        What happened.
    asked : float
        Seconds that the server asks to wait.
    tries : int
        Failures in a row after which it is given up earlier than usual; 0 for the usual number.
    """

    def __init__(self, reason: str, asked: float = 0.0, tries: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.asked, self.tries = reason, asked, tries


class Refused(Exception):
    """An address that will not do, however often it is tried."""


class Gone(Refused):
    """There is nothing at the address."""


@dataclass(frozen=True)
class Answer:
    """The bytes that a server sends.

    Parameters
    ----------
    start : int
        Where in the file they begin.
    total : int
        Bytes of the whole file, 0 if it is not said.
    validator : str
        A text that changes with the file: a strong ETag or the time of change; or empty.
    response : requests.Response
        Whence the bytes come.
    """

    start: int
    total: int
    validator: str
    response: requests.Response

    def pieces(self) -> Iterator[bytes]:
        """The bytes, piece by piece.

        Raises
        ------
        Again
            If the connection breaks.
        """
        with _troubles():
            yield from self.response.iter_content(PIECE)


@contextmanager
def ask(
    session: requests.Session, url: str, part: Part, timeout: tuple[float, float]
) -> Iterator[Answer]:
    """Ask for a file, or for what is missing of it.

    Raises
    ------
    Again
        If the connection breaks or the server is busy.
    Refused
        If there is no such file, or the answer is none that can be trusted.
    """
    headers = {"Accept-Encoding": "identity", **_range(url, part), **_referer(url)}
    with _troubles():
        response = session.get(url, headers=headers, stream=True, timeout=timeout)
    with response:
        _secure(url, response.url)
        with _troubles():
            answer = _answer(response, url, part)
        yield answer


@contextmanager
def _troubles() -> Iterator[None]:
    """What goes wrong with a connection: may another try help or not.

    The errors of requests are OSErrors, and must not be taken for those of the disk.
    """
    from requests import exceptions

    try:
        yield
    except exceptions.SSLError as error:
        raise Refused(f"its certificate does not hold ({_reason(error)})") from error
    except exceptions.Timeout as error:
        raise Again("the server is silent") from error
    except exceptions.ChunkedEncodingError as error:
        raise Again("the connection broke") from error
    except exceptions.ConnectionError as error:
        raise Again(f"no connection ({_reason(error)})") from error
    except exceptions.TooManyRedirects as error:
        raise Refused("it sends from one address to the next without end") from error
    except exceptions.RequestException as error:
        raise Refused(f"it cannot be asked ({_reason(error)})") from error


def _range(url: str, part: Part) -> dict[str, str]:
    """Headers that ask for the rest; only if the file is still the one that the part is of."""
    if not part.size:
        return {}
    headers, note = {"Range": f"bytes={part.size}-"}, part.note
    if note.get("url") == url and note.get("validator"):
        headers["If-Range"] = note["validator"]
    return headers


def _referer(url: str) -> dict[str, str]:
    """The firewall of figshare lets pass who comes from its pages."""
    return {"Referer": "https://plus.figshare.com/"} if "figshare.com/" in url else {}


def _answer(response: requests.Response, url: str, part: Part) -> Answer:
    status, headers = response.status_code, response.headers
    validator = _validator(headers)
    if status == 200:
        encoded = headers.get("Content-Encoding", "identity") != "identity"
        total = 0 if encoded else _number(headers.get("Content-Length"))
        return Answer(0, total, validator, response)
    if status == 206:
        return Answer(part.size, _rest(headers, url, part, validator), validator, response)
    if status == 416 and part.size:
        _beyond(headers, part)
        return Answer(part.size, part.size, validator, response)
    _raise(response)


def _rest(headers, url: str, part: Part, validator: str) -> int:
    """The total of a partial answer; the part is forgotten if the answer is not its rest."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
    note = part.note
    total = _number(match[2]) if match else 0
    known, then = note.get("total"), note.get("validator")
    if match is None or int(match[1]) != part.size:
        part.discard()
        raise Again("the server sends another part than it was asked for")
    changed = note.get("url") == url and then and validator and then != validator
    if changed or (known and total and total != known) or (total and total < part.size):
        part.discard()
        raise Again("the file has changed on the server")
    return total or known or 0


def _beyond(headers, part: Part) -> None:
    """Nothing is left to send: either all is here, or the part is of another file."""
    match = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != part.size:
        part.discard()
        raise Again("the file is shorter on the server than what has come of it")


def _raise(response: requests.Response) -> None:
    """Say why there is no file."""
    status, asked = response.status_code, asked_wait(response.headers.get("Retry-After"))
    kind = page(next(response.iter_content(HEAD), b""))
    said = f", and sends {kind}" if kind else ""
    if status == 429:
        raise Again("the server is asked too often (429)", asked)
    if status in _PASSING:
        raise Again(f"the server is not well ({status}){said}", asked)
    if status in _FIREWALL:
        raise Again(f"{_FIREWALL[status]}{said}", asked, tries=3)
    if status in (404, 410):
        raise Gone(f"there is no such file ({status})")
    raise Refused(f"the server answers {status} {response.reason or ''}".strip() + said)


def _validator(headers) -> str:
    """RFC 9110 wants a strong ETag in If-Range, or else the time of change."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")


def _secure(asked: str, answered: str) -> None:
    if asked.startswith("https:") and not answered.startswith("https:"):
        raise Refused(f"it sends on to an address without encryption ({answered})")


def _number(text: str | None) -> int:
    return int(text) if text and text.strip().isdigit() else 0


def _reason(error: Exception) -> str:
    """The innermost cause, in a few words."""
    seen = error
    while seen.__cause__ or seen.__context__:
        seen = seen.__cause__ or seen.__context__
    return " ".join(str(seen).split())[:160] or type(seen).__name__
