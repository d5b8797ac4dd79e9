"""A running average of the weights, which often retrieves better than the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

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
