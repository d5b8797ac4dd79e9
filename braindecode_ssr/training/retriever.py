"""The net that trains: skorch's loop, fed from arrays, with named parts of the loss.

Everything random in an epoch (order of batches, drop-out, masks) follows from the seed and the number of the
epoch, so that a run that was cut off goes on to the same weights as one that was not.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from braindecode import EEGRegressor
from skorch.callbacks import Callback, GradientNormClipping
from torch import Tensor

from ..config import TrainSpec
from ..errors import TrainingError, UsageError
from ..losses.base import full_precision
from ..losses.ssr import SSRLoss
from ..models.feature_point import rate_groups
from ..models.ssr import SSR
from ..retrieval.ranks import embed_images, has_own_parts, rank_of_target, similarity, space_of
from .callbacks import (
    EpochBar,
    EpochFolders,
    KeptEpochs,
    LearningRate,
    ValidationRetrieval,
    WeightAverage,
    first_missing,
)
from .data import Batch, Batches, TrainingSet, epoch_seed, hold_out_concepts
from .distributed import World, synchronise_batch_norm

ALONE = World()
FUSED = ("cpu", "cuda")  # devices on which one kernel does a whole step of AdamW
MAY_CHANGE = {"epochs", "device", "memory"}  # when a run is gone on with
N_OUTPUTS = 512  # width of the shared space where none is asked for
SIZES = ("n_outputs", "n_chans", "n_times", "n_features", "feature_widths", "backbone_width")
"""Of a model: what a loss that takes them by name is told."""


class EEGRetriever(EEGRegressor):
    """A braindecode regressor whose outputs are embeddings of the shared space.

    ``fit(X, y)`` takes trials and the features of their images, ``predict`` gives brain embeddings, and
    ``score(X, y)`` is the share of trials whose own image comes first in the gallery of all images of ``y``.
    It works in scikit-learn's ``clone``, ``cross_val_score`` and ``GridSearchCV``; zero-shot
    cross-validation groups by concept. Callbacks, loggers and learning-rate schedulers are skorch's.

    Parameters
    ----------
    module : nn.Module, class or str
        A model with an ``image_head``, such as :class:`braindecode_ssr.models.SSR`.
    criterion : nn.Module or class
        A loss of :mod:`braindecode_ssr.losses`; told the sizes of ``SIZES`` that it takes and was not given.
    precision : {"float32", "bfloat16"}
        Of the forward pass; the loss is always float32.
    seed : int
        Of the order of batches, drop-out and masks.
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
        precision: str = "float32",
        seed: int = 0,
        world: World = ALONE,
        train_split: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, *args, criterion=criterion, train_split=train_split, **kwargs)
        self.precision = precision
        self.seed = seed
        self.world = world

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> EEGRetriever:
        """Train; see the class for ``X`` and ``y``.

        Returns
        -------
        EEGRetriever
            Itself, as scikit-learn wants it (braindecode's own ``fit`` gives nothing back).
        """
        super().fit(X, y, **fit_params)
        return self

    def check_data(self, X: Any, y: Any) -> None:
        """A TrainingSet holds its own targets; everything else is checked as skorch does."""
        if not isinstance(X, TrainingSet):
            super().check_data(X, y)

    def initialize_criterion(self) -> EEGRetriever:
        """Build the loss, of the model's sizes unless it is told otherwise."""
        if _is_class(self.criterion):
            sizes = sizes_for(self.criterion, self.module_)
            given = self.get_params_for("criterion")
            self.set_params(**{f"criterion__{k}": v for k, v in sizes.items() if k not in given})
        super().initialize_criterion()
        _check_space(self.module_, self.criterion_)
        self.asked_for_ = set(inspect.signature(self.criterion_.forward).parameters)
        return self

    def get_iterator(self, dataset: Any, training: bool = False, drop_index: bool = True) -> Any:
        """Batches in seeded order for a TrainingSet in training, else braindecode's iterator."""
        if training and isinstance(dataset, TrainingSet):
            done, share = len(self.history), self.world.share
            return Batches(dataset, self.batch_size, self.seed, done, share)
        return super().get_iterator(dataset, training=training, drop_index=drop_index)

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Seed drop-out and masks of the epoch."""
        super().on_epoch_begin(net, **kwargs)
        torch.manual_seed(epoch_seed(self.seed, len(self.history) - 1))
        self.parts_: list[dict[str, Tensor]] = []

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Write the mean of each named part of the loss into the history."""
        for name in self.parts_[0] if self.parts_ else ():
            mean = torch.stack([parts[name] for parts in self.parts_]).mean()
            self.history.record(name, mean.item())
        super().on_epoch_end(net, **kwargs)

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Brain embeddings, computed in ``precision`` and returned in at least float32.

        Where the loss asks for ``hidden``, a pair of them and of what enters the brain projector.
        """
        device = torch.device(self.device).type
        enabled = self.precision == "bfloat16"
        with torch.autocast(device, dtype=torch.bfloat16, enabled=enabled):
            if "hidden" not in self.asked_for_:
                return full_precision(super().infer(x, **fit_params))
            hidden = super().infer(x, return_features=True, **fit_params)["features"]
            return full_precision(self.module_.final_layer(hidden)), full_precision(hidden)

    def get_loss(
        self,
        y_pred: Tensor | tuple[Tensor, Tensor],
        y_true: dict[str, Tensor] | Tensor,
        X: Any = None,
        training: bool = False,
    ) -> Tensor:
        """The total of the loss between brain, original and view embeddings."""
        y_pred, hidden = y_pred if isinstance(y_pred, tuple) else (y_pred, None)
        features = {name: part.to(y_pred.device) for name, part in _named(y_true).items()}
        head, gather = self.module_.image_head, self.world.gather if training else _as_it_is
        original, view = (gather(head(features[name])) for name in ("original", "view"))
        known = {"trial": X, "hidden": hidden, "features": features["original"]}
        known["image"] = features.get("image")
        if "posteriors" in self.asked_for_ and hasattr(head, "posteriors"):
            known["posteriors"] = head.posteriors(features["original"])
        asked = {k: v for k, v in known.items() if k in self.asked_for_ and v is not None}
        told = {name: gather(rows.to(y_pred.device)) for name, rows in asked.items()}
        if "epoch" in self.asked_for_:
            told["epoch"] = max(len(self.history) - 1, 0)
        parts = self.criterion_(gather(y_pred), original, view, **told)
        if training:
            self.parts_.append(
                {name: part.detach() for name, part in parts.items() if name != "loss"}
            )
        return parts["loss"]

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Gradients of one batch, of which each process works on its share.

        Raises
        ------
        TrainingError
            If the loss is NaN or infinite; the weights are then still those of the step before.
        """
        batch = _share(batch, self.world)
        if has_own_parts(self.module_) and isinstance(batch[1], dict):
            fit_params["subject_index"] = batch[1]["subject"].to(self.device)
        step = super().train_step_single(batch, **fit_params)
        if not torch.isfinite(step["loss"]):
            raise TrainingError(
                "a finite loss",
                f"{step['loss'].item()} in epoch {len(self.history)}, step {len(self.parts_)}",
                "lower --set train.lr, or check trials and features with `ssr-bd data check`",
            )
        self.world.add_gradients(self.module_, self.criterion_)
        return step

    def score(self, X: Any, y: Any) -> float:
        """Top-1 accuracy among the images of ``y``; ties count as wrong.

        Parameters
        ----------
        X : array, shape (n, c, t)
            Trials.
        y : array, shape (n, d) or (n, 2, d)
            Features of the image of each trial. The gallery is every different original image among them.

        Returns
        -------
        float
            In 0..1.
        """
        original = np.asarray(y)
        original = original[:, 0] if original.ndim == 3 else original
        images, own = np.unique(original, axis=0, return_inverse=True)
        gallery = embed_images(self.module_, images)
        near = similarity(self.predict(X), gallery, space_of(self.module_))
        ranks = rank_of_target(near, own.reshape(-1))
        return float((ranks == 1).mean())

    def _set_signal_args(self, X: Any, y: Any, classes: Any) -> None:
        """Infer what the model needs of the trials, and the width of the features; not ``n_outputs``."""
        if _is_class(self.module) or isinstance(self.module, str):
            given = self.get_params_for("module")
            wanted = {"n_outputs": N_OUTPUTS}
            if hasattr(y, "shape"):
                wanted["n_features"] = y.shape[-1]
            missing = {f"module__{k}": v for k, v in wanted.items() if k not in given}
            self.set_params(**missing)
        super()._set_signal_args(X, y, classes)


