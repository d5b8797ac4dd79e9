"""A running average of the weights, which often retrieves better than the last ones."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor, nn
from tqdm import tqdm

from ..errors import DataError
from ..files import atomic_folder, atomic_write, free_bytes, gigabytes
from ..retrieval.metrics import summarise
from ..retrieval.ranks import embed_images, embed_trials, has_own_parts, query_table, space_of
from ..runs import is_whole, write_weights
from .data import TrainingSet

FILE = "average.pt"


class WeightAverage(Callback):
    """Exponential moving average of a model's weights and running statistics.

    After step n the average moves by ``1 - min(decay, (1 + n) / (10 + n))`` of the way to the weights, so
    that the first, random weights are soon forgotten (Tarvainen and Valpola 2017).

    Parameters
    ----------
    decay : float
        Between 0 and 1; 0.999 looks back over about a thousand steps.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average_: dict[str, Tensor] = {}
        self.steps_ = 0

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin with the weights as they are, unless a checkpoint brought an average."""
        if not self.average_:
            self.average_ = {name: value.clone() for name, value in _weights(net.module_).items()}

    def on_batch_end(self, net: Any, batch: Any = None, training: bool = False, **_: Any) -> None:
        """Move the average."""
        if not training:
            return
        self.steps_ += 1
        decay = min(self.decay, (1 + self.steps_) / (10 + self.steps_))
        now = _weights(net.module_)
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average_.values()), [now[n] for n in self.average_], 1 - decay
            )

    def save(self, folder: Path) -> None:
        """Write the average into a checkpoint."""
        torch.save({"average": self.average_, "steps": self.steps_}, folder / FILE)

    def load(self, net: Any, folder: Path) -> None:
        """Take the average of a checkpoint."""
        kept = torch.load(folder / FILE, map_location="cpu", weights_only=True)
        now = _weights(net.module_)
        self.average_ = {name: kept["average"][name].to(value) for name, value in now.items()}
        self.steps_ = kept["steps"]

    def install(self, model: nn.Module) -> None:
        """Give a model the averaged weights."""
        _copy(self.average_, _weights(model))

    @contextmanager
    def installed(self, model: nn.Module) -> Iterator[None]:
        """The averaged weights in a model, for as long as the block lasts."""
        before = {name: value.clone() for name, value in _weights(model).items()}
        self.install(model)
        try:
            yield
        finally:
            _copy(before, _weights(model))


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The floating-point part of a model's state: the tensors themselves, no copies."""
    state = model.state_dict()
    return {name: value for name, value in state.items() if value.is_floating_point()}


def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in target.items():
            value.copy_(source[name])


