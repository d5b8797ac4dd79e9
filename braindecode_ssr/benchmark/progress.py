"""How far a grid is: a line for each run that ends, and on a terminal a bar with the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..datasets.trial_bar import say_beside
from .estimate import duration
from .plan import Plan
from .task import Outcome

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress:
    """A bar on stderr that counts runs, and the lines beside it.

    Parameters
    ----------
    total : int
        Runs that are to do.
    show : bool
        Whether there is a bar; the lines are said in any case.
    say : callable
        Is told a line for each run.
    """

    def __init__(self, total: int, *, show: bool, say: Callable[[str], object]) -> None:
        self.total, self.show, self.done = total, show, 0
        self._say, self._bar = say, None

    def __enter__(self) -> Progress:
        from tqdm.auto import tqdm

        self._start = time.monotonic()
        self._bar: tqdm = tqdm(
            desc="runs", unit="run", total=self.total, disable=not self.show, smoothing=0
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def ended(self, outcome: Outcome, plan: Plan) -> None:
        """A run has ended, one way or the other."""
        self.done += 1
        line = f"[{self.done}/{self.total}] {outcome.name}: {_result(outcome, plan)}"
        if self.done < self.total:
            spent = time.monotonic() - self._start
            line += f"; about {duration(spent / self.done * (self.total - self.done))} left"
        say_beside(self._say, line)
        self._bar.update()


def _result(outcome: Outcome, plan: Plan) -> str:
    if outcome.error:
        return f"failed: {outcome.error}"
    planned = next(run for run in plan.runs if run.run.path.name == outcome.name)
    summary = planned.run.summary
    text = f"top-1 {100 * summary['top1']:.1f} %, top-5 {100 * summary['top5']:.1f} %"
    failed = len(outcome.evaluation_errors)
    return f"{text}, {duration(outcome.seconds)}" + (
        f", {failed} evaluations failed" if failed else ""
    )
