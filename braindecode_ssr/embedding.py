"""From trials and image features to the shared space, with a trained model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def embed_trials(model: torch.nn.Module, x: Any, batch_size: int = 512) -> np.ndarray:
    """Brain embeddings of trials, shape (n, c, t) to (n, e), without gradients."""
    return _in_batches(model, model, x, batch_size)


def embed_images(model: torch.nn.Module, features: Any, batch_size: int = 4096) -> np.ndarray:
    """Image embeddings of features, shape (n, d) to (n, e), without gradients."""
    return _in_batches(model, model.image_head, features, batch_size)


def _in_batches(
    model: torch.nn.Module, function: Callable[[Tensor], Tensor], rows: Any, batch_size: int
) -> np.ndarray:
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with torch.no_grad():
        parts = [
            function(torch.as_tensor(rows[start : start + batch_size]).to(device)).float().cpu()
            for start in range(0, len(rows), batch_size)
        ]
    model.train(training)
    return torch.cat(parts).numpy()
