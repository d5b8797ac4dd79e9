"""The runs that a benchmark asks for: methods, subjects, protocols, seeds and evaluations."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from pydantic import Field

from ..config import EvaluationSpec, RunSpec, Spec, Subject, merge
from ..datasets import open_dataset
from ..datasets.base import ImageDataset
from ..datasets.zero_shot import training_subjects
from ..errors import DataError, MissingDataError, SSRError, UsageError
from ..images.features import features_of
from ..inference.evaluation import check_selection
from ..methods import METHODS
from ..registry import Label, check_name
from ..resolve import check_run, resolve, run_spec
from ..retrieval.evaluations import Evaluation, named_evaluation
from ..runs import Run, data_difference, run_name
from .workers import Outcome, Task, evaluation_folder

PROTOCOLS = ("intra", "inter", "pooled")
ENSEMBLES = ("seeds", "methods")
"""What the members of an ensemble differ in."""


class Grid(Spec):
    """A grid of runs: methods, tested subjects, protocols and seeds, and how each run is evaluated.

    ``settings`` are nested settings of all runs. The number of ``threads`` of a run changes the last digits
    of sums, so it is given here. ``ensemble`` adds rows of averaged similarities.
    """

    methods: tuple[str, ...] = Field(min_length=1)
    subjects: tuple[Subject, ...] = Field(min_length=1)
    protocols: tuple[str, ...] = ("intra",)
    seeds: tuple[int, ...] = (0,)
    evaluations: tuple[str, ...] = ("default",)
    ensemble: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    threads: int = Field(default=1, ge=1)

    def cells(self) -> Iterator[dict[str, Any]]:
        """The nested settings of each run without evaluations: by protocol, method, subject, seed."""
        axes = product(self.protocols, self.methods, self.subjects, self.seeds)
        for protocol, method, subject, seed in axes:
            data = {"subject": subject, "protocol": protocol}
            cell = {"method": method, "data": data, "train": {"seed": seed}}
            yield merge(self.settings, cell)


def seeds_of(asked: int | Iterable[int]) -> tuple[int, ...]:
    """Seeds: ``3`` is how many (0, 1, 2), several numbers are which."""
    asked = getattr(asked, "tolist", lambda: asked)()  # of NumPy
    seeds = tuple(dict.fromkeys(range(asked) if isinstance(asked, int) else asked))
    if not seeds or isinstance(asked, str):
        raise UsageError(
            f"{asked!r} is not a number or list of seeds",
            "write how many (--seeds 3), or which (--seeds 0,3,7 or 4-6)",
        )
    return seeds


def protocols_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Each protocol once, or intra and inter if none is given; UsageError for an unknown name."""
    for name in names:
        check_name("protocol", name, PROTOCOLS)
    return tuple(dict.fromkeys(names)) or PROTOCOLS[:2]


@dataclass
class PlannedRun:
    """A resolved run of the grid, its folder, which need not exist, and why it cannot be done, if so.

    ``trained_as`` is the run whose model this one shares: pooled runs differ only in who is tested.
    """

    spec: RunSpec
    run: Run
    subjects: tuple[Label, ...]
    evaluations: list[Evaluation] = field(default_factory=list)
    error: SSRError | None = None
    trained_as: Run | None = None

    @property
    def name(self) -> str:
        return self.run.path.name

    @property
    def state(self) -> str:
        """``done``, ``lacks features``, ``cannot run``, ``begun`` or ``to do``."""
        if self.finished:
            return "done"
        if self.error is not None:
            return "lacks features" if isinstance(self.error, MissingDataError) else "cannot run"
        return "begun" if (self.run.path / "run.json").is_file() else "to do"

    @property
    def others(self) -> tuple[EvaluationSpec, ...]:
        own = as_trained(self.spec.evaluation, self.spec)
        return tuple(dict.fromkeys(e.spec for e in self.evaluations if e.spec != own))

    @property
    def folders(self) -> list[Run]:
        """The run folder and those of its other evaluations."""
        return [self.run, *(evaluation_folder(self.run, spec) for spec in self.others)]

    @property
    def finished(self) -> bool:
        return all(folder.finished for folder in self.folders)

    def results(self, evaluation: Evaluation) -> Run:
        """The folder in which ranks and numbers of an evaluation are, or will be."""
        if evaluation.spec in self.others:
            return evaluation_folder(self.run, evaluation.spec)
        return self.run

    def task(self, dataset: ImageDataset, threads: int) -> Task:
        out = str(self.run.path.parent.absolute())
        shared = self.trained_as.path.name if self.trained_as else ""
        return Task(self.spec, str(dataset.root.absolute()), out, self.others, threads, shared)


