"""What is asked of a benchmark: methods, subjects, protocols, seeds and evaluations, each with each."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from ..checks import check_run
from ..config import EvaluationSpec, RunSpec, Spec, Subject, TrialSpec, merge
from ..datasets import open_dataset
from ..datasets.base import ImageDataset
from ..errors import DataError, MissingDataError, SSRError, UsageError
from ..evaluation import check_selection
from ..files import lock, writing
from ..labels import Label, natural
from ..methods import METHODS
from ..models.names import Trust, trusted, trusting
from ..registry import unknown_name
from ..resolve import resolve, run_spec, training_subjects
from ..retrieval.evaluations import Evaluation, named_evaluation
from ..runs import EvaluationFolder, Run, run_name, same_data
from ..trials.prepare_many import prepare_many

PROTOCOLS = ("intra", "inter")


class Grid(Spec):
    """A grid of runs.

    Parameters
    ----------
    methods : tuple of str
        Registered names.
    subjects : tuple of int or str
        Those that are tested.
    protocols : tuple of {"intra", "inter"}
    seeds : tuple of int
        One run each.
    evaluations : tuple of str
        How numbers are obtained, in the words of :mod:`braindecode_ssr.retrieval.evaluations`.
    settings : dict
        Nested settings of all runs, dataset included.
    threads : int
        Of each run's numerical libraries. How many there are changes the last digits of a sum: that is why
        it is asked for here, and does not follow from how many runs go at a time.
    """

    methods: tuple[str, ...] = Field(min_length=1)
    subjects: tuple[Subject, ...] = Field(min_length=1)
    protocols: tuple[str, ...] = ("intra",)
    seeds: tuple[int, ...] = (0,)
    evaluations: tuple[str, ...] = ("default",)
    settings: dict[str, Any] = Field(default_factory=dict)
    threads: int = Field(default=1, ge=1)

    def cells(self) -> Iterator[dict[str, Any]]:
        """The nested settings of each run, evaluations left aside: by protocol, method, subject, seed."""
        for protocol in self.protocols:
            for method in self.methods:
                for subject in self.subjects:
                    for seed in self.seeds:
                        yield merge(
                            self.settings,
                            {
                                "method": method,
                                "data": {"subject": subject, "protocol": protocol},
                                "train": {"seed": seed},
                            },
                        )


def seeds_of(text: str) -> tuple[int, ...]:
    """Seeds as people write them: ``"3"`` is how many (0, 1, 2), ``"0,3,7"`` and ``"4-6"`` are which.

    Raises
    ------
    UsageError
        If it is none of these.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        numbers = (first, last) if dash else (first,)
        if not all(number.isdecimal() and number.isascii() for number in numbers):
            raise _no_seeds(text)
        if dash and int(first) > int(last):
            raise _no_seeds(text)
        seeds += range(int(first), int(numbers[-1]) + 1)
    if "," not in text and "-" not in text:
        seeds = list(range(seeds[0]))
    if not seeds:
        raise _no_seeds(text)
    return tuple(dict.fromkeys(seeds))


def protocols_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Protocols that exist, each once; both for none.

    Raises
    ------
    UsageError
        If one does not.
    """
    for name in names:
        if name not in PROTOCOLS:
            raise unknown_name("protocol", name, list(PROTOCOLS))
    return tuple(dict.fromkeys(names)) or PROTOCOLS


def _no_seeds(text: str) -> UsageError:
    return UsageError(
        "how many seeds (--seeds 3), or which (--seeds 0,3,7 or 4-6)", repr(text), "write it so"
    )


ONE_RUN_A_PROCESS = threading.Lock()
"""Random numbers are drawn from generators of the process: two runs in its threads would mix them."""


@dataclass(frozen=True)
class Task:
    """A run to train and test.

    Parameters
    ----------
    spec : RunSpec
        Resolved.
    data_dir : str
        The folder of the dataset.
    out : str
        The folder of the run's folder.
    evaluations : tuple of EvaluationSpec
        How it is tested besides its own way.
    threads : int
        Of the numerical libraries. More or fewer change the last digits of a sum, so that their number
        is a matter of the grid and not of how many runs go at a time.
    cache : str
        ``$SSR_CACHE``, for workers that were started elsewhere.
    trust : bool or tuple of str
        Classes that may be imported, see :func:`braindecode_ssr.models.names.trusting`.
    """

    spec: RunSpec
    data_dir: str
    out: str
    evaluations: tuple[EvaluationSpec, ...] = ()
    threads: int = 1
    cache: str = field(default_factory=lambda: os.environ.get("SSR_CACHE", ""))
    trust: Trust = field(default_factory=trusted)

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return run_name(self.spec)

    @property
    def run(self) -> Run:
        """The run's folder."""
        return Run(Path(self.out) / self.name)


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Parameters
    ----------
    name : str
        Of the run.
    seconds : float
        How long it took.
    error : str
        Why there is no run, in a line.
    evaluation_errors : dict of str to str
        Why there is no evaluation: digest of its spec to a line.
    """

    name: str
    seconds: float = 0.0
    error: str = ""
    evaluation_errors: dict[str, str] = field(default_factory=dict)


def do(task: Task) -> Outcome:
    """Train a run, or go on with it, and test it in all ways asked for; what fails is told, not raised."""
    start, errors = time.perf_counter(), {}
    if task.cache:
        os.environ["SSR_CACHE"] = task.cache
    with ONE_RUN_A_PROCESS:
        try:
            with trusting(task.trust), _fixed_threads(task.threads), _nobody_else(task):
                _train(task)
                for evaluation in task.evaluations:
                    try:
                        _evaluate(task, evaluation)
                    except Exception as error:
                        errors[evaluation.digest] = one_line(error)
        except Exception as error:
            return Outcome(task.name, time.perf_counter() - start, one_line(error))
    return Outcome(task.name, time.perf_counter() - start, evaluation_errors=errors)


def evaluated(run: Run, evaluation: EvaluationSpec) -> Run:
    """The folder inside a run's with ``queries.csv`` and ``summary.json`` of another evaluation."""
    return EvaluationFolder(run.path / f"evaluation_{evaluation.digest[:8]}")


