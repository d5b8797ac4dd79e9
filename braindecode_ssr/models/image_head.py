# License: BSD-3
"""The projector of image features."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import UsageError


class ImageHead(nn.Linear):
    """A linear map of image features to the shared space that says which width it wants."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Image embeddings, shape (..., d) to (..., e).

        Raises
        ------
        UsageError
            If the features are of another width than the model was built for.
        """
        if not torch.jit.is_scripting():
            self._check(features.shape[-1])
        return nn.functional.linear(features, self.weight, self.bias)

    @torch.jit.unused
    def _check(self, width: int) -> None:
        if width != self.in_features:
            raise UsageError(
                f"image features of width {self.in_features}, for which the model was built",
                f"width {width}",
                "give n_features as wide as the features, or the features of its own encoder",
            )
