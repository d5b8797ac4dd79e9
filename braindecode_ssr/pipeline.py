"""The straight line: recordings and images in, a trained model and a table of ranks out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from .config import EvaluationSpec, ModelSpec, RunSpec
from .datasets.base import ImageDataset
from .devices import pick_device, pick_precision, seed_everything
from .distributed import World, own_device, world
from .evaluations import Evaluation, evaluation_of
from .images.pooling import ImageFeatures, image_features
from .losses import LOSSES
from .models.backbone import backbone_class
from .models.pretrained import load_pretrained
from .models.ssr import SSR
from .models.subject_parts import check_takes_subjects
from .registry import unknown_name
from .resolve import check_needs, open_dataset, resolve, training_subjects
from .retrieval.protocols import Protocol
from .ridge import RIDGES, Ridge, fit_ridge
from .runs import Run, git_commit, new_run, versions
from .selection import check_selection, selected, weights_to_test
from .training import fit, sizes_for
from .training_data import Signals, training_data
from .weights import load_weights, write_weights
from .zero_shot import TestSet, load_test_set, score

if TYPE_CHECKING:
    from .batches import TrainingSet
    from .training import EEGRetriever

Asked = str | Protocol | EvaluationSpec | Evaluation | None


def _silent(text: str) -> None:
    """Say nothing."""


def train(
    spec: RunSpec,
    *,
    data_dir: str | Path | None = None,
    out: str | Path = "runs",
    resume: bool = False,
    progress: bool = False,
    say: Callable[[str], None] = _silent,
) -> Run | None:
    """Prepare trials and features, train, test, and write the run folder.

    Started by ``torchrun``, all processes train one model together; the first tests it and writes.

    Parameters
    ----------
    spec : RunSpec
        As made by :func:`braindecode_ssr.resolve.run_spec`.
    data_dir : path-like, optional
        The folder of the dataset; default: below $SSR_DATA or MNE's data folder.
    out : path-like
        Run folders are made in here.
    resume : bool
        Go on from the last checkpoint, or hand back the run if it is finished.
    progress : bool
        Show progress bars on stderr.
    say : callable
        Is told, in a line, what is done and what was decided.

    Returns
    -------
    Run or None
        With ``summary``, ``queries`` and ``history``; None in all processes but the first.
    """
    device = own_device(pick_device(spec.train.device))
    dataset = open_dataset(spec.data, data_dir)
    spec, notes = resolve(spec, dataset)
    check_needs(spec, dataset)
    check_selection(spec)
    if spec.model.subjects == "own":
        check_takes_subjects(backbone_class(spec.model.backbone))
    with world(device) as among, new_run(Path(out), spec) as run:
        progress, say = (progress, say) if among.first else (False, _silent)
        for note in notes:
            say(note)
        if resume and run.finished:
            say(f"{run.path} is finished already")
            return run if among.first else None
        if run.damage:
            say(f"{run.path} is damaged and will be repaired: cannot read {run.damage}")
            resume = True
        say(f"features of {len(dataset.images)} images: {spec.images.encoder}")
        features = features_of(spec, dataset)
        features.complete(dataset, device=device, progress=progress)
        say(f"trials of subject {', '.join(map(str, training_subjects(spec, dataset)))}")
        data, signals = training_data(spec, dataset, features, progress=progress)
        test = load_test_set(spec, dataset, features, spec.evaluation, progress=progress)
        model, loss = _untrained(spec, data, signals, features, among, say)
        if among.first:
            record = _record(spec, notes, dataset, features, device)
            run.write_json("run.json", {**record, **_of_model(model), "processes": among.size})
        options = {
            "device": device,
            "resume": resume,
            "progress": progress,
            "world": among,
            "say": say,
        }
        say(
            f"train {spec.method} for {spec.train.epochs} epochs on {len(data)} trials, on {device}"
        )
        model, history = _fitted(spec, model, loss, data, run, options)
        if not among.first:
            return None
        write_weights(run.weights, model)
        run.write_table("history.csv", history)
        queries, numbers = _tested(run, spec, model, test)
        trained = {**_trained_on(data), **_train_seconds(history)}
        _finish(run, spec, dataset, queries, {**numbers, **trained})
    return Run(run.path)


def _untrained(
    spec: RunSpec,
    data: TrainingSet,
    signals: Signals,
    features: ImageFeatures,
    among: World,
    say: Callable[[str], None],
) -> tuple[SSR | Ridge, torch.nn.Module]:
    """The model with the weights that it starts from, and its loss."""
    seed_everything(spec.train.seed)
    n_subjects = data.table["subject"].nunique()
    model = build_model(spec, signals, data.original.shape[1], features.widths(), n_subjects)
    if isinstance(model, SSR):
        start_weights(model, spec.model, say)
    else:
        among.check_alone(spec.method)
    return model, build_loss(spec, model)


def _fitted(
    spec: RunSpec,
    model: SSR | Ridge,
    loss: torch.nn.Module,
    data: TrainingSet,
    run: Run,
    options: dict[str, Any],
) -> tuple[torch.nn.Module, pd.DataFrame]:
    """The trained model and its history; found by gradient steps, or in closed form."""
    if isinstance(model, Ridge):
        return model, fit_ridge(data, model, spec.train)
    precision = pick_precision(spec.train.precision, options["device"])
    kept = run.epochs if spec.train.keep == "every" else None
    folders = {"folder": run.checkpoint, "kept": kept}
    net = fit(data, model, loss, spec.train, precision=precision, **folders, **options)
    return net.module_, _history(net)


def _finish(
    run: Run,
    spec: RunSpec,
    dataset: ImageDataset,
    queries: pd.DataFrame,
    numbers: dict[str, Any],
) -> None:
    """Write what the test gave, with which the run is whole."""
    run.write_table("queries.csv", queries)
    labels = _labels(spec, evaluation_of(spec))
    run.write_json("summary.json", {**labels, **numbers, **_ceiling(dataset, spec)})


def evaluate(
    path: str | Path, evaluation: Asked = None, **options: Any
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Test a finished run again, perhaps in another way. The run is left as it is.

    Parameters
    ----------
    path : path-like
        A run folder.
    evaluation : str, Protocol, EvaluationSpec or Evaluation, optional
        How, such as ``"as-published"`` or ``"gallery=views+repetitions=10"``, see
        :mod:`braindecode_ssr.retrieval.protocols`; default: as the run was tested.
    **options
        As for :func:`evaluate_each`.

    Returns
    -------
    queries : DataFrame
        One row per query.
    summary : dict
        The keys of ``summary.json``; ``evaluation`` and ``flags`` say how the numbers were obtained.
    """
    return next(evaluate_each(path, [evaluation], **options))


