"""Devices, seeds, and one run over several processes started by ``torchrun``.

Every process embeds its share of each batch. The embeddings of all are gathered, and every process
computes the loss of the whole batch, in-batch negatives included. Gradients flow through the process's own
rows only, so that the sum over processes is the gradient of the whole batch. Dropout is drawn by each
process for its own rows; without it, the weights are those of one process with the same batch.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from ..errors import TrainingError, UsageError, first_line
from ..registry import unknown_name

CONNECTION = ("gloo", "nccl", "connection", "peer", "store", "process group")
"""Words that identify torch's communication errors, which have no type of their own."""
DEVICES = ["auto", "cpu", "cuda", "cuda:0", "mps"]


@dataclass(frozen=True)
class World:
    """The processes of a run, as seen by one of them: number ``rank`` of ``size``, counted from 0."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def check_batch(self, size: int) -> None:
        if size % self.size:
            raise UsageError(
                f"{self.size} processes cannot split a batch of {size} evenly",
                f"use a --batch-size that is a multiple of {self.size}",
            )

    def check_alone(self, what: str) -> None:
        if self.size > 1:
            raise UsageError(
                f"{what} runs in one process, and {self.size} were started",
                "start it without torchrun",
            )

    def shard(self, batch: Tensor) -> Tensor:
        return batch.chunk(self.size)[self.rank] if self.size > 1 else batch

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, (b / size, ...) to (b, ...); gradients flow to this one's rows only."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows.detach().contiguous())
        parts[self.rank] = rows
        return torch.cat(parts)

    def reduce_gradients(self, model: nn.Module, loss: nn.Module) -> None:
        """Sum the gradients of the model, each process has those of its rows; average those of the loss."""
        if self.size == 1:
            return
        for parameter in loss.parameters():
            if parameter.grad is not None:
                parameter.grad /= self.size
        parameters = (*model.parameters(), *loss.parameters())
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        totals = flat.split([gradient.numel() for gradient in gradients])
        for gradient, total in zip(gradients, totals, strict=True):
            gradient.copy_(total.view_as(gradient))

    def broadcast(self, state: Iterable[Any]) -> None:
        for value in state if self.size > 1 else ():
            if isinstance(value, Tensor):
                dist.broadcast(value, src=0)

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


ALONE = World()


@contextmanager
def world(device: str) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, with NCCL on CUDA, else gloo; without it, be alone."""
    if _n_processes() == 1:
        yield World()
        return

    def terminated(*args: Any) -> NoReturn:
        raise _lost("this one was terminated, as happens when another one ended")

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        yield World(dist.get_rank(), dist.get_world_size())
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in CONNECTION):
            raise
        raise _lost(first_line(error)) from error
    finally:
        signal.signal(signal.SIGTERM, before)
        if dist.is_initialized():
            dist.destroy_process_group()


def _n_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _lost(reason: str) -> TrainingError:
    return TrainingError(
        f"a process of the run was lost ({reason})",
        "see its own last line; the same command resumes from the last checkpoint",
    )


def synchronize_batch_norm(model: nn.Module, among: World, device: str = "cpu") -> nn.Module:
    """Make batch normalization use the batch of all processes; in place where torch has no layer for it."""
    if among.size == 1:
        return model
    if device.startswith("cuda"):
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name, child in model.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(model, name, SynchronizedBatchNorm(child))
        else:
            synchronize_batch_norm(child, among)
    return model


class SynchronizedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization over the batch of all processes on the CPU, where torch's SyncBatchNorm is not."""

    def __init__(self, like: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(
            like.num_features, like.eps, like.momentum, like.affine, like.track_running_stats
        )
        self._parameters, self._buffers = like._parameters, like._buffers
        self.training = like.training

    def _check_input_dim(self, input: Tensor) -> None: ...

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(b, c, ...)`` over all axes but ``c``, and over the processes."""
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1] + [1] * (input.ndim - 2)
        count = input.numel() // input.shape[1] * dist.get_world_size()
        mean = all_reduce(input.sum(axes)) / count
        centered = input - mean.view(shape)
        variance = all_reduce(centered.square().sum(axes)) / count
        buffers = self.num_batches_tracked, self.running_mean, self.running_var
        if self.track_running_stats and all(buffer is not None for buffer in buffers):
            n_batches, running_mean, running_var = cast("tuple[Tensor, Tensor, Tensor]", buffers)
            n_batches += 1
            share = 1.0 / float(n_batches) if self.momentum is None else self.momentum
            running_mean.lerp_(mean.detach(), share)
            running_var.lerp_(variance.detach() * (count / max(count - 1, 1)), share)
        normal = centered * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal


def pick_device(name: str = "auto") -> str:
    """The device to use; ``"auto"`` is CUDA, else Apple's MPS, else the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        meant = "cuda" if name.lower() in ("gpu", "nvidia") else name
        hint = unknown_name("device", meant, DEVICES).hint
        raise UsageError(f"there is no device {name!r}", hint) from None
    reason = _unavailable(device)
    if reason:
        raise UsageError(
            f"device {name!r} is not available: {reason}", "use --device cpu or --device auto"
        )
    return name


def _unavailable(device: torch.device) -> str:
    if device.type == "cuda":
        if not torch.cuda.is_available():
            return "torch finds no CUDA GPU on this machine"
        last = torch.cuda.device_count() - 1
        return f"this machine has cuda:0 to cuda:{last}" if (device.index or 0) > last else ""
    if device.type == "mps":
        return "" if torch.backends.mps.is_available() else "torch finds no Apple GPU (MPS)"
    if device.type == "meta":
        return "it holds no numbers"
    try:
        torch.empty(1, device=device)
    except Exception as error:  # whatever the backend of a rare device raises
        return first_line(error)[:120]
    return ""


def own_device(device: str) -> str:
    """The device of this process: each takes a GPU of its own."""
    if device == "cuda" and _n_processes() > 1:
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, and restrict cuDNN to deterministic algorithms."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
