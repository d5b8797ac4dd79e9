"""Open image files as 8-bit RGB: converted faithfully, or refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError, reading

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
"""Nothing else is opened: Pillow would hand an EPS file, whatever its name, to Ghostscript."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MOST_PIXELS = 89_478_485  # from here on Pillow warns of decompression bombs
LARGEST_ASPECT = 20
OPAQUE = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr")
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")
OF_16_BITS = "a 16-bit picture with a transparent color"
ON_WHITE, ROTATED = "with transparent parts put on white", "rotated as their EXIF data say"
ORIENTATION = 0x0112  # the EXIF tag; that of TIFF files is applied by Pillow
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_SAMPLE_FORMAT = 258, 262, 339


def open_picture(path: Path) -> Image:
    """A JPEG, PNG, BMP, WebP or TIFF file as an 8-bit RGB image; raises as :func:`to_rgb`."""
    from PIL import Image as PILImage

    with _decoding(str(path)), PILImage.open(path, formats=FORMATS) as picture:
        return _to_rgb(picture, str(path))


def to_rgb(picture: Image, source: str) -> Image:
    """A picture as an 8-bit RGB image: 16 bits scaled, transparency on white, EXIF rotation applied.

    ``info["remarks"]`` holds ``ON_WHITE`` and ``ROTATED`` where these apply. Color profiles are not applied.
    """
    with _decoding(source):
        return _to_rgb(picture, source)


@contextmanager
def _decoding(source: str) -> Iterator[None]:
    """Turn any error inside a foreign file into a DataError that names it."""
    from PIL import Image as PILImage
    from PIL import UnidentifiedImageError

    with reading(f"the picture {source}", "copy or download the file again"):
        try:
            yield
        except PILImage.DecompressionBombError as error:
            raise _too_large(source) from error
        except UnidentifiedImageError as error:
            raise DataError(
                f"{source} is damaged, or not a JPEG, PNG, BMP, WebP or TIFF file",
                "copy or download the file again, or save the picture as PNG",
            ) from error


def _to_rgb(picture: Image, source: str) -> Image:
    from PIL import Image as PILImage
    from PIL import ImageOps

    _check_shape(picture, source)
    remarks = []
    picture.load()
    _check_tiff(picture, source)
    with suppress(Exception):  # unreadable EXIF data are ignored
        if picture.getexif().get(ORIENTATION, 1) in range(2, 9):
            picture, remarks = ImageOps.exif_transpose(picture), [ROTATED]
    transparent = "transparency" in picture.info
    if picture.mode in SIXTEEN_BITS and not transparent:
        if picture.mode == "I" and picture.format not in ("PNG", "TIFF"):
            raise _refused(source, "32-bit integers")
        values = (np.asarray(picture).astype(np.int64) + 128) // 257
        rgb = PILImage.fromarray(values.astype(np.uint8)).convert("RGB")
    elif picture.mode in WITH_ALPHA or (picture.mode in OPAQUE and transparent):
        key = picture.info.get("transparency", 0)
        if isinstance(key, tuple | int) and np.max(key) > 255:  # not to be found among 8-bit pixels
            raise _refused(source, OF_16_BITS)
        rgba = picture.convert("RGBA")
        alpha = np.asarray(rgba.getchannel("A"))
        if not alpha.any():
            found = f"the picture {source} is fully transparent"
            raise DataError(found, "save it without an alpha channel")
        if alpha.min() < 255:
            remarks.append(ON_WHITE)
            rgba = PILImage.alpha_composite(PILImage.new("RGBA", rgba.size, "white"), rgba)
        rgb = rgba.convert("RGB")
    elif picture.mode in OPAQUE:
        rgb = picture.convert("RGB")
    else:
        kind = "floating-point pixels" if picture.mode[0] == "F" else f"the mode {picture.mode}"
        raise _refused(source, OF_16_BITS if transparent else kind)
    rgb.info = {"remarks": tuple(remarks)}
    return rgb


def _check_shape(picture: Image, source: str) -> None:
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise _too_large(source, f"{width} x {height}")
    if max(width, height) > LARGEST_ASPECT * min(width, height):
        raise DataError(
            f"the picture {source} is {width} x {height} pixels: one side is more than "
            f"{LARGEST_ASPECT} times as long as the other",
            "crop it to what was shown",
        )
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # the other pictures of an MPO are previews
        raise DataError(
            f"the picture {source} has {frames} frames, and it is not known which of them was shown",
            "save the one that was shown to a separate file",
        )


def _check_tiff(picture: Image, source: str) -> None:
    """Refuse TIFF files whose values Pillow would misinterpret."""
    tags = getattr(picture, "tag_v2", None)
    if tags is None:
        return
    if set(tags.get(_TIFF_SAMPLE_FORMAT, (1,))) - {1, 4}:
        raise _refused(source, "signed or floating-point numbers")
    if picture.mode in SIXTEEN_BITS:
        bits = tags.get(_TIFF_BITS, (1,))
        if tuple(bits) != (16,):
            raise _refused(source, f"{bits[0]} bits per pixel")
        if tags.get(_TIFF_PHOTOMETRIC) != 1:
            raise _refused(source, "16 bits with white as zero")


def _refused(source: str, kind: str) -> DataError:
    found = f"the picture {source} has {kind}, which cannot be converted faithfully to 8-bit RGB"
    return DataError(found, "save it as it was shown, as 8-bit RGB in PNG or JPEG")


def _too_large(source: str, size: str = "") -> DataError:
    pixels = f"{size} pixels, more" if size else "more"
    return DataError(
        f"the picture {source} has {pixels} than the {MOST_PIXELS // 10**6} million that are read",
        "save it at the size at which it was shown",
    )
