# License: BSD-3
"""What brings image features to the shared space: by name, by class, linear unless asked otherwise.

An image head is made of the widths of the vectors that stand side by side in a feature and of the width of
the shared space, ``Head(widths, n_outputs, **params)``, and maps features (..., sum of widths) to
(..., n_outputs).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..errors import UsageError
from . import IMAGE_HEADS
from .dotted_path import class_at, is_path


def build_image_head(
    head: str | type[nn.Module],
    widths: Sequence[int],
    n_outputs: int,
    params: dict[str, Any] | None = None,
) -> nn.Module:
    """An image head by its registered name, by a dotted path ``package.module.Class``, or by its class.

    Parameters
    ----------
    head : str or type of nn.Module
    widths : sequence of int
        Of the vectors that stand side by side in a feature.
    n_outputs : int
        Width of the shared space.
    params : dict, optional
        The head's own parameters.

    Raises
    ------
    UsageError
        If there is no such head, or it does not take such parameters.
    """
    made_of = image_head_class(head)
    try:
        return made_of(tuple(widths), n_outputs, **(params or {}))
    except TypeError as error:
        raise UsageError(
            f"the image head {made_of.__name__} cannot be built: {error}",
            "correct image_head_params",
        ) from error


def image_head_class(head: str | type[nn.Module]) -> type[nn.Module]:
    """The class behind the name or dotted path of an image head, or the class itself.

    Raises
    ------
    UsageError
        If there is no such head, or it is no class of ``torch.nn.Module``.
    """
    found = class_at("an image head", head) if is_path(head) else IMAGE_HEADS.resolve(head)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UsageError(
            f"{head!r} is no image head: not a class of torch.nn.Module",
            f"choose one of: {', '.join(IMAGE_HEADS)}",
        )
    return found


class ImageHead(nn.Linear):
    """A linear map of image features to the shared space that says which width it wants.

    Parameters
    ----------
    widths : int or sequence of int
        Width of the features, or of the vectors that stand side by side in them.
    n_outputs : int
        Width of the shared space.
    """

    def __init__(self, widths: int | Sequence[int], n_outputs: int) -> None:
        super().__init__(widths if isinstance(widths, int) else sum(widths), n_outputs)

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
        check_width(width, self.in_features)


def check_width(width: int, wanted: int) -> None:
    """Refuse features of another width than an image head was built for.

    Raises
    ------
    UsageError
        If the widths differ.
    """
    if width != wanted:
        raise UsageError(
            f"image features of width {wanted}, for which the model was built",
            f"width {width}",
            "give n_features as wide as the features, or the features of its own encoder",
        )
