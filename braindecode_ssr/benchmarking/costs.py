"""How long runs take: the preview of a grid before it starts, and the time left while it runs."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any

from ..config import RunSpec
from ..errors import SSRError
from ..runs import Run
from .plan import Plan, PlannedRun
from .workers import Outcome


def seconds_per_epoch(out: Path) -> dict[tuple[Any, ...], list[float]]:
    """Training seconds per epoch of the finished runs in a folder, by kind of run."""
    measured: dict[tuple[Any, ...], list[float]] = {}
    for file in sorted(out.glob("[!.]*/summary.json")):
        with suppress(SSRError, KeyError, TypeError, ZeroDivisionError):
            run = Run(file.parent)
            seconds = run.summary["train_seconds"] / run.summary["epochs"]
            measured.setdefault(_kind(run.spec), []).append(seconds)
    return measured


def _kind(spec: RunSpec) -> tuple[Any, ...]:
    """What the time of an epoch depends on most."""
    data = (spec.data.dataset, spec.data.preset, spec.data.protocol, str(spec.data.channels))
    return (*data, spec.method, spec.model.backbone, spec.train.batch_size)


class TimeLeft:
    """How long the remaining runs may take, estimated from finished runs of their kind."""

    def __init__(self, to_do: list[PlannedRun], out: Path, jobs: int) -> None:
        self._left = {run.name: run.spec for run in to_do if not run.run.finished}
        self._measured = {kind: [mean(each)] for kind, each in seconds_per_epoch(out).items()}
        self._jobs, self._worked, self._start = jobs, 0.0, time.monotonic()

    def ended(self, outcome: Outcome) -> None:
        """Take note of a run that has finished or failed."""
        self._worked += outcome.seconds
        spec = self._left.pop(outcome.name, None)  # None for a run that was only evaluated again
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
        in_parallel = max(self._jobs, self._worked / (time.monotonic() - self._start + 1e-9))
        line = f"about {duration(sum(known) / in_parallel)} left"
        return line + (f", plus {unknown} of unknown length" if unknown else "")


def grid_preview(plan: Plan, out: Path, jobs: int) -> dict[str, Any]:
    """The runs of a plan, their state, and how long those to do may take in ``jobs`` processes.

    ``unknown`` counts runs to do of a kind of which none is finished; ``seconds`` is expected for the
    others.
    """
    measured = seconds_per_epoch(out)
    rows: list[dict[str, Any]] = []
    for planned in plan.runs:
        spec, epochs = planned.spec, measured.get(_kind(planned.spec))
        known = round(mean(epochs) * spec.train.epochs, 1) if epochs else None
        rows.append(
            {
                "run": planned.name,
                "method": spec.method,
                "backbone": spec.model.backbone,
                "protocol": spec.data.protocol,
                "subject": spec.data.subject,
                "seed": spec.train.seed,
                "evaluations": ",".join(evaluation.name for evaluation in planned.evaluations),
                "state": planned.state,
                "seconds": 0.0 if planned.run.finished else known,
            }
        )
    states = [row["state"] for row in rows]
    to_do = [row for row in rows if row["state"] in ("to do", "begun")]
    seconds = [row["seconds"] for row in to_do if row["seconds"] is not None]
    return {
        "out": str(out),
        "runs": rows,
        "done": states.count("done"),
        "to_do": len(to_do),
        "lacking": states.count("lacks features"),
        "failing": states.count("cannot run"),
        "unknown": len(to_do) - len(seconds),
        "seconds": round(sum(seconds) / jobs, 1) if seconds or not to_do else None,
    }


def cost_line(preview: dict[str, Any], jobs: int) -> str:
    """The counts and costs of a preview in one line."""
    line = f"{len(preview['runs'])} runs: {preview['done']} done, {preview['to_do']} to do"
    if preview["lacking"]:
        line += f", {preview['lacking']} lack features"
    if preview["failing"]:
        line += f", {preview['failing']} cannot run"
    if not preview["to_do"]:
        return line
    if preview["seconds"] is None:
        line += f"; time unknown: no run of their kinds is finished in {preview['out']}"
        return f"{line} (the same grid with --epochs 1 measures each of them)"
    line += f"; about {duration(preview['seconds'])} of training, {jobs} in parallel"
    return line + (f", plus {preview['unknown']} of unknown length" if preview["unknown"] else "")


def duration(seconds: float) -> str:
    """``"40 s"``, ``"12 min"``, ``"3 h 20 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
