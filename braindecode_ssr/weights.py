"""The weights of a model in a file."""

from __future__ import annotations

from pathlib import Path

import torch

from .errors import DataError
from .files import atomic_write


def write_weights(path: Path, model: torch.nn.Module) -> None:
    """Write the weights of a model, at once or not at all.

    Raises
    ------
    DataError
        If the disk is full or the place cannot be written; nothing is left there.
    """
    from safetensors.torch import save

    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    atomic_write(path, save(tensors))  # save_file's own files are closed to colleagues


def load_weights(model: torch.nn.Module, path: Path) -> torch.nn.Module:
    """Fill a model with the weights of a file, all of them.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(
            f"the weights of this run's model in {path}",
            str(error).splitlines()[0],
            "train the run again",
        ) from error
    return model
