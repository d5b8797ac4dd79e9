"""An image encoder that is trained: low-rank changes of the matrices in its last blocks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..config import ImageSpec
from ..errors import DataError, UsageError, first_line
from ..files import sha256
from ..images.encoders import ImageEncoder, build_encoder
from ..images.pretrained import weights_hash
from .tuning import change, matrices

if TYPE_CHECKING:
    from collections.abc import Mapping

AT_ONCE = 64
"""Images whose activations are in memory together."""


class TunedEncoder(nn.Module):
    """A frozen image encoder with trained changes of low rank in its last blocks.

    The changes are the parameters of this module; the weights of the encoder, which is changed in place,
    belong neither to its parameters nor to its ``state_dict``. UsageError if the encoder has no network, or
    no blocks with linear or attention layers.
    """

    def __init__(
        self, encoder: ImageEncoder, rank: int = 8, alpha: float = 16.0, blocks: int = 4
    ) -> None:
        super().__init__()
        self._encoder = (encoder,)  # in a tuple, so that its weights are not those of this module
        self._settings = f"{rank} {alpha:g} {blocks}"
        found = [pair for block in last_blocks(encoder, blocks) for pair in block]
        self.changes = nn.ModuleList(change(found, rank, alpha))
        self.name, self.dim, self.size = encoder.name, encoder.dim, encoder.size

    @property
    def encoder(self) -> Any:
        return self._encoder[0]

    def forward(self, images: Tensor) -> Tensor:
        """Features of uint8 images, (n, 3, size, size) to (n, dim), with gradients.

        More than 64 are encoded part by part, and again for the gradients, so that memory does not grow.
        """
        if len(images) <= AT_ONCE:
            return self.encoder.features(images)
        parts = images.split(AT_ONCE)
        features = self.encoder.features
        return torch.cat([checkpoint(features, part, use_reentrant=False) for part in parts])

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder.encode(images)

    def resize(self, image: Any) -> Any:
        return self.encoder.resize(image)

    @property
    def fingerprint(self) -> str:
        return sha256(f"{self.encoder.fingerprint} {self._settings} {weights_hash(self)}")

    def _apply(self, fn: Any, recurse: bool = True) -> TunedEncoder:
        super()._apply(fn, recurse)
        self.encoder.to(next(self.parameters()).device)
        return self


def last_blocks(encoder: Any, n: int) -> list[list[tuple[Any, str]]]:
    """The matrices, as layer and name, of the last blocks of an encoder that its features depend on."""
    network = getattr(encoder, "network", None)
    if not isinstance(network, nn.Module) or not hasattr(encoder, "features"):
        raise UsageError(
            f"the image encoder {encoder.name} has no network that images.tuning = lora could train",
            "choose one of open_clip or timm, such as --encoder ViT-B-32/openai or dinov2-small",
        )
    network.requires_grad_(True)
    stacks = [
        stack
        for stack in network.modules()
        if isinstance(stack, nn.ModuleList | nn.Sequential)
        and len({type(block) for block in stack}) == 1
        and all(list(block.children()) and matrices(block) for block in stack)
    ]
    inner = [s for s in stacks if not any(s is not o and o in s.modules() for o in stacks)]
    blocks = [matrices(block) for stack in inner for block in stack]
    if blocks:
        grey = torch.full((1, 3, encoder.size, encoder.size), 128, dtype=torch.uint8)
        firsts = [getattr(*block[0]) for block in blocks]
        with torch.enable_grad():
            total = encoder.features(grey).sum()
        gradients = torch.autograd.grad(total, firsts, allow_unused=True)
        blocks = [b for b, grad in zip(blocks, gradients, strict=True) if grad is not None]
    network.requires_grad_(False)
    if not blocks:
        raise UsageError(
            f"the image encoder {encoder.name} has no blocks with linear or attention layers, which "
            "images.tuning = lora trains",
            "choose a vision transformer, such as --encoder ViT-B-32/openai or dinov2-small",
        )
    return blocks[-n:]


def build_tuned(spec: ImageSpec) -> TunedEncoder:
    encoder = build_encoder(spec.encoder)
    return TunedEncoder(encoder, spec.lora_rank, spec.lora_alpha, spec.lora_blocks)


def load_tuned(
    spec: ImageSpec, file: Path, device: str = "cpu", made_by: Mapping[str, str] | None = None
) -> TunedEncoder:
    """The trained encoder of a run, from the file with its changes; DataError if the encoder is another one.

    ``made_by`` are the fingerprints of the features of the frozen encoder, as the run recorded them.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tuned = build_tuned(spec)
    if (made_by or {}).get("original", tuned.encoder.fingerprint) != tuned.encoder.fingerprint:
        raise DataError(
            f"the image encoder {spec.encoder} has other weights or another preprocessing here than where "
            f"{file.parent} was trained",
            "use the same weights and versions, see run.json, or train the run again",
        )
    try:
        tuned.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(
            f"{file} does not hold the changes of this run's image encoder: {first_line(error)}",
            "get the complete folder, or train the run again",
        ) from error
    return tuned.to(device)
