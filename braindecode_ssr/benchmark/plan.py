"""From a grid to the runs it takes: which are finished, which are to do, on which data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checks import check_run
from ..config import EvaluationSpec, RunSpec, merge
from ..datasets.base import ImageDataset
from ..errors import DataError, MissingDataError, SSRError
from ..labels import Label
from ..methods import METHODS
from ..resolve import open_dataset, resolve, run_spec, training_subjects
from ..retrieval.protocols import Protocol, protocol_of
from ..runs import Run, run_name, same_data
from ..selection import check_selection
from .grid import Grid, protocols_of, seeds_of
from .task import Task, evaluated

LACKING, FAILING = "lacks features", "cannot run"


@dataclass(frozen=True)
class Column:
    """An evaluation of a run, as the tables name it.

    Parameters
    ----------
    name : str
        Such as ``"default"``.
    flags : tuple of str
        What a reader of the number must know.
    spec : EvaluationSpec
    """

    name: str
    flags: tuple[str, ...]
    spec: EvaluationSpec


@dataclass
class Planned:
    """A run of the grid.

    Parameters
    ----------
    spec : RunSpec
        Resolved.
    run : Run
        Its folder, there or not.
    subjects : tuple of int or str
        Whose trials it takes.
    columns : list of Column
        Its evaluations.
    error : SSRError, optional
        Why it cannot be done, as :func:`braindecode_ssr.checks.check_run` found.
    """

    spec: RunSpec
    run: Run
    subjects: tuple[Label, ...]
    columns: list[Column] = field(default_factory=list)
    error: SSRError | None = None

    @property
    def problem(self) -> str:
        """Why it cannot be done, in two words; empty if it can."""
        if self.error is None:
            return ""
        return LACKING if isinstance(self.error, MissingDataError) else FAILING

    @property
    def others(self) -> tuple[EvaluationSpec, ...]:
        """The evaluations that are not the run's own."""
        own = as_trained(self.spec.evaluation, self.spec)
        return tuple(dict.fromkeys(c.spec for c in self.columns if c.spec != own))

    @property
    def finished(self) -> bool:
        """Whether the run and all its evaluations have come to their end."""
        return self.run.finished and all(evaluated(self.run, e).finished for e in self.others)

    def scored(self, column: Column) -> Run:
        """Where ranks and numbers of an evaluation are, once they are."""
        own = column.spec not in self.others
        return self.run if own else evaluated(self.run, column.spec)

    def task(self, dataset: ImageDataset, threads: int) -> Task:
        """What a worker gets."""
        out = str(self.run.path.parent.absolute())
        return Task(self.spec, str(dataset.root.absolute()), out, self.others, threads)


@dataclass(frozen=True)
class Plan:
    """The runs of a grid, and the dataset they are on."""

    grid: Grid
    dataset: ImageDataset
    runs: list[Planned]

    @property
    def to_do(self) -> list[Planned]:
        """Runs that are not finished and have what they need: all of a seed before those of the next.

        A grid that is stopped half way has compared all methods then, with fewer seeds.
        """
        left = [planned for planned in self.runs if not (planned.finished or planned.error)]
        return sorted(left, key=lambda planned: self.grid.seeds.index(planned.spec.train.seed))


def asked_plan(
    settings: dict[str, Any],
    out: Path,
    data_dir: str | Path | None = None,
    *,
    methods: tuple[str, ...] = (),
    subjects: tuple[Label, ...] = (),
    protocols: tuple[str, ...] = ("intra",),
    seeds: str = "1",
    evaluations: tuple[str, ...] = ("default",),
    threads: int = 1,
) -> Plan:
    """The plan of a grid as people ask for it.

    Parameters
    ----------
    settings : dict
        Nested settings of all runs.
    out : Path
        Where run folders are.
    data_dir : path-like, optional
        The folder of the dataset; default: below $SSR_DATA or MNE's data folder.
    methods, subjects, protocols, evaluations : tuple
        Names and numbers; empty for all methods, all subjects that are here, both protocols.
    seeds : str
        How many, or which; see :func:`braindecode_ssr.benchmark.grid.seeds_of`.
    threads : int
        Of each run.

    Raises
    ------
    UsageError
        If a name or number is not known.
    SSRError
        If a run of a method that is named cannot be done, see :func:`braindecode_ssr.checks.check_run`, such
        as one whose features are not here. With all methods, its runs fail instead.
    """
    grid = {
        "methods": tuple(dict.fromkeys(METHODS.name_of(name) for name in methods or METHODS)),
        "protocols": protocols_of(protocols),
        "seeds": seeds_of(seeds),
        "evaluations": evaluations or ("default",),
        "threads": threads,
    }
    for name in grid["methods"]:
        for evaluation in grid["evaluations"]:
            protocol_of(evaluation, METHODS[name])
    data = run_spec(settings).data
    dataset = open_dataset(data, data_dir)
    settings = merge(settings, {"data": {"dataset": data.dataset}})
    dataset.check_here()
    chosen = tuple(map(dataset.check_subject, subjects or dataset.present_subjects))
    plan = make_plan(Grid(subjects=chosen, settings=settings, **grid), dataset, out)
    errors = [planned.error for planned in plan.runs if planned.error and not planned.finished]
    if methods and errors:
        raise errors[0]
    return plan


