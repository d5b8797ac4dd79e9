"""Views: altered copies of images, or sentences about their concepts.

A view is a function ``view(images, *, seed, **parameters)`` from uint8 images ``(n, 3, h, w)`` to the same
shape. The defaults of its parameters are the published values; others can be written into its name, as in
``"blur?kernel=31"``. A function ``view(concepts, **parameters)`` gives sentences, which the encoder reads.
"""

from __future__ import annotations

import inspect
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

ViewFunction = Callable[..., Any]
TEXT = "text"
AT_ONCE = 4
"""Images per call on a CPU: a few that fit its cache are twice as fast as a whole batch."""

VIEWS = Registry(
    "view",
    {
        name: f"{__name__}:{name.replace('-', '_')}"
        for name in ("original", "blur", "noise", "low-resolution", "mosaic", "fovea", "text")
    },
)


@dataclass(frozen=True)
class View:
    """A view with its parameters; ``name`` shows those that differ from the published ones."""

    name: str
    function: ViewFunction
    parameters: Mapping[str, float | str] = field(default_factory=dict)  # including defaults

    @property
    def is_text(self) -> bool:
        """Whether it makes sentences from concepts, and needs no image."""
        return "concepts" in inspect.signature(self.function).parameters

    def sentences(self, concepts: Sequence[str]) -> list[str]:
        """The sentences about concepts, if it is a text view."""
        return self.function(concepts, **self.parameters)

    def __call__(self, images: Tensor, *, seed: Sequence[int]) -> Tensor:
        """Altered copies of uint8 images ``(n, 3, h, w)``, with one seed per image: :func:`image_seed`."""
        import torch

        size = AT_ONCE if images.device.type == "cpu" else max(len(images), 1)
        seen = [
            self.function(
                images[start : start + size], seed=seed[start : start + size], **self.parameters
            )
            for start in range(0, len(images), size)
        ]
        return torch.cat(seen) if seen else images.clone()


def build_view(view: str | View | ViewFunction) -> View:
    """Build a view from its name, with or without parameters, or from a function.

    Parameters
    ----------
    view : str, View or callable
        ``"blur"``, ``"blur?kernel=31"``, ``"noise?sd=10&draw=1"``, or a function as described above, whose
        features are stored under its ``__name__``.

    Raises
    ------
    UsageError
        If there is no such view or parameter, a value has the wrong type, or a function has no name or that
        of another view.

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
        name = getattr(view, "__name__", "<lambda>")
        if name == "<lambda>" or (name in VIEWS and VIEWS[name] is not view):
            raise UsageError(
                f"the view function {name!r} has no name of its own, under which features are stored",
                "define it with `def` under a new name, or give View(name, function, parameters)",
            )
        name = VIEWS.name_of(name) if name in VIEWS else name
        return View(name, view, default_parameters(view))
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
    name = view.partition("?")[0]
    if name not in VIEWS:
        return view
    return build_view(view).name if "?" in view else VIEWS.name_of(view)


def is_text(view: str) -> bool:
    """Whether a name is that of the view ``text``, with any template; loads nothing."""
    return view.partition("?")[0].lower() == TEXT


def view_parameters(view: str) -> dict[str, float | str]:
    """The parameters of a view; empty if there is no view of that name."""
    return dict(build_view(view).parameters) if view.partition("?")[0] in VIEWS else {}


def parse_parameters(
    view: str, text: str, defaults: Mapping[str, float | str]
) -> dict[str, float | str]:
    """``"kernel=31&gain=2"`` as a dict, each value of the type of its default."""
    chosen: dict[str, float | str] = {}
    for part in filter(None, text.split("&")):
        key, _, value = part.partition("=")
        if key not in defaults:
            raise unknown_name(f"parameter of view {view}", key, list(defaults) or ["(none)"])
        kind = type(defaults[key])
        try:
            chosen[key] = kind(value)
        except ValueError:
            raise UsageError(
                f"{key}={value} of view {view} is not {'a whole number' if kind is int else 'a number'}",
                f"write for example {view}?{key}={defaults[key]}",
            ) from None
    return chosen


def default_parameters(function: ViewFunction) -> dict[str, float | str]:
    """The parameters of a view and their published values, read from its signature."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "seed" and parameter.default is not inspect.Parameter.empty
    }


def image_seed(image_id: str) -> int:
    """The seed of an image: the same in every batch, run and machine."""
    return int.from_bytes(sha256(image_id.encode()).digest()[:8], "little")


# -- the views: from uint8 images (n, 3, h, w) to the same; only noise uses the seeds, one per image --------


def original(images: Tensor, *, seed: Sequence[int] = ()) -> Tensor:
    return images