class KeptEpochs(Callback):
    """Write the weights of each epoch as it ends.

    Parameters
    ----------
    folder : Path
        Gets ``epoch-0001.safetensors`` and so on.
    average : WeightAverage, optional
        What is kept instead of the weights themselves.
    writes : bool
        Whether to write at all; of several processes only the first does.
    """

    def __init__(
        self, folder: Path, average: WeightAverage | None = None, *, writes: bool = True
    ) -> None:
        self.folder, self.average, self.writes = Path(folder), average, writes

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Keep this epoch."""
        if not self.writes:
            return
        file = self.folder / f"epoch-{len(net.history):04d}.safetensors"
        if self.average is None:
            write_weights(file, net.module_)
            return
        with self.average.installed(net.module_):
            write_weights(file, net.module_)


def first_missing(folder: Path) -> int:
    """The first epoch, counted from 1, whose weights are not there or cannot be read."""
    kept, epoch = kept_epochs(folder), 1
    while epoch in kept and is_whole(kept[epoch]):
        epoch += 1
    return epoch


def kept_epochs(folder: Path) -> dict[int, Path]:
    """Number of each epoch that was kept, counted from 1, and its weights."""
    return {int(file.stem[6:]): file for file in sorted(folder.glob("epoch-*.safetensors"))}


SHARE = 0.05  # of the time may go into saving
SPEC = "spec.json"
PARTS = ("model", "criterion", "optimizer")
KEPT = 2
"""Checkpoints that are kept, so that there is an older one should the last be damaged."""


class EpochFolders(Callback):
    """Keep all that is needed to go on, in a folder that appears at once or not at all.

    Epochs are saved as they end, but never so often that saving takes a noticeable part of the time.

    Parameters
    ----------
    folder : Path
        Holds ``epoch-0001`` and so on; older epochs are removed.
    average : WeightAverage, optional
        Is kept with them.
    spec : dict, optional
        What the run goes by; epochs of a run that goes by something else are not gone on from.
    writes : bool
        Whether to write at all; of several processes only the first does.
    """

    def __init__(
        self,
        folder: Path,
        average: WeightAverage | None = None,
        spec: dict[str, Any] | None = None,
        *,
        writes: bool = True,
    ) -> None:
        self.folder, self.spec = Path(folder), spec or {}
        self.average, self.writes = average, writes
        self.saved_at, self.cost = -float("inf"), 0.0

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Save, if that takes less than a twentieth of the time since the last saving."""
        if SHARE * (time.monotonic() - self.saved_at) >= self.cost:
            self.save(net)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Save the last epoch."""
        if net.history:
            self.save(net)

    def save(self, net: Any) -> None:
        """Save weights, optimiser and history; then forget the epoch before."""
        if not self.writes:
            return
        start = time.monotonic()
        done = self.folder / f"epoch-{len(net.history):04d}"
        if not done.exists():
            try:
                with atomic_folder(done, option="--out") as part:
                    net.save_params(**_files(part))
                    (part / SPEC).write_text(json.dumps(self.spec), encoding="utf-8")
                    if self.average is not None:
                        self.average.save(part)
            except RuntimeError as error:  # what torch makes of a full disk
                raise DataError(
                    f"cannot write the checkpoint {done}: {str(error).splitlines()[0]} "
                    f"({gigabytes(free_bytes(done))} free there)",
                    "free some space and run the same command again, or choose another place with --out",
                ) from error
            for other in self.epochs()[:-KEPT]:
                shutil.rmtree(other, ignore_errors=True)
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - start

    def epochs(self) -> list[Path]:
        """The complete epochs that are there, oldest first."""
        return sorted(self.folder.glob("epoch-*"))

    def repair(self, last: int | None = None) -> list[str]:
        """Remove checkpoints that cannot be read, and those after epoch ``last``; their names."""
        damaged = [
            epoch
            for epoch in self.epochs()
            if not self._is_readable(epoch) or (last is not None and _number(epoch) > last)
        ]
        for epoch in damaged:
            shutil.rmtree(epoch)
        return [epoch.name for epoch in damaged]

    def load(self, net: Any) -> int:
        """Bring an initialised net to the last complete epoch; the number of epochs it has done.

        Raises
        ------
        DataError
            If the epoch is of another run: other settings, or another model.
        """
        if not self.epochs():
            return 0
        last = self.epochs()[-1]
        self._check(last)
        try:
            net.load_params(**_files(last))
            if self.average is not None:
                self.average.load(net, last)
        except Exception as error:  # whatever torch makes of what is in there
            reason = " ".join((str(error) or type(error).__name__).split())[:200]
            raise _of_another(last, reason) from error
        for parameter, state in net.optimizer_.state.items():
            for name, value in state.items():
                if value.ndim and value.shape != parameter.shape:
                    raise _of_another(last, f"{name} of the optimizer is {tuple(value.shape)}")
        return len(net.history)

    def _is_readable(self, epoch: Path) -> bool:
        """Whether a checkpoint can be read; whether it is of this run is another question."""
        try:
            history = json.loads((epoch / "history.json").read_text(encoding="utf-8"))
            spec = json.loads((epoch / SPEC).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        parts = [epoch / f"{name}.pt" for name in PARTS]
        parts += [epoch / FILE] if self.average is not None else []
        complete = (
            isinstance(history, list) and isinstance(spec, dict) and len(history) == _number(epoch)
        )
        return complete and all(map(_loads, parts))

    def _check(self, epoch: Path) -> None:
        kept = json.loads((epoch / SPEC).read_text()) if (epoch / SPEC).exists() else self.spec
        other = [name for name in self.spec if kept.get(name) != self.spec[name]]
        if other:
            found = (f"{name} = {kept.get(name)} instead of {self.spec[name]}" for name in other)
            raise _of_another(epoch, ", ".join(found))


class ValidationRetrieval(Callback):
    """Score held-out training concepts after each epoch, and keep the weights that did best.

    Parameters
    ----------
    data : TrainingSet
        Trials of concepts that training does not see.
    folder : Path
        Holds ``best.pt``.
    average : WeightAverage, optional
        What is scored and kept instead of the weights themselves.
    writes : bool
        Whether to keep the best weights; of several processes only the first does.
    """

    def __init__(
        self,
        data: TrainingSet,
        folder: Path,
        average: WeightAverage | None = None,
        *,
        writes: bool = True,
    ) -> None:
        self.data = data
        self.folder = Path(folder)
        self.average, self.writes = average, writes

    @property
    def best_weights(self) -> Path:
        """Where the best weights so far are."""
        return self.folder / "best.pt"

    def is_whole(self) -> bool:
        """Whether the best weights can be read."""
        return _loads(self.best_weights)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Record ``valid_top1`` and ``valid_top5``; the first best epoch is kept."""
        with self.average.installed(net.module_) if self.average is not None else nullcontext():
            self._score(net)

    def _score(self, net: Any) -> None:
        before = [row.get("valid_top1", -1.0) for row in net.history[:-1]]
        scores = summarise(self.ranks(net))
        for name in ("top1", "top5"):
            net.history.record(f"valid_{name}", scores[name])
        if self.writes and scores["top1"] > max(before, default=-1.0):
            atomic_write(self.best_weights, lambda part: net.save_params(f_params=str(part)))

    def ranks(self, net: Any) -> np.ndarray:
        """Rank of the original image of each held-out trial among all held-out images."""
        images = self.data.table.drop_duplicates("image_id")
        first = self.data.image[images.index.tolist()]
        gallery = embed_images(net.module_, self.data.original[first])
        subjects = self.data.subject if has_own_parts(net.module_) else None
        queries = embed_trials(net.module_, self.data.x, subject_index=subjects)
        ids, space = images["image_id"].tolist(), space_of(net.module_)
        table = query_table(queries, gallery, self.data.table, ids, space=space)
        return table["rank"].to_numpy()


