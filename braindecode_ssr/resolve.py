"""From the settings a user gave to a complete run: every ``"auto"`` gets its value, with the reasons."""

from __future__ import annotations

import inspect
import os
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from .config import RunSpec, TrialSpec, build, check_settings, merge
from .datasets import DATASETS, open_dataset
from .datasets.base import ImageDataset
from .datasets.zero_shot import (
    TrainingSource,
    check_present,
    common_channels,
    extra_notes,
    folded,
    sources_of,
    trained_images,
    training_subjects,
)
from .datasets.zero_shot import notes as exclusion_notes
from .errors import LeakageError, MissingDataError, SSRError, UsageError
from .files import check_free, nearest_existing, unwritable
from .images.encoders import encoder_name, is_encoder, parts_of
from .images.features import features_of
from .images.store import FeatureStore, text_or_original
from .images.views import VIEWS, is_text, view_name
from .inference.evaluation import check_selection
from .losses import HYPERBOLIC, LOSSES
from .methods import METHODS, Method
from .models import IMAGE_HEADS
from .models.names import backbone_name, canonical_path, is_path
from .preprocessing.channels import channel_indices, check_set_name
from .runs import Run, run_name
from .trials.prepare import trials_path
from .trials.store import TrialStore

if TYPE_CHECKING:
    from .images.features import ImageFeatures
    from .training.data import Signals


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
    plain = {"method": method.name, "train": {"warmup": 0}}  # whose length is not known yet
    data = build(merge(method.settings, asked, plain)).data
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
    train, own_train = recipe.get("train", {}), asked.get("train")
    epochs = own_train.get("epochs") if isinstance(own_train, dict) else None
    if isinstance(epochs, int) and epochs < train.get("warmup", 0):  # the same share of a short run
        recipe["train"] = {**train, "warmup": train["warmup"] * epochs / train["epochs"]}
    named = {"method": method.name, "data": {"dataset": dataset}}
    return build(merge(DATASETS[dataset].settings, recipe, asked, named))


