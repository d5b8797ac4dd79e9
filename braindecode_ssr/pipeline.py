"""The straight line: recordings and images in, a trained model and a table of ranks out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checks import check_run
from .config import DataSpec, EvaluationSpec, RunSpec
from .datasets.base import ImageDataset
from .errors import DataError, MissingDataError, UsageError
from .evaluation import check_selection, selected, weights_to_test
from .files import lock
from .images.features import ImageFeatures, image_features
from .methods import METHODS
from .models.names import Trust, trusting
from .preprocessing.channels import CHANNEL_SETS, ChannelSet
from .registry import unknown_name
from .resolve import open_dataset, resolve, training_subjects
from .retrieval.evaluations import Evaluation, check_flags, evaluation_of
from .runs import Run, git_commit, new_run, replace_run, run_of, same_data, trained_anew, versions
from .training.build import build_loss, build_model, features_of, initialize

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from .evaluation import TestSet
    from .models.ssr import SSR
    from .training.data import Signals, TrainingSet
    from .training.distributed import World
    from .training.retriever import EEGRetriever
    from .training.ridge import Ridge


Asked = str | Evaluation | EvaluationSpec | None


def _silent(text: str) -> None:
    """Say nothing."""


def train(
    spec: RunSpec,
    *,
    data_dir: str | Path | None = None,
    out: str | Path = "runs",
    overwrite: bool = False,
    resume: bool | None = None,
    trust: Trust = False,
    progress: bool = False,
    say: Callable[[str], None] = _silent,
) -> Run | None:
    """Prepare trials and features, train, test, and write the run folder.

    A run that is finished is handed back as it is, and one that was interrupted is continued from its last
    checkpoint. Started by ``torchrun``, all processes train one model together; the first tests it and
    writes.

    Parameters
    ----------
    spec : RunSpec
        As made by :func:`braindecode_ssr.resolve.run_spec`.
    data_dir : path-like, optional
        The folder of the dataset; default: below $SSR_DATA or MNE's data folder.
    out : path-like
        Run folders are made in here.
    overwrite : bool
        Train a finished or interrupted run from the beginning. The run that is there is replaced when the
        new one is complete, and stays if that fails.
    resume : bool, optional
        Accepted for older scripts and without effect: what is interrupted is always continued.
    trust : bool or str
        Import any class that the spec names by a dotted path, or this one; otherwise only modules of
        braindecode, ``torch.nn``, this package and installed entry points.
    progress : bool
        Show progress bars on stderr.
    say : callable
        Is told, in a line, what is done and what was decided.

    Returns
    -------
    Run or None
        With ``summary``, ``queries`` and ``history``; None in all processes but the first.

    Raises
    ------
    UsageError, DataError
        See :func:`braindecode_ssr.checks.check_run`; and if the run that is there was trained on other data.
    """
    if trust:
        with trusting(trust):
            options = {"overwrite": overwrite, "progress": progress, "say": say}
            return train(spec, data_dir=data_dir, out=out, **options)
    first = os.environ.get("RANK", "0") == "0"
    progress, say = (progress, say) if first else (False, _silent)
    dataset = open_dataset(spec.data, data_dir)
    spec, notes = resolve(spec, dataset)
    final = run_of(Path(out), spec)
    if _handed_back(final, spec, dataset, say, overwrite=overwrite):
        return final if first else None
    say(f"run {final.path.name}")
    for note in notes:
        say(note)
    check_run(spec, dataset, out)

    from .evaluation import load_test_set
    from .runs import write_weights
    from .training.data import training_data, trials_record
    from .training.distributed import own_device, pick_device, world

    device = own_device(pick_device(spec.train.device))
    with (
        world(device) as among,
        new_run(trained_anew(final) if overwrite else final) as run,
        lock(final.path, "train", shared=True, say=say) if first else nullcontext(),
    ):
        among.wait()
        if _handed_back(final, spec, dataset, say, overwrite=overwrite):
            return final if first else None
        if run.damage:
            say(f"{run.path} is damaged and will be repaired: cannot read {run.damage}")
        say(f"features of {len(dataset.images)} images: {spec.images.encoder}")
        features = features_of(spec, dataset)
        features.complete(dataset, device=device, progress=progress, say=say)
        _check_begun(run, spec, dataset, features, overwrite=overwrite, writes=first)
        among.wait()
        say(f"trials of subject {', '.join(map(str, training_subjects(spec, dataset)))}")
        data, signals = training_data(spec, dataset, features, progress=progress)
        options = {"trained": signals.channels, "progress": progress}
        test = load_test_set(spec, dataset, features, spec.evaluation, **options)
        model, loss = _untrained(spec, data, signals, features, among, say)
        if first:
            record = _record(spec, notes, dataset, features, device, signals)
            record["trials"] = trials_record(spec, dataset, say)
            run.write_json(
                "run.json", {**record, **_of_model(spec, model), "processes": among.size}
            )
        options = {"device": device, "resume": True, "progress": progress, "world": among}
        say(
            f"train {spec.method} for {spec.train.epochs} epochs on {len(data)} trials, on {device}"
        )
        model, history = _fitted(spec, model, loss, data, run, {**options, "say": say})
        if not first:
            return None
        write_weights(run.weights, model)
        run.write_table("history.csv", history)
        queries, numbers = _tested(run, spec, model, test)
        trained = {**_trained_on(data), **_train_seconds(history)}
        _finish(run, spec, dataset, queries, {**numbers, **trained})
        if overwrite:
            replace_run(final, run)
    return Run(final.path)


def _handed_back(
    run: Run,
    spec: RunSpec,
    dataset: ImageDataset,
    say: Callable[[str], None],
    *,
    overwrite: bool,
) -> bool:
    """Whether a run is finished already and nothing is left to do; says so.

    Raises
    ------
    DataError
        If it was trained on other data than there are now.
    """
    if overwrite or not run.finished:
        return False
    features = None
    with suppress(MissingDataError):
        features = features_of(spec, dataset).made_by()
    differs = same_data(run, dataset, spec, features)
    if differs:
        raise DataError(
            f"{run.path} is a finished run on other data: {differs}",
            "add --overwrite to train it anew, or keep both with another --out",
        )
    say(f"{run.path} is finished already; to train it anew, add --overwrite")
    return True


def _check_begun(
    run: Run,
    spec: RunSpec,
    dataset: ImageDataset,
    features: ImageFeatures,
    *,
    overwrite: bool,
    writes: bool,
) -> None:
    """Find that what is to be continued was begun on the same data; begin an overwriting one again if not.

    Raises
    ------
    DataError
        If it was not.
    """
    differs = same_data(run, dataset, spec, features.made_by())
    if differs and overwrite:
        if writes:
            shutil.rmtree(run.path, ignore_errors=True)
            run.path.mkdir()
    elif differs:
        raise DataError(
            f"{run.path} was begun on other data: {differs}",
            "add --overwrite to train it from the beginning, or choose another --out",
        )


def _untrained(
    spec: RunSpec,
    data: TrainingSet,
    signals: Signals,
    features: ImageFeatures,
    among: World,
    say: Callable[[str], None],
) -> tuple[SSR | Ridge, torch.nn.Module]:
    """The model with the weights that it starts from, and its loss."""
    from .training.distributed import seed_everything

    seed_everything(spec.train.seed)
    n_subjects = data.table["subject"].nunique()
    model = build_model(spec, signals, data.original.shape[1], features.widths(), n_subjects)
    if spec.train.solver == "gradient":
        for line in initialize(model, spec.model):
            say(line)
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
    if spec.train.solver != "gradient":
        from .training.ridge import fit_ridge

        return model, fit_ridge(data, model, spec.train)
    from .training.retriever import fit

    half = "bfloat16" if options["device"].startswith("cuda") else "float32"
    precision = half if spec.train.precision == "auto" else spec.train.precision
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
    labels = _labels(spec, evaluation_of(spec), _data_flags(spec, dataset))
    run.write_json("summary.json", {**labels, **numbers, **_ceiling(dataset, spec)})


def evaluate(
    path: str | Path, evaluation: Asked = None, **options: Any
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Test a finished run again, perhaps in another way. The run is left as it is.

    Parameters
    ----------
    path : path-like
        A run folder.
    evaluation : str, Evaluation or EvaluationSpec, optional
        How, such as ``"as-published"`` or ``"gallery=views+repetitions=10"``, see
        :mod:`braindecode_ssr.retrieval.evaluations`; default: as the run was tested.
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
    trust: Trust = False,
    progress: bool = False,
) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """Test a finished run again in several ways: a curve, or evaluations side by side.

    Parameters
    ----------
    path : path-like
        A run folder.
    evaluations : iterable
        As for :func:`evaluate`; all of them are understood before the first is done.
    data_dir : path-like, optional
        The folder of the dataset; default: where the run found it.
    device : str
    trust : bool or str
        Import any class that the run folder names by a dotted path, or this one, see :func:`train`.
    progress : bool
        Show progress bars on stderr.

    Yields
    ------
    queries, summary
        As of :func:`evaluate`.
    """
    from .evaluation import load_test_set
    from .training.distributed import pick_device

    run, device = Run(Path(path)), pick_device(device)
    summary, spec = run.summary, run.spec
    asked = [evaluation_of(spec, e) for e in evaluations]
    specs = [spec.model_copy(update={"evaluation": e.spec}) for e in asked]
    for each in specs:
        check_selection(each)
    root = data_dir or (run.record.get("dataset") or {}).get("root")
    if not root:
        raise DataError(
            f"{run.path / 'run.json'} does not say where the data are", "give --data-dir"
        )
    dataset = open_dataset(spec.data, root)
    dataset.check_here()
    features = features_of(spec, dataset, run.record.get("features"))
    features.complete(dataset, device=device, progress=progress)
    n_subjects, trained = len(summary.get("train_subjects", ())), _trained_channels(run)
    kept = {name: value for name, value in summary.items() if not name.startswith("ceiling_")}
    for evaluation, each in zip(asked, specs, strict=True):
        test = load_test_set(
            each, dataset, features, each.evaluation, trained=trained, progress=progress
        )
        sizes = (test.gallery.shape[1], features.widths(), n_subjects)
        with trusting(trust):
            model = build_model(each, test.signals, *sizes).to(device)
        queries, numbers = _tested(run, each, model, test)
        labels = _labels(each, evaluation, tuple(run.record.get("flags", ())))
        yield queries, {**kept, **labels, **numbers, **_ceiling(dataset, each)}


def _tested(
    run: Run, spec: RunSpec, model: torch.nn.Module, test: TestSet
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Ranks and numbers of the epoch that is asked for; the oracle takes the first of the best ones."""
    from .evaluation import score
    from .runs import load_weights

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


