"""Frozen image encoders, one file each.

An encoder is asked for by a name of the form ``kind`` or ``kind:argument``: ``"pyramid"``,
``"open-clip:RN50/openai"``, ``"open-clip:RN50/openai@layer3"``. ``"RN50/openai"`` is short for the second.
Several names with ``+`` between them, such as ``"RN50/openai+ViT-B-32/laion2b_s34b_b79k"``, stand for their
features side by side.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..registry import Registry, unknown_name

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


ENCODERS = Registry(
    "encoder",
    {
        "pyramid": "braindecode_ssr.images.pyramid:Pyramid",
        "open-clip": "braindecode_ssr.images.open_clip:OpenCLIP",
    },
)

JOINT = "+"
FACE = ("name", "dim", "size", "fingerprint", "encode")

READS_TEXT = {"pyramid": False, "open-clip": True}
"""Whether our own kinds of encoders read sentences; written down, so that asking loads nothing."""


def build_encoder(encoder: str | Any, device: str = "cpu") -> ImageEncoder:
    """An encoder by name, or the object itself if it has the face of one.

    Parameters
    ----------
    encoder : str or object
        A name, or an object with ``name``, ``dim``, ``size``, ``fingerprint`` and ``encode``.
    device : str
        Where a named encoder computes.

    Raises
    ------
    UsageError
        If there is no such encoder, or the object is not one.
    MissingDataError
        If its weights are out of reach.
    """
    if isinstance(encoder, str):
        kind, _, argument = encoder_name(encoder).partition(":")
        return ENCODERS[kind](argument, device=device)
    lacking = [part for part in FACE if not hasattr(encoder, part)]
    if lacking:
        raise UsageError(
            f"an image encoder with {', '.join(FACE)}",
            f"{type(encoder).__name__} without {', '.join(lacking)}",
            "give a name of `ssr-bd list encoders`, or such an object",
        )
    return encoder


def parts_of(name: str) -> tuple[str, ...]:
    """The names of the encoders whose features stand side by side: one, or several with ``+`` between."""
    return tuple(name.split(JOINT))


def encoder_name(name: str, there: Sequence[str] = ()) -> str:
    """The full name of an encoder, or of several with ``+`` between them.

    Parameters
    ----------
    name : str
        A name as a user writes it: other case, hyphens and underscores, or short ``"RN50/openai"``.
    there : sequence of str
        Names under which features were imported; they are admitted as they are.

    Raises
    ------
    UsageError
        If it is neither an encoder nor among those.
    """
    return JOINT.join(_one_name(part, there) for part in parts_of(name))


def _one_name(name: str, there: Sequence[str]) -> str:
    full = full_name(name)
    if full in there or full.partition(":")[0] in ENCODERS:
        return full
    known = [*ENCODERS.names(), *there]
    error = unknown_name("encoder", name, known)
    error.hint += (
        "; or open-clip:MODEL/WEIGHTS; or import its features: "
        f"ssr-bd features import --encoder {name} ..."
    )
    raise error


@cache
def full_name(name: str) -> str:
    """The full name of an encoder; a name that is no encoder's stays as it is."""
    kind, colon, argument = name.partition(":")
    if kind in ENCODERS:
        return ENCODERS.name_of(kind) + colon + argument
    if "/" in name and not colon:
        return f"open-clip:{name}"
    return name


def is_encoder(name: str) -> bool:
    """Whether a name is that of an encoder, so that its features can be made here."""
    return full_name(name).partition(":")[0] in ENCODERS


def reads_text(name: str) -> bool:
    """Whether the encoder of a name reads sentences too; a layer inside an image tower does not."""
    kind, _, argument = full_name(name).partition(":")
    _, at, layer = argument.rpartition("@")
    if kind not in ENCODERS or (at and "/" not in layer):
        return False
    return READS_TEXT[kind] if kind in READS_TEXT else hasattr(ENCODERS[kind], "encode_text")


class ImageEncoder(ABC):
    """A frozen function of images.

    One that reads sentences too has ``encode_text(sentences)``, which gives float32 ``(n, dim)`` as
    ``encode`` does, and ``text_description()``: all that these features depend on, beside ``description()``.

    Attributes
    ----------
    name : str
        Full name, under which features are kept.
    dim : int
        Length of a feature vector.
    size : int
        Height and width of the images it takes, in pixels.
    """

    name: str
    dim: int
    size: int

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """The features of images.

        Parameters
        ----------
        images : Tensor of uint8, shape (n, 3, size, size)
            RGB images at the encoder's size.

        Returns
        -------
        Tensor of float32, shape (n, dim)
            On the CPU, not normalised.
        """

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """All that the features depend on, in plain JSON types."""

    def resize(self, image: Image) -> Image:
        """An RGB image of any shape at the encoder's size, before views are taken of it."""
        return shortest_side(image, self.size)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the description: features of equal fingerprint may stand side by side."""
        text = json.dumps(self.description(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def shortest_side(image: Image, size: int) -> Image:
    """An image whose shorter side is resized to ``size``, bicubically, and the longer cut about the middle.

    This is what CLIP's evaluation transform does; square images, as those of THINGS, are only resized, as
    UBP and NeuroBridge do it.

    Parameters
    ----------
    image : Image
        RGB image.
    size : int
        Height and width of the result, in pixels.
    """
    from PIL import Image as pillow

    width, height = image.size
    if (width, height) == (size, size):
        return image
    short = min(width, height)
    new_width, new_height = int(size * width / short), int(size * height / short)
    image = image.resize((new_width, new_height), pillow.Resampling.BICUBIC)
    left, top = round((new_width - size) / 2), round((new_height - size) / 2)
    return image.crop((left, top, left + size, top + size))
