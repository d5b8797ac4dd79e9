"""Which weights of a run are tested: a choice that is made when training is over.

Training may pick an epoch on held-out training concepts and never knows a test trial. What looks at the test,
``"oracle"``, is here: it needs a run that kept the weights of every epoch, and its number is flagged.
"""

from __future__ import annotations

from pathlib import Path

from .config import RunSpec
from .errors import MissingDataError, UsageError
from .runs import Run

KEEP = "--set train.keep=every"


def selected(spec: RunSpec) -> str:
    """The choice that an evaluation comes to: ``"last"``, ``"validation"`` or ``"oracle"``."""
    asked = spec.evaluation.selection
    return spec.train.selection if asked == "trained" else asked


def check_selection(spec: RunSpec) -> None:
    """Raise UsageError if a run of this spec cannot be tested with the weights its evaluation asks for."""
    asked = selected(spec)
    if _closed_form(spec) or asked == spec.train.selection:
        return
    if asked == "validation" and not spec.train.validation_concepts:
        raise UsageError(
            "a run that scored its epochs on held-out training concepts, for selection = validation",
            "train.validation_concepts = 0",
            f"train it with --set train.validation_concepts=20 {KEEP}",
        )
    if spec.train.keep != "every":
        raise UsageError(
            f"a run that kept the weights of every epoch, for selection = {asked}",
            f"one that kept only its {_kept(spec)} epoch",
            f"train it with {KEEP}",
        )


def weights_to_test(run: Run, spec: RunSpec) -> list[tuple[int | None, Path]]:
    """The epochs to test, counted from 1, and their weights: one, or for the oracle all.

    A closed form has no epochs: it has one solution, whatever is asked for.

    Parameters
    ----------
    run : Run
        With weights and, where epochs were scored, with history.
    spec : RunSpec
        That of the run, with the evaluation that is asked for.

    Raises
    ------
    UsageError
        If the run did not keep them.
    MissingDataError
        If it did, and they are gone.
    """
    from .kept_epochs import kept_epochs

    check_selection(spec)
    asked = selected(spec)
    if _closed_form(spec):
        return [(None, run.weights)]
    if asked == spec.train.selection:
        return [(_epoch(run, spec, asked), run.weights)]
    kept = kept_epochs(run.epochs)
    wanted = range(1, spec.train.epochs + 1) if asked == "oracle" else [_epoch(run, spec, asked)]
    gone = [epoch for epoch in wanted if epoch not in kept]
    if gone:
        raise MissingDataError(
            f"the weights of every epoch in {run.epochs}",
            f"none of epoch {gone[0]}",
            "train the run again",
        )
    return [(epoch, kept[epoch]) for epoch in wanted]


def _epoch(run: Run, spec: RunSpec, asked: str) -> int:
    """The last epoch, or the first of those that were best on held-out training concepts."""
    if asked == "last":
        return spec.train.epochs
    return int(run.history["valid_top1"].to_numpy().argmax()) + 1


def _closed_form(spec: RunSpec) -> bool:
    return spec.train.solver != "gradient"


def _kept(spec: RunSpec) -> str:
    return {"last": "last", "validation": "best validation"}[spec.train.selection]