def make_plan(grid: Grid, dataset: ImageDataset, out: Path) -> Plan:
    """The runs that a grid takes; two cells that differ in their evaluation only share a run.

    Raises
    ------
    DataError
        If a run in ``out`` is of another version of the dataset.
    """
    asked = list(_asked(grid, dataset))
    named = {run_name(spec) for spec, _ in asked}
    runs: dict[str, Planned] = {}
    checked: dict[str, SSRError | None] = {}
    for spec, way in asked:
        spec = _keeping_more(spec, named, out)
        evaluation = as_trained(way.spec, spec)
        check_selection(spec.model_copy(update={"evaluation": evaluation}))
        name = run_name(spec)
        planned = runs[name] = runs.get(name) or _planned(spec, dataset, out / name, checked)
        planned.columns.append(Column(way.name, way.flags, evaluation))
    for planned in runs.values():
        check_version(planned, dataset)
    return Plan(grid, dataset, list(runs.values()))


def as_trained(evaluation: EvaluationSpec, spec: RunSpec) -> EvaluationSpec:
    """An evaluation that says ``"trained"`` where it picks the epoch that the training of a run keeps."""
    if evaluation.selection != spec.train.selection:
        return evaluation
    return evaluation.model_copy(update={"selection": "trained"})


def check_version(planned: Planned, dataset: ImageDataset) -> None:
    """Raise DataError if the run is there already and was made of another version of the dataset."""
    differs = same_data(planned.run, dataset, planned.spec)
    if differs:
        raise DataError(
            f"{planned.run.path} is a run on other data: {differs}",
            "give another --out, or move that run away",
        )


def _asked(grid: Grid, dataset: ImageDataset) -> Iterator[tuple[RunSpec, Protocol]]:
    """Resolved spec and way to obtain a number, for each row of the tables."""
    resolved: dict[str, RunSpec] = {}
    for settings in grid.cells():
        for name in grid.evaluations:
            way = protocol_of(name, METHODS[settings["method"]])
            spec = run_spec(settings, way.settings)
            if spec.digest not in resolved:
                resolved[spec.digest], _ = resolve(spec, dataset)
            yield resolved[spec.digest], way


def _keeping_more(spec: RunSpec, named: set[str], out: Path) -> RunSpec:
    """The run that trains the same but keeps every epoch, where that is asked for too: one will do."""
    every = spec.train.model_copy(update={"keep": "every"})
    twin = spec.model_copy(update={"train": every})
    own = (out / run_name(spec) / "summary.json").is_file()
    return twin if run_name(twin) in named and not own else spec


def _planned(
    spec: RunSpec, dataset: ImageDataset, path: Path, checked: dict[str, SSRError | None]
) -> Planned:
    """A run, checked unless one that differs in subject, seed and evaluation only was."""
    subjects = (*training_subjects(spec, dataset), spec.data.subject)
    alike = {
        "data": spec.data.model_copy(update={"subject": 1}),
        "train": spec.train.model_copy(update={"seed": 0}),
        "evaluation": EvaluationSpec(),
    }
    key = spec.model_copy(update=alike).digest
    if key not in checked:
        checked[key] = None
        try:
            check_run(spec, dataset, path.parent)
        except SSRError as error:
            checked[key] = error
    return Planned(spec, Run(path), tuple(dict.fromkeys(subjects)), error=checked[key])