def evaluate_each(
    path: str | Path,
    evaluations: Iterable[Asked],
    *,
    data_dir: str | Path | None = None,
    device: str = "auto",
    progress: bool = False,
) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """Test a finished run again in several ways: a curve, or protocols side by side.

    Parameters
    ----------
    path : path-like
        A run folder.
    evaluations : iterable
        As for :func:`evaluate`; all of them are understood before the first is done.
    data_dir : path-like, optional
        The folder of the dataset; default: where the run found it.
    device : str
    progress : bool
        Show progress bars on stderr.

    Yields
    ------
    queries, summary
        As of :func:`evaluate`.
    """
    run, device = Run(Path(path)), pick_device(device)
    summary, spec = run.summary, run.spec
    asked = [e if isinstance(e, Evaluation) else evaluation_of(spec, e) for e in evaluations]
    specs = [spec.model_copy(update={"evaluation": e.spec}) for e in asked]
    for each in specs:
        check_selection(each)
    dataset = open_dataset(spec.data, data_dir or run.record["dataset"]["root"])
    features = features_of(spec, dataset, run.record.get("features"))
    features.complete(dataset, device=device, progress=progress)
    n_subjects = len(summary.get("train_subjects", ()))
    kept = {name: value for name, value in summary.items() if not name.startswith("ceiling_")}
    for evaluation, each in zip(asked, specs, strict=True):
        test = load_test_set(each, dataset, features, each.evaluation, progress=progress)
        sizes = (test.gallery.shape[1], features.widths(), n_subjects)
        model = build_model(each, test.signals, *sizes).to(device)
        queries, numbers = _tested(run, each, model, test)
        labels = _labels(each, evaluation)
        yield queries, {**kept, **labels, **numbers, **_ceiling(dataset, each)}


