"""From the settings a user gave to a complete run: every ``"auto"`` gets its value, with the reasons.

:func:`run_spec` merges settings with those of the method and the dataset; :func:`resolve` looks at the data.
"""

from __future__ import annotations

from typing import Any

from .config import RunSpec, TrialSpec, build, check_settings, merge
from .datasets import DATASETS
from .datasets.base import ImageDataset
from .datasets.zero_shot import notes as exclusion_notes
from .datasets.zero_shot import training_images
from .errors import MissingDataError, UsageError
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


def run_spec(*layers: dict[str, Any]) -> RunSpec:
    """A run spec from nested settings, later ones winning, on top of those of their method and dataset.

    Parameters
    ----------
    *layers : dict
        For example the settings of a file, then those of the command line.
    """
    asked = canonical(merge(*layers))
    method: Method = METHODS[str(asked.get("method", "ssr"))]
    data = build(merge(method.settings, asked, {"method": method.name})).data
    dataset = DATASETS.name_of(data.dataset)
    recipe = dict(method.settings_for(dataset, data.protocol))
    # another loss, backbone or image head than the method's does not get the method's parameters for it
    for section, key, params in (
        ("loss", "name", "params"),
        ("model", "backbone", "backbone_params"),
        ("model", "image_head", "image_head_params"),
    ):
        own, other = recipe.get(section, {}), asked.get(section, {}).get(key)
        if other is not None and other != own.get(key):
            recipe[section] = {name: value for name, value in own.items() if name != params}
    named = {"method": method.name, "data": {"dataset": dataset}}
    return build(merge(DATASETS[dataset].settings, recipe, asked, named))


