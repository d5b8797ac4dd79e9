"""Model and loss of a run, and the net that trains them, with skorch's loop.

Everything random in an epoch (order of batches, dropout, masks) follows from the seed and the number of the
epoch, so that an interrupted run resumes to the same weights as one that was not interrupted.
"""

from __future__ import annotations

import inspect
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ..config import ModelSpec, RunSpec, TrainSpec
from ..errors import Say, TrainingError, UsageError, silent
from ..losses import LOSSES
from ..losses.base import full_precision
from ..losses.ssr import SSRLoss
from ..models.backbone import adjustments, class_name
from ..models.electrodes import describe_channels
from ..models.modules import Components, count_parameters, rate_groups
from ..models.names import quiet_import
from ..models.pretrained import load_pretrained, loads_own_weights
from ..models.ssr import SSR
from ..models.tuning import tune
from ..registry import unknown_name
from ..retrieval.ranks import embed_images, has_own_parts, rank_of_target, similarity, space_of
from ..runs import load_weights
from .callbacks import (
    Checkpoints,
    EarlyStopping,
    EpochBar,
    KeepEpochs,
    TrainingIsOver,
    ValidationRetrieval,
    WeightAverage,
    can_load,
    first_missing,
    learning_rate_factor,
)
from .data import Batch, Batches, TrainingSet, epoch_seed, hold_out_concepts, n_batches
from .distributed import ALONE, World, synchronize_batch_norm
from .encoding import Encoding, fit_components

with quiet_import():
    from braindecode import EEGRegressor

if TYPE_CHECKING:
    from .data import Signals
    from .ridge import Ridge

FUSED = ("cpu", "cuda")  # devices on which one kernel does a whole step of AdamW
MAY_CHANGE = {"epochs", "device", "memory"}  # between a run and its continuation
N_OUTPUTS = 512  # default width of the shared space
SIZES = ("n_outputs", "n_chans", "n_times", "n_features", "feature_widths", "backbone_width")
"""Attributes of a model that a loss gets if its constructor takes them by name."""


def build_model(
    spec: RunSpec,
    signals: Signals,
    n_features: int,
    widths: Sequence[int] = (),
    n_subjects: int = 1,
) -> SSR | Ridge | Encoding:
    """The untrained model of a resolved spec; ``widths`` are those of the vectors joined in the features."""
    n_signal = len(signals.chs_info) * signals.n_times
    if spec.train.solver != "gradient":
        return build_closed_form(spec, n_signal, n_features, signals)
    return SSR(
        n_outputs=n_features if spec.model.image_head == "none" else spec.model.n_outputs,
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
        width=spec.model.width,
        components=spec.model.components,
        space=spec.model.space,
        projector=spec.model.projector,
    )


def build_closed_form(
    spec: RunSpec, n_signal: int, n_features: int, signals: Signals | None = None
) -> Ridge | Encoding:
    """The linear map of a spec between trials of ``n_signal`` numbers and image features.

    ``signals`` say when its samples are, which fitting an encoding model needs.
    """
    if spec.train.solver == "encoding":
        sfreq, tmin = (signals.sfreq, signals.tmin) if signals else (spec.trials.sfreq, None)
        return Encoding(n_signal, n_features, sfreq, tmin)
    from .ridge import RIDGES

    return RIDGES[spec.train.solver](n_signal, n_features)


def initialize(model: SSR, spec: ModelSpec, start: Path | None = None) -> list[str]:
    """Load weights into a new model and say what of it is trained; returns what to tell the user.

    ``start`` is a file with weights of the whole model, to begin with instead of pretrained ones.
    """
    name = class_name(model.backbone)
    known = adjustments(name)
    adjusted = "".join(f", {key} = {value}" for key, value in model.adjusted.items())
    parts = f", a part for each of {model.n_subjects} subjects" if model.n_subjects else ""
    width = f"{model.backbone_width} features ({model.feature_point})"
    lines = [f"backbone {spec.backbone}: {width}{adjusted}{parts}"]
    if spec.pretrained:
        new = ", ".join(load_pretrained(model.backbone, spec.pretrained)) or "none"
        lines.append(f"pretrained weights from {spec.pretrained}, except {new}")
        own = model._known("sfreq")
        rate = known.get("sfreq", own)
        if rate != own:
            rates = f"were trained at {rate:g} Hz, the trials have {own:g} Hz"
            lines.append(f"these weights {rates}; see --set trials.sfreq={rate:g}")
    if start is not None:
        load_weights(model, start)
    if model.channel_map:
        lines.append(describe_channels(name, model.channel_map, known))
    choose_trained(model, spec)
    if spec.tuning != "full" or spec.freeze:
        n = count_parameters(model)
        trained = f"{n['trained']:,} of {n['total']:,} parameters are trained"
        lines.append(f"tuning {spec.tuning}: {trained}")
    return lines