class EpochBar(Callback):
    """A progress bar over epochs, on stderr.

    Parameters
    ----------
    epochs : int
        Of the whole run, those done before included.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the bar at the epochs done before."""
        self.bar_ = tqdm(total=self.epochs, initial=len(net.history), desc="train", unit="epoch")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Move on by one and show the loss."""
        self.bar_.set_postfix(loss=f"{net.history[-1, 'train_loss']:.3f}", refresh=False)
        self.bar_.update()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar_.close()


def _number(epoch: Path) -> int:
    return int(epoch.name.removeprefix("epoch-"))


def _loads(file: Path) -> bool:
    """Whether torch can read a file."""
    try:
        torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # whatever torch makes of damaged bytes
        return False
    return True


def _of_another(epoch: Path, found: str) -> DataError:
    return DataError(
        f"a checkpoint of this run in {epoch}",
        f"one of another: {found}",
        "give the settings it was made with, or add --overwrite to train from the beginning",
    )


def _files(folder: Path) -> dict[str, str]:
    return {
        "f_params": str(folder / "model.pt"),
        "f_criterion": str(folder / "criterion.pt"),
        "f_optimizer": str(folder / "optimizer.pt"),
        "f_history": str(folder / "history.json"),
    }


Schedule = Literal["constant", "cosine"]


def share_of_rate(step: int, total: int, warmup: int, schedule: Schedule) -> float:
    """The learning rate of a step, as a share of the full one.

    Parameters
    ----------
    step : int
        Counted from 0.
    total : int
        Steps of the whole run.
    warmup : int
        First steps, over which the rate rises in a straight line.
    schedule : {"constant", "cosine"}
        What follows: the full rate, or half a cosine down to 0 (Loshchilov and Hutter 2017).

    Returns
    -------
    float
        In (0, 1].
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


class LearningRate(Callback):
    """Set the rate of every parameter group before each step; each group keeps its own full rate.

    Parameters
    ----------
    steps : int
        Of an epoch.
    epochs : int
        Of the whole run.
    warmup : float
        Epochs of warm-up, whole or in part.
    schedule : {"constant", "cosine"}
    """

    def __init__(self, steps: int, epochs: int, warmup: float, schedule: Schedule) -> None:
        self.steps, self.epochs = steps, epochs
        self.warmup, self.schedule = warmup, schedule

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Note the full rate of each group; a checkpoint brings its own note."""
        for group in net.optimizer_.param_groups:
            group.setdefault("initial_lr", group["lr"])

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Find the step that the epoch begins with."""
        self.step_ = (len(net.history) - 1) * self.steps

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **_: Any) -> None:
        """Set the rate of the step."""
        if training:
            total, warmup = self.steps * self.epochs, round(self.warmup * self.steps)
            share = share_of_rate(self.step_, total, warmup, self.schedule)
            for group in net.optimizer_.param_groups:
                group["lr"] = share * group["initial_lr"]
            self.step_ += 1
