"""The straight line: recordings and images in, a trained model and a table of ranks out."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import DataSpec, EvaluationSpec, RunSpec, nested
from .datasets import DATASETS, open_dataset
from .datasets.base import ImageDataset
from .datasets.zero_shot import (
    TrainingSource,
    extra_changed,
    extra_record,
    sources_of,
    training_subjects,
)
from .errors import DataError, MissingDataError, Say, UsageError, silent
from .files import atomic_write, lock, publish
from .images.features import features_of, image_features
from .inference.evaluation import (
    candidates,
    check_selection,
    features_of_run,
    labels_of,
    score_run,
)
from .methods import METHODS
from .models.names import Trust, providing, trusting
from .preprocessing.channels import CHANNEL_SETS, ChannelSet
from .registry import Label, check_name, natural
from .resolve import check_run, resolve, run_spec
from .retrieval.evaluations import Evaluation, check_flags, evaluation_of
from .runs import (
    CARD,
    CONFIG,
    IMAGE_ENCODER,
    WHITENING,
    Run,
    data_difference,
    git_commit,
    load_weights,
    machine,
    model_card,
    named_folder,
    new_run,
    replacement_of,
    run_of,
    versions,
    write_model,
    write_weights,
)

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from skorch.callbacks import Callback

    from .inference.evaluation import Embeddings
    from .inference.trained import TrainedRun

Asked = str | Evaluation | EvaluationSpec | None
LAYOUTS = {"raw": "things-eeg", "meg": "things-meg"}
"""Published layouts that can be written, and the dataset that reads each."""


def bars_shown() -> bool:
    """Whether progress bars are shown by default: in a terminal and in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


LOGS = ("tensorboard", "wandb", "mlflow")
"""Where training can be logged: the packages that it takes."""


def check_log(name: str | None) -> None:
    """Raise UsageError, before any work, if training cannot be logged there."""
    if name is None:
        return
    check_name("log", name, LOGS)
    if not find_spec(name):
        raise UsageError(f"there is no package {name} to log to", f"install it: pip install {name}")


