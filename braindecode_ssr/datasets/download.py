"""Download published files: resumed after an interruption, retried, verified, put in place whole.

A download is ``<file>.part`` until it is complete and verified. ``<file>.part.json`` records where its bytes
come from, so that a later run requests only the rest, and only of the same version of the file.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from ..errors import DataError, MissingDataError, Say, UsageError, first_line, silent
from ..files import check_free, file_sha256, lock, read_json, sync, writing
from .archives import Archive, DamagedArchive, WrongArchive, unpack

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
CHUNK = 1 << 15
"""Bytes read at a time; at most this much is lost when a connection breaks."""
HEAD = 1 << 16
"""Bytes that are enough to tell a file from a web page."""
USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) braindecode-ssr"
)
"""Starts like that of a browser, which the firewall of figshare requires, and says who it is."""
NEMAR_CLIENT = "pip install 'nemar-py>=0.3.3'"


@dataclass(frozen=True)
class Source:
    """A file or archive that can be downloaded."""

    what: str  # its name for users
    place: str  # the file, or the folder that an archive becomes, below the folder of the dataset
    urls: tuple[str, ...]  # in the order in which they are tried
    size: int  # exact size of the download in bytes; 0 if it is not published
    licence: str
    sha256: str = ""  # of the download; empty if it is not known
    about: int = 0  # approximate size in bytes where ``size`` is not known
    archive: Archive | None = None  # how to unpack the download if it is a zip file
    authority: str = "as published"  # where the checksum comes from
    nemar: str = ""  # a NEMAR dataset; nemar-py downloads the subject that ``place`` ends with

    @property
    def url(self) -> str:
        """The first address."""
        return self.urls[0]

    @property
    def file(self) -> str:
        """The downloaded file below the folder of the dataset: the archive, or the file itself."""
        return self.archive.place if self.archive else self.place

    @property
    def bytes(self) -> int:
        """Size of the download, approximate if the exact size is not known."""
        return self.size or self.about

    @property
    def on_disk(self) -> int:
        """Approximate number of bytes that stay on the disk."""
        return (self.archive.unpacked if self.archive else 0) or self.bytes

    @property
    def proof(self) -> str:
        """How a download is verified before it is used."""
        if self.sha256:
            return f"SHA-256 {self.authority}"
        if self.archive:
            return "CRC-32 of every unpacked file"
        if self.nemar:
            return "checksums of NEMAR"
        return "size" if self.size else "first bytes"


# -- is it the file, or a web page? --------------------------------------------------------------------------

_ZIP = (b"PK\x03\x04",)
_MAGIC = {
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
    """What kind of web page starts with these bytes; empty if it is none."""
    if not _PAGE.match(head[:1024]):
        return ""
    for pattern, kind in _PAGES:
        if re.search(pattern, head, re.I):
            return kind
    title = re.search(rb"<title[^>]*>(.*?)</title", head, re.I | re.S)
    text = " ".join(title[1].decode("utf-8", "replace").split())[:80] if title else ""
    return f"a web page ({text})" if text else "a web page"


def wrong_head(name: str, head: bytes) -> str:
    """What these first bytes are if a file of this name cannot start with them; else empty.

    The suffix says what is expected: zip, npy, pt, jpg, fif, csv or tsv. Any other file is only known not to
    be a web page. ``head`` holds at least eight bytes unless the file is shorter.
    """
    if found := page(head):
        return found
    kind = Path(name).suffix.lower()
    if kind in (".csv", ".tsv"):
        return "binary data" if b"\x00" in head else ""
    if kind in _MAGIC and not head.startswith(_MAGIC[kind]):
        return f"something that is not a {kind[1:]} file" if head else "an empty file"
    return ""


def problem(path: Path, source: Source) -> str:
    """What is wrong with a file: its size, first bytes or SHA-256; empty if it is the published one."""
    size = path.stat().st_size
    if source.size and size != source.size:
        return f"{size} bytes instead of {source.size}"
    if found := wrong_head(source.file, read_head(path)):
        return found
    found = file_sha256(path) if source.sha256 else ""
    return "" if found == source.sha256 else f"SHA-256 {found} instead of {source.sha256}"


# -- one file over HTTP --------------------------------------------------------------------------------------

_BUSY = {408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524}
_FIREWALL = {202: "the server is not ready to send it (202)", 403: "the server refuses (403)"}


class TryAgain(Exception):
    """An attempt that failed where a later one may succeed.

    ``retry_after`` is the wait in seconds that the server asks for; ``tries`` lowers the number of attempts.
    """

    def __init__(self, reason: str, retry_after: float = 0.0, tries: int = 0) -> None:
        super().__init__(reason)
        self.retry_after, self.tries = retry_after, tries


class Refused(Exception):
    """An address that does not provide the file, however often it is asked."""


class NotThere(Refused):
    """There is no file at the address."""


class PartialFile:
    """``<file>.part`` beside a file, and ``<file>.part.json`` with the origin of its bytes."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        """Bytes downloaded so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def note(self) -> dict[str, Any]:
        """``url, validator, total`` of the response that the bytes come from; empty if not known."""
        note = read_json(self._note)
        return note if isinstance(note, dict) else {}

    def begin(self, url: str, validator: str, total: int) -> None:
        """Start from zero, and record which file the bytes to come belong to."""
        self.discard()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        note = {"url": url, "validator": validator, "total": total}
        self._note.write_text(json.dumps(note), encoding="utf-8")

    def discard(self) -> None:
        """Delete what was downloaded."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def publish(self, target: Path) -> None:
        """Rename the complete file to its final name."""
        sync(self.path)
        os.replace(self.path, target)
        sync(target.parent)
        self._note.unlink(missing_ok=True)


def new_session() -> requests.Session:
    """A requests session with our user agent."""
    import requests

    session = requests.Session()
    session.headers["User-Agent"] = USER_AGENT
    return session


@dataclass
class Downloader:
    """Downloads files over HTTP, resuming and retrying.

    Waits between attempts double up to ``longest_wait``, each shortened at random so that many clients do not
    come back at once.

    Parameters
    ----------
    say : callable
        Called with each line of progress.
    progress : bool
        Show a progress bar on stderr.
    tries : int
        Consecutive failures at one address; an attempt that got further resets the count.
    timeout : tuple of float
        Seconds to wait for a connection, and for data.
    longest_wait, longest_retry_after : float
        Seconds between two attempts, and the longest ``Retry-After`` of a server that is obeyed.
    sleep, rng, session
        What waits, draws the jitter, and keeps connections open.
    """

    say: Say = silent
    progress: bool = False
    tries: int = 8
    timeout: tuple[float, float] = (15.0, 60.0)
    longest_wait: float = 60.0
    longest_retry_after: float = 900.0
    sleep: Callable[[float], object] = time.sleep
    rng: random.Random = field(default_factory=random.Random)
    session: requests.Session = field(default_factory=new_session)

    def fetch(self, source: Source, part: PartialFile) -> str:
        """Download all bytes of a source into ``part`` and verify them; the address they came from.

        Raises DataError if no address provides the file; bytes that may still be right are kept.
        """
        reasons = []
        if part.size:
            self.say(f"{source.what}: resuming after {part.size / 1e6:.1f} MB")
        for url in source.urls:
            attempt = partial(self._attempt, source, url, part)
            for _ in range(2):  # the first may have resumed a partial file of something else
                fresh = part.size == 0
                try:
                    self._retried(source.what, attempt, lambda: part.size)
                except Refused as refused:
                    reasons.append(f"{url}: {refused}")
                    break
                found = problem(part.path, source)
                if not found:
                    return url
                part.discard()
                reasons.append(f"{url}: {found}")
                if fresh:
                    break
        kept = f" ({part.size / 1e6:.1f} MB are kept)" if part.size else ""
        raise DataError(
            f"{source.what} ({source.file}) could not be downloaded: {'; '.join(dict.fromkeys(reasons))}",
            f"run the same command later{kept}, download the file yourself to {part.path.with_suffix('')}, "
            "or choose another address with --mirror URL",
        )

    def text(self, url: str, largest: int) -> str | None:
        """A text file of at most ``largest`` bytes; None if there is none at the address."""

        def attempt() -> str:
            with self._request(url) as response, _network_errors():
                chunks = islice(response.iter_content(CHUNK), 1 + largest // CHUNK)
                return b"".join(chunks)[:largest].decode("utf-8", "replace")

        try:
            return self._retried(url, attempt)
        except NotThere:
            return None
        except Refused as refused:
            found = f"{url} could not be read: {refused}"
            raise DataError(found, "check the address, or try again later") from refused

    def _retried(self, what: str, attempt: Callable[[], T], done: Callable[[], int] = int) -> T:
        """What an attempt gives in the end; failures count anew once more bytes are ``done``."""
        failures, furthest = 0, done()
        while True:
            try:
                return attempt()
            except TryAgain as failure:
                failures = 0 if done() > furthest else failures + 1
                furthest = max(furthest, done())
                self._wait(what, failure, failures)

    def _wait(self, what: str, failure: TryAgain, failures: int) -> None:
        if failures >= (failure.tries or self.tries):
            raise Refused(f"{failure}, {failures} times") from failure
        if failure.retry_after > self.longest_retry_after:
            raise Refused(f"{failure}, try again in {failure.retry_after:.0f} s") from failure
        backoff = min(self.longest_wait, 2.0 ** min(max(failures - 1, 0), 30))
        wait = max(failure.retry_after, backoff * self.rng.uniform(0.5, 1.0))
        self.say(f"{what}: {failure}; trying again in {wait:.0f} s")
        self.sleep(wait)

    def _attempt(self, source: Source, url: str, part: PartialFile) -> None:
        """One request; returns when everything that the server has is there."""
        from tqdm.auto import tqdm

        if source.size and part.size == source.size:
            return
        note, headers = part.note, {"Range": f"bytes={part.size}-"} if part.size else {}
        if headers and note.get("url") == url and note.get("validator"):
            headers["If-Range"] = note["validator"]
        with self._request(url, headers) as response:
            start, total = _range_of(response, url, part)
            if start and start == total:
                return
            chunks = _chunks(response, part, total or source.size)
            if start == 0:  # look at the first bytes before those of earlier are given up for them
                first = b""
                while len(first) < HEAD and (chunk := next(chunks, b"")):
                    first += chunk
                if found := wrong_head(source.file, first):
                    raise TryAgain(f"the server sends {found}", tries=3)
                if source.size and total and total != source.size:
                    found = f"the server offers {total} bytes instead of {source.size}"
                    raise TryAgain(found, tries=3)
                check_free(part.path, total, source.what)
                with writing(part.path, "--data-dir"):
                    part.begin(url, _validator(response), total)
                chunks = chain([first], chunks)
            limit, name = source.size or total or None, PurePosixPath(source.file).name
            look: dict[str, Any] = {"unit": "B", "unit_scale": True, "disable": not self.progress}
            with (
                tqdm(total=limit, initial=part.size, desc=name, **look) as bar,
                writing(part.path, "--data-dir"),
                part.path.open("ab", buffering=0) as file,
            ):
                for chunk in chunks:
                    file.write(chunk)
                    bar.update(len(chunk))
                    if limit and file.tell() > limit:
                        break
                os.fsync(file.fileno())
        if limit and part.size > limit:
            part.discard()
            raise TryAgain(f"the server sends more than {limit} bytes", tries=3)
        if total and part.size < total:
            raise TryAgain(f"the connection ended at {part.size} of {total} bytes")
        if source.size and part.size < source.size:
            raise TryAgain(f"the download ended at {part.size} of {source.size} bytes", tries=3)

    @contextmanager
    def _request(
        self, url: str, headers: dict[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """A response with the bytes of a file; TryAgain or Refused for any other."""
        headers = {"Accept-Encoding": "identity"} | (headers or {})
        if "figshare.com/" in url:  # its firewall lets those pass who come from its pages
            headers["Referer"] = "https://plus.figshare.com/"
        with _network_errors():
            response = self.session.get(url, headers=headers, stream=True, timeout=self.timeout)
        with response:
            if url.startswith("https:") and not response.url.startswith("https:"):
                raise Refused(f"it redirects to an unencrypted address ({response.url})")
            complete = response.status_code == 416 and "Range" in headers
            if response.status_code not in (200, 206) and not complete:
                with _network_errors():
                    raise _status_error(response)
            yield response


def _chunks(response: requests.Response, part: PartialFile, total: int) -> Iterator[bytes]:
    try:
        with _network_errors():
            yield from response.iter_content(CHUNK)
    except TryAgain as failure:
        of = f" of {total}" if total else ""
        raise TryAgain(f"{failure} at {part.size}{of} bytes") from failure


def _range_of(response: requests.Response, url: str, part: PartialFile) -> tuple[int, int]:
    """Where a response's bytes start, and the file's size or 0; discards a part it does not continue."""
    headers = response.headers
    if response.status_code == 200:
        encoded = headers.get("Content-Encoding", "identity") != "identity"
        return 0, 0 if encoded else _number(headers.get("Content-Length"))
    match = re.fullmatch(
        r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", headers.get("Content-Range", "").strip()
    )
    total = _number(match[2]) if match else 0
    if response.status_code == 416:
        if total == part.size:
            return total, total
        reason = "the file on the server is shorter than what was downloaded"
    elif match is None or not match[1] or int(match[1]) != part.size:
        reason = "the server sends another range than the one requested"
    else:
        note, validator = part.note, _validator(response)
        known, before = note.get("total"), note.get("validator")
        changed = note.get("url") == url and before and validator and before != validator
        if not (changed or (total and (total < part.size or total != (known or total)))):
            return part.size, total or known or 0
        reason = "the file on the server has changed"
    part.discard()
    raise TryAgain(reason)


def _status_error(response: requests.Response) -> Exception:
    """Why a response holds no file."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util.retry import Retry

    status, retry_after = response.status_code, 0.0
    try:
        retry_after = Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except (InvalidHeader, ValueError, OverflowError):
        pass
    kind = page(next(response.iter_content(HEAD), b""))
    sent = f", and sends {kind}" if kind else ""
    if status == 429:
        return TryAgain("too many requests (429)", retry_after)
    if status in _BUSY:
        return TryAgain(f"the server is busy ({status}){sent}", retry_after)
    if status in _FIREWALL:
        return TryAgain(f"{_FIREWALL[status]}{sent}", retry_after, tries=3)
    if status in (404, 410):
        return NotThere(f"there is no such file ({status})")
    return Refused(f"the server responds {status} {response.reason or ''}".strip() + sent)


