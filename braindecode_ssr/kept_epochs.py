"""The weights of every epoch, for an evaluation to pick from once training is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skorch.callbacks import Callback

from .ema import WeightAverage
from .runs import is_whole
from .weights import write_weights


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
