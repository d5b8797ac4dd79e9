"""A model whose forward pass wants more than the trials, with what it wants."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

SUBJECT = "subject_index"  # what braindecode calls the numbers of the subjects


class Bound(nn.Module):
    """A model together with fixed arguments of its ``forward``, and with subjects where it takes them.

    Parameters
    ----------
    model : nn.Module
        Its ``forward`` takes the trials first.
    arguments : dict
        Other arguments, the same for every batch, such as the names of the channels.
    n_zeros : int
        Samples of zeros that are put behind every trial.
    """

    def __init__(self, model: nn.Module, arguments: dict[str, Any], n_zeros: int = 0) -> None:
        super().__init__()
        self.model = model
        self.arguments = arguments
        self.n_zeros = n_zeros
        self.with_subjects = takes_subjects(model)

    def forward(self, x: Tensor, subject_index: Tensor | None = None) -> Any:
        """The model's output.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)
            Trials.
        subject_index : Tensor of int, shape (b,), optional
            Who saw them, counted from 0; None: everything goes through the first subject's part.
        """
        x = nn.functional.pad(x, (0, self.n_zeros))
        if not self.with_subjects:
            return self.model(x, **self.arguments)
        if subject_index is None:
            subject_index = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return self.model(x, subject_index=subject_index, **self.arguments)


def bind(model: nn.Module, arguments: dict[str, Any], n_zeros: int = 0) -> nn.Module:
    """The model itself if trials as they are are all it wants, else a :class:`Bound` one."""
    optional = getattr(model, "subject_is_optional", False)
    if arguments or n_zeros or (takes_subjects(model) and not optional):
        return Bound(model, arguments, n_zeros)
    return model


def takes_subjects(model: nn.Module) -> bool:
    """Whether the forward pass has a parameter ``subject_index``."""
    if isinstance(model, Bound):
        return model.with_subjects
    return SUBJECT in inspect.signature(model.forward).parameters