@contextmanager
def _network_errors() -> Iterator[None]:
    """Turn errors of requests, which are OSErrors like those of the disk, into TryAgain or Refused."""
    from requests import exceptions

    def cause(error: BaseException) -> str:
        while inner := error.__cause__ or error.__context__:
            error = inner
        return first_line(error)[:160]

    try:
        yield
    except exceptions.SSLError as error:
        raise Refused(f"its certificate is not valid ({cause(error)})") from error
    except exceptions.Timeout as error:
        raise TryAgain("the server does not respond") from error
    except exceptions.ChunkedEncodingError as error:
        raise TryAgain("the connection broke") from error
    except exceptions.ConnectionError as error:
        raise TryAgain(f"no connection ({cause(error)})") from error
    except exceptions.TooManyRedirects as error:
        raise Refused("it redirects in an endless loop") from error
    except exceptions.RequestException as error:
        raise Refused(f"the request failed ({cause(error)})") from error


def _validator(response: requests.Response) -> str:
    """What If-Range takes by RFC 9110: a strong ETag, or else the time of the last change."""
    etag = response.headers.get("ETag") or "W/"
    return response.headers.get("Last-Modified", "") if etag.startswith("W/") else etag


def _number(text: str | None) -> int:
    return int(text) if text and text.strip().isdigit() else 0


