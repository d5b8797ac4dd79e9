"""Everything that can be checked before work starts is checked before work starts.

:func:`check_run` stands behind ``train``, ``train --dry-run`` and ``benchmark``: a wrong name, parameter,
shape, device or folder is reported in seconds, not after trials and features were prepared.
"""

from __future__ import annotations

import inspect
import os
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from .datasets import open_dataset
from .datasets.zero_shot import folded
from .errors import DataError, LeakageError, MissingDataError, SSRError, UsageError
from .evaluation import check_selection
from .files import check_free, unwritable
from .resolve import check_needs, resolve, training_subjects
from .runs import Run, run_name
from .training.build import build_loss, build_model, check_loss_params, features_of
from .trials.prepare import trials_path

if TYPE_CHECKING:
    from .config import RunSpec
    from .datasets.base import ImageDataset
    from .images.features import ImageFeatures
    from .training.data import Signals

GUESSED_WIDTH = 1024
"""Of image features that are not extracted yet."""
BYTES_PER_PARAMETER = 16
"""In training: the parameter, its gradient and AdamW's two running means."""


def check_run(spec: RunSpec, dataset: ImageDataset, out: str | Path) -> None:
    """Find whatever would stop a resolved run later, as far as that can be known without running it.

    Parameters
    ----------
    spec : RunSpec
        From :func:`braindecode_ssr.resolve.resolve`.
    dataset : ImageDataset
    out : path-like
        The parent of the run folder.

    Raises
    ------
    UsageError
        If a setting cannot be used: backbone, image head or loss with its parameters, trials of this shape,
        parts to freeze, device, weights to test.
    MissingDataError
        If features or pretrained weights are missing and cannot be made.
    DataError
        If a folder cannot be written, or its disk has too little space.
    LeakageError
        If pretrained weights are said to have seen a tested concept.
    """
    check_without_data(spec, out)
    check_needs(spec, dataset)
    _check_pretrained_concepts(spec, dataset)
    features = features_of(spec, dataset)
    features.check(dataset)
    signals = _expected_signals(spec, dataset)
    n_parameters = 0
    if spec.train.solver == "gradient" and signals is not None:
        model = _trial_model(spec, dataset, features, signals)
        n_parameters = sum(parameter.numel() for parameter in model.parameters())
        _check_memory(spec, n_parameters)
        _try_loss(spec, model, signals)
    _check_disk(spec, dataset, features, n_parameters, Path(out))


def preview(spec: RunSpec, data_dir: str | Path | None, out: str | Path) -> dict[str, Any]:
    """What a run would do, checked as the run itself checks it.

    If the data are missing, what depends on them stays ``"auto"`` and a note says so.
    """
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
        from .models.modules import check_source

        check_source(spec.model.pretrained)
    if spec.train.solver == "gradient":
        from .models.backbone import backbone_class, check_takes_subjects

        if spec.model.backbone != "auto":
            backbone = backbone_class(spec.model.backbone)
            if spec.model.subjects == "own":
                check_takes_subjects(backbone)
        if spec.loss.params:
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
        with TemporaryFile(dir=_nearest(folder)):
            pass
    except OSError as error:
        raise unwritable(folder, error, "--out") from error
    except ValueError as error:  # a NUL in the name
        raise UsageError(
            f"{str(folder)!r} is not a valid folder name: {error}", "change --out"
        ) from error


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest existing one above it."""
    places = (folder, *folder.absolute().parents)
    return next((place for place in places if os.path.lexists(place)), folder)


def _expected_signals(spec: RunSpec, dataset: ImageDataset) -> Signals | None:
    """Channels, samples and rate of the trials: of prepared ones, else from the headers.

    None if the dataset cannot tell without reading its recordings.
    """
    from .preprocessing.channels import channel_indices
    from .training.data import Signals
    from .trials.store import TrialStore

    subject = spec.data.subject
    store = None
    with suppress(DataError):  # not prepared yet
        store = TrialStore.open(trials_path(dataset, subject, spec.trials))
    if store is not None:
        return Signals.of(store, spec.data.channels)
    axes = dataset.trial_axes(subject, spec.trials)
    if axes is None:
        return None
    info, n_times = axes
    picked = channel_indices(info["ch_names"], spec.data.channels)
    return Signals(n_times, float(info["sfreq"]), [info["chs"][index] for index in picked])


def _trial_model(
    spec: RunSpec, dataset: ImageDataset, features: ImageFeatures, signals: Signals
) -> Any:
    """The model of a run, built before there are trials: without memory on the meta device, or on the CPU."""
    import mne
    import torch

    from .models.modules import load_pretrained, rate_groups

    try:
        widths = features.widths()
    except MissingDataError:
        widths = (GUESSED_WIDTH,) * len(features.encoders) * features.repeats
    n_subjects = len(training_subjects(spec, dataset))
    build = partial(build_model, spec, signals, sum(widths), widths, n_subjects)
    quiet = mne.use_log_level(
        "error"
    )  # the same warnings come when the model is built for training
    with torch.random.fork_rng(devices=[]), quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = None
        if not spec.model.pretrained:
            with (
                suppress(Exception),
                torch.device("meta"),
            ):  # if the model is at fault, the CPU tells
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
        model.freeze(*spec.model.freeze)
        rate_groups(model, spec.train.lr_of)
    return model


def _try_loss(spec: RunSpec, model: Any, signals: Signals, n: int = 16) -> None:
    """Build the loss, and compute it once on random embeddings."""
    import torch

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
            brain, original, view = torch.randn(3, n, spec.model.n_outputs)
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


def _check_memory(spec: RunSpec, n_parameters: int) -> None:
    """Refuse a model that this machine can never train."""
    from .training.distributed import pick_device

    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    needed = n_parameters * BYTES_PER_PARAMETER
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
    """Compare what a run writes, as far as it is known, with the free space."""
    missing = sum(
        view not in features.store.views(name)
        for name in features.encoders
        for view in ("original", *features.views)
    )
    derived = _bytes_of_trials(spec, dataset) + 4 * missing * len(dataset.images) * GUESSED_WIDTH
    check_free(dataset.derived, derived, "what this run derives from the data", "--data-dir")
    copies = 7 + (spec.train.epochs if spec.train.keep == "every" else 0)  # 2 checkpoints, result
    total = 4 * n_parameters * copies
    if _nearest(out).stat().st_dev == _nearest(dataset.derived).stat().st_dev:
        total += derived
    check_free(out, total, "this run")


def _bytes_of_trials(spec: RunSpec, dataset: ImageDataset) -> int:
    """Size of the trials that must be prepared, if all subjects are like the first; 0 if unknown."""
    subjects = dict.fromkeys([*training_subjects(spec, dataset), spec.data.subject])
    missing = [s for s in subjects if not trials_path(dataset, s, spec.trials).is_dir()]
    presentations = getattr(dataset, "presentations", None)
    if not missing or presentations is None:
        return 0
    shown, axes = (
        presentations(missing[0], spec.trials),
        dataset.trial_axes(missing[0], spec.trials),
    )
    if shown is None or axes is None:
        return 0
    n_trials = sum(len(numbers) for _, numbers in shown)
    return 4 * len(missing) * n_trials * len(axes[0]["ch_names"]) * axes[1]
