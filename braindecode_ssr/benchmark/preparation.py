"""Trials and features that the runs of a plan take, made once before any run begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..config import TrialSpec
from ..datasets.prepare_many import prepare_many
from ..errors import SSRError
from ..labels import Label, natural
from .plan import Plan, Planned


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
    from ..building import features_of
    from ..devices import pick_device

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
