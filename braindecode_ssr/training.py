"""The net that trains: skorch's loop, fed from arrays, with named parts of the loss.

Everything random in an epoch (order of batches, drop-out, masks) follows from the seed and the number of the
epoch, so that a run that was cut off goes on to the same weights as one that was not.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from braindecode import EEGRegressor
from torch import Tensor

from .batches import Batch, Batches, TrainingSet, epoch_seed, hold_out_concepts
from .callbacks import EpochBar, EpochFolders, ValidationRetrieval
from .config import TrainSpec
from .errors import TrainingError

FUSED = ("cpu", "cuda")  # devices on which one kernel does a whole step of AdamW


class EEGRetriever(EEGRegressor):
    """A braindecode regressor whose outputs are embeddings of the shared space.

    It trains on a :class:`~braindecode_ssr.batches.TrainingSet` with any loss of
    :mod:`braindecode_ssr.losses`; ``predict`` gives brain embeddings. Callbacks, loggers and
    learning-rate schedulers are skorch's.

    Parameters
    ----------
    module : nn.Module, class or str
        A model with an ``image_head``, such as :class:`braindecode_ssr.models.SSR`.
    precision : {"float32", "bfloat16"}
        Of the forward pass; the loss is always float32.
    seed : int
        Of the order of batches, drop-out and masks.
    **kwargs
        As for :class:`braindecode.EEGRegressor`.
    """

    def __init__(
        self,
        module: Any,
        *args: Any,
        precision: str = "float32",
        seed: int = 0,
        train_split: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, *args, train_split=train_split, **kwargs)
        self.precision = precision
        self.seed = seed

    def check_data(self, X: Any, y: Any) -> None:
        """A TrainingSet holds its own targets; everything else is checked as skorch does."""
        if not isinstance(X, TrainingSet):
            super().check_data(X, y)

    def get_iterator(self, dataset: Any, training: bool = False, drop_index: bool = True) -> Any:
        """Batches in seeded order for a TrainingSet in training, else braindecode's iterator."""
        if training and isinstance(dataset, TrainingSet):
            return Batches(dataset, self.batch_size, self.seed, len(self.history))
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
        """Brain embeddings in float32, computed in ``precision``."""
        device = torch.device(self.device).type
        enabled = self.precision == "bfloat16"
        with torch.autocast(device, dtype=torch.bfloat16, enabled=enabled):
            return super().infer(x, **fit_params).float()

    def get_loss(
        self, y_pred: Tensor, y_true: dict[str, Tensor], X: Any = None, training: bool = False
    ) -> Tensor:
        """The total of the loss between brain, original and view embeddings."""
        features = {name: part.to(y_pred.device) for name, part in y_true.items()}
        head = self.module_.image_head
        parts = self.criterion_(y_pred, head(features["original"]), head(features["view"]))
        if training:
            self.parts_.append(
                {name: part.detach() for name, part in parts.items() if name != "loss"}
            )
        return parts["loss"]

    def train_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """One step; a loss that is not finite ends the training.

        Raises
        ------
        TrainingError
            If the loss is NaN or infinite.
        """
        step = super().train_step(batch, **fit_params)
        if not torch.isfinite(step["loss"]):
            raise TrainingError(
                "a finite loss",
                f"{step['loss'].item()} in epoch {len(self.history)}",
                "lower --set train.lr, or check trials and features with `ssr-bd data check`",
            )
        return step


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
) -> EEGRetriever:
    """Train a model, with a checkpoint after each epoch.

    Parameters
    ----------
    data : TrainingSet
        All training trials; validation concepts are taken from them when the spec asks for some.
    model, loss : nn.Module
        Trained together; the loss is thrown away afterwards.
    spec : TrainSpec
        With ``batch_size`` filled in.
    folder : Path
        For checkpoints. What is there is used with ``resume`` and removed without.

    Returns
    -------
    EEGRetriever
        Holding the weights of the last epoch, or of the best one on validation concepts.
    """
    train, callbacks = data, [("checkpoints", EpochFolders(folder))]
    if spec.validation_concepts:
        train, held = hold_out_concepts(data, spec.validation_concepts, spec.seed)
        callbacks.insert(0, ("validation", ValidationRetrieval(held, folder)))
    if progress:
        callbacks.append(("bar", EpochBar(spec.epochs)))
    net = EEGRetriever(
        model,
        criterion=loss,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=spec.weight_decay,
        optimizer__fused=torch.device(device).type in FUSED,
        lr=spec.lr,
        batch_size=spec.batch_size,
        device=device,
        precision=precision,
        seed=spec.seed,
        callbacks=callbacks,
        verbose=0,
    ).initialize()
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    done = EpochFolders(folder).load(net)
    net.notify("on_train_begin", X=train, y=None)
    net.fit_loop(_on_device(train, device), epochs=spec.epochs - done)
    net.notify("on_train_end", X=train, y=None)
    if spec.selection == "validation":
        net.load_params(f_params=str(ValidationRetrieval(held, folder).best_weights))
    return net


def _on_device(data: TrainingSet, device: str) -> TrainingSet:
    """The set on the device, where that has room for it twice."""
    if torch.device(device).type != "cuda":
        return data
    free, _ = torch.cuda.mem_get_info(device)
    return data.to(device) if 2 * data.n_bytes < free else data
