# License: BSD-3
"""A linear map for each subject."""

from __future__ import annotations

import torch
from torch import nn


class SubjectMap(nn.Module):
    r"""Multiply trials by the matrix of the subject who saw them: :math:`y = W_s x`.

    Parameters
    ----------
    n_subjects : int
        Number of matrices.
    n_features : int
        Rows and columns of each.
    """

    def __init__(self, n_subjects: int, n_features: int) -> None:
        super().__init__()
        self.n_subjects = n_subjects
        self.weight = nn.Parameter(torch.empty(n_subjects, n_features, n_features))
        nn.init.normal_(self.weight, 0.0, n_features**-0.5)

    def forward(self, x: torch.Tensor, subject_index: torch.Tensor | None = None) -> torch.Tensor:
        """Map.

        Parameters
        ----------
        x : Tensor, shape (b, n_features, n)
        subject_index : Tensor of int, shape (b,), optional
            Counted from 0; None: the first subject's matrix for all.

        Returns
        -------
        Tensor, shape (b, n_features, n)
        """
        if subject_index is None:
            return self.weight[0] @ x
        return self.weight[subject_index] @ x
