"""From trials and image features to the shared space, with a trained model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def embed_trials(
    model: torch.nn.Module, x: Any, batch_size: int = 512, subject_index: Tensor | None = None
) -> np.ndarray:
    """Brain embeddings of trials, shape (n, c, t) to (n, e), without gradients.

    Trials of known subjects, as in training, go through their own parts of the model. Without
    ``subject_index`` a model that has such parts gives the mean over all of them: nothing of who saw the
    trials is used.
    """
    if subject_index is None:
        return _in_batches(model, model, batch_size, x)
    return _in_batches(
        model, lambda x, who: model(x, subject_index=who), batch_size, x, subject_index
    )


def embed_images(model: torch.nn.Module, features: Any, batch_size: int = 4096) -> np.ndarray:
    """Image embeddings of features, shape (n, d) to (n, e), without gradients."""
    return _in_batches(model, model.image_head, batch_size, features)


def has_own_parts(model: torch.nn.Module) -> bool:
    """Whether each training subject goes through a part of its own."""
    return getattr(model, "n_subjects", None) is not None and getattr(
        model, "takes_subjects", False
    )


def _in_batches(
    model: torch.nn.Module, function: Callable[..., Tensor], batch_size: int, *rows: Any
) -> np.ndarray:
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with torch.no_grad():
        parts = [
            function(
                *(torch.as_tensor(part[start : start + batch_size]).to(device) for part in rows)
            )
            .float()
            .cpu()
            for start in range(0, len(rows[0]), batch_size)
        ]
    model.train(training)
    return torch.cat(parts).numpy()