def choose_trained(model: SSR, spec: ModelSpec) -> None:
    model.freeze(*spec.freeze)
    if spec.tuning != "full":
        tune(model, spec.tuning, spec.lora_rank, spec.lora_alpha)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(
            f"nothing of the model is trained, with {', '.join(spec.freeze)} frozen and tuning {spec.tuning}",
            "leave a part out of model.freeze, or choose another --set model.tuning",
        )


def is_pretrained(spec: ModelSpec, model: SSR, build: Callable[[], torch.nn.Module]) -> bool:
    """Whether training starts from weights that may have seen the tested concepts elsewhere."""
    if spec.pretrained_concepts != "unknown":
        return False
    roots = {type(part).__module__.partition(".")[0] for part in model.modules()}
    foreign = roots - {"braindecode", "braindecode_ssr", "einops", "torch"} or "@" in spec.backbone
    return bool(spec.pretrained or (foreign and loads_own_weights(build)))


def build_loss(spec: RunSpec, model: SSR | Ridge | None = None) -> torch.nn.Module:
    """The loss of a spec, with the width of the shared space and the model's sizes where it takes them."""
    check_loss_params(spec)
    loss = LOSSES[spec.loss.name]
    return loss(**{**sizes_for(loss, spec.model), **sizes_for(loss, model), **spec.loss.params})


def check_loss_params(spec: RunSpec) -> None:
    known = inspect.signature(LOSSES[spec.loss.name]).parameters
    for name in sorted(set(spec.loss.params) - set(known)):
        raise unknown_name(f"parameter of the loss {spec.loss.name}", name, list(known))


