"""How long the runs that are left may take, from finished ones of the same kind."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any

from ..errors import SSRError
from ..runs import Run
from .plan import FAILING, LACKING, Plan, Planned
from .task import Outcome


def seconds_per_epoch(out: Path) -> dict[tuple[Any, ...], float]:
    """Mean training seconds of an epoch of each kind of finished run in a folder."""
    measured: dict[tuple[Any, ...], list[float]] = {}
    for file in sorted(out.glob("[!.]*/summary.json")):
        with suppress(SSRError, KeyError, TypeError, ZeroDivisionError):
            run = Run(file.parent)
            kind = _kind(run.spec)
            seconds = run.summary["train_seconds"] / run.summary["epochs"]
            measured.setdefault(kind, []).append(seconds)
    return {kind: mean(seconds) for kind, seconds in measured.items()}


def expected_seconds(planned: Planned, known: dict[tuple[Any, ...], float]) -> float | None:
    """Training seconds that a run may take; 0 for a trained one, None where nothing is known of its kind."""
    if planned.run.finished:
        return 0.0
    epoch = known.get(_kind(planned.spec))
    return None if epoch is None else round(epoch * planned.spec.train.epochs, 1)


class TimeLeft:
    """How long the runs that have not ended may take, from those of their kind that have.

    Parameters
    ----------
    to_do : list of Planned
        Runs that begin now.
    out : Path
        The folder where finished ones may be.
    jobs : int
        Runs at a time, at least.
    """

    def __init__(self, to_do: list[Planned], out: Path, jobs: int) -> None:
        self._left = {run.run.path.name: run.spec for run in to_do if not run.run.finished}
        self._measured = {kind: [one] for kind, one in seconds_per_epoch(out).items()}
        self._jobs, self._worked, self._start = jobs, 0.0, time.monotonic()

    def ended(self, outcome: Outcome) -> None:
        """A run has ended, one way or the other."""
        self._worked += outcome.seconds
        spec = self._left.pop(outcome.name, None)  # none of a run that was tested again only
        if spec and not outcome.error:
            each = outcome.seconds / spec.train.epochs
            self._measured.setdefault(_kind(spec), []).append(each)

    def __str__(self) -> str:
        known = [
            spec.train.epochs * mean(self._measured[_kind(spec)])
            for spec in self._left.values()
            if _kind(spec) in self._measured
        ]
        unknown = len(self._left) - len(known)
        if not known:
            return f"{unknown} of unknown length left" if unknown else ""
        at_a_time = max(self._jobs, self._worked / (time.monotonic() - self._start + 1e-9))
        line = f"about {duration(sum(known) / at_a_time)} left"
        return line + (f", besides {unknown} of unknown length" if unknown else "")


def grid_preview(plan: Plan, out: Path, jobs: int) -> dict[str, Any]:
    """The runs of a plan, what became of them so far, and what the others may take.

    Returns
    -------
    dict
        ``runs``: a row each; ``done``, ``to_do``, ``lacking``, ``unknown`` (runs to do of whose kind
        none is finished): counts; ``seconds``: expected for those that are known, with ``jobs`` at a time.
    """
    known = seconds_per_epoch(out)
    rows = [_row(planned, expected_seconds(planned, known)) for planned in plan.runs]
    states = [row["state"] for row in rows]
    to_do = [row for row in rows if row["state"] in ("to do", "begun")]
    seconds = [row["seconds"] for row in to_do if row["seconds"] is not None]
    return {
        "out": str(out),
        "runs": rows,
        "done": states.count("done"),
        "to_do": len(to_do),
        "lacking": states.count(LACKING),
        "failing": states.count(FAILING),
        "unknown": len(to_do) - len(seconds),
        "seconds": round(sum(seconds) / jobs, 1) if seconds or not to_do else None,
    }


def as_read(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A preview's rows for people: seconds that are not known say so."""
    return [{**r, "seconds": "unknown" if r["seconds"] is None else r["seconds"]} for r in rows]


def cost_line(preview: dict[str, Any], jobs: int) -> str:
    """A preview's counts and cost, in a line."""
    total, unknown = len(preview["runs"]), preview["unknown"]
    line = f"{total} runs: {preview['done']} done, {preview['to_do']} to do"
    if preview["lacking"]:
        line += f", {preview['lacking']} lack features"
    if preview["failing"]:
        line += f", {preview['failing']} cannot run"
    if not preview["to_do"]:
        return line
    if preview["seconds"] is None:
        line += f"; time unknown: no run of their kinds is finished in {preview['out']}"
        return f"{line} (the same grid with --epochs 1 measures each of them)"
    line += f"; about {duration(preview['seconds'])} of training, {jobs} at a time"
    return line + (f", besides {unknown} of unknown length" if unknown else "")


def duration(seconds: float) -> str:
    """``"40 s"``, ``"12 min"``, ``"3 h 20 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _kind(spec: Any) -> tuple[Any, ...]:
    """What the time of an epoch depends on most."""
    data = (spec.data.dataset, spec.data.preset, spec.data.protocol, str(spec.data.channels))
    return (*data, spec.method, spec.model.backbone, spec.train.batch_size)


def _row(planned: Planned, seconds: float | None) -> dict[str, Any]:
    spec = planned.spec
    begun = (planned.run.path / "run.json").is_file()
    state = "done" if planned.finished else "begun" if begun else "to do"
    return {
        "run": planned.run.path.name,
        "method": spec.method,
        "backbone": spec.model.backbone,
        "protocol": spec.data.protocol,
        "subject": spec.data.subject,
        "seed": spec.train.seed,
        "evaluations": ",".join(column.name for column in planned.columns),
        "state": state if state == "done" else planned.problem or state,
        "seconds": seconds,
    }
