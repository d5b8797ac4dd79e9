"""Ensembles of runs or of files: the mean of their standardized similarities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..config import EvaluationSpec
from ..errors import DataError, Say, UsageError, silent
from ..files import file_sha256
from ..pipeline import evaluate_each
from ..registry import check_name
from ..retrieval import ranks
from ..retrieval.evaluations import DEFAULT, Evaluation, changed, evaluation_of
from ..runs import Run, named_folder, preset_of, settings_digest
from .score import (
    Result,
    Similarity,
    final_step,
    labels_of_run,
    rank,
    read_similarity,
    score_each,
    write_scored,
)

if TYPE_CHECKING:
    from ..inference.evaluation import Embeddings


WEIGHTS = ("equal", "validation")
ALIKE = ("dataset", "preset", "protocol", "subject", "gallery", "repetitions", "repetitions_max")
"""Labels that all members have in common."""
EVALUATE = ("data_dir", "device", "trust", "progress")
"""Options of :func:`ensemble` that are for testing runs."""


def ensemble(
    sources: Sequence[str | Path | Run],
    *,
    weights: str = "equal",
    evaluation: str | None = None,
    images: str | Path | None = None,
    out: str | Path | None = None,
    say: Say = silent,
    **options: Any,
) -> Result:
    """Average the similarities of runs or files, and rank the candidates by the mean.

    They are standardized first, see :func:`braindecode_ssr.retrieval.ranks.ensemble`. Where not all
    repetitions are averaged, all runs are tested on those that the first run draws.

    Parameters
    ----------
    sources : sequence of path-like or Run
        Runs, their folders, or files as for :func:`braindecode_ssr.sharing.score.read_similarity`; two or
        more.
    weights : {"equal", "validation"}
        ``"validation"``: the top-1 of each run on its held-out training concepts.
    evaluation : str, optional
        As for :func:`braindecode_ssr.pipeline.evaluate`; default: as the runs were tested. A correction and
        ``n-way`` are applied to the mean.
    images, out, say
        As for :func:`braindecode_ssr.sharing.score.score`; ``images`` names files without names.
    **options
        Labels of the result, as for :func:`~braindecode_ssr.sharing.score.score`, and ``data_dir``,
        ``device``, ``trust`` and ``progress`` of :func:`braindecode_ssr.pipeline.evaluate_each`.

    Returns
    -------
    queries, summary
        As from :func:`braindecode_ssr.sharing.score.score`; flagged ``ensemble``, with the size in ``method``
        and members and weights in ``ensemble``.

    Raises
    ------
    UsageError, DataError
        If there are fewer than two sources, one is given twice, or a run has no accuracy on held-out
        concepts to weight it by; if they differ in dataset, protocol, subject, test or list of images.
    """
    given = [sources] if isinstance(sources, str | Path) else sources
    paths = [named_folder(source) for source in given]
    times = Counter(path.resolve() for path in paths).most_common(1)
    if len(paths) < 2 or times[0][1] > 1:
        raise UsageError(
            f"{times[0][0]} is given twice"
            if len(paths) > 1
            else "an ensemble has at least two members",
            "give several runs or files, each once",
        )
    check_name("kind of weights", weights, WEIGHTS)
    tests = {name: options.pop(name) for name in EVALUATE if name in options}
    runs = {path: Run(path) for path in paths if path.is_dir()}
    asked = {path: evaluation_of(run.spec, evaluation) for path, run in runs.items()}
    if any(each.spec.average == "none" for each in asked.values()):
        raise UsageError(
            "an ensemble has one query for each image, and with average=none each trial is one",
            "choose another --evaluation, such as challenge",
        )
    _check_alike(list(runs), [_facts(runs[path], asked[path]) for path in runs])
    if weights == "validation":
        _check_held_out(paths, runs)
    members = []
    for run in list(runs.values())[:1]:
        tests["trial_seed"] = run.spec.train.seed
    for path in paths:
        if path in runs:
            members.append(_of_run(runs[path], asked[path], **tests))
        else:
            members.append(read_similarity(path, None, images, say))
    _check_alike(paths, [{name: member.labels.get(name) for name in ALIKE} for member in members])
    shares = [1.0] * len(paths)
    if weights == "validation":
        top1 = [runs[path].history["valid_top1"] for path in paths]
        shares = [float(t[m.labels["epoch"] - 1]) for t, m in zip(top1, members, strict=True)]
        if not any(shares):
            raise UsageError("no run has a hit on held-out concepts", "use --weights equal")
    labels = _common(members, options.pop("method", None))
    labels["ensemble"] = {
        "size": len(paths),
        "how": weights,
        "weights": [share / sum(shares) for share in shares],
        "members": [path.name for path in paths],
        "settings": sorted(settings_digest(run.spec) for run in runs.values()),
    }
    nears = [
        _in_order(members[0], member, paths[0], path)
        for path, member in zip(paths, members, strict=True)
    ]
    mean = replace(members[0], near=ranks.ensemble(nears, shares), labels=labels)
    found = mean.labeled(**options)
    if asked:
        done = rank(found, next(iter(asked.values())))
    else:
        [done] = score_each(found, [evaluation or DEFAULT])
    if out is not None:
        write_scored(Path(out), [done])
    return done


def _facts(run: Run, evaluation: Evaluation) -> dict[str, Any]:
    """What runs of an ensemble have in common, as far as it is known before work starts."""
    data, how = run.spec.data, evaluation.spec
    facts: dict[str, Any] = {"dataset": data.dataset, "preset": (preset_of(run.spec), data.seed)}
    facts |= {"protocol": data.protocol, "subject": data.subject, "gallery": how.gallery}
    return facts | {"repetitions": how.repetitions, "average": how.average, **final_step(how)}


def _check_alike(paths: Sequence[Path], facts: Sequence[dict[str, Any]]) -> None:
    for path, own in zip(paths, facts, strict=True):
        for name, value in own.items():
            if value != facts[0][name]:
                raise DataError(
                    f"{paths[0]} and {path} differ in {name}: {facts[0][name]} and {value}",
                    "average runs with the same data and subject, and test all in one way with --evaluation",
                )


def _check_held_out(paths: Sequence[Path], runs: dict[Path, Run]) -> None:
    """Raise unless every member is a run that was scored on as many held-out training concepts."""
    counts = set()
    for path in paths:
        if path not in runs or "valid_top1" not in runs[path].history:
            raise UsageError(
                f"{path} has no accuracy on held-out training concepts to weight it by",
                "use --weights equal, or train the runs with --set train.validation_concepts=20",
            )
        counts.add(runs[path].spec.train.validation_concepts)
    if len(counts) > 1:
        raise UsageError(
            f"the runs held out different numbers of concepts: {', '.join(map(str, sorted(counts)))}",
            "use --weights equal: their accuracies cannot be compared",
        )


def _of_run(run: Run, evaluation: Evaluation, **options: Any) -> Similarity:
    kept: list[Similarity] = []

    def keep(found: Embeddings, summary: dict[str, Any]) -> None:
        near = ranks.similarity(found.brain, found.gallery, found.space)
        labels = labels_of_run(run.spec, summary) | {"source": source_of(run.path)}
        kept.append(Similarity(near, found.table["image_id"].tolist(), found.gallery_ids, labels))

    plain = changed(run.spec, evaluation, final_step(EvaluationSpec()))
    list(evaluate_each(run.path, [plain], embeddings=keep, **options))
    return kept[0]


def source_of(run: Path) -> dict[str, str]:
    """The name of a run, and the SHA-256 of its own ranks: another one has others."""
    return {run.name: file_sha256(run / "queries.csv")}


def _in_order(first: Similarity, member: Similarity, one: Path, other: Path) -> np.ndarray:
    places = []
    for side in ("query_ids", "gallery_ids"):
        wanted, found = getattr(first, side), getattr(member, side)
        differ = sorted(set(wanted) ^ set(found))
        if differ:
            raise DataError(
                f"{one} and {other} were not tested on the same images: {differ[0]!r} is in only one of them",
                "average models that were tested on the same images",
            )
        places.append(pd.Index(found).get_indexer(pd.Index(wanted)))
    return member.near[np.ix_(*places)]


def _common(members: Sequence[Similarity], method: str | None) -> dict[str, Any]:
    labels = dict(members[0].labels)
    for name in list(labels):
        kinds = list(dict.fromkeys(str(member.labels.get(name)) for member in members))
        if name in ("method", "backbone", "selection") and len(kinds) > 1:
            labels[name] = "+".join(kinds) if len(kinds) < 4 else "several"
        elif name.startswith("ceiling_") and len(kinds) > 1:
            del labels[name]
    labels["method"] = f"{method or labels['method']}, ensemble of {len(members)}"
    labels["source"] = {k: v for m in members for k, v in m.labels.get("source", {}).items()}
    labels["flags"] = ["ensemble", *(flag for m in members for flag in m.labels["flags"])]
    labels.pop("epoch", None)
    return labels