class EEGRetriever(EEGRegressor):
    """A braindecode regressor whose outputs are embeddings in the shared space.

    ``fit(X, y)`` takes trials and the features of their images, ``predict`` gives brain embeddings, and
    ``score(X, y)`` is the share of trials whose own image comes first in the gallery of all images of ``y``.
    It works in scikit-learn's ``clone``, ``cross_val_score`` and ``GridSearchCV``; zero-shot
    cross-validation groups by concept. Callbacks, loggers and learning-rate schedulers are skorch's.

    Parameters
    ----------
    module : nn.Module, class or str
        A model with an ``image_head``, such as :class:`braindecode_ssr.models.SSR`.
    criterion : nn.Module or class
        A loss of :mod:`braindecode_ssr.losses`; gets the ``SIZES`` that it takes and was not given.
    precision : {"float32", "bfloat16"}
        Of the forward pass; the loss is always float32.
    seed : int
        Of the first weights of a module given by class or name, of the order of batches, dropout and masks.
    drop_last : bool
        Leave out a short last batch of a TrainingSet.
    world : World
        The processes that train together; see :mod:`braindecode_ssr.training.distributed`.
    **kwargs
        As for :class:`braindecode.EEGRegressor`.

    Notes
    -----
    ``X`` is an array of shape (n, c, t) and ``y`` one of shape (n, d), the features of the original images,
    or (n, 2, d), those of the original and of its views. A
    :class:`~braindecode_ssr.training.data.TrainingSet` holds both.
    """

    def __init__(
        self,
        module: Any = SSR,
        *args: Any,
        criterion: Any = SSRLoss,
        optimizer: Any = torch.optim.AdamW,
        lr: float = 1e-3,
        precision: str = "float32",
        seed: int = 0,
        drop_last: bool = True,
        world: World = ALONE,
        train_split: Any = None,
        **kwargs: Any,
    ) -> None:
        kwargs |= {"optimizer": optimizer, "lr": lr}
        super().__init__(module, *args, criterion=criterion, train_split=train_split, **kwargs)
        self.precision = precision
        self.seed = seed
        self.drop_last = drop_last
        self.world = world

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> EEGRetriever:
        """Train; see the class for ``X`` and ``y``. Returns itself, unlike braindecode's ``fit``."""
        super().fit(X, y, **fit_params)
        return self

    def check_data(self, X: Any, y: Any) -> None:
        """Check arrays as skorch does; a TrainingSet holds its own targets."""
        if not isinstance(X, TrainingSet):
            super().check_data(X, y)

    def initialize_module(self) -> EEGRetriever:
        """Build the model, with first weights that follow from ``seed``."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            super().initialize_module()
        return self

    def initialize_criterion(self) -> EEGRetriever:
        """Build the loss, with the sizes of the model unless others are given."""
        if _is_class(self.criterion):
            sizes = sizes_for(self.criterion, self.module_)
            given = self.get_params_for("criterion")
            self.set_params(**{f"criterion__{k}": v for k, v in sizes.items() if k not in given})
        super().initialize_criterion()
        model, loss = space_of(self.module_), space_of(self.criterion_)
        if loss != model:
            raise UsageError(
                f"{type(self.criterion_).__name__} compares embeddings in {loss} space, the model in "
                f"{model} space",
                "give the model the space of its loss, or choose another loss",
            )
        takes = set(inspect.signature(self.criterion_.forward).parameters)
        self.inputs_ = takes - set(getattr(self.criterion_, "unused", ()))
        return self

    def get_iterator(self, dataset: Any, training: bool = False, drop_index: bool = True) -> Any:
        """Batches in seeded order for a TrainingSet in training, else braindecode's iterator."""
        if training and isinstance(dataset, TrainingSet):
            options = len(self.history), self.world, self.drop_last
            return Batches(dataset, self.batch_size, self.seed, *options)
        return super().get_iterator(dataset, training=training, drop_index=drop_index)

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Seed dropout and masks of the epoch."""
        super().on_epoch_begin(net, **kwargs)
        torch.manual_seed(epoch_seed(self.seed, len(self.history) - 1))
        self.parts_: list[dict[str, Tensor]] = []
        inputs = getattr(self.module_, "inputs", None)
        if isinstance(inputs, Components) and not inputs.filters.any():
            raise UsageError(
                "the supervised components of the model are not fitted",
                "fit them with braindecode_ssr.training.encoding.fit_components, or train with "
                "braindecode_ssr.train",
            )

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Record the mean of each part of the loss, and its diagnostics, in the history."""
        for name in self.parts_[0] if self.parts_ else ():
            mean = torch.stack([parts[name] for parts in self.parts_]).mean()
            self.history.record(name, mean.item())
        for name, value in getattr(self.criterion_, "diagnostics", dict)().items():
            self.history.record(name, value.item())
        super().on_epoch_end(net, **kwargs)

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Brain embeddings, computed in ``precision`` and returned in at least float32.

        If the loss takes ``hidden``, a pair of them and of the input of the brain projector.
        """
        with self._precise():
            if "hidden" not in self.inputs_:
                return full_precision(super().infer(x, **fit_params))
            hidden = super().infer(x, return_features=True, **fit_params)["features"]
            return full_precision(self.module_.final_layer(hidden)), full_precision(hidden)

    def _precise(self) -> torch.autocast:
        device, half = torch.device(self.device).type, self.precision == "bfloat16"
        return torch.autocast(device, dtype=torch.bfloat16, enabled=half)

    def _encoded(self, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Features (b, d) of originals and views from the pixels of a batch, with gradients."""
        picture, encoder = targets["picture"], self.module_.image_encoder
        with self._precise():
            original = full_precision(encoder(targets["original_pixels"]))[picture]
            if "view_pixels" not in targets:
                return {"original": original, "view": original}
            view = full_precision(encoder(targets["view_pixels"]))[picture]
        return {"original": original, "view": view}

    def get_loss(
        self,
        y_pred: Tensor | tuple[Tensor, Tensor],
        y_true: dict[str, Tensor] | Tensor,
        X: Any = None,
        training: bool = False,
    ) -> Tensor:
        """The total of the loss between brain, original and view embeddings."""
        brain, hidden = y_pred if isinstance(y_pred, tuple) else (y_pred, None)
        if not isinstance(y_true, dict):
            # (b, 2, d) holds original and view, (b, d) stands for both
            both = y_true.unbind(1) if y_true.ndim == 3 else (y_true, y_true)
            y_true = dict(zip(("original", "view"), both, strict=True))
        targets = {name: rows.to(brain.device) for name, rows in y_true.items()}
        if "original_pixels" in targets:
            targets |= self._encoded(targets)
        original, view, head = targets["original"], targets["view"], self.module_.image_head
        rows = {"brain": brain, "original": head(original), "view": head(view)}
        extra = {"trial": X, "hidden": hidden}
        extra |= {"features": original.detach(), "view_features": view.detach()}
        extra |= {name: targets.get(name) for name in ("image", "subject")}
        if "posteriors" in self.inputs_ and hasattr(head, "posteriors"):
            extra["posteriors"] = head.posteriors(original)
        if "levels" in self.inputs_ and hasattr(head, "levels"):
            extra["levels"] = head.levels(view)
        for name, part in extra.items():
            if name in self.inputs_ and part is not None:
                rows[name] = part.to(brain.device)
        if training:
            rows = {name: self.world.gather(part) for name, part in rows.items()}
        embeddings = [rows.pop(name) for name in ("brain", "original", "view")]
        epoch = {"epoch": max(len(self.history) - 1, 0)} if "epoch" in self.inputs_ else {}
        parts = self.criterion_(*embeddings, **rows, **epoch)
        if training:
            self.parts_.append({k: part.detach() for k, part in parts.items() if k != "loss"})
        return parts["loss"]

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Compute the gradients of one batch; each process works on its share.

        TrainingError if the loss is not finite; the weights are then still those of the step before.
        """
        x, y = batch
        if not isinstance(y, dict):  # batches of a TrainingSet hold only the rows of this process
            batch = self.world.shard(x), self.world.shard(y)
        elif has_own_parts(self.module_):
            fit_params["subject_index"] = y["subject"].to(self.device)
        step = super().train_step_single(batch, **fit_params)
        if not torch.isfinite(step["loss"]):
            raise TrainingError(
                f"the loss is {step['loss'].item()} in epoch {len(self.history)}, step {len(self.parts_)}",
                "lower --set train.lr, or check trials and features with `ssr-bd data check`",
            )
        self.world.reduce_gradients(self.module_, self.criterion_)
        return step

    def score(self, X: Any, y: Any) -> float:
        """Top-1 accuracy; the gallery is every different original image of ``y``, and ties count as wrong."""
        original = np.asarray(y)
        original = original[:, 0] if original.ndim == 3 else original
        images, own = np.unique(original, axis=0, return_inverse=True)
        gallery = embed_images(self.module_, images)
        similarities = similarity(self.predict(X), gallery, space_of(self.module_))
        ranks = rank_of_target(similarities, own.reshape(-1))
        return float((ranks == 1).mean())

    def _set_signal_args(self, X: Any, y: Any, classes: Any) -> None:
        if _is_class(self.module) or isinstance(self.module, str):
            given = self.get_params_for("module")
            wanted = {"n_outputs": N_OUTPUTS}
            if hasattr(y, "shape"):
                wanted["n_features"] = y.shape[-1]
            self.set_params(**{f"module__{k}": v for k, v in wanted.items() if k not in given})
        super()._set_signal_args(X, y, classes)


def sizes_for(loss: Any, model: Any) -> dict[str, Any]:
    """Those of ``SIZES`` that the constructor of a loss takes, from a model or its spec."""
    takes = inspect.signature(loss).parameters
    return {name: getattr(model, name) for name in SIZES if name in takes and hasattr(model, name)}


def fit(
    data: TrainingSet,
    model: torch.nn.Module,
    loss: torch.nn.Module,
    spec: TrainSpec,
    folder: Path,
    *,
    device: str = "cpu",
    precision: str = "float32",
    resume: bool = False,
    progress: bool = False,
    world: World = ALONE,
    kept: Path | None = None,
    tmin: float = 0.0,
    callbacks: Sequence[Callback | tuple[str, Callback]] = (),
    say: Say = silent,
) -> EEGRetriever:
    """Train a model and its loss, with a checkpoint in ``folder`` after each epoch.

    ``spec.batch_size`` is the batch of all processes together, of which the first writes the checkpoints
    (used with ``resume``, else removed). ``kept`` gets the weights of every epoch; ``callbacks`` are called
    after ours. The result has the weights of the last epoch, of the best one on the validation concepts,
    which are taken from ``data``, or their average.
    """
    world.check_batch(spec.batch_size or 1)
    if spec.patience and world.size > 1:
        raise UsageError(
            "train.patience does not apply to several processes: only the first validates",
            "leave it out, or train in one process",
        )
    average = WeightAverage(spec.ema) if spec.ema else None
    train, validation = data, None
    if spec.validation_concepts:
        train, held_out = hold_out_concepts(data, spec.validation_concepts, spec.seed)
        validation = ValidationRetrieval(held_out, folder, average)
    settings = spec.model_dump(mode="json", exclude=MAY_CHANGE)
    checkpoints = Checkpoints(folder, average, settings)
    if world.first:
        for old in () if resume else filter(None, (folder, kept)):
            shutil.rmtree(old, ignore_errors=True)
        _repair(checkpoints, kept, validation, say)
    world.barrier()
    done = checkpoints.done()

    bar, early = EpochBar(spec.epochs), EarlyStopping(spec.patience) if spec.patience else None
    own: dict[str, Callback | None] = {"average": average}
    if world.first:  # the only one that writes
        own["validation"] = validation
        own["kept"] = KeepEpochs(kept, average) if kept is not None else None
        own["checkpoints"] = checkpoints
    own["clip"] = GradientNormClipping(spec.clip) if spec.clip else None
    if spec.warmup or spec.schedule != "constant":
        steps = n_batches(len(train), spec.batch_size or 1, spec.drop_last, world.size)
        sizes = {"total": steps * spec.epochs, "warmup": round(spec.warmup * steps)}
        factor = partial(learning_rate_factor, schedule=spec.schedule, **sizes)
        how: dict[str, Any] = {"step_every": "batch", "event_name": None}
        own["rate"] = LRScheduler(LambdaLR, lr_lambda=factor, last_epoch=done * steps - 1, **how)
    own |= {"bar": bar if progress else None, "early_stopping": early}
    net = EEGRetriever(
        synchronize_batch_norm(model, world, device),
        criterion=loss,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=spec.weight_decay,
        optimizer__betas=spec.betas,
        optimizer__fused=torch.device(device).type in FUSED,
        optimizer__param_groups=rate_groups(model, spec.lr_of, spec.decay),
        lr=spec.lr,
        batch_size=spec.batch_size,
        seed=spec.seed,
        drop_last=spec.drop_last,
        device=device,
        precision=precision,
        world=world,
        callbacks=[*((name, each) for name, each in own.items() if each), *callbacks],
        verbose=0,
    ).initialize()
    if spec.compile != "none":
        net.module_.compile(mode=spec.compile)
    checkpoints.load(net)
    inputs, began = getattr(net.module_, "inputs", None), time.perf_counter()
    if done:
        say(f"resuming from epoch {done}")
    elif isinstance(inputs, Components):
        say(f"fitting {inputs.filters.shape[1]} supervised components on {len(train)} trials")
        fit_components(inputs, train, net.module_.sfreq, tmin)
    seconds = time.perf_counter() - began
    world.broadcast([*net.module_.state_dict().values(), *net.criterion_.state_dict().values()])

    over = early is not None and early.is_over(net.history)
    try:
        net.notify("on_train_begin", X=train, y=None)
        with suppress(TrainingIsOver):
            net.fit_loop(_on_device(train, device), epochs=0 if over else spec.epochs - done)
        net.notify("on_train_end", X=train, y=None)
    finally:
        bar.on_train_end(net)
    if not done and net.history:
        net.history[0]["dur"] += seconds
    world.barrier()
    if validation is not None and spec.selection == "validation":
        net.load_params(f_params=str(validation.best_weights))
    elif average is not None:
        net.module_.load_state_dict(average.model.state_dict())
    return net


def _repair(
    checkpoints: Checkpoints,
    kept: Path | None,
    validation: ValidationRetrieval | None,
    say: Say,
) -> None:
    if not checkpoints.epochs():
        return
    last = first_missing(kept) - 1 if kept is not None else None
    if validation is not None and not can_load(validation.best_weights):
        last = 0
    if damaged := ", ".join(checkpoints.repair(last)):
        left = checkpoints.epochs()
        then = f"resuming from {left[-1].name}" if left else "training from the beginning"
        found = f"checkpoint {damaged} in {checkpoints.folder} is damaged"
        say(f"{found}, or needs a file that is: {then}")


def _is_class(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, torch.nn.Module)


def _on_device(data: TrainingSet, device: str) -> TrainingSet:
    """The set on the GPU, if twice its size is free there."""
    if torch.device(device).type != "cuda":
        return data
    free, _ = torch.cuda.mem_get_info(device)
    return data.to(device) if 2 * data.n_bytes < free else data
