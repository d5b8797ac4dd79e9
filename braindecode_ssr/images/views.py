"""Views: altered copies of an image, one small file each.

A view is a function ``view(images, *, seed, **parameters)`` of a batch of images, uint8
``(n, 3, h, w)``, that gives a batch of the same shape. Its parameters are keywords whose defaults are
the published ones; other values can be written into its name: ``"blur?kernel=31"``.

A view that takes ``concepts`` by that name looks at no image: ``view(concepts, **parameters)`` gives
sentences, and the encoder reads them.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..registry import Registry, unknown_name

if TYPE_CHECKING:
    from torch import Tensor


VIEWS = Registry(
    "view",
    {
        "original": "braindecode_ssr.images.views:original",
        "blur": "braindecode_ssr.images.views:blur",
        "noise": "braindecode_ssr.images.views:noise",
        "low-resolution": "braindecode_ssr.images.views:low_resolution",
        "mosaic": "braindecode_ssr.images.views:mosaic",
        "fovea": "braindecode_ssr.images.views:fovea",
        "text": "braindecode_ssr.images.views:text",
    },
)

TEXT = "text"

AT_ONCE = 4
"""Images altered together on a CPU: as many as its cache holds is twice as fast as a whole batch."""


@dataclass(frozen=True)
class View:
    """A view with its parameters settled; it looks at each image by itself.

    Parameters
    ----------
    name : str
        Under which its features are kept: the registered name, and ``?parameter=value`` for each
        parameter that is not the published one.
    function : callable
        ``function(images, *, seed, **parameters)``, or ``function(concepts, **parameters)``.
    parameters : dict
        All parameters, defaults included.
    """

    name: str
    function: Callable[..., Any]
    parameters: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def of_words(self) -> bool:
        """Whether it makes sentences of concepts, and needs no image."""
        return "concepts" in inspect.signature(self.function).parameters

    def sentences(self, concepts: Sequence[str]) -> list[str]:
        """The sentences about concepts, if it is a view of words."""
        return self.function(concepts, **self.parameters)

    def __call__(self, images: Tensor, *, seed: Sequence[int]) -> Tensor:
        """The altered copies.

        Parameters
        ----------
        images : Tensor of uint8, shape (n, 3, h, w)
            Images at the size the encoder takes.
        seed : sequence of int, length n
            One seed per image, see :func:`image_seed`.

        Returns
        -------
        Tensor of uint8, shape (n, 3, h, w)
        """
        import torch

        size = AT_ONCE if images.device.type == "cpu" else max(len(images), 1)
        groups = [images[start : start + size] for start in range(0, len(images), size)]
        seen = [
            self.function(group, seed=seed[size * i : size * (i + 1)], **self.parameters)
            for i, group in enumerate(groups)
        ]
        return torch.cat(seen) if seen else images.clone()


def build_view(view: str | View | Callable[..., Tensor]) -> View:
    """A view of its name, with parameters where the name has some, or of a function.

    Parameters
    ----------
    view : str, View or callable
        ``"blur"``, ``"blur?kernel=31"``, ``"noise?sd=10&draw=1"``, or a function with the face of a view.

    Raises
    ------
    UsageError
        If there is no such view or parameter, or a value is not of the parameter's kind.

    Examples
    --------
    >>> build_view("blur?kernel=31").parameters
    {'kernel': 31}
    >>> build_view("blur?kernel=15").name
    'blur'
    """
    if isinstance(view, View):
        return view
    if callable(view):
        return View(view.__name__, view, default_parameters(view))
    name, _, text = view.partition("?")
    function = VIEWS[name]
    defaults = default_parameters(function)
    chosen = parse_parameters(name, text, defaults)
    changed = {key: value for key, value in sorted(chosen.items()) if value != defaults[key]}
    suffix = "&".join(f"{key}={value}" for key, value in changed.items())
    full = VIEWS.name_of(name) + (f"?{suffix}" if suffix else "")
    return View(full, function, {**defaults, **chosen})


@cache
def view_name(view: str) -> str:
    """The full name of a view; a name that is no view's stays as it is."""
    name = view.partition("?")[0]
    if name not in VIEWS:
        return view
    return build_view(view).name if "?" in view else VIEWS.name_of(view)


def is_text(view: str) -> bool:
    """Whether a name is that of the view ``text``, whatever its template; loads nothing."""
    return view.partition("?")[0].lower() == TEXT


def view_parameters(view: str) -> dict[str, float | str]:
    """The parameters of a view; none for a name that is no view's."""
    return dict(build_view(view).parameters) if view.partition("?")[0] in VIEWS else {}


