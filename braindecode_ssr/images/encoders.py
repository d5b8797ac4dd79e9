"""Frozen image encoders, by name.

A name is ``kind`` or ``kind:argument``: ``"pyramid"``, ``"open-clip:RN50/openai"``,
``"open-clip:RN50/openai@layer3"``, ``"timm:vit_small_patch14_dinov2.lvd142m@block6:cls"``.
``"RN50/openai"`` is short for the second, ``"dinov2-small@block6:cls"`` for the last. Several names
joined by ``+``, such as ``"RN50/openai+ViT-B-32/laion2b_s34b_b79k"``, stand for their features concatenated.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import MissingDataError, UsageError
from ..files import sha256
from ..registry import Registry, unknown_name

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


ENCODERS = Registry(
    "encoder",
    {
        "pyramid": "braindecode_ssr.images.pyramid:Pyramid",
        "simnet": "braindecode_ssr.images.pyramid:SimNet",
        "open-clip": "braindecode_ssr.images.pretrained:OpenCLIP",
        "timm": "braindecode_ssr.images.pretrained:Timm",
        "hf": "braindecode_ssr.images.pretrained:HuggingFace",
    },
)

JOINT = "+"
SHORT = {
    f"dinov2-{size}": f"timm:vit_{size}_patch14_dinov2.lvd142m"
    for size in ("small", "base", "large", "giant")
}
"""Short names, after which ``@LAYER``, a pooling and a size may follow."""

READS_TEXT = {"pyramid": False, "simnet": False, "open-clip": True}
"""Kinds that are always named as written, and whether they read sentences: known without loading torch."""


def build_encoder(encoder: str | ImageEncoder, device: str = "cpu") -> ImageEncoder:
    """Build an encoder by name; an encoder object is checked and returned as it is.

    Parameters
    ----------
    encoder : str or ImageEncoder
        A name, or any object with ``name``, ``dim``, ``size``, ``fingerprint`` and ``encode``.
    device : str
        Device of an encoder that is built by name.

    Raises
    ------
    UsageError
        If there is no such encoder, or the object lacks an attribute.
    MissingDataError
        If its weights are neither stored nor can be downloaded.
    """
    if isinstance(encoder, str):
        kind, _, argument = encoder_name(encoder).partition(":")
        return ENCODERS[kind](argument, device=device)
    needed = ("name", "dim", "size", "fingerprint", "encode")
    lacking = [part for part in needed if not hasattr(encoder, part)]
    if lacking:
        raise UsageError(
            f"{type(encoder).__name__} is not an image encoder: it is without {', '.join(lacking)}",
            f"give a name from `ssr-bd list encoders`, or an object with {', '.join(needed)}",
        )
    return encoder


def parts_of(name: str) -> tuple[str, ...]:
    """The names of the encoders whose features are concatenated: one, or several joined by ``+``."""
    return tuple(name.split(JOINT))


def encoder_name(name: str, stored: Sequence[str] = ()) -> str:
    """The canonical name of an encoder, or of several joined by ``+``; stored names are valid too."""
    names = []
    for part in parts_of(name):
        names.append(canonical_name(part))
        if names[-1] not in stored and not is_encoder(part):
            error = unknown_name("encoder", part, list(dict.fromkeys([*ENCODERS, *stored])))
            error.hint += (
                "; or open-clip:MODEL/WEIGHTS, timm:MODEL.WEIGHTS, hf:ORG/REPO, dinov2-base; or import them: "
                f"ssr-bd features import --encoder {part} ..."
            )
            raise error
    return JOINT.join(names)


@cache
def canonical_name(name: str) -> str:
    """The one name under which the features of an encoder are stored and looked up.

    An encoder of your own may be called otherwise than it was asked for (``thumbnail`` may build
    ``thumbnail:8``): its class method ``canonical_name(argument)`` is asked, or it is built once to read
    its ``name``, which must build the same encoder again. A name of no encoder stays as it is.
    """
    word = re.split("[@:]", name, maxsplit=1)[0]
    name = SHORT.get(word.lower().replace("_", "-"), word) + name[len(word) :]
    kind, colon, argument = name.partition(":")
    if kind not in ENCODERS:
        return f"open-clip:{name}" if "/" in name and not colon else name
    kind = ENCODERS.name_of(kind)
    written = kind + colon + argument
    own = _own_name(kind, argument) or written
    if own != written:
        again, _, argument = own.partition(":")
        same_kind = again in ENCODERS and ENCODERS.name_of(again) == kind
        if not same_kind or _own_name(kind, argument) not in (None, own):
            found = f"the encoder {written!r} has the name {own!r}, which does not build it again"
            raise UsageError(found, f"let its `name` be {kind!r} or '{kind}:ARGUMENT'")
    return own


def _own_name(kind: str, argument: str) -> str | None:
    """The name that an encoder gives itself; None if it is as written, or cannot be known."""
    if kind in READS_TEXT:
        return None
    encoder = ENCODERS[kind]
    if hasattr(encoder, "canonical_name"):
        return encoder.canonical_name(argument)
    try:
        return encoder(argument, device="cpu").name
    except MissingDataError:  # the weights are not here, but features may be
        return None


def is_encoder(name: str) -> bool:
    """Whether a name is that of an encoder, so that its features can be extracted here."""
    return canonical_name(name).partition(":")[0] in ENCODERS


def reads_text(name: str) -> bool:
    """Whether the encoder of that name also reads sentences; a layer inside an image tower does not."""
    kind, _, argument = canonical_name(name).partition(":")
    _, at, layer = argument.rpartition("@")
    if kind not in ENCODERS or (at and "/" not in layer):
        return False
    return READS_TEXT[kind] if kind in READS_TEXT else hasattr(ENCODERS[kind], "encode_text")


class ImageEncoder(ABC):
    """A frozen function of images.

    ``ENCODERS`` builds it as ``Encoder(argument, device=device)`` from a name ``kind:argument``. An encoder
    that also reads sentences has ``encode_text(sentences)``, float32 ``(n, dim)`` as ``encode``, and
    ``text_description()``: all that these features depend on besides ``description()``. A class method
    ``canonical_name(argument)`` gives ``name`` without building the encoder. An encoder that can be trained
    has ``network``, its frozen ``nn.Module``, ``features(images)``, as ``encode`` but with gradients and on
    its device, and ``to(device)``.

    Attributes
    ----------
    name : str
        Canonical name, under which features are stored: ``kind`` or ``kind:argument``, which builds this
        encoder again.
    dim : int
        Length of a feature vector.
    size : int
        Height and width of the images it takes, in pixels.
    """

    name: str
    dim: int
    size: int
    needs: ClassVar[str] = ""  # an extra to install, for `ssr-bd list encoders`
    in_threads: ClassVar[bool] = False  # whether a CPU encodes several batches at once

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Features of RGB images, uint8 (n, 3, size, size): float32 (n, dim) on the CPU, not normalized."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """All that the features depend on, in plain JSON types."""

    def resize(self, image: Image) -> Image:
        """Resize an RGB image of any shape to the encoder's size, before views are applied."""
        return shortest_side(image, self.size)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the description: features with equal fingerprints may be combined."""
        return sha256(json.dumps(self.description(), sort_keys=True))


def shortest_side(image: Image, size: int) -> Image:
    """Resize the shorter side of an RGB image to ``size`` pixels, bicubically, and crop the longer one.

    The crop is central, as in CLIP's evaluation transform; square images, such as those of THINGS, are
    only resized, as UBP and NeuroBridge do it.
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