def blur(images: Tensor, *, seed: Sequence[int] = (), kernel: int = 15) -> Tensor:
    """Gaussian blur as in NeuroBridge (OpenCV, whose width follows from the kernel size).

    ``kernel`` is odd, in pixels; the standard deviation is ``0.3 * ((kernel - 1) / 2 - 1) + 0.8``.
    Published: 15 at 224 pixels (NeuroBridge, arXiv 2511.06836, "GaussianBlur").
    """
    height, width = images.shape[-2:]
    return _separable(images, blur_operator(height, kernel), blur_operator(width, kernel))


def fovea(
    images: Tensor, *, seed: Sequence[int] = (), kernel: int = 51, gain: float = 3.0
) -> Tensor:
    """Images blended with their blurred copy, more blurred toward the periphery.

    ``out = m * image + (1 - m) * blurred`` of UBP, arXiv 2503.04207, with the map of :func:`sharpness`;
    even the center is half blurred. Published: a kernel of 51 pixels at 224, and a gain (how fast
    sharpness falls off) of 3.
    """
    mask = sharpness(images.shape[-2], images.shape[-1], gain).to(images.device)
    blurred = blur(images, kernel=kernel)
    return _to_bytes(images * mask + blurred * (1 - mask))


def low_resolution(images: Tensor, *, seed: Sequence[int] = (), scale: float = 0.1) -> Tensor:
    """Images that are downsampled and upsampled again, both bilinearly as Pillow does it.

    ``scale`` in (0, 1] is that of the small image, rounded down to whole pixels. Published: 0.1, 22 of
    224 pixels (NeuroBridge, arXiv 2511.06836, "LowResolution").
    """
    height, width = images.shape[-2:]
    small = int(height * scale), int(width * scale)
    if not 0 < scale <= 1 or min(small) < 1:
        found = f"scale={scale} does not give a smaller image of at least one pixel"
        raise UsageError(found, f"choose a scale from {1 / min(height, width):.3g} to 1")
    return _resize(_resize(images, *small), height, width)


def mosaic(images: Tensor, *, seed: Sequence[int] = (), level: int = 5) -> Tensor:
    """Images made of square tiles: sampled bilinearly on a coarse grid, then enlarged by repetition.

    ``level`` is the side of a tile in pixels. Published: 5 at 224 pixels, 44 x 44 tiles (NeuroBridge,
    arXiv 2511.06836, "Mosaic"). As in its public code, a tile is an interpolated sample, not the mean of
    its pixels.
    """
    import torch

    height, width = images.shape[-2:]
    if not 1 <= level <= min(height, width):
        found = f"tiles of level={level} pixels do not fit into the image"
        raise UsageError(found, f"choose a level from 1 to {min(height, width)}")
    tiles = height // level, width // level
    down, across = map(_linear_operator, (height, width), tiles)
    small = _separable(images, down, across)
    vertical, horizontal = (  # which tile each pixel copies, as OpenCV's INTER_NEAREST does
        torch.arange(n, device=images.device) * n_tiles // n
        for n, n_tiles in zip((height, width), tiles, strict=True)
    )
    return small[:, :, vertical][:, :, :, horizontal]


def noise(images: Tensor, *, seed: Sequence[int], sd: float = 25.0, draw: int = 0) -> Tensor:
    """Images with Gaussian noise on every pixel and channel, one fixed draw per image.

    The noise of an image follows from its ``seed`` and ``draw``, not from its batch. The sum is clipped
    to 0..255 and truncated to whole numbers, as published: ``sd`` 25 gray levels at 224 pixels
    (NeuroBridge, arXiv 2511.06836, "GaussianNoise").
    """
    import torch

    if not 0 <= sd < float("inf") or draw < 0:
        found = f"sd={sd} and draw={draw} do not define noise"
        raise UsageError(found, "choose an sd and a draw of 0 or more")
    shape = tuple(images.shape[1:])
    draws = [
        np.random.default_rng([one, draw]).standard_normal(shape, dtype=np.float32) for one in seed
    ]
    if not draws:
        return images
    added = torch.from_numpy(np.stack(draws)).to(images.device)
    return added.mul_(sd).add_(images).clamp_(0, 255).to(torch.uint8)


def text(concepts: Sequence[str], *, template: str = "This picture is {}") -> list[str]:
    """A sentence about the concept of each image, which the encoder reads instead of the image.

    The default ``template`` is that of ATM, arXiv 2403.07721, whose public code writes names as in the
    folder names.

    >>> text(["aircraft_carrier", "baton4"])
    ['This picture is aircraft carrier', 'This picture is baton']
    """
    if template.count("{}") != 1:
        found = f"{template!r} is not a template with one {{}} for the words of the concept"
        raise UsageError(found, 'write for example "text?template=a photo of a {}"')
    return [template.replace("{}", concept_words(concept)) for concept in concepts]


