"""What users are told: errors, a sentence about what is wrong and one about what to do, and progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Say = Callable[[str], object]
"""Gets a line of text about each step and each decision: the package itself never prints."""


def silent(text: str) -> None: ...


class SSRError(Exception):
    """Base class of all errors that this package raises on purpose.

    Parameters
    ----------
    message : str
        What is wrong: a plain sentence without a full stop.
    hint : str
        What the user can do about it: an exact command, option or path.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        text = "; ".join(part for part in (self.message, self.hint) if part)
        return " ".join(text.split())


class UsageError(SSRError, ValueError):
    """A name, option or setting that cannot be used as given (exit code 2)."""

    exit_code = 2


class DataError(SSRError):
    """Data that exist and are not as they should be."""


class MissingDataError(DataError, FileNotFoundError):
    """Data that are missing."""

    __str__ = SSRError.__str__


class LeakageError(SSRError):
    """A test concept or test image among training data."""


class TrainingError(SSRError):
    """Training that cannot start or continue."""


def first_line(error: BaseException | None) -> str:
    """The first line of what another library's error says, or its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def reading(what: object, hint: str) -> Iterator[None]:
    """Turn whatever another library raises over a foreign file into a DataError with this hint."""
    try:
        yield
    except (SSRError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"{what} cannot be read ({first_line(error)})", hint) from error


def listed(names: Sequence[object], most: int) -> str:
    """The first names of a list as a message shows them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