def train(
    spec: RunSpec | None = None,
    *,
    backbone: str | type[torch.nn.Module] | torch.nn.Module | None = None,
    start: TrainedRun | None = None,
    data_dir: str | Path | None = None,
    out: str | Path = "runs",
    overwrite: bool = False,
    resume: bool | None = None,
    trust: Trust = False,
    log: str | None = None,
    callbacks: Iterable[Callback | tuple[str, Callback]] = (),
    progress: bool | None = None,
    say: Say = silent,
    **settings: Any,
) -> TrainedRun | None:
    """Prepare trials and features, train, test, and write the run folder.

    A finished run is returned as it is, and an interrupted one resumes from its last checkpoint. Started by
    ``torchrun``, all processes train one model together; the first one tests it and writes.

    Parameters
    ----------
    spec : RunSpec, optional
        From :func:`braindecode_ssr.resolve.run_spec`; default: made of ``settings``.
    backbone : str, type of nn.Module, or nn.Module, optional
        Replaces that of the spec: a name, ``"my_net.py:MyNet"``, a class, or a model whose weights are the
        initial ones. The run records ``module.Class``; pass the object to :func:`evaluate` again.
    start : TrainedRun, optional
        The run that ``spec.finetune`` names, whose weights are the initial ones; see
        :func:`braindecode_ssr.calibrate.finetune`.
    data_dir : path-like, optional
        The folder of the dataset; default: below $SSR_DATA or MNE's data folder.
    out : path-like
        Run folders are created in here.
    overwrite : bool
        Train a finished or interrupted run from the beginning. The old run is replaced when the new one is
        complete, and stays if that fails.
    resume : bool, optional
        Accepted for older scripts and without effect: an interrupted run always resumes.
    trust : bool or str
        Import any class that the spec names by a dotted path, or this one; otherwise only modules of
        braindecode, ``torch.nn``, this package and installed entry points.
    log : {"tensorboard", "wandb", "mlflow"}, optional
        Write each epoch of ``history.csv`` there too; TensorBoard's files are in ``tensorboard`` of the run.
    callbacks : iterable of skorch.callbacks.Callback
        Called around each epoch, in the first process. They may observe but not change the training: their
        names are in the run's notes and do not make it another run.
    progress : bool, optional
        Show progress bars on stderr; default: in a terminal and in a notebook.
    say : callable
        Gets a line about each step and each decision.
    **settings
        In the place of ``spec``, by the names of the options of ``ssr-bd train``: ``dataset``, ``subject``,
        ``method``, ``lr`` and so on; any other by its dotted name, as in ``**{"train.ema": 0.99}``.

    Returns
    -------
    TrainedRun or None
        With ``summary``, ``queries``, ``history``, ``model`` and ``retrieve``; None in all processes but the
        first.

    Raises
    ------
    UsageError, DataError
        See :func:`braindecode_ssr.resolve.check_run`; and if the existing run was trained on other data.

    Examples
    --------
    >>> run = train(dataset="things-sim", subject=5, epochs=10)  # doctest: +SKIP
    >>> run.summary["top1"]  # doctest: +SKIP
    """
    from .inference.trained import TrainedRun

    if spec is None:
        spec = run_spec(nested(settings))
    elif settings:
        raise UsageError(
            f"train got both a spec and the settings {', '.join(settings)}",
            "put them into the spec with braindecode_ssr.resolve.run_spec, or leave the spec out",
        )
    check_log(log)
    called = list(callbacks)
    names = [type(each[1] if isinstance(each, tuple) else each).__name__ for each in called]
    if "EarlyStopping" in names:
        raise UsageError(
            "EarlyStopping changes the training, which the run folder would not record",
            "use the settings train.patience and train.validation_concepts",
        )
    if progress is None:
        progress = bars_shown()
    first = os.environ.get("RANK", "0") == "0"
    if not first:
        progress, say = False, silent
    with trusting(trust), _with_backbone(spec, backbone) as spec:
        # Which run is this, and is it finished already?
        dataset = open_dataset(spec.data, data_dir)
        spec, notes = resolve(spec, dataset)
        if bool(spec.finetune.run) != (start is not None):
            raise UsageError(
                f"the spec is that of a run fine-tuned from {spec.finetune.run or 'nothing'}",
                "use ssr-bd finetune RUN, or braindecode_ssr.finetune",
            )
        final = run_of(Path(out), spec)
        if not overwrite and _is_finished(final, spec, dataset, say):
            return TrainedRun(final.path, trust) if first else None
        if called:
            notes = [*notes, f"callbacks: {', '.join(names)}"]
        for line in (f"run {final.path.name}", *notes):
            say(line)
        check_run(spec, dataset, out)

        from .inference.evaluation import load_test_set
        from .models.modules import count_parameters
        from .training.data import copied_recordings, training_data, trials_record, whitening_record
        from .training.distributed import own_device, pick_device, seed_everything, world
        from .training.retriever import build_loss, build_model, fit, initialize, is_pretrained

        device = own_device(pick_device(spec.train.device))
        with (
            world(device) as processes,
            new_run(replacement_of(final) if overwrite else final) as run,
            lock(final.path, "train", shared=True, say=say) if first else nullcontext(),
        ):
            processes.barrier()
            if not overwrite and _is_finished(final, spec, dataset, say):  # meanwhile, by another
                return TrainedRun(final.path, trust) if first else None
            if run.damage:
                say(f"{run.path} is damaged and will be repaired: cannot read {run.damage}")

            # The image features, and whether the run was started on the same data
            say(f"features of {len(dataset.images)} images: {spec.images.encoder}")
            features = features_of(spec, dataset)
            features.complete(dataset, device=device, progress=progress, say=say)
            made_by, made_of = features.made_by(), features.made_of(dataset)
            sources = sources_of(spec, dataset)
            others = []
            for source in sources[1:]:
                more = features_of(source.spec, source.dataset)
                more.complete(source.dataset, device=device, progress=progress, say=say)
                if more.made_by() != made_by:
                    raise DataError(
                        f"the features of {spec.images.encoder} of {source.name} in {more.store.path} were "
                        f"made in another way than those of {dataset.name} in {features.store.path}",
                        "extract or import both with the same encoder, weights and views",
                    )
                others.append((source, more))
            changed = data_difference(run, dataset, spec, made_by, made_of)
            changed = changed or _extra_changed(run, sources)
            if changed and not overwrite:
                raise DataError(
                    f"{run.path} was started on other data: {changed}",
                    "add --overwrite to train it from the beginning, or choose another --out",
                )
            if changed and first:
                shutil.rmtree(run.path, ignore_errors=True)
                run.path.mkdir()
            processes.barrier()

            # The trials of training and of the test
            subjects = training_subjects(spec.data, dataset)
            everybody = [str(one.label(subject)) for one in sources for subject in one.subjects]
            say(f"trials of subject {', '.join(everybody)}")
            joined: dict[str, Any] = {"others": others, "progress": progress}
            tuned = None
            if spec.images.tuning == "lora":
                from .models.image_encoder import build_tuned

                seed_everything(spec.train.seed)
                tuned = joined["encoder"] = build_tuned(spec.images)
                if start is not None and start.spec.images.tuning == "lora":
                    load_weights(tuned, start.path / IMAGE_ENCODER)
                tuned.to(device)
            data, signals = training_data(spec, dataset, features, **joined)
            channels, people = signals.channels, data.table["subject"].unique().tolist()
            how: dict[str, Any] = {"trained": channels, "among": people, "progress": progress}
            test = load_test_set(spec, dataset, features, spec.evaluation, **how)

            # The model and its loss
            seed_everything(spec.train.seed)
            sizes = data.original.shape[1], features.widths(), len(people)
            model: Any = build_model(spec, signals, *sizes)
            flags = _data_flags(spec, dataset)
            everyone = sorted({*subjects, spec.data.subject}, key=natural)
            for line in copied_recordings(dataset, everyone, spec):
                say(f"flag same-recording: {line}")
                flags = check_flags({*flags, "same-recording"})
            if spec.train.solver == "gradient":
                if is_pretrained(spec.model, model, lambda: build_model(spec, signals, *sizes)):
                    flags = check_flags([*flags, "pretrained-elsewhere"])
                    say("flag pretrained-elsewhere; see --set model.pretrained_concepts")
                for line in initialize(model, spec.model, start.weights if start else None):
                    say(line)
            else:
                processes.check_alone(spec.method)
            if start is not None:
                flags = check_flags([*flags, *start.record.get("flags", ()), "finetuned"])
                frozen = ", ".join(spec.model.freeze) or "none"
                say(f"weights of {start.path.name}, frozen: {frozen}")
            if tuned is not None:
                model.image_encoder = tuned
                n_trained = count_parameters(tuned)["trained"]
                say(f"image encoder {spec.images.label}: {n_trained:,} trained")
            loss = build_loss(spec, model)
            whitened, whitening = whitening_record(spec, dataset)
            if first:
                n_trials = data.table["dataset"].value_counts().to_dict()
                record = {
                    "spec": spec.model_dump(mode="json"),
                    "notes": notes,
                    "dataset": {
                        "name": dataset.name,
                        "root": str(dataset.root.absolute()),
                        "fingerprint": dataset.source_key(spec.data.subject, spec.trials),
                        "images": made_of,
                    },
                    "channels": list(channels.ch_names),
                    "whitened_channels": whitened,
                    "signals": dict(channels.facts),
                    "flags": list(flags),
                    "features": made_by,
                    "n_features": sizes[0],
                    "device": device,
                    "versions": versions(),
                    "machine": machine(),
                    "git": git_commit(),
                    "trials": trials_record(spec, dataset, say),
                    "sources": extra_record(sources, n_trials),
                    **_backbone_record(model),
                    "processes": processes.size,
                }
                run.write_json("run.json", record)

            # Training, then the test
            epochs = spec.train.epochs
            say(f"train {spec.method} for {epochs} epochs on {len(data)} trials, on {device}")
            if spec.train.solver == "gradient":
                import pandas as pd

                from .training.callbacks import logger

                precision = spec.train.precision
                if precision == "auto":
                    precision = "bfloat16" if device.startswith("cuda") else "float32"
                kept = run.epochs if spec.train.keep == "every" else None
                options: dict[str, Any] = {"device": device, "precision": precision}
                options |= {"world": processes, "resume": True, "kept": kept}
                options |= {"tmin": signals.tmin}
                if log and first:
                    called.append(logger(log, run.path, final.path.name, record["spec"]))
                options |= {"progress": progress, "say": say, "callbacks": called if first else ()}
                net = fit(data, model, loss, spec.train, run.checkpoint, **options)
                model = net.module_
                rows = [{k: v for k, v in row.items() if k != "batches"} for row in net.history]
                history = pd.DataFrame(rows)
            elif spec.train.solver == "encoding":
                history = model.fit(data)
            else:
                from .training.ridge import fit_ridge

                history = fit_ridge(data, model, spec.train)
            if not first:
                return None
            if tuned is not None:  # the files hold a model of features, and the changes beside it
                write_weights(run.path / IMAGE_ENCODER, model.image_encoder)
                del model.image_encoder
                trained = features_of_run(run, spec, dataset, device)
                images = candidates(trained, spec.evaluation, test.gallery_ids)
                test = replace(test, gallery=images)
            write_model(run, model, whitening)
            if spec.model.tuning == "lora":  # the files hold a model without adapters
                model = build_model(spec, signals, *sizes).to(device)
            run.write_table("history.csv", history)
            queries, numbers = score_run(run, spec, model, test)
            run.write_table("queries.csv", queries)
            summary = {
                **labels_of(spec, evaluation_of(spec), flags),
                **numbers,
                "n_train": len(data),
                "train_subjects": people,
                "train_seconds": round(float(history["dur"].sum()), 2),
                **_ceiling(dataset, spec),
            }
            atomic_write(run.path / CARD, model_card(spec, record, summary))
            run.write_json("summary.json", summary)  # last: now the run is complete
            if overwrite:
                publish(run.path, final.path)
        return TrainedRun(final.path, trust, device)