def concept_words(concept: str) -> str:
    """A concept's name in words, without the digit by which THINGS tells homonyms apart (``bat1``)."""
    return re.sub(r"(?<=[^\W\d_])_?\d$", "", concept).replace("_", " ").strip()


# -- linear operators on rows and columns, float32 -----------------------------------------------------------


def _separable(images: Tensor, down: Tensor, across: Tensor, rounded: bool = False) -> Tensor:
    """Images ``(..., h, w)`` to whole gray levels, through ``(w_out, w)`` in rows, then ``(h_out, h)``.

    ``rounded``: to whole gray levels in between, too.
    """
    rows = images.float() @ across.to(images.device).T
    rows = _to_bytes(rows).float() if rounded else rows
    return _to_bytes(down.to(images.device) @ rows)


def _to_bytes(images: Tensor) -> Tensor:
    import torch

    return images.round().clamp_(0, 255).to(torch.uint8)


def _resize(images: Tensor, *size: int) -> Tensor:
    """Bilinear resizing in Pillow's two passes, each rounded to whole gray levels."""
    down, across = map(_antialiased_operator, images.shape[-2:], size)
    return _separable(images, down, across, rounded=True)


SMALL_KERNELS = {3: (2.0, 1.0), 5: (6.0, 4.0, 1.0), 7: (18.0, 14.0, 7.0, 2.0)}
"""Taps from the center outward that OpenCV uses for the smallest kernels instead of a Gaussian."""


@lru_cache(16)
def blur_operator(n: int, size: int) -> Tensor:
    """OpenCV's Gaussian blur of ``n`` pixels, an (n, n) tensor; borders mirrored without the border pixel."""
    import torch

    if size < 1 or size % 2 == 0:
        found = f"a blur kernel of {size} pixels is not odd and positive"
        raise UsageError(found, "choose another kernel")
    sd = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    offsets = torch.arange(size) - size // 2
    if size in SMALL_KERNELS:
        kernel = torch.tensor(SMALL_KERNELS[size], dtype=torch.float64)[offsets.abs()]
    else:
        kernel = torch.exp(-offsets.double().square() / (2 * sd * sd))
    kernel = kernel / kernel.sum()
    target = torch.arange(n)[:, None].expand(n, size)
    source = target + offsets
    if n == 1:
        source = torch.zeros_like(source)
    else:
        folded = source.remainder(2 * (n - 1))
        source = torch.minimum(folded, 2 * (n - 1) - folded)
    operator = torch.zeros(n, n, dtype=torch.float64)
    operator.index_put_((target, source), kernel.expand(n, size), accumulate=True)
    return operator.float()


@lru_cache(16)
def _antialiased_operator(n_in: int, n_out: int) -> Tensor:
    """Bilinear resizing as in Pillow: a triangle that widens when the image shrinks; ``(n_out, n_in)``."""
    import torch

    scale = n_in / n_out
    centers = (torch.arange(n_out, dtype=torch.float64)[:, None] + 0.5) * scale
    pixels = torch.arange(n_in, dtype=torch.float64) + 0.5
    weights = (1 - (pixels - centers).abs() / max(scale, 1.0)).clamp(min=0)
    return (weights / weights.sum(1, keepdim=True)).float()


@lru_cache(16)
def _linear_operator(n_in: int, n_out: int) -> Tensor:
    """Bilinear sampling as in OpenCV's INTER_LINEAR: always two neighbors; ``(n_out, n_in)``."""
    import torch

    centers = (torch.arange(n_out, dtype=torch.float64) + 0.5) * (n_in / n_out) - 0.5
    centers = centers.clamp(0, n_in - 1)[:, None]
    pixels = torch.arange(n_in, dtype=torch.float64)
    return (1 - (pixels - centers).abs()).clamp(min=0).float()


@lru_cache(16)
def sharpness(height: int, width: int, gain: float) -> Tensor:
    """Weight of the sharp image, ``0.5 * exp(-gain * min(distance / largest, 1))``, (height, width).

    Distances are from pixel ``(height // 2, width // 2)``; the largest is that of the last pixel.
    """
    import torch

    down = torch.arange(height, dtype=torch.float64)[:, None] - height // 2
    right = torch.arange(width, dtype=torch.float64)[None, :] - width // 2
    distance = torch.hypot(down, right)
    relative = (distance / distance[-1, -1].clamp(min=1e-12)).clamp(max=1)
    return (0.5 * torch.exp(-gain * relative)).float()