def sizes_for(loss: Any, model: Any) -> dict[str, Any]:
    """The sizes of a model that the constructor of a loss takes, out of ``SIZES``."""
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
    say: Callable[[str], object] | None = None,
) -> EEGRetriever:
    """Train a model, with a checkpoint after each epoch.

    Parameters
    ----------
    data : TrainingSet
        All training trials; validation concepts are taken from them when the spec asks for some.
    model, loss : nn.Module
        Trained together; the loss is thrown away afterwards.
    spec : TrainSpec
        With ``batch_size`` filled in; the batch of all processes together.
    folder : Path
        For checkpoints. What is there is used with ``resume`` and removed without.
    world : World
        The processes that train together. The first writes the checkpoints.
    kept : Path, optional
        Gets the weights of every epoch.
    say : callable, optional
        Is told which checkpoints are damaged, and which epoch is continued from.

    Returns
    -------
    EEGRetriever
        Holding the weights of the last epoch, or of the best one on validation concepts, or their average.
    """
    world.check_batch(spec.batch_size)
    average = WeightAverage(spec.ema) if spec.ema else None
    train, callbacks = data, [("average", average)] if average else []
    validation = None
    if spec.validation_concepts:
        train, held = hold_out_concepts(data, spec.validation_concepts, spec.seed)
        validation = ValidationRetrieval(held, folder, average, writes=world.first)
        callbacks.append(("validation", validation))
    same = spec.model_dump(mode="json", exclude=MAY_CHANGE)
    checkpoints = EpochFolders(folder, average, same, writes=world.first)
    if kept is not None:
        callbacks.append(("kept", KeptEpochs(kept, average, writes=world.first)))
    callbacks += [("checkpoints", checkpoints), *_optional(spec, len(train))]
    if progress:
        callbacks.append(("bar", EpochBar(spec.epochs)))
    engine = {"device": device, "precision": precision, "world": world}
    net = _net(model, loss, spec, callbacks=callbacks, **engine)
    if world.first and not resume:
        for earlier in filter(None, (folder, kept)):
            shutil.rmtree(earlier, ignore_errors=True)
    if world.first and checkpoints.epochs():
        last = first_missing(kept) - 1 if kept is not None else None
        if validation is not None and not validation.is_whole():
            last = 0
        damaged = checkpoints.repair(last)
        if damaged and say is not None:
            names, epochs = ", ".join(damaged), checkpoints.epochs()
            again = f"continuing from {epochs[-1].name}" if epochs else "training again"
            say(f"checkpoint {names} in {folder} is damaged or needs a file that is: {again}")
    world.wait()
    done = checkpoints.load(net)
    if done and say is not None:
        say(f"continuing from epoch {done}")
    world.same_start([*net.module_.state_dict().values(), *net.criterion_.state_dict().values()])
    net.notify("on_train_begin", X=train, y=None)
    net.fit_loop(_on_device(train, device), epochs=spec.epochs - done)
    net.notify("on_train_end", X=train, y=None)
    world.wait()
    if validation is not None and spec.selection == "validation":
        net.load_params(f_params=str(validation.best_weights))
    elif average is not None:
        average.install(net.module_)
    return net