def one_line(error: BaseException) -> str:
    """What went wrong, in a line; an error that was not foreseen is named."""
    text = str(error) if isinstance(error, SSRError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _train(task: Task) -> None:
    from ..pipeline import train

    if not task.run.finished:
        train(task.spec, data_dir=task.data_dir, out=task.out)


def _evaluate(task: Task, evaluation: EvaluationSpec) -> None:
    from ..pipeline import evaluate

    place = evaluated(task.run, evaluation)
    if place.finished:
        return
    device = task.spec.train.device
    queries, summary = evaluate(task.run.path, evaluation, data_dir=task.data_dir, device=device)
    place.path.mkdir(exist_ok=True)
    place.write_table("queries.csv", queries)
    place.write_json("summary.json", summary)


@contextmanager
def _fixed_threads(count: int) -> Iterator[None]:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    with threadpool_limits(count):
        yield


@contextmanager
def _nobody_else(task: Task) -> Iterator[None]:
    """Wait until nobody else is at this run: a benchmark that was killed may have left a worker at it."""
    with writing(Path(task.out)), lock(task.run.path, "benchmark", shared=True):
        yield


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
        How many, or which; see :func:`braindecode_ssr.benchmark.plan.seeds_of`.
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
            named_evaluation(evaluation, METHODS[name])
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


def _asked(grid: Grid, dataset: ImageDataset) -> Iterator[tuple[RunSpec, Evaluation]]:
    """Resolved spec and way to obtain a number, for each row of the tables."""
    resolved: dict[str, RunSpec] = {}
    for settings in grid.cells():
        for name in grid.evaluations:
            way = named_evaluation(name, METHODS[settings["method"]])
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


def prepare_plan(
    plan: Plan, *, jobs: int, progress: bool, say: Callable[[str], object]
) -> dict[str, str]:
    """Make the trials and features of all runs that are to do; workers then map them from the disk.

    Parameters
    ----------
    plan : Plan
    jobs : int
        Subjects at a time.
    progress : bool
        Show bars on stderr.
    say : callable
        Is told, in a line, what is done.

    Returns
    -------
    dict of str to str
        Name of each run that cannot be done, and why, in a line.
    """
    failed: dict[str, str] = {}
    for spec, runs in _by_trials(plan.to_do).items():
        broken = _prepare_trials(plan, spec, runs, jobs, progress, say)
        for planned in runs:
            errors = [str(broken[s]) for s in planned.subjects if s in broken]
            failed |= {planned.run.path.name: errors[0]} if errors else {}
    left = [planned for planned in plan.to_do if planned.run.path.name not in failed]
    return failed | _prepare_features(plan, left, progress, say)


def _by_trials(runs: Iterable[Planned]) -> dict[TrialSpec, list[Planned]]:
    groups: dict[TrialSpec, list[Planned]] = {}
    for planned in runs:
        groups.setdefault(planned.spec.trials, []).append(planned)
    return groups


def _prepare_trials(
    plan: Plan,
    spec: TrialSpec,
    runs: list[Planned],
    jobs: int,
    progress: bool,
    say: Callable[[str], object],
) -> dict[Label, SSRError]:
    """The subjects of some runs, prepared; the error of each that cannot be."""
    subjects = sorted({s for planned in runs for s in planned.subjects}, key=natural)
    options = {"jobs": jobs, "progress": progress, "say": say}
    prepared = prepare_many(plan.dataset, subjects, spec, **options)
    return {done.subject: done.error for done in prepared if done.error is not None}


def _prepare_features(
    plan: Plan, runs: list[Planned], progress: bool, say: Callable[[str], object]
) -> dict[str, str]:
    """The features of some runs, made; the error of each run whose features cannot be."""
    from ..training.build import features_of
    from ..training.distributed import pick_device

    failed: dict[str, str] = {}
    tried: dict[tuple[str, tuple[str, ...]], str] = {}
    for planned in runs:
        images = planned.spec.images
        key = (images.encoder, images.views)
        if key not in tried:
            if images.encoder not in [encoder for encoder, _ in tried]:
                say(f"features of {len(plan.dataset.images)} images: {images.encoder}")
            try:
                features = features_of(planned.spec, plan.dataset)
                device = pick_device(planned.spec.train.device)
                options = {"device": device, "progress": progress, "say": say}
                features.complete(plan.dataset, **options)
                features.made_by()
                tried[key] = ""
            except SSRError as error:
                tried[key] = str(error)
        if tried[key]:
            failed[planned.run.path.name] = tried[key]
    return failed