def _trained_on(data: TrainingSet) -> dict[str, Any]:
    return {"n_train": len(data), "train_subjects": data.table["subject"].unique().tolist()}


def _train_seconds(history: pd.DataFrame) -> dict[str, float]:
    return {"train_seconds": round(float(history["dur"].sum()), 2)}


def _history(net: EEGRetriever) -> pd.DataFrame:
    import pandas as pd

    rows = [{k: v for k, v in row.items() if k != "batches"} for row in net.history]
    return pd.DataFrame(rows)


def _record(
    spec: RunSpec,
    notes: list[str],
    dataset: ImageDataset,
    features: ImageFeatures,
    device: str,
    signals: Signals,
) -> dict[str, Any]:
    return {
        "spec": spec.model_dump(mode="json"),
        "notes": notes,
        "dataset": {
            "name": dataset.name,
            "root": str(dataset.root.absolute()),
            "fingerprint": dataset.source_key(spec.data.subject, spec.trials),
        },
        "channels": list(signals.channels.ch_names),
        "signals": dict(signals.channels.facts),
        "flags": list(_data_flags(spec, dataset)),
        "features": features.made_by(),
        "device": device,
        "versions": versions(),
        "git": git_commit(),
    }


def _trained_channels(run: Run) -> ChannelSet | None:
    """The channels that a run was trained on; None where the names in its spec say it.

    Raises
    ------
    DataError
        If a run of version 0.1.0 does not say in which order it had them.
    """
    channels, owner = run.spec.data.channels, f"the run {run.path}"
    if "channels" in run.record:
        return ChannelSet(owner, tuple(run.record["channels"]), run.record.get("signals", {}))
    named = not isinstance(channels, str) or channels in CHANNEL_SETS
    if named or run.spec.data.dataset == "things-sim":
        return None
    raise DataError(
        f"{run.path / 'run.json'} does not say in which order the run had its channels ({channels})",
        'train the run again, or add the list of names, in the order of the training, as "channels"',
    )


