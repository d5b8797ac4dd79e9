"""A vision transformer as brain encoder: electrodes by time is the image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..errors import UsageError
from ..preprocessing.channels import regions_of
from .modules import Encoder

PATCH = 16
"""Rows and columns of a patch of the image."""


class TimmViT(Encoder, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""A vision transformer of timm that looks at a trial as an image of electrodes by time.

    .. rubric:: Architecture Overview

    The electrodes of each region (frontal, central, temporal, parietal, occipital) are sorted from left to
    right and interpolated linearly to a multiple of 16 rows; the samples of all are interpolated to a
    multiple of 16 columns. Patches of 16 by 16 pixels are then the tokens of a vision transformer (``arch``),
    whose class token enters ``final_layer``.

    The architecture follows EEGiT (CVPR 2026), which has no public code and reports 70.4 % top-1 and 95.1 %
    top-5 on THINGS-EEG2 within, and 24.0 % and 55.6 % between subjects, with ViT-B/16 pretrained on
    ImageNet-21k; its ablation rises from 41.8 % to 63.6 % with pretrained weights. Numbers of rows and
    columns, order of electrodes and projector are ours.

    .. rubric:: Usage

    Weights that were pretrained on images are loaded by ``model.pretrained``, for example
    ``timm/vit_base_patch16_224.augreg_in21k`` for ``arch="vit_base_patch16_224"``; the position embeddings
    are interpolated to the grid of patches, and the patch embedding is summed over colors. Without, weights
    are random.

    Parameters
    ----------
    arch : str, default="vit_tiny_patch16_224"
        Name of a vision transformer of timm with patches of 16 pixels, such as ``vit_small_patch16_224`` or
        ``vit_base_patch16_224``.
    depth : int, optional
        Use only so many of its blocks, the first ones.
    activation : type[nn.Module], default=nn.GELU
        In its blocks.
    drop_prob : float, default=0.0
        Dropout probability before ``final_layer``.

    References
    ----------
    EEGiT: Teaching Vision Transformers to Understand the EEG signal, CVPR 2026. Dosovitskiy et al., An Image
    is Worth 16x16 Words, ICLR 2021.
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        arch: str = "vit_tiny_patch16_224",
        depth: int | None = None,
        activation: type[nn.Module] = nn.GELU,
        drop_prob: float = 0.0,
    ) -> None:
        super().__init__(n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq)
        groups = by_region(chs_info) if chs_info else {"other": list(range(self.n_chans))}
        names = [channel["ch_name"] for channel in chs_info or ()]
        self.regions = {
            region: [names[i] for i in part] for region, part in groups.items() if names
        }
        rows = [_stretched(part, self.n_chans) for part in groups.values()]
        columns = _stretched(list(range(self.n_times)), self.n_times).T
        self.register_buffer("rows", torch.cat(rows), persistent=False)
        self.register_buffer("columns", columns.contiguous(), persistent=False)
        size = len(self.rows), columns.shape[1]
        self.vit = _vision_transformer(arch, size, depth, activation, drop_prob)
        self.final_layer = self.make_head(self.n_outputs)

    def make_head(self, n_outputs: int) -> nn.Module:
        """A linear map from the class token."""
        return nn.Linear(self.vit.embed_dim, n_outputs)

    def encode(self, x: Tensor) -> Tensor:
        """The class token after the last block, (b, c, t) to (b, d)."""
        image = torch.matmul(torch.matmul(self.rows, x), self.columns)
        return self.vit(image.unsqueeze(1))

    def adapt_checkpoint(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of an image model of timm in the shapes of this one; others as they are."""
        if "patch_embed.proj.weight" not in state:
            return state
        from timm.layers import resample_abs_pos_embed

        grid, depth = list(self.vit.patch_embed.grid_size), len(self.vit.blocks)
        adapted = {}
        for key, value in state.items():
            block = re.match(r"blocks\.(\d+)\.", key)
            if key.startswith(("head.", "pre_logits.")) or (block and int(block[1]) >= depth):
                continue
            if key == "patch_embed.proj.weight":
                value = value.sum(1, keepdim=True)
            elif key == "pos_embed":
                value = resample_abs_pos_embed(value, grid)
            adapted[f"vit.{key}"] = value
        return adapted


def by_region(chs_info: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """Indices of channels by region of the head, from left to right where all have positions."""
    groups = regions_of([channel["ch_name"] for channel in chs_info])
    left = [float(channel.get("loc", [float("nan")])[0]) for channel in chs_info]
    if all(map(isfinite, left)):
        groups = {region: sorted(part, key=left.__getitem__) for region, part in groups.items()}
    return groups


def _stretched(part: Sequence[int], n: int) -> Tensor:
    """The matrix (m, n) that picks some of n numbers and interpolates them to a multiple of PATCH."""
    size = PATCH * max(1, round(len(part) / PATCH))
    return interpolate(torch.eye(n)[:, list(part)].unsqueeze(0), size=size, mode="linear")[0].T


def _vision_transformer(
    arch: str,
    size: tuple[int, int],
    depth: int | None,
    activation: type[nn.Module],
    drop_prob: float,
) -> Any:
    import timm
    from timm.models.vision_transformer import VisionTransformer

    options: dict[str, Any] = {} if depth is None else {"depth": depth}
    options |= {"num_classes": 0, "in_chans": 1, "img_size": size, "act_layer": activation}
    vit: Any = None
    if timm.is_model(arch):
        try:
            vit = timm.create_model(arch, pretrained=False, drop_rate=drop_prob, **options)
        except TypeError:  # other models have other parameters
            pass
    plain = isinstance(vit, VisionTransformer) and vit.global_pool == "token"
    if not plain or vit.patch_embed.patch_size != (PATCH, PATCH):
        raise UsageError(
            f"{arch!r} is not a vision transformer of timm with a class token and patches of {PATCH} pixels",
            "choose vit_tiny_patch16_224, vit_small_patch16_224 or vit_base_patch16_224 with "
            "--set model.backbone_params.arch=...",
        )
    return vit
