"""What can be downloaded: addresses, size, checksum, licence, and where it belongs."""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..errors import DataError, MissingDataError, UsageError
from ..files import atomic_folder, check_free, file_sha256, lock, sync, writing
from ..labels import Label, find_label
from ..registry import Registry, unknown_name

if TYPE_CHECKING:
    import requests


@dataclass(frozen=True)
class Archive:
    """How a zip becomes a folder.

    Parameters
    ----------
    place : str
        Where the zip itself may lie, below the folder of the dataset, when somebody brought it by hand.
    keep : int
        How many parts of a member's path are kept, counted from its end: 2 makes
        ``training_images/00001_aardvark/a.jpg`` and ``00001_aardvark/a.jpg`` the same file.
    names : tuple of str
        The files that the folder must hold, all others are left packed; empty: all, whatever they are.
    count : int
        Files that the folder must hold at least, where their names are not known.
    unpacked : int
        Bytes on the disk afterwards, about.
    password : str
        Where its password is told; empty if it has none.
    """

    place: str
    keep: int = 1
    names: tuple[str, ...] = ()
    count: int = 1
    unpacked: int = 0
    password: str = ""


@dataclass(frozen=True)
class Source:
    """One thing that can be downloaded.

    Parameters
    ----------
    what : str
        What it is.
    place : str
        The file, or the folder made of an archive, below the folder of the dataset.
    urls : tuple of str
        Where it is, in the order to try.
    size : int
        Bytes to download, exactly; 0 where that is not known.
    licence : str
        Terms of use.
    sha256 : str
        Of the download, or empty.
    about : int
        Bytes to download, roughly, where ``size`` is not known.
    archive : Archive, optional
        If the download is a zip that is unpacked.
    authority : str
        Who says the checksum.
    nemar : str
        A data set of NEMAR, of which nemar-py brings the subject that ``place`` ends with.
    """

    what: str
    place: str
    urls: tuple[str, ...]
    size: int
    licence: str
    sha256: str = ""
    about: int = 0
    archive: Archive | None = None
    authority: str = "as published"
    nemar: str = ""

    @property
    def url(self) -> str:
        """The first address."""
        return self.urls[0]

    @property
    def file(self) -> str:
        """The downloaded file, below the folder of the dataset: the archive, or the file itself."""
        return self.archive.place if self.archive else self.place

    @property
    def bytes(self) -> int:
        """Bytes to download, as well as they are known."""
        return self.size or self.about

    @property
    def on_disk(self) -> int:
        """Bytes that stay on the disk, as well as they are known."""
        return (self.archive.unpacked if self.archive else 0) or self.bytes

    @property
    def proof(self) -> str:
        """What a download is compared with before it is used."""
        if self.sha256:
            return f"SHA-256 {self.authority}"
        if self.archive:
            return "CRC-32 of every unpacked file"
        if self.nemar:
            return "checksums of NEMAR"
        return "size" if self.size else "first bytes"

    def at(self, url: str) -> Source:
        """The same thing at another address."""
        return replace(self, urls=(url,))

    def certified(self, sha256: str, authority: str) -> Source:
        """The same thing in the version that somebody else holds: nothing is known of its size."""
        archive = self.archive and replace(self.archive, unpacked=0)
        return replace(self, sha256=sha256, size=0, about=0, authority=authority, archive=archive)


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
        return len(_unpack_unpack(path, archive, temporary, password, jobs))