def canonical(settings: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with every part under its registered name: ``eegnet`` and ``EEGNet`` are one run."""
    named: dict[str, Any] = {}
    for section, key, name_of in (
        ("loss", "name", LOSSES.name_of),
        ("model", "backbone", backbone_name),
        (
            "model",
            "image_head",
            lambda n: canonical_path(n) if is_path(n) else IMAGE_HEADS.name_of(n),
        ),
    ):
        part = settings.get(section)
        if isinstance(part, dict) and isinstance(part.get(key), str):
            named = merge(named, {section: {key: name_of(part[key])}})
    extra = settings.get("data", {}).get("extra", ())
    if extra and all(isinstance(one, dict) and "dataset" in one for one in extra):
        called = [{**one, "dataset": DATASETS.name_of(str(one["dataset"]))} for one in extra]
        named = merge(named, {"data": {"extra": called}})
    return merge(settings, named)


def resolve(spec: RunSpec, dataset: ImageDataset) -> tuple[RunSpec, list[str]]:
    """Give every ``"auto"`` but the device its value; and what a user should know about the choices."""
    check_settings(spec)
    spec = RunSpec.model_validate(canonical(spec.model_dump()))
    dataset.check_here()
    subject = dataset.check_subject(spec.data.subject)
    channels = spec.data.channels
    if channels == "auto" and spec.data.extra:
        channels = "common"
    elif channels == "auto":
        channels = dataset.channel_defaults["intra" if spec.data.protocol == "intra" else "inter"]
    elif isinstance(channels, str):
        check_set_name(channels)
    trials = trials_of(spec, dataset)
    spec = spec.replace(data={"subject": subject, "channels": channels}, trials=trials)
    if spec.model.backbone == "auto":
        backbone = "EEGProject" if spec.data.protocol == "intra" else "TSConv"
        spec = spec.replace(model={"backbone": backbone})
    sources = sources_of(spec, dataset)
    check_present(sources)
    if spec.data.extra:
        spec = spec.replace(data={"channels": common_channels(sources)})
    images, image_notes = _resolve_images(spec, dataset)
    spec = spec.replace(images=images, train={"batch_size": _batch_size(spec, sources)})
    _check_validation(spec, sources)
    _check_solver(spec)
    _check_space(spec)
    _check_image_tuning(spec, sources)
    notes = [*_check_subjects(spec, dataset), *exclusion_notes(spec.data, dataset), *image_notes]
    notes += extra_notes(sources)
    if spec.data.extra:
        notes.append(f"{len(spec.data.channels)} channels that all of these have")
    return spec, notes


def _check_subjects(spec: RunSpec, dataset: ImageDataset) -> list[str]:
    """Check that the files of all subjects are present; a note if inter-subject training lacks some."""
    training = training_subjects(spec.data, dataset)
    known = dict.fromkeys([*training, spec.data.subject])
    for subject in known:
        if not dataset.source_files(subject, spec.trials):
            dataset.source_key(subject, spec.trials)
    absent = [subject for subject in dataset.subjects if subject not in known]
    if spec.data.protocol == "intra" or not absent:
        return []
    present, missing = (", ".join(map(str, subjects)) for subjects in (training, absent))
    return [f"trained on {len(training)} subjects ({present}): there are no files of {missing}"]


def trials_of(spec: RunSpec, dataset: ImageDataset) -> TrialSpec:
    """The trial settings of a spec, including a choice of channels that is made before epoching."""
    asked, trials = spec.data.channels, spec.trials
    if asked in ("common", "mag", "grad") and asked in dataset.channel_choices:
        trials = trials.replace(channels=asked)
    chosen = {trials.channels, asked if asked in ("mag", "grad") else "all"} - {"all"}
    for name in sorted(chosen - set(dataset.channel_choices)):
        setting = "data.channels" if name == asked else "trials.channels"
        raise UsageError(
            f"{setting}={name} does not apply to {dataset.name}",
            "choose other channels with --set data.channels=..., such as all",
        )
    return trials


def n_training_trials(spec: RunSpec, sources: list[TrainingSource]) -> int:
    """Number of averaged training trials, one per training image and subject; single ones are more."""
    pairs = zip(sources, trained_images(sources), strict=True)
    n_trials = sum(len(source.subjects) * len(images) for source, images in pairs)
    return min(n_trials, spec.finetune.trials or n_trials)


def default_batch(n_trials: int, largest: int = LARGEST_BATCH) -> int:
    """The largest batch, or else the largest power of two with at least 8 steps per epoch; never below 2."""
    wanted = max(2, n_trials // STEPS_PER_EPOCH)
    return largest if wanted >= largest else 1 << (wanted.bit_length() - 1)


def _batch_size(spec: RunSpec, sources: list[TrainingSource]) -> int:
    n_trials = n_training_trials(spec, sources)
    if (spec.train.batch_size or 2) > n_trials:
        raise UsageError(
            f"a batch of {spec.train.batch_size} is larger than the training set",
            f"use a --batch-size of at most {n_trials} trials",
        )
    published = METHODS[spec.method].batch_size_for(spec.data.dataset, spec.data.protocol)
    return spec.train.batch_size or default_batch(n_trials, published or LARGEST_BATCH)


def _resolve_images(spec: RunSpec, dataset: ImageDataset) -> tuple[dict[str, Any], list[str]]:
    store, method = FeatureStore.of(dataset), METHODS[spec.method]
    encoder, notes = _resolve_encoder(spec.images.encoder, method, store, dataset)
    views = spec.images.views
    if views == "auto" and spec.images.tuning == "lora":
        views = ("original",)
        notes.append("views original: an image encoder that is trained sees one view of each image")
    elif views == "auto":
        wanted, without = text_or_original(method.views, encoder, store, method.encoder)
        views, more = _resolve_views(wanted, encoder, store, dataset)
        notes += without + more
    views = tuple(view_name(view) for view in views)
    words = [view for view in views if is_text(view)]
    if words and not dataset.named_concepts:
        raise UsageError(
            f"the images of {dataset.name} have no concepts with names, and the view {words[0]} is made of "
            "them",
            "choose other views, such as --set 'images.views=[\"original\"]'",
        )
    for view in set(views) - set(_views_of(encoder, store)):
        VIEWS.name_of(view.partition("?")[0])
    return {"encoder": encoder, "views": views}, notes


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
        how = f"add --encoder {short} to extract them"
        parts = [part for part in parts_of(method.encoder) if part not in stored]
        if foreign := [part for part in parts if not is_encoder(part)]:
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


def _check_validation(spec: RunSpec, sources: list[TrainingSource]) -> None:
    asked = spec.train.validation_concepts
    concepts = (images["concept"].map(folded) for images in trained_images(sources))
    n_concepts = len(set().union(*concepts))
    if asked > max(n_concepts - 2, 0):
        raise UsageError(
            f"{asked} validation concepts leave too few to train on",
            f"hold out at most {n_concepts - 2} validation concepts, out of {n_concepts}, with "
            "--set train.validation_concepts=...",
        )
    needs = {
        "train.selection=validation keeps the best epoch": spec.train.selection == "validation",
        f"train.patience={spec.train.patience} looks for the best epoch": spec.train.patience,
    }
    why = next((text for text, asks in needs.items() if asks), None)
    if why and not asked:
        raise UsageError(
            f"{why} on validation concepts, and train.validation_concepts is 0",
            "hold some out, for example with --set train.validation_concepts=50",
        )


def _check_solver(spec: RunSpec) -> None:
    """A closed form is linear, and only a closed form is."""
    if spec.train.solver == "gradient":
        if spec.model.backbone == "linear":
            raise UsageError(
                "the backbone linear belongs to a closed form and is not trained by gradient steps",
                "choose --method encoding, ridge-decoding or ridge-encoding, or another --backbone",
            )
        return
    fixed = {"backbone": "linear", "components": None, "subjects": "shared", "space": "euclidean"}
    for name, value in spec.model.model_dump(include=set(fixed)).items():
        if value != fixed[name]:
            option = "--backbone" if name == "backbone" else f"model.{name}"
            raise UsageError(
                f"{spec.method} is a linear map of whole trials, the same for all subjects, with its own "
                f"ranking: model.{name} = {value} does not apply",
                f"leave {option} out, or choose another --method",
            )


def _check_image_tuning(spec: RunSpec, sources: list[TrainingSource]) -> None:
    """An image encoder is trained on the images themselves, by gradient steps, one view of each."""
    if spec.images.tuning == "frozen":
        return
    store, name = FeatureStore.of(sources[0].dataset), spec.images.encoder
    parts = parts_of(name)
    altered = [view for view in spec.images.views if view != "original"]
    without = [source.dataset for source in sources if not source.dataset.has_images()]
    frozen = "leave --set images.tuning=lora out"
    cannot = {
        f"{spec.method} is a closed form, which trains no encoder": (
            spec.train.solver != "gradient",
            f"{frozen}, or choose another --method",
        ),
        f"{name} is {len(parts)} encoders, and one can be trained": (
            len(parts) > 1,
            "choose one with --encoder",
        ),
        f"the features of {name} were imported, so there is no encoder to train": (
            not all(map(is_encoder, parts)) or any(map(store.imported, parts)),
            f"choose one of `ssr-bd list encoders` with --encoder, or {frozen}",
        ),
        f"there are no image files in {without[0].root if without else ''}": (
            bool(without),
            f"put the images there, see `ssr-bd data where`, or {frozen}",
        ),
        f"it sees one view of each image, and images.views are {', '.join(altered)}": (
            len(altered) > 1 or any(map(is_text, altered)),
            "choose one, such as --set 'images.views=[\"original\"]'",
        ),
        "train.keep = every keeps the weights of the model alone": (
            spec.train.keep == "every",
            "leave --set train.keep=every out",
        ),
    }
    for what, (applies, hint) in cannot.items():
        if applies:
            raise UsageError(f"images.tuning = lora trains the image encoder: {what}", hint)


def _check_space(spec: RunSpec) -> None:
    """A loss must compare embeddings in the space they are ranked in; foreign losses are not checked."""
    space, loss = spec.model.space, LOSSES.name_of(spec.loss.name)
    own = "hyperbolic" if loss in HYPERBOLIC else "euclidean"
    if space != own and LOSSES.is_own(loss) and spec.train.solver == "gradient":
        raise UsageError(
            f"model.space = {space}, but it is model.space = {own} in which the loss {loss} compares "
            "embeddings",
            f"add --set model.space={own}, or choose another --loss",
        )


GUESSED_WIDTH = 1024
"""Of image features that are not extracted yet."""
BYTES_PER_PARAMETER, BYTES_TO_TRAIN = 4, 12
"""The parameter itself; in training also its gradient and AdamW's two running means."""


def check_run(spec: RunSpec, dataset: ImageDataset, out: str | Path) -> None:
    """Find whatever would stop a resolved run later, as far as that can be known without running it."""
    check_without_data(spec, out)
    check_needs(spec, dataset)
    _check_pretrained_concepts(spec, dataset)
    _check_candidates(spec, dataset)
    if spec.trials.of_recordings:
        dataset.ready_epochs(spec.data.subject, spec.trials)
    sources = sources_of(spec, dataset)
    features = features_of(spec, dataset)
    for source in sources:
        features_of(source.spec, source.dataset).check(source.dataset)
    signals = _expected_signals(spec, dataset)
    n_parameters = 0
    if spec.train.solver == "gradient" and signals is not None:
        from .models.modules import count_parameters

        n_subjects = sum(len(source.subjects) for source in sources)
        model = _trial_model(spec, features, signals, n_subjects)
        counted = count_parameters(model)
        n_parameters = counted["total"]
        _check_memory(spec, n_parameters, counted["trained"])
        _try_loss(spec, model, signals)
    _check_disk(spec, dataset, features, n_parameters, Path(out))


def _check_candidates(spec: RunSpec, dataset: ImageDataset) -> None:
    tested = dataset.images[dataset.images["split"] == "test"]
    concepts = spec.evaluation.gallery == "concept"
    there = tested["concept" if concepts else "image_id"].nunique()
    if (spec.evaluation.n_way or 0) > there:
        raise UsageError(
            f"evaluation.n_way = {spec.evaluation.n_way} exceeds the number of candidates, {there} test "
            f"{'concepts' if concepts else 'images'}",
            "lower evaluation.n_way or leave it out",
        )


def preview(spec: RunSpec, data_dir: str | Path | None, out: str | Path) -> dict[str, Any]:
    """What a run would do, checked as the run itself checks it; what depends on missing data stays "auto"."""
    dataset, run = open_dataset(spec.data, data_dir), None
    if data_dir is not None:
        dataset.check_here()
    try:
        spec, notes = resolve(spec, dataset)
    except MissingDataError as error:
        check_without_data(spec, out)
        notes = [str(error)]
    else:
        check_run(spec, dataset, out)
        run = Run(Path(out) / run_name(spec))
        if run.finished:
            notes.append(f"{run.path} is finished already; to train it again, add --overwrite")
    return {
        "run": str(run.path) if run else None,
        "data_dir": str(dataset.root.absolute()),
        "notes": notes,
        "spec": spec.model_dump(mode="json"),
    }


def check_without_data(spec: RunSpec, out: str | Path) -> None:
    """The part of :func:`check_run` that needs no data."""
    from .training.distributed import pick_device

    check_writable(Path(out))
    check_selection(spec)
    pick_device(spec.train.device)
    if spec.model.pretrained:
        from .models.pretrained import check_source

        check_source(spec.model.pretrained)
    if spec.train.solver == "gradient":
        from .models.backbone import backbone_class, check_takes_subjects

        if spec.model.backbone != "auto":
            backbone = backbone_class(spec.model.backbone)
            if spec.model.subjects == "own":
                check_takes_subjects(backbone)
        if spec.loss.params:
            from .training.retriever import check_loss_params

            check_loss_params(spec)


def _check_pretrained_concepts(spec: RunSpec, dataset: ImageDataset) -> None:
    tested = dataset.images.loc[dataset.images["split"] != "train", "concept"]
    known = spec.model.pretrained_concepts
    seen = {folded(name) for name in known} if isinstance(known, tuple) else set()
    shared = sorted({name for name in tested if folded(name) in seen})
    if shared:
        raise LeakageError(
            f"the pretrained weights have seen {len(shared)} of the tested concepts, such as {shared[0]!r}",
            "take other weights; without model.pretrained_concepts the run is flagged pretrained-elsewhere",
        )


def check_writable(folder: Path) -> None:
    """Raise DataError if a folder cannot be written or created; leaves nothing behind."""
    try:
        with TemporaryFile(dir=nearest_existing(folder)):
            pass
    except OSError as error:
        raise unwritable(folder, error, "--out") from error
    except ValueError as error:  # a NUL in the name
        raise UsageError(
            f"{str(folder)!r} is not a valid folder name: {error}", "change --out"
        ) from error


def _expected_signals(spec: RunSpec, dataset: ImageDataset) -> Signals | None:
    """Channels, samples and rate of prepared trials, else from headers, else None."""
    from .training.data import Signals

    subject = spec.data.subject
    if store := TrialStore.find(trials_path(dataset, subject, spec.trials)):
        return Signals.of(store, spec.data.channels)
    axes = dataset.trial_axes(subject, spec.trials)
    if axes is None:
        return None
    info, n_times = axes
    picked = channel_indices(info["ch_names"], spec.data.channels)
    return Signals(n_times, float(info["sfreq"]), [info["chs"][index] for index in picked])


def _trial_model(spec: RunSpec, features: ImageFeatures, signals: Signals, n_subjects: int) -> Any:
    """The model of a run, built before there are trials: without memory on the meta device, or on the CPU."""
    import mne
    import torch

    from .models.modules import rate_groups
    from .models.pretrained import load_pretrained
    from .training.retriever import build_model, choose_trained

    widths = features.widths() or (GUESSED_WIDTH,) * len(features.encoders) * features.repeats
    build = partial(build_model, spec, signals, sum(widths), widths, n_subjects)
    # the same warnings come when the model is built for training
    quiet = mne.use_log_level("error")
    with torch.random.fork_rng(devices=[]), quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = None
        if not spec.model.pretrained:
            # on the CPU, the error says whether the model is at fault
            with suppress(Exception), torch.device("meta"):
                model = build()
        if model is None:
            try:
                model = build()
            except SSRError:
                raise
            except (RuntimeError, MemoryError) as error:
                reason = (str(error) or "out of memory").splitlines()[0]
                raise UsageError(
                    f"a model with backbone {spec.model.backbone} and n_outputs = {spec.model.n_outputs} "
                    f"cannot be built: {reason}",
                    "lower --set model.n_outputs or the sizes in model.backbone_params",
                ) from error
        if spec.model.pretrained and Path(spec.model.pretrained).expanduser().is_dir():
            load_pretrained(model.backbone, spec.model.pretrained)
        choose_trained(model, spec.model)
        if spec.images.tuning == "lora":
            from .models.image_encoder import build_tuned

            model.image_encoder = build_tuned(spec.images)
        rate_groups(model, spec.train.lr_of)
    return model


def _try_loss(spec: RunSpec, model: Any, signals: Signals, n: int = 16) -> None:
    import torch

    from .training.retriever import build_loss

    try:
        with torch.random.fork_rng(devices=[]):
            loss = build_loss(spec, model)
            takes = set(inspect.signature(loss.forward).parameters)
            if "posteriors" in takes:  # they come from the image head, which has no weights yet
                return
            extra = {
                "trial": torch.randn(n, len(signals.chs_info), signals.n_times),
                "hidden": torch.randn(n, model.backbone_width),
                "features": torch.randn(n, model.n_features),
                "image": torch.arange(n),
                "epoch": 0,
            }
            if hasattr(model.image_head, "levels"):
                extra["levels"] = torch.randn(n, len(model.image_head.widths), model.n_outputs)
            brain, original, view = torch.randn(3, n, model.n_outputs)
            loss(brain, original, view, **{k: v for k, v in extra.items() if k in takes})
    except SSRError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        params = ", ".join(f"{k} = {v!r}" for k, v in spec.loss.params.items()) or "its defaults"
        raise UsageError(
            f"the loss {spec.loss.name} does not work with {params}: {reason}",
            "correct --set loss.params.NAME=..., or choose another --loss",
        ) from error


def _check_memory(spec: RunSpec, n_parameters: int, n_trained: int) -> None:
    from .training.distributed import pick_device

    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    needed = n_parameters * BYTES_PER_PARAMETER + n_trained * BYTES_TO_TRAIN
    if needed > memory and pick_device(spec.train.device) == "cpu":
        raise UsageError(
            f"a model with backbone {spec.model.backbone} and n_outputs = {spec.model.n_outputs} has "
            f"{n_parameters:,} parameters: training takes {needed / 1e9:,.0f} GB of memory, this machine "
            f"has {memory / 1e9:,.0f} GB",
            "lower --set model.n_outputs or the sizes in model.backbone_params",
        )


def _check_disk(
    spec: RunSpec, dataset: ImageDataset, features: ImageFeatures, n_parameters: int, out: Path
) -> None:
    missing = sum(
        view not in features.store.views(name)
        for name in features.encoders
        for view in ("original", *features.views)
    )
    derived = _bytes_of_trials(spec, dataset) + 4 * missing * len(dataset.images) * GUESSED_WIDTH
    check_free(dataset.derived, derived, "what this run derives from the data", "--data-dir")
    copies = 7 + (spec.train.epochs if spec.train.keep == "every" else 0)  # 2 checkpoints, result
    total = 4 * n_parameters * copies
    if nearest_existing(out).stat().st_dev == nearest_existing(dataset.derived).stat().st_dev:
        total += derived
    check_free(out, total, "this run")


def _bytes_of_trials(spec: RunSpec, dataset: ImageDataset) -> int:
    """Size of the trials that must be prepared, if all subjects are like the first; 0 if unknown."""
    subjects = dict.fromkeys([*training_subjects(spec.data, dataset), spec.data.subject])
    missing = [s for s in subjects if not trials_path(dataset, s, spec.trials).is_dir()]
    if not missing:
        return 0
    shown = dataset.presentations(missing[0], spec.trials)
    axes = dataset.trial_axes(missing[0], spec.trials)
    if shown is None or axes is None:
        return 0
    n_trials = sum(len(numbers) for _, numbers in shown)
    return 4 * len(missing) * n_trials * len(axes[0]["ch_names"]) * axes[1]