def _of_model(spec: RunSpec, model: SSR | Ridge) -> dict[str, Any]:
    """What the backbone turned out to be, where there is one."""
    if spec.train.solver != "gradient":
        return {}
    return {
        "backbone": {
            "features": model.backbone_width,
            "feature_point": model.feature_point,
            "adjusted": {name: str(value) for name, value in model.adjusted.items()},
        }
    }


def _data_flags(spec: RunSpec, dataset: ImageDataset) -> tuple[str, ...]:
    """What the files and the weights that a run began with make a reader of its numbers need to know."""
    people = {*training_subjects(spec, dataset), spec.data.subject}
    flags = {flag for subject in people for flag in dataset.flags(subject, spec.trials)}
    return check_flags(flags | ({"pretrained-elsewhere"} if spec.model.pretrained else set()))


def _labels(spec: RunSpec, evaluation: Evaluation, flags: tuple[str, ...]) -> dict[str, Any]:
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
        "flags": list(check_flags((*evaluation.flags, *flags))),
        "gallery": spec.evaluation.gallery,
        "n_way": spec.evaluation.n_way,
        "correction": spec.evaluation.correction,
        "selection": selected(spec),
        "epochs": spec.train.epochs,
        "batch_size": spec.train.batch_size,
    }


LAYOUTS = {"raw": "things-eeg", "meg": "things-meg"}
"""Published forms that can be written, and the dataset that reads each."""