def _tested(
    run: Run, spec: RunSpec, model: torch.nn.Module, test: TestSet
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Ranks and numbers of the epoch that is asked for; the oracle takes the first of the best ones."""
    best: tuple[pd.DataFrame, dict[str, Any]] | None = None
    for epoch, weights in weights_to_test(run, spec):
        queries, numbers = score(load_weights(model, weights), test, spec.evaluation)
        reached = numbers["top1"], numbers["top5"]
        if best is None or reached > (best[1]["top1"], best[1]["top5"]):
            best = queries, {**numbers, "epoch": epoch}
    return best


def _ceiling(dataset: ImageDataset, spec: RunSpec) -> dict[str, float]:
    """What an ideal observer reaches, where it does the same as the run: all candidates, each query alone."""
    if spec.evaluation.n_way is not None or spec.evaluation.correction != "none":
        return {}
    return dataset.ceiling(spec.data.subject, spec.evaluation.repetitions, spec.trials)


def features_of(
    spec: RunSpec, dataset: ImageDataset, made_by: dict[str, str] | None = None
) -> ImageFeatures:
    """The image features of a resolved spec; ``made_by`` as a run recorded it."""
    images = spec.images
    return image_features(dataset, images.encoder, images.views, made_by, images.pool)


def build_model(
    spec: RunSpec,
    signals: Signals,
    n_features: int,
    widths: Sequence[int] = (),
    n_subjects: int = 1,
) -> SSR | Ridge:
    """The untrained model of a resolved spec, for so many training subjects.

    Of the image features it is told the width, and those of the vectors side by side in one.
    """
    if spec.train.solver in RIDGES:
        return RIDGES[spec.train.solver](len(signals.chs_info) * signals.n_times, n_features)
    return SSR(
        n_outputs=spec.model.n_outputs,
        n_chans=len(signals.chs_info),
        n_times=signals.n_times,
        sfreq=signals.sfreq,
        chs_info=signals.chs_info,
        backbone=spec.model.backbone,
        backbone_params=dict(spec.model.backbone_params) or None,
        feature_point=spec.model.feature_point,
        n_features=n_features,
        image_head=spec.model.image_head,
        image_head_params=dict(spec.model.image_head_params) or None,
        feature_widths=list(widths) or None,
        n_subjects=n_subjects if spec.model.subjects == "own" else None,
        space=spec.model.space,
    )


def start_weights(model: SSR, spec: ModelSpec, say: Callable[[str], None] = _silent) -> None:
    """Give a new model its pretrained weights, and freeze what is not to be trained."""
    adjusted = "".join(f", {name} = {value}" for name, value in model.adjusted.items())
    parts = f", a part for each of {model.n_subjects} subjects" if model.n_subjects else ""
    say(
        f"backbone {spec.backbone}: {model.backbone_width} features ({model.feature_point})"
        f"{adjusted}{parts}"
    )
    if spec.pretrained:
        fresh = load_pretrained(model.backbone, spec.pretrained)
        say(f"pretrained weights of {spec.pretrained}, except {', '.join(fresh) or 'none'}")
    model.freeze(*spec.freeze)


def build_loss(spec: RunSpec, model: SSR | Ridge | None = None) -> torch.nn.Module:
    """The loss of a spec; told the width of the shared space, and the model's sizes, where it takes them."""
    loss = LOSSES[spec.loss.name]
    takes = inspect.signature(loss).parameters
    width = {"n_outputs": spec.model.n_outputs} if "n_outputs" in takes else {}
    unknown = sorted(set(spec.loss.params) - set(takes))
    if unknown:
        raise unknown_name(f"parameter of the loss {spec.loss.name}", unknown[0], list(takes))
    return loss(**{**width, **sizes_for(loss, model), **spec.loss.params})


def _trained_on(data: TrainingSet) -> dict[str, Any]:
    return {"n_train": len(data), "train_subjects": data.table["subject"].unique().tolist()}


def _train_seconds(history: pd.DataFrame) -> dict[str, float]:
    return {"train_seconds": round(float(history["dur"].sum()), 2)}


def _history(net: EEGRetriever) -> pd.DataFrame:
    rows = [{k: v for k, v in row.items() if k != "batches"} for row in net.history]
    return pd.DataFrame(rows)


def _record(
    spec: RunSpec,
    notes: list[str],
    dataset: ImageDataset,
    features: ImageFeatures,
    device: str,
) -> dict[str, Any]:
    return {
        "spec": spec.model_dump(mode="json"),
        "notes": notes,
        "dataset": {
            "name": dataset.name,
            "root": str(dataset.root.absolute()),
            "fingerprint": dataset.source_key(spec.data.subject, spec.trials),
        },
        "features": features.made_by(),
        "device": device,
        "versions": versions(),
        "git": git_commit(),
    }


def _of_model(model: SSR | Ridge) -> dict[str, Any]:
    """What the backbone turned out to be, where there is one."""
    if isinstance(model, Ridge):
        return {}
    return {
        "backbone": {
            "features": model.backbone_width,
            "feature_point": model.feature_point,
            "adjusted": {name: str(value) for name, value in model.adjusted.items()},
        }
    }


def _labels(spec: RunSpec, evaluation: Evaluation) -> dict[str, Any]:
    """What a table says of a run before its numbers."""
    return {
        "dataset": spec.data.dataset,
        "method": spec.method,
        "backbone": spec.model.backbone,
        "subjects": spec.model.subjects,
        "protocol": spec.data.protocol,
        "subject": spec.data.subject,
        "seed": spec.train.seed,
        "channels": spec.data.channels,
        "encoder": spec.images.encoder,
        "views": list(spec.images.views),
        "space": spec.model.space,
        "evaluation": evaluation.name,
        "flags": list(evaluation.flags),
        "gallery": spec.evaluation.gallery,
        "n_way": spec.evaluation.n_way,
        "correction": spec.evaluation.correction,
        "selection": selected(spec),
        "epochs": spec.train.epochs,
        "batch_size": spec.train.batch_size,
    }