def parse_parameters(
    view: str, text: str, defaults: Mapping[str, float | str]
) -> dict[str, float | str]:
    """``"kernel=31&gain=2"`` as a dict, each value of the same kind as its default."""
    chosen: dict[str, float | str] = {}
    for part in filter(None, text.split("&")):
        key, _, value = part.partition("=")
        if key not in defaults:
            raise unknown_name(f"parameter of view {view}", key, list(defaults) or ["(none)"])
        kind = type(defaults[key])
        try:
            chosen[key] = kind(value)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise UsageError(
                f"{wanted} for {key} of view {view}",
                repr(value),
                f"write for example {view}?{key}={defaults[key]}",
            ) from None
    return chosen


def default_parameters(function: Callable[..., Any]) -> dict[str, float | str]:
    """The parameters of a view and their published values, read off its signature."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "seed" and parameter.default is not inspect.Parameter.empty
    }


def image_seed(image_id: str) -> int:
    """A seed that belongs to an image: the same in every batch, run and machine."""
    return int.from_bytes(sha256(image_id.encode()).digest()[:8], "little")


def along_width(images: Tensor, operator: Tensor) -> Tensor:
    """Apply an operator ``(w_out, w)`` to every row of images ``(..., h, w)``; float32."""
    return images.float() @ operator.to(images.device).T


def along_height(images: Tensor, operator: Tensor) -> Tensor:
    """Apply an operator ``(h_out, h)`` to every column of images ``(..., h, w)``; float32."""
    return operator.to(images.device) @ images.float()


def to_bytes(images: Tensor) -> Tensor:
    """Grey levels rounded to the nearest, clipped to 0..255, as uint8."""
    import torch

    return images.round().clamp_(0, 255).to(torch.uint8)


SMALL_KERNELS = {3: (2.0, 1.0), 5: (6.0, 4.0, 1.0), 7: (18.0, 14.0, 7.0, 2.0)}
"""Taps, from the centre out, that OpenCV takes for the smallest kernels instead of a Gaussian's."""