# -- one source into its place -------------------------------------------------------------------------------

HERE, ABSENT, PACKED, OTHER = "here", "absent", "packed", "other"


@dataclass(frozen=True)
class Status:
    """What is on the disk in the place of a source."""

    state: str  # PACKED: only its verified archive is there; OTHER: another file than the published one
    detail: str = ""  # what was found
    have: int = 0  # bytes of the download that are there already


def local_status(source: Source, root: Path) -> Status:
    """Whether a source is in its place below ``root``, verified as far as its content is known."""
    target = root / source.place
    if source.nemar:
        have = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        return Status(ABSENT, "nemar-py compares what is there" if have else "", have)
    have = PartialFile(root / source.file).size
    if source.archive:
        found = _archive_status(source, source.archive, root)
        return replace(found, have=have) if found.state == ABSENT else found
    if not target.is_file():
        return Status(ABSENT, have=have)
    wrong = problem(target, source)
    if not wrong:
        return Status(HERE)
    junk = wrong_head(source.file, read_head(target))
    return Status(ABSENT, f"{junk} is in its place") if junk else Status(OTHER, wrong)


def _archive_status(source: Source, archive: Archive, root: Path) -> Status:
    folder, packed = root / source.place, root / archive.place

    def is_whole(path: Path) -> bool:
        large = path.suffix in (".npy", ".fif", ".zip")
        head = read_head(path, HEAD if large else 16) if path.is_file() else b""
        return bool(head) and not wrong_head(path.name, head)

    if archive.names:
        missing = next((name for name in archive.names if not is_whole(folder / name)), "")
        complete, detail = not missing, f"{missing} is missing or damaged"
    else:
        n_files = sum(path.is_file() for path in folder.rglob("*")) if folder.is_dir() else 0
        complete, detail = n_files >= archive.count, f"{n_files} of {archive.count} files"
    if complete:
        return Status(HERE)
    if packed.is_file():
        wrong = problem(packed, source)
        if not wrong and not zipfile.is_zipfile(packed):
            wrong = "it is not a complete zip file"
        return Status(ABSENT, f"{packed.name} is not used: {wrong}") if wrong else Status(PACKED)
    return Status(ABSENT, detail if folder.is_dir() else "")


