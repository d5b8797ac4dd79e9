"""Image encoders of open_clip: any model, any weights, the projected output or a layer inside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import UsageError
from ...registry import unknown_name
from .base import ImageEncoder
from .open_clip_weights import build_model, build_tokenizer, parse_name

POOLING = "mean over positions and tokens, the class token included"


class OpenCLIP(ImageEncoder):
    """A frozen image encoder of open_clip in float32, seen through its evaluation transform.

    Parameters
    ----------
    argument : str
        ``MODEL/WEIGHTS`` or ``MODEL/WEIGHTS@LAYER``: ``RN50/openai`` is the projected output (1024 numbers),
        ``RN50/openai@layer3`` the output of that module of the image tower, averaged over positions
        (class token included). WEIGHTS is a tag that open_clip knows, the path of a checkpoint, or
        ``random``: untrained weights, always the same ones. MODEL may also be ``hf-hub:ORG/REPO`` or
        ``local-dir:FOLDER``, which bring their own weights.
    device : str
        Where to compute.

    Raises
    ------
    UsageError
        If the model, the weights or the layer are not known.
    MissingDataError
        If the weights are out of reach.
    DataError
        If they do not fit the model.

    Notes
    -----
    Features are not normalised, as in NeuroBridge. The training transform, which crops at random, is
    never used. Weights that were trained with QuickGELU run with QuickGELU.
    """

    def __init__(self, argument: str = "RN50/openai", device: str = "cpu") -> None:
        self.asked = parse_name(argument)
        self.name = f"open-clip:{self.asked.text}"
        self.device = torch.device(device)
        self._model, transform = build_model(self.asked)
        self._weights = weights_hash(self._model.visual)
        self._model.to(self.device)
        self._resize, self._preprocess = transform.resize, transform.description
        self.size = transform.size
        self._mean = torch.tensor(transform.mean, device=self.device)[:, None, None]
        self._sd = torch.tensor(transform.std, device=self.device)[:, None, None]
        self._layer = find_layer(self._model.visual, self.asked.layer)
        self.dim = self.encode(torch.zeros(1, 3, self.size, self.size, dtype=torch.uint8)).shape[1]

    def description(self) -> dict[str, Any]:
        """Model, weights by content, layer, pooling and preprocessing."""
        return {
            "encoder": "open-clip",
            "model": self.asked.model,
            "weights": self.asked.tag,
            "weights_sha256": self._weights,
            "layer": self.asked.layer or "output",
            "pooling": POOLING if self.asked.layer else "none",
            "normalise": False,
            "precision": "float32",
            "preprocess": self._preprocess,
        }

    def resize(self, image: Any) -> Any:
        """An RGB image as the evaluation transform resizes and crops it."""
        return self._resize(image)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Features ``(n, dim)`` of images uint8 ``(n, 3, size, size)``."""
        pixels = (images.to(self.device).float() / 255 - self._mean) / self._sd
        with torch.backends.cudnn.flags(allow_tf32=False):
            if self._layer is None:
                features = self._model.encode_image(pixels, normalize=False)
            else:
                features = pooled(layer_output(self._model, self._layer, pixels), len(images))
        return features.float().cpu()

    def text_description(self) -> dict[str, Any]:
        """Text tower by content, and tokenizer.

        Raises
        ------
        UsageError
            If this encoder reads no sentences.
        MissingDataError
            If the tokenizer is out of reach.
        """
        self._check_reads()
        return {
            "text_weights_sha256": self._text_weights,
            "tokenizer": type(self._tokenizer).__name__,
            "context_length": self._tokenizer.context_length,
        }

    @torch.no_grad()
    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """The projected output of the text tower, float32 ``(n, dim)``, not normalised.

        Raises
        ------
        UsageError
            If a layer of the image tower is asked for, or the model has no text tower.
        MissingDataError
            If the tokenizer is out of reach.
        """
        self._check_reads()
        if not sentences:
            return torch.empty(0, self.dim)
        tokens = self._tokenizer(list(sentences)).to(self.device)
        return self._model.encode_text(tokens, normalize=False).float().cpu()

    @cached_property
    def _text_weights(self) -> str:
        return weights_hash(self._model, without="visual.")

    @cached_property
    def _tokenizer(self) -> Any:
        return build_tokenizer(self.asked)

    def _check_reads(self) -> None:
        if self.asked.layer:
            found, mend = f"its layer {self.asked.layer}", f"leave @{self.asked.layer} out"
        elif not hasattr(self._model, "encode_text"):
            found, mend = "a model without a text tower", "choose another model"
        else:
            return
        raise UsageError(f"the output of {self.asked.model} to read sentences", found, mend)


def find_layer(visual: nn.Module, name: str) -> nn.Module | None:
    """The module of an image tower by its name, or by the end of its name if only one has it.

    Raises
    ------
    UsageError
        If there is no such module, or more than one.
    """
    if not name:
        return None
    modules = dict(visual.named_modules())
    if name in modules:
        return modules[name]
    ending = [other for other in modules if other.endswith(f".{name}")]
    if len(ending) == 1:
        return modules[ending[0]]
    shallow = [other for other in modules if other and other.count(".") <= 2]
    raise unknown_name("layer of this image encoder", name, ending or shallow)


def layer_output(model: nn.Module, layer: nn.Module, pixels: Tensor) -> Tensor:
    """What a layer gives for a batch of images.

    Raises
    ------
    UsageError
        If the layer does not take part in encoding, or gives no tensor.
    """
    seen: list[Any] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        model.encode_image(pixels)
    finally:
        handle.remove()
    output = seen[-1] if seen else None
    output = output[0] if isinstance(output, (tuple, list)) else output
    if not isinstance(output, Tensor):
        raise UsageError(
            "a layer that gives a tensor when an image is encoded",
            type(output).__name__ if seen else "one that is not used",
            "choose another layer",
        )
    return output


def pooled(output: Tensor, n: int) -> Tensor:
    """The output of a layer averaged over positions, ``(n, c)``.

    Parameters
    ----------
    output : Tensor, shape (n, c, h, h), (n, h, h, c), (n, l, c) or (n, c)
        Maps, tokens or vectors.
    n : int
        Number of images.

    Raises
    ------
    UsageError
        If it has another form.
    """
    shape = output.shape
    if len(output) == n and output.ndim == 4 and shape[2] == shape[3]:
        return output.mean((2, 3))
    if len(output) == n and output.ndim == 4 and shape[1] == shape[2]:
        return output.mean((1, 2))
    if len(output) == n and output.ndim == 3:
        return output.mean(1)
    if len(output) == n and output.ndim == 2:
        return output
    raise UsageError(
        "a layer that gives maps (n, c, h, h), tokens (n, l, c) or vectors (n, c)",
        f"shape {tuple(shape)} for {n} images",
        "choose another layer",
    )


def weights_hash(module: nn.Module, without: str | None = None) -> str:
    """SHA-256 of the names, shapes and values of weights and buffers, those of a prefix left out."""
    digest = sha256()
    for name, value in sorted(module.state_dict().items()):
        if without and name.startswith(without):
            continue
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