def evaluate(
    path: str | Path | Run, evaluation: Asked = None, **options: Any
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Test a finished run again, perhaps in another way. The run itself does not change.

    Parameters
    ----------
    path : path-like or Run
        A run folder, or the run.
    evaluation : str, Evaluation or EvaluationSpec, optional
        How, such as ``"as-published"`` or ``"gallery=views+repetitions=10"``, see
        :mod:`braindecode_ssr.retrieval.evaluations`; default: as the run was tested.
    **options
        As for :func:`evaluate_each`.

    Returns
    -------
    queries, summary : DataFrame, dict
        One row per query; the keys of ``summary.json``, of which ``evaluation`` and ``flags`` say how the
        numbers were obtained.
    """
    return next(evaluate_each(path, [evaluation], **options))


@contextmanager
def _with_backbone(spec: RunSpec, backbone: Any) -> Iterator[RunSpec]:
    """The spec with another backbone, without the parameters that the method has for its own."""
    if backbone is None:
        yield spec
        return
    with providing(backbone) as name:
        recipe = METHODS[spec.method].settings_for(spec.data.dataset, spec.data.protocol)
        method_params = recipe.get("model", {}).get("backbone_params", {})
        params = {k: v for k, v in spec.model.backbone_params.items() if k not in method_params}
        yield spec.replace(model={"backbone": name, "backbone_params": params})


def evaluate_each(
    path: str | Path | Run,
    evaluations: Iterable[Asked],
    *,
    backbone: str | type[torch.nn.Module] | torch.nn.Module | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    trust: Trust = False,
    trial_seed: int | None = None,
    subject: Label | None = None,
    embeddings: Callable[[Embeddings, dict[str, Any]], object] | None = None,
    progress: bool = False,
) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """Test a finished run in several ways, all checked before the first starts; yields as :func:`evaluate`.

    ``trial_seed`` is that of the choice of repetitions, where not all are averaged (default: that of the
    run); ``subject`` whose trials are tested, for a run trained on several people. ``embeddings`` gets the
    embeddings behind each result, and its summary.
    """
    from .inference.evaluation import embed, load_test_set, weights_to_test
    from .training.distributed import pick_device
    from .training.retriever import build_model

    run, device = Run(named_folder(path)), pick_device(device)
    summary, spec = run.summary, run.spec
    root = data_dir or (run.record.get("dataset") or {}).get("root")
    flags = tuple(run.record.get("flags", ()))
    if subject is not None and root:
        spec, flags = _for_subject(subject, spec, summary, root, flags)
    named = [evaluation_of(spec, each) for each in evaluations]
    specs = [spec.replace(evaluation=e.spec) for e in named]
    for each in specs:
        check_selection(each)
    dataset = open_dataset(spec.data, root or run.data_root)
    dataset.check_here()
    features = features_of_run(run, spec, dataset, device)
    features.complete(dataset, device=device, progress=progress)
    n_subjects, trained = len(summary.get("train_subjects", ())), _trained_channels(run)
    kept = {name: value for name, value in summary.items() if not name.startswith("ceiling_")}
    for evaluation, each in zip(named, specs, strict=True):
        how: dict[str, Any] = {"trained": trained, "seed": trial_seed, "progress": progress}
        how["among"] = summary.get("train_subjects", ())
        test = load_test_set(each, dataset, features, each.evaluation, **how)
        sizes = (test.gallery.shape[1], features.widths(), n_subjects)
        given = nullcontext() if backbone is None else providing(backbone, spec.model.backbone)
        with trusting(trust), given:
            model = build_model(each, test.signals, *sizes).to(device)
        queries, numbers = score_run(run, each, model, test)
        labels = labels_of(each, evaluation, flags)
        result = {**kept, **labels, **numbers, **_ceiling(dataset, each)}
        if embeddings is not None:
            tested = dict(weights_to_test(run, each))[numbers["epoch"]]
            embeddings(embed(load_weights(model, tested), test), result)
        yield queries, result


def _for_subject(
    subject: Label, spec: RunSpec, summary: dict[str, Any], root: str | Path, flags: tuple[str, ...]
) -> tuple[RunSpec, tuple[str, ...]]:
    """The spec of a run of several people, tested on one of them or on somebody else, and its flags."""
    from .training.data import copied_recordings

    dataset = open_dataset(spec.data, root)
    subject = dataset.check_subject(subject)
    if subject == spec.data.subject:
        return spec, flags
    if spec.data.protocol == "intra":
        raise UsageError(
            f"the run was trained on subject {spec.data.subject} alone, not to test subject {subject}",
            "train one with --protocol pooled or inter, or train this one further with ssr-bd finetune",
        )
    trained = summary.get("train_subjects", [])
    flags = check_flags([*flags, *dataset.flags(subject, spec.trials)])
    with suppress(MissingDataError):  # the people of the training need not be here
        here = [one for one in trained if ":" not in str(one)]  # not those of extra datasets
        if copied_recordings(dataset, [*here, subject], spec):
            flags = check_flags([*flags, "same-recording"])
    protocol = "pooled" if subject in trained else "inter"
    return spec.replace(data={"subject": subject, "protocol": protocol}), flags


def run_of_another_subject(first: Run, spec: RunSpec, data_dir: str | Path | None) -> Run:
    """The run that :func:`train` would make of a pooled spec whose model ``first`` has trained, beside it."""
    dataset, subject = open_dataset(spec.data, data_dir), spec.data.subject
    how: dict[str, Any] = {"data_dir": data_dir, "device": spec.train.device}
    queries, summary = evaluate(first.path, subject=subject, **how)
    data = {**first.record["dataset"], "fingerprint": dataset.source_key(subject, spec.trials)}
    record = {**first.record, "spec": spec.model_dump(mode="json"), "dataset": data}
    record["notes"] = [*record.get("notes", ()), f"the model of {first.path.name}"]
    with new_run(run_of(first.path.parent, spec)) as run:
        for name in ("history.csv", first.weights.name, CONFIG, WHITENING, IMAGE_ENCODER):
            if (first.path / name).is_file():
                shutil.copy(first.path / name, run.path / name)
        if first.epochs.is_dir():
            shutil.copytree(first.epochs, run.epochs, dirs_exist_ok=True)
        run.write_json("run.json", record)
        run.write_table("queries.csv", queries)
        atomic_write(run.path / CARD, model_card(spec, record, summary))
        run.write_json("summary.json", summary)
    return run


def simulate(
    name: str,
    out: str | Path,
    *,
    layout: str = "raw",
    preset: str = "small",
    subjects: tuple[int, ...] = (),
    seed: int = 0,
    progress: bool = False,
    say: Say = silent,
) -> dict[str, Any]:
    """Write recordings, images and image features of a simulated dataset; no ``subjects`` are all.

    ``layout`` ``"raw"`` is that of THINGS-EEG2, ``"meg"`` that of the epochs of THINGS-MEG, another
    experiment with the same concepts. UsageError if the folder holds another dataset.
    """
    check_name("layout", layout, LAYOUTS)
    dataset: Any = open_dataset(DataSpec(dataset=name, preset=preset, seed=seed), out)
    if not hasattr(dataset, "preset"):
        raise UsageError(f"{name!r} is not a simulated dataset", "use things-sim")
    chosen = tuple(map(dataset.check_subject, subjects))
    if layout == "raw":
        from .simulation.layouts import write_raw

        chosen = chosen or dataset.subjects
        say(f"writing {len(dataset.images)} images and {len(chosen)} subjects to {out}")
        files = write_raw(dataset, chosen, out)
    else:
        from .simulation.layouts import write_meg

        say(f"writing images and trials to {out}")
        files = write_meg(dataset, chosen, Path(out), say)
    recordings = [f for f in files if f.suffix == ".fif" or f.parent.name.startswith("ses-")]
    written = DATASETS[LAYOUTS[layout]](out)
    say(f"encoding the images with {dataset.default_encoder}")
    features = image_features(written, dataset.default_encoder, METHODS["ssr"].views)
    features.complete(written, device="cpu", progress=progress)
    return {
        "out": str(out),
        "dataset": written.name,
        "subjects": list(chosen or written.present_subjects),
        "recordings": len(recordings),
        "images": len(written.images),
        "encoder": dataset.default_encoder,
    }


def _is_finished(run: Run, spec: RunSpec, dataset: ImageDataset, say: Say) -> bool:
    """Whether a run is finished; raises DataError if it was trained on other data than there are now."""
    if not run.finished:
        return False
    features, made_by = features_of(spec, dataset), None
    with suppress(MissingDataError):
        made_by = features.made_by()
    changed = data_difference(run, dataset, spec, made_by, features.made_of(dataset))
    if changed := changed or _extra_changed(run, sources_of(spec, dataset)):
        raise DataError(
            f"{run.path} is a finished run on other data: {changed}",
            "add --overwrite to train it again, or keep both with another --out",
        )
    say(f"{run.path} is finished already; to train it again, add --overwrite")
    return True


def _extra_changed(run: Run, sources: list[TrainingSource]) -> str:
    """How the extra datasets differ from those of an existing run, as a sentence; empty if not."""
    try:
        return extra_changed(run.record, sources) if len(sources) > 1 else ""
    except (DataError, KeyError, TypeError):  # missing or damaged: it will be written again
        return ""


def _ceiling(dataset: ImageDataset, spec: RunSpec) -> dict[str, float]:
    """The accuracy of an ideal observer, if known and comparable: all candidates, each query alone."""
    if spec.evaluation.n_way is not None or spec.evaluation.correction != "none":
        return {}
    single = spec.evaluation.average == "none"
    repetitions = 1 if single else spec.evaluation.repetitions
    return dataset.ceiling(spec.data.subject, repetitions, spec.trials)


def _backbone_record(model: Any) -> dict[str, Any]:
    if not hasattr(model, "backbone_width"):
        return {}
    from .models.modules import count_parameters

    facts = {"features": model.backbone_width, "feature_point": model.feature_point}
    facts["adjusted"] = {name: str(value) for name, value in model.adjusted.items()}
    facts["channels"] = model.channel_map
    return {"backbone": facts, "parameters": count_parameters(model)}


def _trained_channels(run: Run) -> ChannelSet | None:
    """The channels that a run was trained on; None if the names in its spec say it."""
    channels, record = run.spec.data.channels, run.record
    if "channels" in record:
        names, facts = tuple(record["channels"]), record.get("signals", {})
        return ChannelSet(f"the run {run.path}", names, facts)
    named = not isinstance(channels, str) or channels in CHANNEL_SETS
    if named or run.spec.data.dataset == "things-sim":
        return None
    raise DataError(
        f"{run.path / 'run.json'} does not say in which order the run had its channels ({channels})",
        'train the run again, or add the list of names, in the order of the training, as "channels"',
    )


def _data_flags(spec: RunSpec, dataset: ImageDataset) -> tuple[str, ...]:
    """What a reader of the numbers must know about the files."""
    sources = [*sources_of(spec, dataset), TrainingSource(spec, dataset, (spec.data.subject,))]
    return check_flags(
        flag
        for source in sources
        for subject in source.subjects
        for flag in source.dataset.flags(subject, spec.trials)
    )