def _net(
    model: torch.nn.Module, loss: torch.nn.Module, spec: TrainSpec, *, world: World, **engine: Any
) -> EEGRetriever:
    """What trains a model as a spec says, with its weights in place."""
    net = EEGRetriever(
        synchronise_batch_norm(model, world),
        criterion=loss,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=spec.weight_decay,
        optimizer__betas=spec.betas,
        optimizer__fused=torch.device(engine["device"]).type in FUSED,
        optimizer__param_groups=rate_groups(model, spec.lr_of),
        lr=spec.lr,
        batch_size=spec.batch_size,
        seed=spec.seed,
        world=world,
        verbose=0,
        **engine,
    ).initialize()
    if spec.compile != "none":
        net.module_.compile(mode=spec.compile)
    return net


def _optional(spec: TrainSpec, n_trials: int) -> list[tuple[str, Callback]]:
    """What is only there when it is asked for: clipped gradients, a learning rate that changes."""
    callbacks: list[tuple[str, Callback]] = []
    if spec.clip:
        callbacks.append(("clip", GradientNormClipping(spec.clip)))
    if spec.warmup or spec.schedule != "constant":
        steps = n_trials // spec.batch_size
        rate = LearningRate(steps, spec.epochs, spec.warmup, spec.schedule)
        callbacks.append(("rate", rate))
    return callbacks


def _named(y: dict[str, Tensor] | Tensor) -> dict[str, Tensor]:
    """Image features by name: an array (b, 2, d) holds original and view, (b, d) stands for both."""
    if isinstance(y, dict):
        return y
    original, view = (y[:, 0], y[:, 1]) if y.ndim == 3 else (y, y)
    return {"original": original, "view": view}


def _share(batch: Batch, world: World) -> Batch:
    """The rows that are for this process; batches of a TrainingSet hold no others."""
    x, y = batch
    return batch if isinstance(y, dict) else (world.share(x), world.share(y))


def _as_it_is(rows: Tensor) -> Tensor:
    return rows


def _check_space(model: torch.nn.Module, loss: torch.nn.Module) -> None:
    """Refuse a loss that compares embeddings in another space than they are ranked in."""
    if space_of(loss) != space_of(model):
        raise UsageError(
            f"a loss that compares embeddings in the space of the model, {space_of(model)}",
            f"{type(loss).__name__}, in {space_of(loss)} space",
            "give the model the space of its loss, or choose another loss",
        )


def _is_class(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, torch.nn.Module)


def _on_device(data: TrainingSet, device: str) -> TrainingSet:
    """The set on the device, where that has room for it twice."""
    if torch.device(device).type != "cuda":
        return data
    free, _ = torch.cuda.mem_get_info(device)
    return data.to(device) if 2 * data.n_bytes < free else data