def _unpack_unpack(
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


OFFERS = Registry(
    "fetchable dataset",
    {
        "things-eeg": "braindecode_ssr.datasets.things_eeg.dataset:OFFER",
        "things-meg": "braindecode_ssr.datasets.things_meg.files:OFFER",
    },
)


def _nothing(*args: object) -> tuple[Source, ...]:
    return ()


@dataclass(frozen=True)
class Form:
    """A form in which a dataset can be had.

    Parameters
    ----------
    text : str
        What it is, in a line.
    common : callable
        From the folder of the dataset to what all subjects need.
    of_subject : callable
        From the folder and a subject to what that subject needs.
    by_subject : bool
        Whether there is anything to choose subjects of.
    """

    text: str
    common: Callable[[Path], tuple[Source, ...]] = _nothing
    of_subject: Callable[[Path, int], tuple[Source, ...]] = _nothing
    by_subject: bool = True


@dataclass(frozen=True)
class Offer:
    """What can be fetched of a dataset.

    Parameters
    ----------
    subjects : tuple of int
        The published subjects.
    forms : dict of str to Form
        By name, the shortest road first.
    elsewhere : dict of str to str
        Forms that are read but not fetched, and where they are.
    """

    subjects: tuple[int, ...]
    forms: dict[str, Form]
    elsewhere: dict[str, str] = field(default_factory=dict)

    def form(self, name: str | None) -> str:
        """The name of a form, by default the first.

        Raises
        ------
        UsageError
            If there is none of that name, or it is not fetched.
        """
        name = (name or next(iter(self.forms))).lower()
        if name in self.elsewhere:
            raise UsageError(
                f"a form that is fetched: {', '.join(self.forms)}",
                f"{name!r}, an unofficial copy",
                f"bring it yourself from {self.elsewhere[name]}; it is read where `ssr-bd data where` says",
            )
        if name not in self.forms:
            raise unknown_name("form to fetch", name, list(self.forms))
        return name

    def sources(self, name: str, root: Path, subjects: Iterable[Label] = ()) -> tuple[Source, ...]:
        """What makes up a form, in the order in which it is fetched.

        Parameters
        ----------
        name : str
            A form.
        root : Path
            The folder of the dataset: what lies there under another of its public names keeps it.
        subjects : iterable of int
            Whose recordings.

        Raises
        ------
        UsageError
            If a subject is not among the published, or none is given where there must be.
        """
        form = self.forms[name]
        subjects = tuple(find_label(subject, self.subjects, name) for subject in subjects)
        if not form.by_subject:
            return form.common(root)
        if not subjects:
            raise UsageError(
                f"whose recordings of the form {name!r}",
                "no subject",
                "add --subject 5, 1,3 or all",
            )
        own = (source for subject in subjects for source in form.of_subject(root, subject))
        return (*form.common(root), *own)


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


class Part:
    """``<file>.part`` beside the file to be, and ``<file>.part.json`` with where it comes from.

    Parameters
    ----------
    target : Path
        The file to be.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def note(self) -> dict[str, Any]:
        """``url, validator, total`` of the answer that the bytes come from; empty where that is not known."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def begin(self, url: str, validator: str, total: int) -> None:
        """Start from nothing, and note what the bytes to come are a part of."""
        self.discard()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        note = {"url": url, "validator": validator, "total": total}
        self._note.write_text(json.dumps(note), encoding="utf-8")

    def discard(self) -> None:
        """Forget the bytes."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def publish(self, target: Path) -> None:
        """Give the file its name."""
        sync(self.path)
        os.replace(self.path, target)
        sync(target.parent)
        self._note.unlink(missing_ok=True)


@dataclass(frozen=True)
class Patience:
    """Waits grow twofold up to a bound, each shortened by chance, so that not all come back at once.

    Parameters
    ----------
    tries : int
        Failures in a row at one address; a try that brought the file further does not count as one.
    first, longest : float
        Seconds before the second try, and at most.
    longest_asked : float
        Seconds that a server may ask for with Retry-After; beyond it the download ends with an error.
    timeout : tuple of float
        Seconds to wait for the connection, and between two pieces of data.
    sleep : callable
        Waits for some seconds.
    chance : random.Random
        Where the jitter comes from.
    """

    tries: int = 8
    first: float = 1.0
    longest: float = 60.0
    longest_asked: float = 900.0
    timeout: tuple[float, float] = (15.0, 60.0)
    sleep: Callable[[float], None] = time.sleep
    chance: random.Random = field(default_factory=random.Random)

    def wait(self, failures: int, asked: float = 0.0) -> float:
        """Seconds before the next try: half of the grown wait to all of it, and no less than was asked."""
        grown = min(self.longest, self.first * 2 ** min(failures - 1, 30))
        return max(asked, grown * self.chance.uniform(0.5, 1.0))


def asked_wait(header: str | None, now: datetime | None = None) -> float:
    """The seconds of a Retry-After header, which holds a number or a date; 0 where it cannot be read."""
    text = (header or "").strip()
    if text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


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


AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) braindecode-ssr"
"""Begins as browsers do, which figshare's firewall wants, and says who it is."""


def new_session() -> requests.Session:
    """A requests session that says who asks."""
    import requests

    session = requests.Session()
    session.headers["User-Agent"] = AGENT
    return session


@dataclass
class Carrier:
    """Who carries files over.

    Parameters
    ----------
    patience : Patience
        How often and after what waits it is tried again.
    say : callable
        Takes a line of progress.
    progress : bool
        Show a bar with rate and time left on stderr.
    session : requests.Session
        Connections that are kept.
    """

    patience: Patience = field(default_factory=Patience)
    say: Callable[[str], None] = lambda text: None
    progress: bool = False
    session: requests.Session = field(default_factory=new_session)

    def carry(self, source: Source, part: Part) -> str:
        """Bring all bytes of a source into its part, and see that they are right.

        Returns
        -------
        str
            The address they came from.

        Raises
        ------
        DataError
            If no address gives the file; what has come is kept where it may still be right.
        """
        reasons = []
        for url in source.urls:
            for _ in range(2):  # a part from yesterday may have spoilt the first
                fresh = part.size == 0
                try:
                    self._load(source, url, part)
                except Refused as refused:
                    reasons.append(f"{url}: {refused}")
                    break
                found = fault(part.path, source)
                if not found:
                    return url
                part.discard()
                reasons.append(f"{url}: {found}")
                if fresh:
                    break
        raise self._gave_up(source, part, reasons)

    def text(self, url: str, largest: int) -> str | None:
        """A small text, or None if there is nothing at the address.

        Raises
        ------
        DataError
            If it cannot be reached.
        """
        failures = 0
        while True:
            try:
                with ask(
                    self.session, url, Part(Path("/nowhere")), self.patience.timeout
                ) as answer:
                    content = b"".join(islice(answer.pieces(), 1 + largest // PIECE))
                return content[:largest].decode("utf-8", "replace")
            except Gone:
                return None
            except Refused as refused:
                raise DataError(url, str(refused), "see to its address") from refused
            except Again as trouble:
                failures += 1
                try:
                    self._wait(url, trouble, failures)
                except Refused as refused:
                    raise DataError(url, str(refused), "try again later") from refused

    def _load(self, source: Source, url: str, part: Part) -> None:
        """Try until all bytes are here."""
        failures, furthest = 0, part.size
        if part.size:
            self.say(f"{source.what}: {part.size / 1e6:.1f} MB are here, going on")
        while not (source.size and part.size == source.size):
            try:
                return self._try(source, url, part)
            except Again as trouble:
                failures = 0 if part.size > furthest else failures + 1
                furthest = max(furthest, part.size)
                self._wait(source.what, trouble, failures)

    def _wait(self, what: str, trouble: Again, failures: int) -> None:
        tries = trouble.tries or self.patience.tries
        if failures >= tries:
            raise Refused(f"{trouble.reason}, {failures} times") from trouble
        if trouble.asked > self.patience.longest_asked:
            raise Refused(f"{trouble.reason}, to be asked again in {trouble.asked:.0f} s")
        wait = self.patience.wait(max(1, failures), trouble.asked)
        self.say(f"{what}: {trouble.reason}; next try in {wait:.0f} s")
        self.patience.sleep(wait)

    def _try(self, source: Source, url: str, part: Part) -> None:
        """One answer; returns when, as far as the server says, all is here."""
        with ask(self.session, url, part, self.patience.timeout) as answer:
            if answer.start and answer.start == answer.total:
                return
            pieces = _placed(answer.pieces(), part, answer.total or source.size)
            if answer.start == 0:
                pieces = self._begin(source, url, part, answer, pieces)
            self._write(source, part, pieces, answer.total)
        if answer.total and part.size < answer.total:
            raise Again(f"the connection ended at {part.size} of {answer.total} bytes")
        if source.size and part.size < source.size:
            raise Again(f"the server ended at {part.size} of {source.size} bytes", tries=3)

    def _begin(
        self, source: Source, url: str, part: Part, answer: Answer, pieces: Iterator[bytes]
    ) -> Iterator[bytes]:
        """See that the first bytes are those of such a file before anything is let go for them."""
        first = b""
        for piece in pieces:
            first += piece
            if len(first) >= HEAD:
                break
        if found := wrong_head(source.file, first):
            raise Again(f"it sends {found}", tries=3)
        if source.size and answer.total and answer.total != source.size:
            raise Again(f"the server offers {answer.total} bytes instead of {source.size}", tries=3)
        check_free(part.path, answer.total, source.what)
        with writing(part.path, "--data-dir"):
            part.begin(url, answer.validator, answer.total)
        return chain([first], pieces)

    def _write(self, source: Source, part: Part, pieces: Iterator[bytes], total: int) -> None:
        from tqdm import tqdm

        bar = tqdm(
            total=source.size or total or None,
            initial=part.size,
            desc=PurePosixPath(source.file).name,
            unit="B",
            unit_scale=True,
            disable=not self.progress,
        )
        limit = source.size or total or float("inf")
        with bar, writing(part.path, "--data-dir"), part.path.open("ab", buffering=0) as file:
            for piece in pieces:
                file.write(piece)
                bar.update(len(piece))
                if file.tell() > limit:
                    break
            os.fsync(file.fileno())
        if part.size > limit:
            part.discard()
            raise Again(f"the server sends more than {limit} bytes", tries=3)

    def _gave_up(self, source: Source, part: Part, reasons: list[str]) -> DataError:
        kept = f" ({part.size / 1e6:.1f} MB are kept)" if part.size else ""
        return DataError(
            f"{source.what} ({source.file})",
            "; ".join(dict.fromkeys(reasons)),
            f"run the same command later{kept}, or bring the file by hand to "
            f"{part.path.with_suffix('')}, or name another place with --mirror URL",
        )


def _placed(pieces: Iterator[bytes], part: Part, total: int) -> Iterator[bytes]:
    """The pieces; where the connection breaks, it is said how far it came."""
    try:
        yield from pieces
    except Again as trouble:
        of = f" of {total}" if total else ""
        raise Again(f"{trouble.reason} at {part.size}{of} bytes") from trouble


INSTALL = "pip install 'nemar-py>=0.3.3'"


def bring_subject(source: Source, root: Path, url: str = "") -> None:
    """Bring the files of one subject, and those of all subjects, into the data set's folder.

    Parameters
    ----------
    source : Source
        ``nemar`` is the data set, ``place`` its folder and the subject, such as ``nm000232/sub-05``.
    root : Path
        The folder of our dataset.
    url : str
        Another address than NEMAR's.

    Raises
    ------
    MissingDataError
        If nemar-py is not installed.
    DataError
        If it says that a file cannot be had.
    """
    nemar = _client(source)
    target = root / source.place
    address = {"data_url": url} if url else {}
    with writing(target.parent, "--data-dir"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            nemar.download(
                dataset=source.nemar, target_dir=target.parent, subject=target.name, **address
            )
        except (RuntimeError, ValueError) as error:
            raise DataError(
                f"{source.what} from NEMAR ({source.nemar})",
                " ".join(str(error).split())[:300],
                "run the same command again: files that are whole are kept",
            ) from error


def _client(source: Source) -> ModuleType:
    try:
        return importlib.import_module("nemar")
    except ImportError as error:
        raise MissingDataError(
            f"nemar-py, which brings {source.nemar} from NEMAR", "it is not installed", INSTALL
        ) from error


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
        _unpack_bring(packed, source, archive, folder, carrier, password)
        return str(packed)
    part = Part(packed)
    check_free(packed, max(0, source.bytes - part.size) + archive.unpacked, source.what)
    for again in (True, False):
        url = carrier.carry(source, part)
        try:
            _unpack_bring(part.path, source, archive, folder, carrier, password)
            break
        except (Spoilt, OtherArchive) as error:  # kept, it would be refused again and again
            part.discard()
            if isinstance(error, OtherArchive) or not again:
                raise
            carrier.say(f"{source.what}: the archive is damaged, downloading it once more")
    part.discard()
    return url


def _unpack_bring(
    path: Path, source: Source, archive: Archive, folder: Path, carrier: Carrier, password: str
) -> None:
    carrier.say(f"unpack {source.what}")
    unpack(path, archive, folder, password)


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