def simulate(
    name: str,
    out: str | Path,
    *,
    layout: str = "raw",
    preset: str = "small",
    subjects: tuple[int, ...] = (),
    seed: int = 0,
    progress: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Write recordings, images and image features of a simulated dataset.

    Recordings and images lie as THINGS-EEG2 or THINGS-MEG is published; features of the simulator's own
    encoder are kept where ``things-eeg`` or ``things-meg`` keeps its features, so that training needs no
    network.

    Parameters
    ----------
    name : str
        A simulated dataset.
    out : path-like
        The folder that becomes a dataset.
    layout : {"raw", "meg"}
        As the raw recordings of THINGS-EEG2, or as the epochs of THINGS-MEG: another experiment with the
        same concepts.
    preset, seed
        As in :class:`braindecode_ssr.config.DataSpec`.
    subjects : tuple of int
        Those to write; empty for all.

    Returns
    -------
    dict
        ``out``, ``dataset`` that reads it, ``subjects``, ``recordings`` written, ``images`` and ``encoder``.

    Raises
    ------
    UsageError
        If there is no such dataset, layout, preset or subject, or the folder is another dataset's.
    DataError
        If a file cannot be written.
    """
    from .datasets import DATASETS

    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, list(LAYOUTS))
    dataset = open_dataset(DataSpec(dataset=name, preset=preset, seed=seed), out)
    if not hasattr(dataset, "preset"):
        raise UsageError("a simulated dataset", repr(name), "give things-sim")
    subjects = tuple(map(dataset.check_subject, subjects))
    files = _WRITERS[layout](dataset, subjects, Path(out), say)
    written = DATASETS[LAYOUTS[layout]](out)
    say(f"encode the images with {dataset.default_encoder}")
    features = image_features(written, dataset.default_encoder, METHODS["ssr"].views)
    features.complete(written, device="cpu", progress=progress)
    return {
        "out": str(out),
        "dataset": written.name,
        "subjects": list(subjects or written.present_subjects),
        "recordings": len(files),
        "images": len(written.images),
        "encoder": dataset.default_encoder,
    }


def _write_raw(dataset: Any, subjects: tuple[int, ...], out: Path, say: Callable) -> list[Path]:
    from .simulation.layout import write_raw

    chosen = [dataset.check_subject(subject) for subject in subjects or dataset.subjects]
    say(f"write {len(dataset.images)} images and {len(chosen)} subjects to {out}")
    return [path for path in write_raw(dataset, chosen, out) if path.parent.name.startswith("ses-")]


def _write_meg(dataset: Any, subjects: tuple[int, ...], out: Path, say: Callable) -> list[Path]:
    from .simulation.meg import write_meg

    say(f"write images and trials to {out}")
    return [path for path in write_meg(dataset, subjects, out, say) if path.suffix == ".fif"]


_WRITERS = {"raw": _write_raw, "meg": _write_meg}
