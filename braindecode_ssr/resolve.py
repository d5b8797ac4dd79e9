"""From what a user asked to what a run does: every ``"auto"`` gets its value, and says why."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .config import DataSpec, EvaluationSpec, RunSpec, TrialSpec, build, check_settings, merge
from .datasets import DATASETS
from .datasets.base import ImageDataset, training_images
from .datasets.base import notes as exclusion_notes
from .errors import DataError, MissingDataError, UsageError
from .images.encoders import encoder_name, is_encoder, parts_of
from .images.store import FeatureStore, text_or_original
from .images.views import VIEWS, is_text, view_name
from .labels import Label
from .losses import HYPERBOLIC, LOSSES
from .methods import METHODS
from .methods.base import Method
from .models import IMAGE_HEADS
from .models.names import backbone_name, canonical_path, is_path
from .preprocessing.channels import check_set_name

LARGEST_BATCH = 1024
STEPS_PER_EPOCH = 8
PARTS_WITH_PARAMETERS = (
    ("loss", "name", "params"),
    ("model", "backbone", "backbone_params"),
    ("model", "image_head", "image_head_params"),
)


def _head_name(name: str) -> str:
    return canonical_path(name) if is_path(name) else IMAGE_HEADS.name_of(name)


NAMES = (
    ("loss", "name", LOSSES.name_of),
    ("model", "backbone", backbone_name),
    ("model", "image_head", _head_name),
)
"""Settings that name a part, and what gives the name as it is registered."""


def run_spec(*layers: dict[str, Any]) -> RunSpec:
    """A run spec of nested settings, later ones winning, laid over those of their method and dataset.

    Parameters
    ----------
    *layers : dict
        For example the settings of a file, then those of the command line.
    """
    asked = canonical(merge(*layers))
    method: Method = METHODS[str(asked.get("method", "ssr"))]
    data = build(merge(method.settings, asked, {"method": method.name})).data
    dataset = DATASETS.name_of(data.dataset)
    recipe = _kept(method.settings_for(dataset, data.protocol), asked)
    named = {"method": method.name, "data": {"dataset": dataset}}
    return build(merge(DATASETS[dataset].settings, recipe, asked, named))


def canonical(settings: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with every part under its registered name: ``eegnet`` and ``EEGNet`` are one run.

    Raises
    ------
    UsageError
        If there is no part of a name.
    """
    named: dict[str, Any] = {}
    for section, key, name_of in NAMES:
        part = settings.get(section)
        if isinstance(part, dict) and isinstance(part.get(key), str):
            named = merge(named, {section: {key: name_of(part[key])}})
    return merge(settings, named)


def _kept(recipe: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """A recipe without the parameters of a part that another was asked for instead of."""
    kept = dict(recipe)
    for part, key, params in PARTS_WITH_PARAMETERS:
        own, other = kept.get(part, {}), asked.get(part, {}).get(key)
        if other is not None and other != own.get(key):
            kept[part] = {name: value for name, value in own.items() if name != params}
    return kept


def data_root(name: str, data_dir: str | Path | None = None) -> Path:
    """The folder of a dataset: ``data_dir`` itself, or ``<name>`` below $SSR_DATA or MNE's data folder."""
    if data_dir is not None:
        return Path(data_dir).expanduser()
    return Path(os.environ.get("SSR_DATA") or _mne_data()).expanduser() / name


def open_dataset(data: DataSpec, data_dir: str | Path | None = None) -> ImageDataset:
    """The dataset of a spec; reads nothing yet.

    Raises
    ------
    DataError
        If its folder cannot be one, because a file is in its place.
    """
    dataset = DATASETS[data.dataset]
    options = {name: getattr(data, name) for name in dataset.options}
    root = data_root(DATASETS.name_of(data.dataset), data_dir)
    there = next(path for path in (root, *root.absolute().parents) if path.exists())
    if not there.is_dir():
        raise DataError(
            f"the data folder {root} cannot be one: {there} is a file", "change --data-dir"
        )
    return dataset(root, **options)


def resolve(spec: RunSpec, dataset: ImageDataset) -> tuple[RunSpec, list[str]]:
    """Give every ``"auto"`` its value.

    Returns
    -------
    RunSpec
        With nothing left open but the device.
    list of str
        What a user should know about the values chosen.
    """
    check_settings(spec)
    spec = RunSpec.model_validate(canonical(spec.model_dump()))
    dataset.check_here()
    subject = dataset.check_subject(spec.data.subject)
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"subject": subject})})
    inter = spec.data.protocol == "inter"
    data = _filled(spec.data, channels=dataset.channel_defaults[spec.data.protocol])
    spec = spec.model_copy(update={"trials": trials_of(spec, dataset)})
    model = _filled(spec.model, backbone="TSConv" if inter else "EEGProject")
    images, notes = _resolve_images(spec, dataset)
    train = spec.train.model_copy(update={"batch_size": _batch_size(spec, dataset)})
    _check_validation(spec, dataset)
    _check_solver(spec)
    _check_space(spec)
    _check_channels(spec.data.channels)
    parts = {"data": data, "model": model, "images": images, "train": train}
    notes = [*_who_trains(spec, dataset), *exclusion_notes(spec.data, dataset), *notes]
    return spec.model_copy(update=parts), notes


