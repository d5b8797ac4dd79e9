"""Calibrate a run to a new person with a few minutes of trials: fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .config import RunSpec, build
from .datasets import open_dataset
from .datasets.base import ImageDataset
from .datasets.zero_shot import check_disjoint, training_images
from .errors import DataError, Say, UsageError, silent
from .files import file_sha256
from .images.features import ImageFeatures
from .inference.evaluation import features_of_run, load_test_set, score
from .inference.trained import TrainedRun, load_run
from .models.names import Trust
from .pipeline import train
from .registry import Label, check_name
from .training.data import match_subjects

FREEZE = {"none": (), "backbone": ("backbone",), "head": ("image_head", "final_layer")}
"""What is not trained: nothing, the brain encoder, or both projectors."""
EPOCHS = 20
"""Training epochs unless others are asked for: few, since trials are few."""


def finetune(
    source: str | Path | TrainedRun,
    *,
    subject: Label | None = None,
    trials: int | None = 200,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    out: str | Path = "runs",
    freeze: str = "none",
    tuning: str | None = None,
    epochs: int = EPOCHS,
    lr: float | None = None,
    seed: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    trust: Trust = False,
    progress: bool = False,
    say: Say = silent,
) -> TrainedRun:
    """Train a run further on the first trials of another person, and test it on that person.

    The result is a run folder like any other, with the flag ``finetuned``; tables call its method
    ``ssr-finetuned-200``. The same call resumes it, and returns it once it is finished.

    Parameters
    ----------
    source : path-like or TrainedRun
        The run to start from: a folder, or ``ORG/NAME`` on the Hub.
    subject : int or str, optional
        The person; default: the tested subject of the run.
    trials : int, optional
        How many training trials of the person are used, the first in order of presentation; None: all.
        Whitening, fitted for each session before, has seen the noise of all training trials.
    dataset : str, optional
        Where the person is; default: the dataset of the run.
    data_dir : path-like, optional
        The folder of the dataset; default: where the run found it.
    out : path-like
        The run folder is created in here.
    freeze : {"none", "backbone", "head"}
        What is not trained: nothing, the brain encoder, or the two projectors into the shared space.
    tuning : {"full", "frozen", "lora"}, optional
        What of the brain encoder is trained, see ``model.tuning``; default: as in the run, unless the encoder
        is frozen.
    epochs : int
        Training epochs.
    lr, seed : optional
        Default: those of the run.
    device, overwrite, trust, progress, say
        As for :func:`braindecode_ssr.train`.

    Raises
    ------
    UsageError, DataError, LeakageError
        If the run cannot be trained further (closed forms, parts for each subject, components), or there
        are fewer trials; if channels, signals or image features are not those of the run; if it was trained
        on concepts that are tested here.
    """
    check_name("part to freeze", freeze, FREEZE)
    run = load_run(source, trust=trust, device=device)
    spec, found, _ = _for_subject(run, subject, dataset, data_dir, progress)
    largest = spec.train.batch_size or 2
    changed = spec.replace(
        data={"extra": ()},
        model={
            "freeze": FREEZE[freeze],
            "tuning": tuning or ("full" if freeze == "backbone" else spec.model.tuning),
            "pretrained": None,
        },
        train={
            "epochs": epochs,
            "batch_size": None if trials is None else max(2, min(largest, trials // 2)),
            "lr": lr or spec.train.lr,
            "warmup": 0.0,
            "seed": spec.train.seed if seed is None else seed,
            "device": device,
            "validation_concepts": 0,
            "selection": "last",
            "keep": "final",
        },
        finetune={
            "run": run.path.name,
            "weights": file_sha256(run.weights)[:16],
            "trials": trials,
        },
    )
    spec = build(changed.model_dump())  # checks the new values
    options: dict[str, Any] = {"overwrite": overwrite, "trust": trust}
    options |= {"progress": progress, "say": say}
    done = train(spec, start=run, data_dir=found.root, out=out, **options)
    assert done is not None  # one process
    return done


def untouched(
    source: str | Path | TrainedRun,
    *,
    subject: Label | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    trust: Trust = False,
    progress: bool = False,
) -> dict[str, Any]:
    """The metrics of a run on another person without any fine-tuning: where a curve begins."""
    run = load_run(source, trust=trust, device=device)
    spec, found, features = _for_subject(run, subject, dataset, data_dir, progress)
    test = load_test_set(spec, found, features, spec.evaluation, trained=run.channels)
    return score(run.model, test, spec.evaluation)[1]


def _for_subject(
    run: TrainedRun,
    subject: Label | None,
    dataset: str | None,
    data_dir: str | Path | None,
    progress: bool,
) -> tuple[RunSpec, ImageDataset, ImageFeatures]:
    """The spec of a run for another person, with dataset and features, all checked against the run."""
    spec = run.spec
    cannot = {
        "a closed form": spec.train.solver != "gradient",
        "a model with a part for each subject": spec.model.subjects == "own",
        "a model on fitted components": spec.model.components is not None,
    }
    for what in (what for what, is_so in cannot.items() if is_so):
        raise UsageError(
            f"{run.path.name} is {what}, which cannot be trained further on another person",
            "train one with --set model.subjects=shared and a method such as ssr",
        )
    name = dataset or spec.data.dataset
    same = name == spec.data.dataset
    data = spec.data.replace(dataset=name)
    found = open_dataset(data, data_dir or (run.data_root if same else None))
    found.check_here()
    trained_on = found
    if not same:
        before = (run.record.get("dataset") or {}).get("root")
        if not before or not Path(before).exists():
            raise DataError(
                f"the data of {run.path.name} are not here, so it is unknown which concepts it was "
                "trained on",
                f"calibrate on {spec.data.dataset}, or put its folder back where it was",
            )
        trained_on = open_dataset(spec.data, before)
    tested = found.images.loc[found.images["split"] == "test", "concept"]
    learned = training_images(spec.data, trained_on)["concept"]
    check_disjoint(learned, tested, f"{run.path.name} and {found.root}")
    whom = found.check_subject(spec.data.subject if subject is None else subject)
    channels = tuple(run.channels.ch_names)
    changed = {"subject": whom, "protocol": "intra", "channels": channels}
    spec = spec.replace(data=data.replace(**changed))
    match_subjects(spec, found, [whom], trained=run.channels, progress=progress)
    features = features_of_run(run, spec, found, run.device)
    features.complete(found, device=run.device, progress=progress)
    features.original(found.images["image_id"].tolist()[:1])  # made by the same encoder
    return spec, found, features


__all__ = ["finetune", "untouched"]
