"""What happens around each epoch: averaged weights, validation, checkpoints, a progress bar."""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from ..errors import DataError, first_line
from ..files import atomic_folder, atomic_write, free_bytes, gigabytes, read_json
from ..retrieval.ranks import (
    embed_images,
    embed_trials,
    has_own_parts,
    query_table,
    space_of,
    summarize,
)
from ..runs import is_whole, write_weights
from .data import TrainingSet

SAVING_SHARE = 0.05  # of the training time, at most
KEPT = 2  # checkpoints, so that there is an older one if the last is damaged
AVERAGE, SPEC = "average.pt", "spec.json"
PARTS = ("model.pt", "criterion.pt", "optimizer.pt")
ONE_CYCLE_START, ONE_CYCLE_END = 1 / 25, 1 / 25e4


def learning_rate_factor(
    step: int, total: int, warmup: int, schedule: Literal["constant", "cosine", "onecycle"]
) -> float:
    """Factor of the rate: linear ``warmup``, then constant or half a cosine to 0; or that of OneCycleLR."""
    if schedule == "onecycle":
        peak = max(warmup - 1, 0)
        low, share = ONE_CYCLE_START, 1 - step / max(peak, 1)
        if step >= peak:
            low, share = ONE_CYCLE_END, (step - peak) / max(1, total - 1 - peak)
        return low + (1 - low) * (1 + math.cos(math.pi * share)) / 2
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


class WeightAverage(Callback):
    """Exponential moving average (EMA) of a model's weights and running statistics.

    After step n the average moves by ``1 - min(decay, (1 + n) / (10 + n))`` of the way to the weights, so
    that the first, random weights are soon forgotten (Tarvainen and Valpola 2017).
    """

    averaged_: AveragedModel

    def __init__(self, decay: float) -> None:
        self.decay = decay

    @property
    def model(self) -> nn.Module:
        return self.averaged_.module

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Start from the current weights, unless an average was loaded from a checkpoint."""
        if not hasattr(self, "averaged_"):
            self._start(net.module_)

    def on_batch_end(self, net: Any, batch: Any = None, training: bool = False, **_: Any) -> None:
        if training:
            self.averaged_.update_parameters(net.module_)

    def _start(self, model: nn.Module) -> None:
        self.averaged_ = AveragedModel(model, multi_avg_fn=self._move, use_buffers=True)
        self.averaged_.update_parameters(model)  # the first update is a copy

    def _move(self, averages: Any, weights: Any, n_averaged: Tensor | int) -> None:
        n = int(n_averaged)
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, weights, 1 - min(self.decay, (1 + n) / (10 + n)))
        else:
            torch._foreach_copy_(averages, weights)

    def save(self, folder: Path) -> None:
        torch.save(self.averaged_.state_dict(), folder / AVERAGE)

    def load(self, model: nn.Module, folder: Path) -> None:
        self._start(model)
        state = torch.load(folder / AVERAGE, map_location="cpu", weights_only=True)
        self.averaged_.load_state_dict(state)


class KeepEpochs(Callback):
    """Write the weights of each epoch, or their average, as ``epoch-0001.safetensors`` and so on."""

    def __init__(self, folder: Path, average: WeightAverage | None = None) -> None:
        self.folder, self.average = Path(folder), average

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        file = self.folder / f"epoch-{len(net.history):04d}.safetensors"
        write_weights(file, self.average.model if self.average else net.module_)


def kept_epochs(folder: Path) -> dict[int, Path]:
    """The weights of each epoch that was kept, by its number, counted from 1."""
    return {int(file.stem[6:]): file for file in sorted(folder.glob("epoch-*.safetensors"))}


def first_missing(folder: Path) -> int:
    """The first epoch, counted from 1, whose weights are missing or cannot be read."""
    kept, epoch = kept_epochs(folder), 1
    while epoch in kept and is_whole(kept[epoch]):
        epoch += 1
    return epoch


class Checkpoints(Callback):
    """Save all that resuming needs, in folders ``epoch-0001`` and so on, in at most a twentieth of the time.

    ``spec`` holds the training settings: checkpoints of a run with others are refused.
    """

    def __init__(
        self, folder: Path, average: WeightAverage | None = None, spec: dict[str, Any] | None = None
    ) -> None:
        self.folder, self.average, self.spec = Path(folder), average, spec or {}
        self.saved_at, self.seconds = -float("inf"), 0.0

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if SAVING_SHARE * (time.monotonic() - self.saved_at) >= self.seconds:
            self.save(net)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        if net.history:
            self.save(net)

    def save(self, net: Any) -> None:
        start = time.monotonic()
        path = self.folder / f"epoch-{len(net.history):04d}"
        if not path.exists():
            try:
                with atomic_folder(path, option="--out") as folder:
                    net.save_params(**_files(folder))
                    (folder / SPEC).write_text(json.dumps(self.spec), encoding="utf-8")
                    if self.average is not None:
                        self.average.save(folder)
            except RuntimeError as error:  # torch's error for a full disk
                raise DataError(
                    f"cannot write the checkpoint {path}: {first_line(error)} "
                    f"({gigabytes(free_bytes(path))} free there)",
                    "free some space and run the same command again, or choose another place with --out",
                ) from error
            for old in self.epochs()[:-KEPT]:
                shutil.rmtree(old, ignore_errors=True)
        self.saved_at = time.monotonic()
        self.seconds = self.saved_at - start

    def epochs(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"))

    def repair(self, last: int | None = None) -> list[str]:
        """Remove checkpoints that cannot be read, and those after epoch ``last``; returns their names."""
        removed = []
        for epoch in self.epochs():
            if not self._is_readable(epoch) or (last is not None and _number(epoch) > last):
                shutil.rmtree(epoch)
                removed.append(epoch.name)
        return removed

    def done(self) -> int:
        """How many epochs are finished, according to the last checkpoint."""
        return max(map(_number, self.epochs()), default=0)

    def load(self, net: Any) -> None:
        """Give an initialized net the state of the last checkpoint, if there is one of this run."""
        if not self.epochs():
            return
        last = self.epochs()[-1]
        saved = read_json(last / SPEC)
        changed = [name for name, value in self.spec.items() if saved.get(name) != value]
        if changed:
            found = [f"{name} = {saved.get(name)} instead of {self.spec[name]}" for name in changed]
            raise _of_another_run(last, ", ".join(found))
        try:
            net.load_params(**_files(last))
            if self.average is not None:
                self.average.load(net.module_, last)
        except Exception as error:  # torch raises many types for contents that do not fit
            reason = " ".join((str(error) or type(error).__name__).split())[:200]
            raise _of_another_run(last, reason) from error
        for parameter, state in net.optimizer_.state.items():
            for name, value in state.items():
                if value.ndim and value.shape != parameter.shape:
                    raise _of_another_run(last, f"{name} of the optimizer is {tuple(value.shape)}")

    def _is_readable(self, epoch: Path) -> bool:
        history, spec = read_json(epoch / "history.json"), read_json(epoch / SPEC)
        if not isinstance(history, list) or not isinstance(spec, dict):
            return False
        parts = [*PARTS, AVERAGE] if self.average is not None else PARTS
        return len(history) == _number(epoch) and all(can_load(epoch / part) for part in parts)


class ValidationRetrieval(Callback):
    """Score held-out training concepts after each epoch, and keep the best weights in ``best.pt``."""

    def __init__(
        self, data: TrainingSet, folder: Path, average: WeightAverage | None = None
    ) -> None:
        self.data, self.average = data, average
        self.best_weights = Path(folder) / "best.pt"

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Record accuracies, and keep the epoch with the best MRR, which is less noisy than accuracies."""
        model = self.average.model if self.average else net.module_
        before = [row.get("valid_mrr", -1.0) for row in net.history[:-1]]
        scores = summarize(self.ranks(model))
        for name in ("mrr", "top1", "top5"):
            net.history.record(f"valid_{name}", scores[name])
        if scores["mrr"] > max(before, default=-1.0):
            atomic_write(self.best_weights, lambda path: torch.save(model.state_dict(), path))

    def ranks(self, model: nn.Module) -> np.ndarray:
        """Rank of the original image of each held-out trial among all held-out images."""
        images = self.data.table.drop_duplicates("image_id")
        first = self.data.image[images.index.tolist()]
        gallery = embed_images(model, self.data.features_by(model, first))
        subjects = self.data.subject if has_own_parts(model) else None
        queries = embed_trials(model, self.data.x, subject_index=subjects)
        ids = images["image_id"].tolist()
        table = query_table(queries, gallery, self.data.table, ids, space=space_of(model))
        return table["rank"].to_numpy()


