"""Views: altered copies of an image, one small file each.

A view is a function ``view(images, *, seed, **parameters)`` of a batch of images, uint8
``(n, 3, h, w)``, that gives a batch of the same shape. Its parameters are keywords whose defaults are
the published ones; other values can be written into its name: ``"blur?kernel=31"``.

A view that takes ``concepts`` by that name looks at no image: ``view(concepts, **parameters)`` gives
sentences, and the encoder reads them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ...registry import Registry, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

VIEWS = Registry(
    "view",
    {
        "original": "braindecode_ssr.images.views.original:original",
        "blur": "braindecode_ssr.images.views.blur:blur",
        "noise": "braindecode_ssr.images.views.noise:noise",
        "low-resolution": "braindecode_ssr.images.views.low_resolution:low_resolution",
        "mosaic": "braindecode_ssr.images.views.mosaic:mosaic",
        "fovea": "braindecode_ssr.images.views.fovea:fovea",
        "text": "braindecode_ssr.images.views.text:text",
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
