"""What can be known before work starts is checked before work starts.

:func:`check_run` is the one function behind ``train``, ``train --dry-run`` and ``benchmark``: a wrong name,
parameter, shape, device or folder is told in seconds, and not after trials and features were made.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from .errors import DataError, MissingDataError, SSRError, UsageError
from .evaluation import check_selection
from .files import check_free, unwritable
from .resolve import check_needs, open_dataset, resolve, training_subjects
from .runs import Run, run_name
from .training.build import build_loss, build_model, check_loss_params, features_of
from .trials.prepare import trials_path

if TYPE_CHECKING:
    from .config import RunSpec
    from .datasets.base import ImageDataset
    from .images.features import ImageFeatures
    from .models.ssr import SSR
    from .training.data import Signals

GUESSED_WIDTH = 1024
"""Of image features that are still to be made."""
TRAINING = 16
"""Bytes that training takes for each parameter: itself, its gradient and two means of AdamW."""


def check_run(spec: RunSpec, dataset: ImageDataset, out: str | Path) -> None:
    """Find whatever would stop a resolved run later, as far as it can be known without doing it.

    Parameters
    ----------
    spec : RunSpec
        As :func:`braindecode_ssr.resolve.resolve` gives it.
    dataset : ImageDataset
    out : path-like
        Where the run's folder is to be.

    Raises
    ------
    UsageError
        If a setting cannot be met: backbone, image head or loss with its parameters, trials of this shape,
        parts to freeze, device, weights to test.
    MissingDataError
        If features or pretrained weights are neither here nor can be made.
    DataError
        If a folder cannot be written, or its disk has too little room.
    """
    check_without_data(spec, out)
    check_needs(spec, dataset)
    features = features_of(spec, dataset)
    features.check(dataset)
    signals = expected_signals(spec, dataset)
    model = early_model(spec, dataset, features, signals)
    n_parameters = 0
    if model is not None:
        n_parameters = sum(parameter.numel() for parameter in model.parameters())
        _check_memory(spec, n_parameters)
        _try_loss(spec, model, signals)
    _check_disk(spec, dataset, features, n_parameters, Path(out))


def preview(spec: RunSpec, data_dir: str | Path | None, out: str | Path) -> dict[str, Any]:
    """What a run would do, checked as the run itself checks it.

    Where the data are not there yet, what depends on them stays ``"auto"`` and a note says so.

    Raises
    ------
    UsageError, DataError
        See :func:`check_run`.
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
            notes.append(f"{run.path} is finished already; to train it anew, add --overwrite")
    return {
        "run": str(run.path) if run else None,
        "data_dir": str(dataset.root.absolute()),
        "notes": notes,
        "spec": spec.model_dump(mode="json"),
    }


def check_without_data(spec: RunSpec, out: str | Path) -> None:
    """The part of :func:`check_run` that needs no data, for a run whose data are not there yet."""
    check_place(Path(out))
    check_selection(spec)
    from .training.distributed import pick_device

    pick_device(spec.train.device)
    if spec.model.pretrained:
        from .models.weights import check_source

        check_source(spec.model.pretrained)
    if spec.train.solver == "gradient":
        from .models.backbone import backbone_class, check_takes_subjects

        if spec.model.backbone != "auto":
            backbone = backbone_class(spec.model.backbone)
            if spec.model.subjects == "own":
                check_takes_subjects(backbone)
        if spec.loss.params:
            check_loss_params(spec)


def check_place(folder: Path) -> None:
    """Raise DataError if a folder cannot be written or made; nothing is left behind."""
    place = _existing(folder)
    try:
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise unwritable(folder, error, "--out") from error
    except ValueError as error:  # a NUL in the name
        raise UsageError(
            f"{str(folder)!r} is no name of a folder: {error}", "change --out"
        ) from error


def expected_signals(spec: RunSpec, dataset: ImageDataset) -> Signals | None:
    """Channels, samples and rate of the trials: of those that are made, else out of the headers.

    None where a dataset does not tell without reading its recordings.

    Raises
    ------
    UsageError, DataError
        If the recordings lack a channel that is asked for, or cannot be cut as the spec says.
    """
    from .preprocessing.channels import channel_indices
    from .training.data import Signals
    from .trials.store import TrialStore

    subject = spec.data.subject
    store = None
    with suppress(DataError):
        store = TrialStore.open(trials_path(dataset, subject, spec.trials))
    if store is not None:
        return Signals.of(store, spec.data.channels)
    axes = dataset.trial_axes(subject, spec.trials)
    if axes is None:
        return None
    info, n_times = axes
    picked = channel_indices(info["ch_names"], spec.data.channels)
    return Signals(n_times, float(info["sfreq"]), [info["chs"][index] for index in picked])


