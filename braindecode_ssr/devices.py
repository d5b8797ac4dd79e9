"""Where the numbers are crunched, and that they come out the same twice."""

from __future__ import annotations

import random

import numpy as np
import torch

from .errors import UsageError


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
        torch.empty(1, device=asked)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            "a device that torch can use here", f"{asked!r} ({reason})", "give --device cpu or auto"
        ) from error
    return asked


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
