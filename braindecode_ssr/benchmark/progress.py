"""How far a grid is: a line with the time left for each run that ends, and a bar on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..datasets.trial_bar import say_beside
from .estimate import TimeLeft, duration
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
    left : TimeLeft
        Is told of every run that ends.
    show : bool
        Whether there is a bar; the lines are said in any case.
    say : callable
        Is told a line for each run.
    """

    def __init__(
        self, total: int, left: TimeLeft, *, show: bool, say: Callable[[str], object]
    ) -> None:
        self.total, self.left, self.show, self.done = total, left, show, 0
        self._say, self._bar = say, None

    def __enter__(self) -> Progress:
        from tqdm.auto import tqdm

        counts = "{desc}: {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        self._bar: tqdm = tqdm(
            desc="runs", total=self.total, disable=not self.show, bar_format=counts
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def ended(self, outcome: Outcome, plan: Plan) -> None:
        """A run has ended, one way or the other."""
        self.done += 1
        self.left.ended(outcome)
        line = f"[{self.done}/{self.total}] {outcome.name}: {_result(outcome, plan)}"
        say_beside(self._say, "; ".join(filter(None, [line, str(self.left)])))
        self._bar.set_postfix_str(str(self.left), refresh=False)
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