def evaluation_spec(spec: RunSpec, **changes: Any) -> EvaluationSpec:
    """How a run was tested, with some choices changed; None leaves a choice as it was."""
    asked = {name: value for name, value in changes.items() if value is not None}
    settings = {**spec.evaluation.model_dump(), **asked}
    return build({"evaluation": settings}).evaluation


def training_subjects(spec: RunSpec, dataset: ImageDataset) -> list[Label]:
    """The tested subject for intra; for inter all others whose files are here.

    Raises
    ------
    MissingDataError
        If nobody else is here.
    """
    if spec.data.protocol == "intra":
        return [spec.data.subject]
    others = [subject for subject in dataset.present_subjects if subject != spec.data.subject]
    if not others:
        raise MissingDataError(
            f"inter-subject retrieval trains on other subjects, and there are no files of any but subject "
            f"{spec.data.subject} in {dataset.root}",
            f"put their files there; `ssr-bd data where {dataset.name}` says where they belong",
        )
    return others


def n_training_trials(spec: RunSpec, dataset: ImageDataset) -> int:
    """Averaged trials that training sees: one per training image and subject."""
    return len(training_images(spec.data, dataset)) * len(training_subjects(spec, dataset))


def check_needs(spec: RunSpec, dataset: ImageDataset) -> None:
    """Find what the method of a resolved spec needs beside pictures, which must have been brought in.

    Raises
    ------
    MissingDataError
        If it is not there; says what brings it.
    """
    method, store, encoder = METHODS[spec.method], FeatureStore.of(dataset), spec.images.encoder
    there = _views_of(encoder, store)
    missing = [need for need in method.needs if need not in there]
    if missing:
        raise MissingDataError(
            f"{', '.join(missing)} features, which {method.title} needs, are not in {store.path}: "
            + (
                f"of {encoder} only {', '.join(there)}" if there else f"there are none of {encoder}"
            ),
            store.how_to_fill(parts_of(encoder)[0], missing[0]),
        )


