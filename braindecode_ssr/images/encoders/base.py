"""What an image encoder is: images in, one vector per image out, always the same."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image


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