class TrainingIsOver(Exception): ...


class EarlyStopping(Callback):
    """End training when top-5 on held-out concepts has not risen for so many epochs; the last callback.

    skorch's counts by itself; this one reads the history, and a resumed run ends where it would have.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def is_over(self, history: Any) -> bool:
        top5 = [row["valid_top5"] for row in history]
        return bool(top5) and len(top5) - 1 - int(np.argmax(top5)) >= self.patience

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if self.is_over(net.history):
            raise TrainingIsOver


class EpochBar(Callback):
    """A progress bar on stderr over all epochs of a run, those before a resumption included."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.bar_ = tqdm(disable=True)

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        sizes = {"total": self.epochs, "initial": len(net.history)}
        # drawn once it is known here: an interrupt in its constructor would leave a bar that nobody closes
        self.bar_ = tqdm(**sizes, desc="train", unit="epoch", delay=1e-6)
        self.bar_.refresh()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.bar_.set_postfix(loss=f"{net.history[-1, 'train_loss']:.3f}", refresh=False)
        self.bar_.update()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.bar_.close()


def logger(name: str, folder: Path, title: str, spec: dict[str, Any]) -> Callback:
    if name == "tensorboard":
        from skorch.callbacks import TensorBoard
        from torch.utils.tensorboard import SummaryWriter

        return TensorBoard(SummaryWriter(folder / "tensorboard"))
    project = "braindecode_ssr"
    if name == "wandb":
        import wandb
        from skorch.callbacks import WandbLogger

        options: dict[str, Any] = {"project": project, "name": title, "dir": folder}
        return WandbLogger(wandb.init(**options, config=spec), save_model=False)
    import mlflow
    from skorch.callbacks import MlflowLogger

    mlflow.set_experiment(project)
    run = mlflow.start_run(run_name=title)
    mlflow.log_params({part: json.dumps(value)[:500] for part, value in spec.items()})
    return MlflowLogger(run, create_artifact=False)


def _number(epoch: Path) -> int:
    return int(epoch.name.removeprefix("epoch-"))


def can_load(file: Path) -> bool:
    try:
        torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch raises many types for damaged bytes
        return False
    return True


def _of_another_run(epoch: Path, reason: str) -> DataError:
    return DataError(
        f"the checkpoint {epoch} is of another run: {reason}",
        "use the settings it was made with, or add --overwrite to train from the beginning",
    )


def _files(folder: Path) -> dict[str, str]:
    arguments = ("f_params", "f_criterion", "f_optimizer", "f_history")
    names = zip(arguments, (*PARTS, "history.json"), strict=True)
    return {argument: str(folder / name) for argument, name in names}