@dataclass(frozen=True)
class Plan:
    grid: Grid
    dataset: ImageDataset
    runs: list[PlannedRun]

    @property
    def to_do(self) -> list[PlannedRun]:
        """Runs that are not finished and have what they need: all of a seed before those of the next."""
        left = [planned for planned in self.runs if not (planned.finished or planned.error)]
        return sorted(left, key=lambda planned: self.grid.seeds.index(planned.spec.train.seed))


def plan_benchmark(
    settings: dict[str, Any],
    out: Path,
    data_dir: str | Path | None = None,
    *,
    methods: tuple[str, ...] = (),
    subjects: tuple[Label, ...] = (),
    protocols: tuple[str, ...] = ("intra",),
    seeds: int | Iterable[int] = 1,
    evaluations: tuple[str, ...] = ("default",),
    ensemble: tuple[str, ...] = (),
    threads: int = 1,
) -> Plan:
    """Plan a grid from names and numbers as users type them.

    Empty tuples are all methods, all subjects whose files are there, intra and inter, and ``default``.
    SSRError if a run of a method that was named cannot be done; with all methods, its runs fail instead.
    """
    names = tuple(dict.fromkeys(METHODS.name_of(name) for name in methods or METHODS))
    protocols, evaluations = protocols_of(protocols), evaluations or ("default",)
    for kind in ensemble:
        check_name("kind of ensemble", kind, ENSEMBLES)
    for name, evaluation in product(names, evaluations):
        named_evaluation(evaluation, METHODS[name])
    data = run_spec(settings).data
    dataset = open_dataset(data, data_dir)
    dataset.check_here()
    asked = subjects or dataset.present_subjects
    grid = Grid(
        methods=names,
        subjects=tuple(dict.fromkeys(map(dataset.check_subject, asked))),
        protocols=protocols,
        seeds=seeds_of(seeds),
        evaluations=tuple(dict.fromkeys(evaluations)),
        ensemble=tuple(dict.fromkeys(ensemble)),
        settings=merge(settings, {"data": {"dataset": data.dataset}}),
        threads=threads,
    )
    plan = make_plan(grid, dataset, out)
    if methods:
        for planned in plan.runs:
            if planned.error and not planned.finished:
                raise planned.error
    return plan


def make_plan(grid: Grid, dataset: ImageDataset, out: Path) -> Plan:
    """The runs of a grid; cells that differ only in how the run is evaluated share a run.

    DataError if a run in ``out`` was made from another version of the dataset.
    """
    resolved: dict[str, RunSpec] = {}
    asked = []
    for settings in grid.cells():
        for name in grid.evaluations:
            evaluation = named_evaluation(name, METHODS[settings["method"]])
            spec = run_spec(settings, evaluation.settings)
            if spec.digest not in resolved:
                resolved[spec.digest], _ = resolve(spec, dataset)
            asked.append((resolved[spec.digest], evaluation))
    names = {run_name(spec) for spec, _ in asked}
    runs: dict[str, PlannedRun] = {}
    checked: dict[str, SSRError | None] = {}
    for spec, evaluation in asked:
        spec = _shared_run(spec, names, out)
        evaluation = replace(evaluation, spec=as_trained(evaluation.spec, spec))
        check_selection(spec.replace(evaluation=evaluation.spec))
        name = run_name(spec)
        if name not in runs:
            subjects = dict.fromkeys((*training_subjects(spec.data, dataset), spec.data.subject))
            error = _problem(spec, dataset, out, checked)
            runs[name] = PlannedRun(spec, Run(out / name), tuple(subjects), error=error)
        runs[name].evaluations.append(evaluation)
    made_of: dict[str, str] = {}
    for planned in runs.values():
        encoder = planned.spec.images.encoder
        if encoder not in made_of and (planned.run.path / "run.json").exists():
            made_of[encoder] = features_of(planned.spec, dataset).made_of(dataset)
        made = made_of.get(encoder, "")
        if difference := data_difference(planned.run, dataset, planned.spec, made_of=made):
            raise DataError(
                f"{planned.run.path} is a run on other data: {difference}",
                "give another --out, or move that run away",
            )
    _share_pooled(list(runs.values()))
    return Plan(grid, dataset, list(runs.values()))


