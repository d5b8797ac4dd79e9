"""The straight line: recordings and images in, a trained model and a table of ranks out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from .config import EvaluationSpec, ModelSpec, RunSpec
from .datasets.base import ImageDataset
from .devices import pick_device, pick_precision, seed_everything
from .distributed import own_device, world
from .errors import DataError
from .images.pooling import ImageFeatures, image_features
from .losses import LOSSES
from .models.pretrained import load_pretrained
from .models.ssr import SSR
from .registry import unknown_name
from .resolve import open_dataset, resolve, training_subjects
from .ridge import RIDGES, Ridge, fit_ridge
from .runs import Run, git_commit, new_run, unwritable, versions
from .training import fit
from .training_data import Signals, training_data
from .zero_shot import load_test_set, score

if TYPE_CHECKING:
    from .batches import TrainingSet
    from .training import EEGRetriever


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
    with world(device) as among, new_run(Path(out), spec) as run:
        progress, say = (progress, say) if among.first else (False, _silent)
        for note in notes:
            say(note)
        if resume and run.finished:
            say(f"{run.path} is finished already")
            return run if among.first else None
        say(f"features of {len(dataset.images)} images: {spec.images.encoder}")
        features = image_features(dataset, spec.images.encoder, spec.images.views)
        features.complete(dataset, device=device, progress=progress)
        say(f"trials of subject {', '.join(map(str, training_subjects(spec, dataset)))}")
        data, signals = training_data(spec, dataset, features, progress=progress)
        test = load_test_set(spec, dataset, features, spec.evaluation, progress=progress)
        seed_everything(spec.train.seed)
        model = build_model(spec, signals, n_features=data.original.shape[1])
        if isinstance(model, SSR):
            start_weights(model, spec.model, say)
        loss = build_loss(spec)
        if among.first:
            record = _record(spec, notes, dataset, features, device)
            run.write_json("run.json", {**record, **_of_model(model), "processes": among.size})
        options = {"device": device, "resume": resume, "progress": progress, "world": among}
        say(
            f"train {spec.method} for {spec.train.epochs} epochs on {len(data)} trials, on {device}"
        )
        model, history = _fitted(spec, model, loss, data, run, options)
        if not among.first:
            return None
        queries, numbers = score(model, test)
        ceiling = dataset.ceiling(spec.data.subject, spec.evaluation.repetitions, spec.trials)
        _write_weights(run, model)
        run.write_table("history.csv", history)
        run.write_table("queries.csv", queries)
        seconds = {"train_seconds": round(float(history["dur"].sum()), 2)}
        labels = {**_labels(spec), **_trained_on(data)}
        run.write_json("summary.json", {**labels, **numbers, **ceiling, **seconds})
    return Run(run.path)


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
        options["world"].check_alone(spec.method)
        return model, fit_ridge(data, model, spec.train)
    precision = pick_precision(spec.train.precision, options["device"])
    net = fit(data, model, loss, spec.train, run.checkpoint, precision=precision, **options)
    return net.module_, _history(net)


def evaluate(
    path: str | Path,
    evaluation: EvaluationSpec | None = None,
    *,
    data_dir: str | Path | None = None,
    device: str = "auto",
    progress: bool = False,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Test a finished run again, perhaps with another gallery or fewer repetitions.

    Parameters
    ----------
    path : path-like
        A run folder.
    evaluation : EvaluationSpec, optional
        Default: as the run was tested.
    data_dir : path-like, optional
        The folder of the dataset; default: where the run found it.

    Returns
    -------
    queries : DataFrame
        One row per query.
    summary : dict
        The keys of ``summary.json``.
    """
    run, device = Run(Path(path)), pick_device(device)
    summary, spec = run.summary, run.spec
    spec = spec.model_copy(update={"evaluation": evaluation or spec.evaluation})
    dataset = open_dataset(spec.data, data_dir or run.record["dataset"]["root"])
    made_by = run.record.get("features")
    features = image_features(dataset, spec.images.encoder, spec.images.views, made_by)
    features.complete(dataset, device=device, progress=progress)
    test = load_test_set(spec, dataset, features, spec.evaluation, progress=progress)
    model = build_model(spec, test.signals, n_features=test.gallery.shape[1])
    queries, numbers = score(load_weights(model, run.weights).to(device), test)
    ceiling = dataset.ceiling(spec.data.subject, spec.evaluation.repetitions, spec.trials)
    return queries, {**summary, **_labels(spec), **numbers, **ceiling}


def build_model(spec: RunSpec, signals: Signals, n_features: int) -> SSR | Ridge:
    """The untrained model of a resolved spec."""
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
    )


def start_weights(model: SSR, spec: ModelSpec, say: Callable[[str], None] = _silent) -> None:
    """Give a new model its pretrained weights, and freeze what is not to be trained."""
    adjusted = "".join(f", {name} = {value}" for name, value in model.adjusted.items())
    say(
        f"backbone {spec.backbone}: {model.backbone_width} features ({model.feature_point}){adjusted}"
    )
    if spec.pretrained:
        fresh = load_pretrained(model.backbone, spec.pretrained)
        say(f"pretrained weights of {spec.pretrained}, except {', '.join(fresh) or 'none'}")
    model.freeze(*spec.freeze)


def build_loss(spec: RunSpec) -> torch.nn.Module:
    """The loss of a spec; told the width of the shared space if it has parameters of that width."""
    loss = LOSSES[spec.loss.name]
    takes = inspect.signature(loss).parameters
    width = {"n_outputs": spec.model.n_outputs} if "n_outputs" in takes else {}
    unknown = sorted(set(spec.loss.params) - set(takes))
    if unknown:
        raise unknown_name(f"parameter of the loss {spec.loss.name}", unknown[0], list(takes))
    return loss(**width, **spec.loss.params)


def load_weights(model: torch.nn.Module, path: Path) -> torch.nn.Module:
    """Fill a model with the weights of a file, all of them.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(
            f"the weights of this run's model in {path}",
            str(error).splitlines()[0],
            "train the run again",
        ) from error
    return model


def _trained_on(data: TrainingSet) -> dict[str, Any]:
    return {"n_train": len(data), "train_subjects": data.table["subject"].unique().tolist()}


def _write_weights(run: Run, model: torch.nn.Module) -> None:
    from safetensors.torch import save_file

    part = run.weights.with_name(".model.part")
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    try:
        save_file(tensors, part)
        part.replace(run.weights)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable(run.weights, error) from error


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


def _labels(spec: RunSpec) -> dict[str, Any]:
    """What a table says of a run before its numbers."""
    return {
        "dataset": spec.data.dataset,
        "method": spec.method,
        "backbone": spec.model.backbone,
        "protocol": spec.data.protocol,
        "subject": spec.data.subject,
        "seed": spec.train.seed,
        "channels": spec.data.channels,
        "encoder": spec.images.encoder,
        "views": list(spec.images.views),
        "gallery": spec.evaluation.gallery,
        "selection": spec.train.selection,
        "epochs": spec.train.epochs,
        "batch_size": spec.train.batch_size,
    }
