"""Where the numbers are crunched, and that they come out the same twice."""

from __future__ import annotations

import random

import numpy as np
import torch

from .errors import UsageError
from .registry import unknown_name

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
