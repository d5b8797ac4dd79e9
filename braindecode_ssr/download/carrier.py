"""One file from one of its addresses into its part, however often the connection breaks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..errors import DataError
from ..files import check_free, writing
from .answer import PIECE, Again, Answer, Gone, Refused, ask
from .content import HEAD, fault, wrong_head
from .part import Part
from .patience import Patience
from .source import Source

if TYPE_CHECKING:
    import requests

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