def default_batch(n_trials: int, largest: int = LARGEST_BATCH) -> int:
    """The largest one, or the largest power of two that still makes 8 steps an epoch, never below 2."""
    wanted = max(2, n_trials // STEPS_PER_EPOCH)
    return largest if wanted >= largest else 1 << (wanted.bit_length() - 1)


def _who_trains(spec: RunSpec, dataset: ImageDataset) -> list[str]:
    """Find the files of all who are needed; a note if somebody is left out."""
    training = training_subjects(spec, dataset)
    for subject in dict.fromkeys([*training, spec.data.subject]):
        if not dataset.source_files(subject, spec.trials):
            dataset.source_key(subject, spec.trials)
    known = {*training, spec.data.subject}
    absent = [subject for subject in dataset.subjects if subject not in known]
    if spec.data.protocol == "intra" or not absent:
        return []
    return [
        f"trained on {len(training)} subjects ({_listed(training)}): there are no files of {_listed(absent)}"
    ]


def _listed(subjects: list[Label]) -> str:
    return ", ".join(map(str, subjects))


def _resolve_images(spec: RunSpec, dataset: ImageDataset) -> tuple[Any, list[str]]:
    store, method = FeatureStore.of(dataset), METHODS[spec.method]
    encoder, notes = _resolve_encoder(spec.images.encoder, method, store, dataset)
    views = spec.images.views
    if views == "auto":
        wanted, without = text_or_original(method.views, encoder, store, method.encoder)
        views, more = _resolve_views(wanted, encoder, store, dataset)
        notes += without + more
    views = tuple(view_name(view) for view in views)
    for view in set(views) - set(_views_of(encoder, store)):
        VIEWS.name_of(view.partition("?")[0])
    return spec.images.model_copy(update={"encoder": encoder, "views": views}), notes


def _resolve_encoder(
    asked: str, method: Method, store: FeatureStore, dataset: ImageDataset
) -> tuple[str, list[str]]:
    there = store.encoders()
    if asked != "auto":
        return (asked if asked in there else encoder_name(asked, there)), []
    if set(parts_of(method.encoder)) <= set(there):
        return method.encoder, []
    chosen, notes = _encoder_of(dataset, there, store)
    if method.encoder in ("", chosen):
        return chosen, notes
    short = method.encoder.replace("open-clip:", "")
    return chosen, [
        *notes,
        f"encoder {chosen} instead of {short}, with which {method.title} was published: its features "
        f"are not in {store.path}; {_how_to_have(method.encoder, there)}",
    ]


def _how_to_have(encoder: str, there: list[str]) -> str:
    """How the features of a method's encoder come about: made here, or imported one by one."""
    foreign = [part for part in parts_of(encoder) if part not in there and not is_encoder(part)]
    if foreign:
        return f"import those of {', '.join(foreign)}: ssr-bd features import --encoder {foreign[0]} ..."
    return f"give --encoder {encoder.replace('open-clip:', '')} to make them"


def _encoder_of(
    dataset: ImageDataset, there: list[str], store: FeatureStore
) -> tuple[str, list[str]]:
    """The only encoder whose features are there, else the dataset's default."""
    default = encoder_name(dataset.default_encoder)
    if len(there) == 1 and there[0] != default:
        return there[0], [f"encoder {there[0]}: the only one whose features are in {store.path}"]
    if there and default not in there:
        raise UsageError(
            f"there are features of several encoders in {store.path}: {', '.join(there)}",
            "choose one with --encoder NAME",
        )
    return default, []


def _resolve_views(
    wanted: tuple[str, ...], encoder: str, store: FeatureStore, dataset: ImageDataset
) -> tuple[tuple[str, ...], list[str]]:
    there = _views_of(encoder, store)
    if {view for view in wanted if not is_text(view)} <= set(there) or dataset.has_images():
        return wanted, []
    kept = tuple(view for view in wanted if view in there and not is_text(view))
    others = tuple(view for view in there if view != "original" and not is_text(view))
    some = kept or others or ("original",)
    return some, [
        f"views {', '.join(some)} instead of {', '.join(wanted)}: there are no image files and no other "
        f"features of {encoder} in {store.path}"
    ]


def _views_of(encoder: str, store: FeatureStore) -> list[str]:
    """The views of which there are features of an encoder, or of all of several side by side."""
    first, *others = (store.views(name) for name in parts_of(encoder))
    return [view for view in first if all(view in there for there in others)]


def _filled(part: Any, **values: Any) -> Any:
    return part.model_copy(
        update={name: value for name, value in values.items() if getattr(part, name) == "auto"}
    )


def _batch_size(spec: RunSpec, dataset: ImageDataset) -> int:
    n_trials = n_training_trials(spec, dataset)
    if (spec.train.batch_size or 2) > n_trials:
        raise UsageError(
            f"a batch of {spec.train.batch_size} is larger than the training set",
            f"give a --batch-size of at most {n_trials} trials",
        )
    published = METHODS[spec.method].batch_size_for(spec.data.dataset, spec.data.protocol)
    largest = published or LARGEST_BATCH
    return spec.train.batch_size or default_batch(n_trials, largest)


def _check_validation(spec: RunSpec, dataset: ImageDataset) -> None:
    asked = spec.train.validation_concepts
    n_concepts = training_images(spec.data, dataset)["concept"].nunique()
    if asked > max(n_concepts - 2, 0):
        raise UsageError(
            f"{asked} validation concepts leave too few to train on",
            f"hold out at most {n_concepts - 2} validation concepts, out of {n_concepts}, with "
            "--set train.validation_concepts=...",
        )
    if spec.train.selection == "validation" and not asked:
        raise UsageError(
            "the best epoch on validation concepts is to be kept, and train.validation_concepts is 0",
            "hold some out, for example with --set train.validation_concepts=50",
        )


def _check_solver(spec: RunSpec) -> None:
    """A closed form is linear; nothing but a closed form is."""
    linear, closed = spec.model.backbone == "linear", spec.train.solver != "gradient"
    if closed and not linear:
        raise UsageError(
            f"there is no backbone for {spec.method}, a linear map: {spec.model.backbone} does not apply",
            "leave --backbone out, or choose another --method",
        )
    if closed and spec.model.subjects != "shared":
        raise UsageError(
            f"{spec.method} is one linear map for all subjects: model.subjects = {spec.model.subjects} "
            "does not apply",
            "leave it out, or choose another --method",
        )
    if linear and not closed:
        raise UsageError(
            "the backbone linear belongs to a closed form and is not trained by gradient steps",
            "choose --method ridge-decoding or ridge-encoding, or another --backbone",
        )


def _check_space(spec: RunSpec) -> None:
    """A loss compares embeddings as they are ranked; one of another package is taken at its word."""
    space, loss = spec.model.space, LOSSES.name_of(spec.loss.name)
    if spec.train.solver != "gradient" and space != "euclidean":
        raise UsageError(
            f"model.space = {space} does not apply: it is model.space = euclidean for {spec.method}, "
            "which ranks by cosine or correlation",
            "leave it out",
        )
    own = "hyperbolic" if loss in HYPERBOLIC else "euclidean"
    if space != own and LOSSES.is_own(loss):
        raise UsageError(
            f"model.space = {space}, but it is model.space = {own} in which the loss {loss} compares "
            "embeddings",
            f"add --set model.space={own}, or choose another --loss",
        )


def trials_of(spec: RunSpec, dataset: ImageDataset) -> TrialSpec:
    """The trials of a spec; channels that are chosen before trials are cut are written there.

    Raises
    ------
    UsageError
        If the dataset has no such choice.
    """
    asked, trials = spec.data.channels, spec.trials
    if asked in ("common", "mag", "grad") and asked in dataset.channel_choices:
        trials = trials.model_copy(update={"channels": asked})
    chosen = {trials.channels, asked if asked in ("mag", "grad") else "all"} - {"all"}
    for name in sorted(chosen - set(dataset.channel_choices)):
        setting = "data.channels" if name == asked else "trials.channels"
        raise UsageError(
            f"{setting}={name} does not apply to {dataset.name}",
            "choose other channels with --set data.channels=..., such as all",
        )
    return trials


def _check_channels(channels: str | tuple[str, ...]) -> None:
    if isinstance(channels, str) and channels != "auto":
        check_set_name(channels)


def _mne_data() -> str:
    """MNE's data folder, found as MNE finds it, without the import."""
    if os.environ.get("MNE_DATA"):
        return os.environ["MNE_DATA"]
    home = Path(os.environ.get("_MNE_FAKE_HOME_DIR") or Path.home())
    try:
        settings = json.loads((home / ".mne" / "mne-python.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    return settings.get("MNE_DATA") or str(home / "mne_data")