def canonical(settings: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with every part under its registered name: ``eegnet`` and ``EEGNet`` are one run."""

    def head_name(name: str) -> str:
        return canonical_path(name) if is_path(name) else IMAGE_HEADS.name_of(name)

    named: dict[str, Any] = {}
    for section, key, name_of in (
        ("loss", "name", LOSSES.name_of),
        ("model", "backbone", backbone_name),
        ("model", "image_head", head_name),
    ):
        part = settings.get(section)
        if isinstance(part, dict) and isinstance(part.get(key), str):
            named = merge(named, {section: {key: name_of(part[key])}})
    return merge(settings, named)


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
    data, model = spec.data, spec.model
    if data.channels == "auto":
        data = data.model_copy(update={"channels": dataset.channel_defaults[data.protocol]})
    elif isinstance(data.channels, str):
        check_set_name(data.channels)
    if model.backbone == "auto":
        backbone = "TSConv" if data.protocol == "inter" else "EEGProject"
        model = model.model_copy(update={"backbone": backbone})
    spec = spec.model_copy(update={"trials": trials_of(spec, dataset)})
    images, image_notes = _resolve_images(spec, dataset)
    train = spec.train.model_copy(update={"batch_size": _batch_size(spec, dataset)})
    _check_validation(spec, dataset)
    _check_solver(spec)
    _check_space(spec)
    parts = {"data": data, "model": model, "images": images, "train": train}
    notes = [*_check_subjects(spec, dataset), *exclusion_notes(spec.data, dataset), *image_notes]
    return spec.model_copy(update=parts), notes


def training_subjects(spec: RunSpec, dataset: ImageDataset) -> list[Label]:
    """The tested subject for intra; for inter all others whose files are present, at least one."""
    if spec.data.protocol == "intra":
        return [spec.data.subject]
    others = [subject for subject in dataset.present_subjects if subject != spec.data.subject]
    if not others:
        raise MissingDataError(
            f"inter-subject retrieval trains on other subjects, and {dataset.root} has only files of "
            f"subject {spec.data.subject}",
            f"add those of others; `ssr-bd data where {dataset.name}` shows where they belong",
        )
    return others


def _check_subjects(spec: RunSpec, dataset: ImageDataset) -> list[str]:
    """Check that the files of all subjects are present; a note if inter-subject training lacks some."""
    training = training_subjects(spec, dataset)
    for subject in dict.fromkeys([*training, spec.data.subject]):
        if not dataset.source_files(subject, spec.trials):
            dataset.source_key(subject, spec.trials)
    known = {*training, spec.data.subject}
    absent = [subject for subject in dataset.subjects if subject not in known]
    if spec.data.protocol == "intra" or not absent:
        return []
    present, missing = (", ".join(map(str, subjects)) for subjects in (training, absent))
    return [f"trained on {len(training)} subjects ({present}): there are no files of {missing}"]


def trials_of(spec: RunSpec, dataset: ImageDataset) -> TrialSpec:
    """The trial settings of a spec, including a choice of channels that is made before epoching."""
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


def n_training_trials(spec: RunSpec, dataset: ImageDataset) -> int:
    """Number of averaged training trials: one per training image and subject."""
    n_trials = len(training_images(spec.data, dataset)) * len(training_subjects(spec, dataset))
    return min(n_trials, spec.finetune.trials or n_trials)


def default_batch(n_trials: int, largest: int = LARGEST_BATCH) -> int:
    """The largest batch, or else the largest power of two with at least 8 steps per epoch; never below 2."""
    wanted = max(2, n_trials // STEPS_PER_EPOCH)
    return largest if wanted >= largest else 1 << (wanted.bit_length() - 1)


def _batch_size(spec: RunSpec, dataset: ImageDataset) -> int:
    n_trials = n_training_trials(spec, dataset)
    if (spec.train.batch_size or 2) > n_trials:
        raise UsageError(
            f"a batch of {spec.train.batch_size} is larger than the training set",
            f"use a --batch-size of at most {n_trials} trials",
        )
    published = METHODS[spec.method].batch_size_for(spec.data.dataset, spec.data.protocol)
    return spec.train.batch_size or default_batch(n_trials, published or LARGEST_BATCH)


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
    """The method's encoder, else the only one with stored features, else the dataset's default."""
    stored = store.encoders()
    if asked != "auto":
        return (asked if asked in stored else encoder_name(asked, stored)), []
    if set(parts_of(method.encoder)) <= set(stored):
        return method.encoder, []
    notes, chosen = [], encoder_name(dataset.default_encoder)
    if len(stored) == 1 and stored[0] != chosen:
        chosen = stored[0]
        notes.append(f"encoder {chosen}: the only one whose features are in {store.path}")
    elif stored and chosen not in stored:
        raise UsageError(
            f"there are features of several encoders in {store.path}: {', '.join(stored)}",
            "choose one with --encoder NAME",
        )
    if method.encoder not in ("", chosen):
        short = method.encoder.replace("open-clip:", "")
        parts = [part for part in parts_of(method.encoder) if part not in stored]
        foreign = [part for part in parts if not is_encoder(part)]
        how = f"add --encoder {short} to extract them"
        if foreign:
            command = f"ssr-bd features import --encoder {foreign[0]} ..."
            how = f"import those of {', '.join(foreign)}: {command}"
        notes.append(
            f"encoder {chosen} instead of {short}, with which {method.title} was published: its features "
            f"are not in {store.path}; {how}"
        )
    return chosen, notes


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
    """The views with stored features of an encoder, or of all of several combined ones."""
    first, *others = (store.views(name) for name in parts_of(encoder))
    return [view for view in first if all(view in there for there in others)]


def check_needs(spec: RunSpec, dataset: ImageDataset) -> None:
    """Raise MissingDataError if features that a method needs besides those of images are not imported."""
    method, store, encoder = METHODS[spec.method], FeatureStore.of(dataset), spec.images.encoder
    there = _views_of(encoder, store)
    missing = [need for need in method.needs if need not in there]
    if missing:
        raise MissingDataError(
            f"{', '.join(missing)} features, which {method.title} needs, are not in {store.path}: "
            f"of {encoder} there are {', '.join(there) or 'none'}",
            store.how_to_fill(parts_of(encoder)[0], missing[0]),
        )


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
            "train.selection=validation keeps the best epoch on validation concepts, and "
            "train.validation_concepts is 0",
            "hold some out, for example with --set train.validation_concepts=50",
        )


def _check_solver(spec: RunSpec) -> None:
    """A closed form is linear, and only a closed form is."""
    linear, closed = spec.model.backbone == "linear", spec.train.solver != "gradient"
    if closed and not linear:
        raise UsageError(
            f"there is no backbone for {spec.method}, a linear map: {spec.model.backbone} does not apply",
            "leave --backbone out, or choose another --method",
        )
    if closed and spec.model.components is not None:
        raise UsageError(
            f"{spec.method} is a linear map of whole trials: model.components does not apply",
            "leave it out, or choose another --method",
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
            "choose --method encoding, ridge-decoding or ridge-encoding, or another --backbone",
        )


def _check_space(spec: RunSpec) -> None:
    """A loss must compare embeddings in the space they are ranked in; foreign losses are not checked."""
    space, loss = spec.model.space, LOSSES.name_of(spec.loss.name)
    if spec.train.solver != "gradient" and space != "euclidean":
        raise UsageError(
            f"model.space = {space} does not apply: it is model.space = euclidean for {spec.method}, "
            "which has its own ranking",
            "leave it out",
        )
    own = "hyperbolic" if loss in HYPERBOLIC else "euclidean"
    if space != own and LOSSES.is_own(loss):
        raise UsageError(
            f"model.space = {space}, but it is model.space = {own} in which the loss {loss} compares "
            "embeddings",
            f"add --set model.space={own}, or choose another --loss",
        )