def early_model(
    spec: RunSpec, dataset: ImageDataset, features: ImageFeatures, signals: Signals | None
) -> SSR | None:
    """The model of a run before there are trials, tried on a batch of zeros.

    Built without memory on the meta device, else on the CPU. None for closed forms, and where the shape of
    the trials is not known.

    Raises
    ------
    UsageError
        If the backbone does not take such trials, a part does not take its parameters, or a part that is
        to be frozen or trained at another rate is not there.
    """
    if spec.train.solver != "gradient" or signals is None:
        return None
    import mne
    import torch

    from .models.weights import rate_groups

    widths = expected_widths(features)
    n_subjects = len(training_subjects(spec, dataset))
    build = partial(build_model, spec, signals, sum(widths), widths, n_subjects)
    quiet = mne.use_log_level(
        "error"
    )  # what a model warns of is said when it is built to be trained
    with torch.random.fork_rng(devices=[]), quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _built(build, spec)
        if spec.model.pretrained and Path(spec.model.pretrained).expanduser().is_dir():
            from .models.weights import load_pretrained

            load_pretrained(model.backbone, spec.model.pretrained)
        model.freeze(*spec.model.freeze)
        rate_groups(model, spec.train.lr_of)
    return model


def expected_widths(features: ImageFeatures) -> tuple[int, ...]:
    """Widths of the vectors side by side in the image features; a guess for those still to be made."""
    try:
        return features.widths()
    except MissingDataError:
        return (GUESSED_WIDTH,) * len(features.encoders) * features.times


def _built(build: Callable[[], Any], spec: RunSpec) -> Any:
    """A model on the meta device; on the CPU where it cannot be built there, or is to get weights."""
    import torch

    if not spec.model.pretrained:
        try:
            with torch.device("meta"):
                return build()
        except Exception:  # what is wrong with the model, if it is the model, shows on the CPU
            pass
    try:
        return build()
    except SSRError:
        raise
    except (RuntimeError, MemoryError) as error:
        reason = (str(error) or "out of memory").splitlines()[0]
        raise UsageError(
            f"a model with backbone {spec.model.backbone} and n_outputs = {spec.model.n_outputs} "
            f"cannot be built: {reason}",
            "lower --set model.n_outputs or the sizes in model.backbone_params",
        ) from error


def _try_loss(spec: RunSpec, model: SSR, signals: Signals, n: int = 16) -> None:
    """Build the loss, and take it once of random embeddings."""
    import inspect

    import torch

    try:
        with torch.random.fork_rng(devices=[]):
            loss = build_loss(spec, model)
            asked = set(inspect.signature(loss.forward).parameters)
            if "posteriors" in asked:  # they come of the image head, which has no weights yet
                return
            told = {
                "trial": torch.randn(n, len(signals.chs_info), signals.n_times),
                "hidden": torch.randn(n, model.backbone_width),
                "features": torch.randn(n, model.n_features),
                "image": torch.arange(n),
                "epoch": 0,
            }
            brain, original, view = torch.randn(3, n, spec.model.n_outputs)
            loss(brain, original, view, **{k: v for k, v in told.items() if k in asked})
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
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    if n_parameters * TRAINING > there and pick_device(spec.train.device) == "cpu":
        raise UsageError(
            f"a model with backbone {spec.model.backbone} and n_outputs = {spec.model.n_outputs} has "
            f"{n_parameters:,} parameters: training takes {n_parameters * TRAINING / 1e9:,.0f} GB of "
            f"memory, this machine has {there / 1e9:,.0f} GB",
            "lower --set model.n_outputs or the sizes in model.backbone_params",
        )


def _check_disk(
    spec: RunSpec, dataset: ImageDataset, features: ImageFeatures, n_parameters: int, out: Path
) -> None:
    """Compare what a run writes, as far as it is known, with the room there is."""
    made = _bytes_of_trials(spec, dataset) + _bytes_of_features(dataset, features)
    check_free(dataset.derived, made, "what this run makes of the data", "--data-dir")
    copies = 7 + (spec.train.epochs if spec.train.keep == "every" else 0)  # two checkpoints, result
    here = 4 * n_parameters * copies
    if _existing(out).stat().st_dev == _existing(dataset.derived).stat().st_dev:
        here += made
    check_free(out, here, "this run")


def _bytes_of_trials(spec: RunSpec, dataset: ImageDataset) -> int:
    """Size of the trials still to be made; all subjects count as the first of them. 0 if not known."""
    subjects = dict.fromkeys([*training_subjects(spec, dataset), spec.data.subject])
    to_make = [s for s in subjects if not trials_path(dataset, s, spec.trials).is_dir()]
    tell = getattr(dataset, "presentations", None)
    if not to_make or tell is None:
        return 0
    shown, axes = tell(to_make[0], spec.trials), dataset.trial_axes(to_make[0], spec.trials)
    if shown is None or axes is None:
        return 0
    n_trials = sum(len(numbers) for _, numbers in shown)
    return 4 * len(to_make) * n_trials * len(axes[0]["ch_names"]) * axes[1]


def _bytes_of_features(dataset: ImageDataset, features: ImageFeatures) -> int:
    missing = sum(
        view not in features.store.views(name)
        for name in features.encoders
        for view in ("original", *features.views)
    )
    return 4 * missing * len(dataset.images) * GUESSED_WIDTH


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    places = (folder, *folder.absolute().parents)
    return next((place for place in places if os.path.lexists(place)), folder)
