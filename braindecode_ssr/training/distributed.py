"""One run over several processes, as ``torchrun`` starts them.

Every process embeds its share of each batch; the embeddings of all are gathered, and every process
computes the loss of the whole batch. Only the own rows carry gradients, so that the sum of the processes'
gradients is the gradient of the whole batch, in-batch negatives included. What a model draws at random
inside (drop-out) is drawn by each process for its rows; without it, the weights are those of one process
with the same batch.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.distributed.nn.functional import all_reduce

from ..errors import TrainingError, UsageError
from ..registry import unknown_name

CONNECTION = ("gloo", "nccl", "connection", "peer", "store", "process group")
"""Words by which torch's errors of communication are known: they have no type of their own."""


@dataclass(frozen=True)
class World:
    """The processes of a run, seen from one of them.

    Parameters
    ----------
    rank : int
        Which one this is, counted from 0.
    size : int
        How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def check_batch(self, size: int) -> None:
        """Raise UsageError if the processes cannot split a batch of this size evenly."""
        if size % self.size:
            raise UsageError(
                f"a batch that {self.size} processes can split evenly",
                f"a batch of {size}",
                f"give a --batch-size that is a multiple of {self.size}",
            )

    def check_alone(self, what: str) -> None:
        """Raise UsageError if several processes are to do what one does."""
        if self.size > 1:
            raise UsageError(f"one process for {what}", f"{self.size}", "start it without torchrun")

    def share(self, batch: Tensor) -> Tensor:
        """The rows of a batch that are for the calling process."""
        return batch.chunk(self.size)[self.rank] if self.size > 1 else batch

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in order; gradients flow to the own ones only.

        Parameters
        ----------
        rows : Tensor, shape (b / size, ...)

        Returns
        -------
        Tensor, shape (b, ...)
        """
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows.detach().contiguous())
        parts[self.rank] = rows
        return torch.cat(parts)

    def add_gradients(self, model: nn.Module, loss: nn.Module) -> None:
        """Make every process hold the gradient of the whole batch.

        The model's gradients are summed, each process having those of its rows; the loss's own are averaged,
        each process having all of them.
        """
        if self.size == 1:
            return
        for parameter in loss.parameters():
            if parameter.grad is not None:
                parameter.grad /= self.size
        both = (*model.parameters(), *loss.parameters())
        gradients = [parameter.grad for parameter in both if parameter.grad is not None]
        flat = _flatten_dense_tensors(gradients)
        dist.all_reduce(flat)
        for gradient, total in zip(
            gradients, _unflatten_dense_tensors(flat, gradients), strict=True
        ):
            gradient.copy_(total)

    def same_start(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's values."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.size > 1:
            dist.barrier()


def asked_size() -> int:
    """How many processes ``torchrun`` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_device(device: str) -> str:
    """The device of this process: each takes its own GPU of the machine."""
    if device == "cuda" and asked_size() > 1:
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device


@contextmanager
def world(device: str) -> Iterator[World]:
    """The processes that ``torchrun`` started, joined; a world of one without it.

    Parameters
    ----------
    device : str
        Where the tensors are; decides how they travel (NCCL for CUDA, else gloo).

    Raises
    ------
    TrainingError
        If another process is lost.
    """
    if asked_size() == 1:
        yield World()
        return
    before = signal.signal(signal.SIGTERM, _stopped)
    try:
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        yield World(dist.get_rank(), dist.get_world_size())
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in CONNECTION):
            raise
        raise _lost(str(error).splitlines()[0]) from error
    finally:
        signal.signal(signal.SIGTERM, before)
        if dist.is_initialized():
            dist.destroy_process_group()


def synchronise_batch_norm(model: nn.Module, among: World) -> nn.Module:
    """Let batch normalisation take its statistics from the batch of all processes; in place."""
    if among.size > 1:
        for name, child in model.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(model, name, SynchronisedBatchNorm(child))
            else:
                synchronise_batch_norm(child, among)
    return model


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the batch of all processes, on any device.

    :class:`torch.nn.SyncBatchNorm` does the same, on GPUs only.

    Parameters
    ----------
    like : nn.BatchNorm1d, 2d or 3d
        The layer whose parameters and running statistics it takes over.
    """

    def __init__(self, like: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(
            like.num_features, like.eps, like.momentum, like.affine, like.track_running_stats
        )
        self._parameters, self._buffers = like._parameters, like._buffers
        self.training = like.training

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(b, c, ...)`` over all but ``c``, and over the processes."""
        if not self.training:
            return super().forward(input)
        others = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1] + [1] * (input.ndim - 2)
        count = input.numel() // input.shape[1] * dist.get_world_size()
        mean = all_reduce(input.sum(others)) / count
        centred = input - mean.view(shape)
        variance = all_reduce(centred.square().sum(others)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked += 1
        share = self.momentum
        if share is None:
            share = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def _stopped(*args: Any) -> None:
    raise _lost("this one was asked to stop, as happens when another ended")


def _lost(found: str) -> TrainingError:
    return TrainingError(
        "all processes of the run until its end",
        f"one that is lost ({found})",
        "see its own last line; the same command continues from the last checkpoint",
    )


DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")


def pick_device(asked: str = "auto") -> str:
    """The device of a name; ``"auto"`` takes CUDA, else Apple's MPS, else the CPU.

    Raises
    ------
    UsageError
        If there is no such device here.
    """
    if asked == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(asked)
    except RuntimeError:
        meant = "cuda" if asked.lower() in ("gpu", "nvidia") else asked
        error = unknown_name("device", meant, list(DEVICES))
        raise UsageError(f"there is no device {asked!r}", error.hint) from None
    reason = _why_not(device)
    if reason:
        raise UsageError(
            f"device {asked!r} is not available: {reason}", "give --device cpu, or auto"
        )
    return asked


def _why_not(device: torch.device) -> str:
    """Why a device cannot be used on this machine, in a few words; empty if it can."""
    if device.type == "cuda":
        if not torch.cuda.is_available():
            return "torch finds no CUDA GPU on this machine"
        count = torch.cuda.device_count()
        return (
            f"this machine has cuda:0 to cuda:{count - 1}" if (device.index or 0) >= count else ""
        )
    if device.type == "mps":
        return "" if torch.backends.mps.is_available() else "torch finds no Apple GPU (MPS)"
    if device.type == "meta":
        return "it holds no numbers"
    try:
        torch.empty(1, device=device)
    except Exception as error:  # whatever the backend of a rare device raises
        return (str(error) or type(error).__name__).splitlines()[0][:120]
    return ""


def pick_precision(asked: str, device: str) -> str:
    """The precision of the forward pass; ``"auto"`` is bfloat16 on CUDA and float32 elsewhere."""
    if asked != "auto":
        return asked
    return "bfloat16" if device.startswith("cuda") else "float32"


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, and keep cuDNN to deterministic algorithms."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
