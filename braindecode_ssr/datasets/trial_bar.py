"""The progress bar of preparing: trials, trials a second, time left."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


class TrialBar:
    """A bar on stderr that counts the trials of a subject.

    Parameters
    ----------
    subject : int
    show : bool
        Whether there is a bar at all.
    line : int
        On which line below the cursor, where several are shown.
    """

    def __init__(self, subject: int, show: bool, line: int = 0) -> None:
        self.subject, self.show, self.line = subject, show, line
        self._bar: tqdm | None = None

    def __enter__(self) -> TrialBar:
        from tqdm.auto import tqdm

        self._bar = tqdm(
            desc=f"trials of subject {self.subject}",
            unit="trial",
            disable=not self.show,
            position=self.line or None,
            smoothing=0.05,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def expect(self, n_trials: int) -> None:
        """How many there will be in all."""
        self._bar.total = n_trials
        self._bar.refresh()

    def skip(self, n_trials: int) -> None:
        """Some were there already; they do not count as fast work."""
        if self.show:
            self._bar.initial += n_trials
        self._bar.update(n_trials)

    def advance(self, n_trials: int) -> None:
        """Some more are done."""
        self._bar.update(n_trials)


def say_beside(say: Callable[[str], object], text: str) -> None:
    """Say a line on stderr while bars are shown there: they make way and are drawn again below it."""
    from tqdm.auto import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        say(text)
