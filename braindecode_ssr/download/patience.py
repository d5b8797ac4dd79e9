"""How often a failed download is tried again, and how long is waited in between."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


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