def read_head(path: Path, size: int = HEAD) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(size)


def wrong_file(source: Source, root: Path, found: Status) -> DataError:
    """The error for a file in the place of a source that is not the published one."""
    return DataError(
        f"a file other than the published {source.what} is at {root / source.place} ({found.detail})",
        "move it away, choose another --data-dir, or add --replace",
    )


def download(
    source: Source,
    root: Path,
    downloader: Downloader,
    *,
    password: str = "",
    replace_others: bool = False,
) -> str:
    """Make sure that a source is in its place below ``root``; where it came from, empty if it was there.

    ``password`` is that of its archive; ``replace_others`` replaces a file that is not the published one.
    Processes that download the same file take turns. Raises DataError if it cannot be downloaded and
    verified, another file is in its place, or the disk is full; MissingDataError if nemar-py is needed
    and not installed.
    """
    with writing(root, "--data-dir"), lock(root / source.file, "download", say=downloader.say):
        found = local_status(source, root)
        if found.state == HERE:
            return ""
        if found.state == OTHER and not replace_others:
            raise wrong_file(source, root, found)
        if source.nemar:
            return _download_from_nemar(source, root / source.place)
        archive, target = source.archive, root / source.file
        if archive and found.state == PACKED:  # the user put it there, and it stays
            downloader.say(f"unpacking {source.what}")
            unpack(target, archive, root / source.place, password)
            return str(target)
        part = PartialFile(target)
        more = archive.unpacked if archive else 0
        check_free(target, max(0, source.bytes - part.size) + more, source.what)
        url = downloader.fetch(source, part)
        if not archive:
            part.publish(target)
            return url
        for last in (False, True):
            downloader.say(f"unpacking {source.what}")
            try:
                unpack(part.path, archive, root / source.place, password)
                break
            except (DamagedArchive, WrongArchive) as error:  # kept, it would fail again and again
                part.discard()
                if last or isinstance(error, WrongArchive):
                    raise
                downloader.say(f"{source.what}: the archive is damaged, downloading it once more")
                url = downloader.fetch(source, part)
        part.discard()
        return url