def _share_pooled(runs: list[PlannedRun]) -> None:
    """Let pooled runs that differ only in who is tested share a model: one that is there, or the first."""
    alike: dict[str, list[PlannedRun]] = {}
    for planned in runs:
        if planned.spec.data.protocol == "pooled":
            model = planned.spec.replace(data={"subject": 1}).digest
            alike.setdefault(model, []).append(planned)
    for group in alike.values():
        states = [(not p.run.finished, not (p.run.path / "run.json").is_file()) for p in group]
        first = group[states.index(min(states))]
        for planned in group:
            planned.trained_as = None if planned is first else first.run


def as_trained(evaluation: EvaluationSpec, spec: RunSpec) -> EvaluationSpec:
    """An evaluation that says ``"trained"`` where it picks the epoch that the training of a run keeps."""
    if evaluation.selection != spec.train.selection:
        return evaluation
    return evaluation.replace(selection="trained")


def _shared_run(spec: RunSpec, names: set[str], out: Path) -> RunSpec:
    """The run of the grid that trains the same but keeps every epoch, if there is one: it serves for both."""
    twin = spec.replace(train={"keep": "every"})
    finished = (out / run_name(spec) / "summary.json").is_file()
    return twin if run_name(twin) in names and not finished else spec


def _problem(
    spec: RunSpec, dataset: ImageDataset, out: Path, checked: dict[str, SSRError | None]
) -> SSRError | None:
    """Why a run cannot be done; runs that differ only in subject, seed and evaluation are checked once."""
    key = spec.replace(data={"subject": 1}, train={"seed": 0}, evaluation=EvaluationSpec()).digest
    if key not in checked:
        checked[key] = None
        try:
            check_run(spec, dataset, out)
        except SSRError as error:
            checked[key] = error
    return checked[key]


def seconds_per_epoch(out: Path) -> dict[tuple[Any, ...], list[float]]:
    """Training seconds per epoch of the finished runs in a folder, by kind of run."""
    measured: dict[tuple[Any, ...], list[float]] = {}
    for file in sorted(out.glob("[!.]*/summary.json")):
        with suppress(SSRError, KeyError, TypeError, ZeroDivisionError):
            run = Run(file.parent)
            seconds = run.summary["train_seconds"] / run.summary["epochs"]
            measured.setdefault(_kind(run.spec), []).append(seconds)
    return measured


def expected_seconds(spec: RunSpec, measured: dict[tuple[Any, ...], list[float]]) -> float | None:
    epochs = measured.get(_kind(spec))
    return mean(epochs) * spec.train.epochs if epochs else None


def _kind(spec: RunSpec) -> tuple[Any, ...]:
    """What the time of an epoch depends on most."""
    data = (spec.data.dataset, spec.data.preset, spec.data.protocol, str(spec.data.channels))
    return (*data, spec.method, spec.model.backbone, spec.train.batch_size)


class TimeLeft:
    """How long the remaining runs may take, estimated from finished runs of their kind."""

    def __init__(self, to_do: list[PlannedRun], out: Path, jobs: int) -> None:
        training = [run for run in to_do if not (run.run.finished or run.trained_as)]
        self._left = {run.name: run.spec for run in training}
        self._measured = {kind: [mean(each)] for kind, each in seconds_per_epoch(out).items()}
        self._jobs, self._worked, self._start = jobs, 0.0, time.monotonic()

    def ended(self, outcome: Outcome) -> None:
        self._worked += outcome.seconds
        spec = self._left.pop(outcome.name, None)  # None for a run that was only evaluated again
        if spec and not outcome.error:
            each = outcome.seconds / spec.train.epochs
            self._measured.setdefault(_kind(spec), []).append(each)

    def __str__(self) -> str:
        expected = [expected_seconds(spec, self._measured) for spec in self._left.values()]
        known = [seconds for seconds in expected if seconds is not None]
        unknown = len(expected) - len(known)
        if not known:
            return f"{unknown} of unknown length left" if unknown else ""
        in_parallel = max(self._jobs, self._worked / (time.monotonic() - self._start + 1e-9))
        line = f"about {duration(sum(known) / in_parallel)} left"
        return line + (f", plus {unknown} of unknown length" if unknown else "")


def grid_preview(plan: Plan, out: Path, jobs: int) -> dict[str, Any]:
    """The runs of a plan, their state, and how long those to do may take in ``jobs`` processes.

    ``unknown`` counts runs to do of a kind of which none is finished; ``seconds`` leaves them out.
    """
    measured = seconds_per_epoch(out)
    rows: list[dict[str, Any]] = []
    for planned in plan.runs:
        spec, expected = planned.spec, expected_seconds(planned.spec, measured)
        if planned.run.finished or planned.trained_as:
            expected = 0.0
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
                "seconds": None if expected is None else round(expected, 1),
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