def gaussian_kernel(size: int) -> Tensor:
    """Gaussian kernel of a given size, with the taps OpenCV gives it.

    Parameters
    ----------
    size : int
        Odd number of taps.

    Returns
    -------
    Tensor of float64, shape (size,)
        Sums to 1; standard deviation ``0.3 * ((size - 1) / 2 - 1) + 0.8`` pixels; 3, 5 and 7 taps
        are OpenCV's binomial-like ones.

    Raises
    ------
    UsageError
        If the size is even or below 1.
    """
    import torch

    if size < 1 or size % 2 == 0:
        raise UsageError("an odd blur kernel of 1 or more pixels", str(size), "choose another")
    sd = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    taps = (torch.arange(size) - size // 2).abs()
    if size in SMALL_KERNELS:
        kernel = torch.tensor(SMALL_KERNELS[size], dtype=torch.float64)[taps]
    else:
        kernel = torch.exp(-taps.double().square() / (2 * sd * sd))
    return kernel / kernel.sum()


@lru_cache(16)
def blur_operator(n: int, size: int) -> Tensor:
    """Gaussian blur of ``n`` pixels, mirrored at the borders without repeating the border pixel.

    Returns
    -------
    Tensor of float32, shape (n, n)
    """
    import torch

    kernel = gaussian_kernel(size)
    target = torch.arange(n)[:, None].expand(n, size)
    source = mirrored(target + torch.arange(size) - size // 2, n)
    operator = torch.zeros(n, n, dtype=torch.float64)
    operator.index_put_((target, source), kernel.expand(n, size), accumulate=True)
    return operator.float()


def mirrored(index: Tensor, n: int) -> Tensor:
    """Indices beyond 0..n-1 mirrored back about the first and the last pixel."""
    import torch

    if n == 1:
        return torch.zeros_like(index)
    folded = index.remainder(2 * (n - 1))
    return torch.minimum(folded, 2 * (n - 1) - folded)


@lru_cache(16)
def antialiased_operator(n_in: int, n_out: int) -> Tensor:
    """Bilinear resizing as Pillow does it: a triangle that widens when the image shrinks.

    Returns
    -------
    Tensor of float32, shape (n_out, n_in)
    """
    import torch

    scale = n_in / n_out
    centres = (torch.arange(n_out, dtype=torch.float64)[:, None] + 0.5) * scale
    pixels = torch.arange(n_in, dtype=torch.float64) + 0.5
    weights = (1 - (pixels - centres).abs() / max(scale, 1.0)).clamp(min=0)
    return (weights / weights.sum(1, keepdim=True)).float()


@lru_cache(16)
def linear_operator(n_in: int, n_out: int) -> Tensor:
    """Bilinear sampling as OpenCV's INTER_LINEAR does it: two neighbours, however small the result.

    Returns
    -------
    Tensor of float32, shape (n_out, n_in)
    """
    import torch

    centres = (torch.arange(n_out, dtype=torch.float64) + 0.5) * (n_in / n_out) - 0.5
    centres = centres.clamp(0, n_in - 1)[:, None]
    pixels = torch.arange(n_in, dtype=torch.float64)
    return (1 - (pixels - centres).abs()).clamp(min=0).float()


@lru_cache(16)
def nearest_indices(n_in: int, n_out: int) -> Tensor:
    """Which pixel each new pixel copies, as OpenCV's INTER_NEAREST: ``floor(i * n_in / n_out)``."""
    import torch

    return torch.tensor([min(math.floor(i * n_in / n_out), n_in - 1) for i in range(n_out)])


def blur(images: Tensor, *, seed: Sequence[int] = (), kernel: int = 15) -> Tensor:
    """Images blurred by a Gaussian, as NeuroBridge blurs them (OpenCV, width from the kernel size).

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Images.
    seed : sequence of int
        Not used.
    kernel : int
        Odd kernel size in pixels; the standard deviation is ``0.3 * ((kernel - 1) / 2 - 1) + 0.8``.
        Published: 15 at 224 pixels.

    Returns
    -------
    Tensor of uint8, shape (n, 3, h, w)

    Raises
    ------
    UsageError
        If the kernel is even or below 1.

    References
    ----------
    NeuroBridge, arXiv 2511.06836, "GaussianBlur".
    """
    height, width = images.shape[-2:]
    rows = along_width(images, blur_operator(width, kernel))
    return to_bytes(along_height(rows, blur_operator(height, kernel)))


def fovea(
    images: Tensor, *, seed: Sequence[int] = (), kernel: int = 51, gain: float = 3.0
) -> Tensor:
    """Images blended with their blurred copy, the more blurred the further from the centre.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Images.
    seed : sequence of int
        Not used.
    kernel : int
        Odd kernel size of the blurred copy, in pixels. Published: 51 at 224 pixels.
    gain : float
        How fast sharpness falls off. Published: 3.

    Returns
    -------
    Tensor of uint8, shape (n, 3, h, w)

    References
    ----------
    UBP, arXiv 2503.04207: ``out = m * image + (1 - m) * blurred``, see :func:`sharpness`. Even the centre
    is half blurred.
    """
    mask = sharpness(images.shape[-2], images.shape[-1], gain).to(images.device)
    blurred = blur(images, kernel=kernel)
    return to_bytes(images * mask + blurred * (1 - mask))


@lru_cache(16)
def sharpness(height: int, width: int, gain: float) -> Tensor:
    """Weight of the sharp image: ``0.5 * exp(-gain * distance / largest)``, 1 at most in the exponent.

    Distances are from pixel ``(height // 2, width // 2)``; the largest is that of the last pixel.

    Returns
    -------
    Tensor of float32, shape (height, width)
    """
    import torch

    down = torch.arange(height, dtype=torch.float64)[:, None] - height // 2
    right = torch.arange(width, dtype=torch.float64)[None, :] - width // 2
    distance = torch.hypot(down, right)
    relative = (distance / distance[-1, -1].clamp(min=1e-12)).clamp(max=1)
    return (0.5 * torch.exp(-gain * relative)).float()


def low_resolution(images: Tensor, *, seed: Sequence[int] = (), scale: float = 0.1) -> Tensor:
    """Images shrunk and enlarged again, both bilinearly as Pillow does it.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Images.
    seed : sequence of int
        Not used.
    scale : float
        Size of the small image relative to the image, above 0, at most 1; the small size is cut to
        a whole number of pixels. Published: 0.1 (22 of 224 pixels).

    Returns
    -------
    Tensor of uint8, shape (n, 3, h, w)

    Raises
    ------
    UsageError
        If no pixel would be left, or the scale is above 1.

    References
    ----------
    NeuroBridge, arXiv 2511.06836, "LowResolution".
    """
    height, width = images.shape[-2:]
    small = int(height * scale), int(width * scale)
    if not 0 < scale <= 1 or min(small) < 1:
        raise UsageError(
            f"a scale from {1 / min(height, width):.3g} to 1", str(scale), "choose another"
        )
    return resize(resize(images, *small), height, width)


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resizing with Pillow's two passes, each rounded to whole grey levels."""
    rows = to_bytes(along_width(images, antialiased_operator(images.shape[-1], width)))
    return to_bytes(along_height(rows, antialiased_operator(images.shape[-2], height)))


def mosaic(images: Tensor, *, seed: Sequence[int] = (), level: int = 5) -> Tensor:
    """Images made of square tiles: sampled bilinearly on a coarse grid, enlarged by repetition.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Images.
    seed : sequence of int
        Not used.
    level : int
        Side of a tile in pixels, at least 1. Published: 5 at 224 pixels (44 x 44 tiles).

    Returns
    -------
    Tensor of uint8, shape (n, 3, h, w)

    Raises
    ------
    UsageError
        If a tile is larger than the image.

    Notes
    -----
    A tile is an interpolated sample, not the mean of its pixels, as in the published code.

    References
    ----------
    NeuroBridge, arXiv 2511.06836, "Mosaic".
    """
    height, width = images.shape[-2:]
    if not 1 <= level <= min(height, width):
        raise UsageError(
            f"a tile of 1 to {min(height, width)} pixels", str(level), "choose another level"
        )
    tiles = height // level, width // level
    rows = along_width(images, linear_operator(width, tiles[1]))
    small = to_bytes(along_height(rows, linear_operator(height, tiles[0])))
    high = nearest_indices(tiles[0], height).to(images.device)
    wide = nearest_indices(tiles[1], width).to(images.device)
    return small[:, :, high][:, :, :, wide]


def noise(images: Tensor, *, seed: Sequence[int], sd: float = 25.0, draw: int = 0) -> Tensor:
    """Images with Gaussian noise on every pixel and channel, one fixed draw per image.

    The sum is clipped to 0..255 and its fraction cut off, as in the published code.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Images.
    seed : sequence of int, length n
        One seed per image: the noise of an image does not depend on its batch.
    sd : float
        Standard deviation in grey levels. Published: 25 of 255, at 224 pixels.
    draw : int
        Another number gives other noise to the same images.

    Returns
    -------
    Tensor of uint8, shape (n, 3, h, w)

    Raises
    ------
    UsageError
        If ``sd`` or ``draw`` is negative.

    References
    ----------
    NeuroBridge, arXiv 2511.06836, "GaussianNoise".
    """
    import torch

    if not 0 <= sd < float("inf") or draw < 0:
        raise UsageError("sd and draw of 0 or more", f"sd={sd}, draw={draw}", "choose others")
    shape = tuple(images.shape[1:])
    draws = [
        np.random.default_rng([one, draw]).standard_normal(shape, dtype=np.float32) for one in seed
    ]
    if not draws:
        return images
    added = torch.from_numpy(np.stack(draws)).to(images.device)
    return added.mul_(sd).add_(images).clamp_(0, 255).to(torch.uint8)


def original(images: Tensor, *, seed: Sequence[int] = ()) -> Tensor:
    """The images as they are.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Images.
    seed : sequence of int
        Not used.

    Returns
    -------
    Tensor of uint8, shape (n, 3, h, w)
    """
    return images


PLACE = "{}"


def text(concepts: Sequence[str], *, template: str = "This picture is {}") -> list[str]:
    """A sentence about the image's concept, which the encoder reads instead of seeing the image.

    Parameters
    ----------
    concepts : sequence of str, length n
        The concept of each image.
    template : str
        The sentence, ``{}`` for the words of the concept. Published: that of ATM.

    Returns
    -------
    list of str, length n

    Raises
    ------
    UsageError
        If the template has no place for the concept, or more than one.

    References
    ----------
    ATM, arXiv 2403.07721; its public code writes names as folders have them.

    Examples
    --------
    >>> text(["aircraft_carrier", "baton4"])
    ['This picture is aircraft carrier', 'This picture is baton']
    """
    if template.count(PLACE) != 1:
        raise UsageError(
            f"a template with one {PLACE} for the words of the concept",
            repr(template),
            'write for example "text?template=a photo of a {}"',
        )
    return [template.replace(PLACE, concept_words(concept)) for concept in concepts]


def concept_words(concept: str) -> str:
    """The words of a concept's name.

    Underscores are spaces; the digit by which THINGS tells homonyms apart (``bat1``, ``bat2``) is not said.
    """
    return re.sub(r"(?<=[^\W\d_])_?\d$", "", concept).replace("_", " ").strip()