def _download_from_nemar(source: Source, target: Path) -> str:
    """Download one subject, and the files of all subjects, with NEMAR's own client."""
    try:
        nemar = importlib.import_module("nemar")
    except ImportError as error:
        found = f"downloading {source.nemar} from NEMAR needs nemar-py, which is not installed"
        raise MissingDataError(found, NEMAR_CLIENT) from error
    options = {"data_url": source.url} if source.url else {}
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        nemar.download(
            dataset=source.nemar, target_dir=target.parent, subject=target.name, **options
        )
    except (OSError, RuntimeError, ValueError) as error:  # errors of requests are OSErrors
        raise DataError(
            f"{source.what} could not be downloaded from NEMAR ({source.nemar}): {first_line(error)}",
            "run the same command again: complete files are kept",
        ) from error
    return source.url


# -- mirrors -------------------------------------------------------------------------------------------------

CHECKSUMS = "SHA256SUMS"
_CHECKSUM_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(\S.*)")
_LARGEST_LIST = 10_000_000


@dataclass(frozen=True)
class Mirror:
    """A web folder that holds files under the names they have below the folder of the dataset.

    Published checksums hold for a mirror too, unless it has a list ``SHA256SUMS`` of its own, as the tool
    ``sha256sum`` writes it. Then that list decides, which the report says: the user trusts the mirror.
    """

    url: str
    sums: dict[str, str] = field(default_factory=dict)

    def source(self, source: Source) -> Source:
        """The same source at this mirror."""
        here = replace(source, urls=(f"{self.url}/{quote(source.file)}",))
        own = self.sums.get(source.file, source.sha256)
        if own == source.sha256:
            return here
        archive = source.archive and replace(source.archive, unpacked=0)
        said = "of the mirror's own list"
        return replace(here, sha256=own, size=0, about=0, authority=said, archive=archive)


def open_mirror(url: str, downloader: Downloader) -> Mirror:
    """Read the checksums of a mirror, if it has any.

    Raises UsageError if ``url`` is not a web address; DataError if the mirror cannot be reached, or its
    list is malformed.
    """
    if not re.match(r"https?://[^/]", url):
        found = f"the mirror {url!r} is not a web address"
        raise UsageError(found, "give it as https://host/folder")
    url = url.rstrip("/")
    text = downloader.text(f"{url}/{CHECKSUMS}", _LARGEST_LIST)
    if text is None or page(text[:1024].encode()):
        return Mirror(url)
    sums = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _CHECKSUM_LINE.fullmatch(line)
        if match is None:
            found = f"{url}/{CHECKSUMS} holds the line {line[:80]!r}, which is no checksum and path"
            raise DataError(found, "write the list with sha256sum")
        sums[match[2]] = match[1].lower()
    return Mirror(url, sums)
