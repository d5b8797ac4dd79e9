"""The learning rate over a run: a function of the step, so that a resumed run goes on as it was."""

from __future__ import annotations

import math
from typing import Any, Literal

from skorch.callbacks import Callback

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
