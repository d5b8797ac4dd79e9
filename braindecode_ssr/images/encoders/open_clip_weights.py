"""Which model of open_clip, where its weights are, and how its images are resized."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import DataError, MissingDataError, SSRError, UsageError
from ...registry import unknown_name

RANDOM = "random"
SCHEMES = ("hf-hub:", "local-dir:")
SECONDS_TO_REACH_HUB = 10


@dataclass(frozen=True)
class Asked:
    """What a name asks for.

    Parameters
    ----------
    model : str
        Name of the model, or ``hf-hub:...`` or ``local-dir:...``.
    tag : str
        Its weights; empty for the two schemes.
    layer : str
        Empty for the projected output.
    """

    model: str
    tag: str
    layer: str

    @property
    def text(self) -> str:
        """The name written out."""
        weights = f"/{self.tag}" if self.tag else ""
        return self.model + weights + (f"@{self.layer}" if self.layer else "")


@dataclass(frozen=True)
class Transform:
    """The evaluation transform: resizing of the picture, then centring and scaling of pixel values."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Callable[[Any], Any]
    description: dict[str, Any]


def parse_name(text: str) -> Asked:
    """``"RN50/openai@layer3"`` in its parts; names of models and weights are looked up.

    Raises
    ------
    UsageError
        If a part is missing, or not known.
    """
    body, at, layer = text.rpartition("@")
    if not at or "/" in layer:
        body, layer = text, ""
    if body.startswith(SCHEMES):
        return Asked(body, "", layer)
    model, _, tag = body.partition("/")
    open_clip = _open_clip()
    models = open_clip.list_models()
    if model not in models:
        raise unknown_name("model of open_clip", model, models)
    tags = [known for name, known in open_clip.list_pretrained() if name == model]
    if not tag:
        raise UsageError(
            f"weights for {model}", "none", f"write {model}/{(tags or [RANDOM])[0]} for example"
        )
    if tag != RANDOM and tag not in tags and not Path(tag).is_file():
        raise unknown_name(f"set of weights of {model}", tag, [*tags, RANDOM])
    return Asked(model, tag, layer)


def build_model(asked: Asked) -> tuple[nn.Module, Transform]:
    """The model, frozen and in float32, and its evaluation transform.

    Raises
    ------
    MissingDataError
        If the weights are out of reach.
    DataError
        If they do not fit the model.
    """
    open_clip = _open_clip()
    options: dict[str, Any] = {}
    known = open_clip.get_pretrained_cfg(asked.model, asked.tag)
    if known:
        options["pretrained"] = str(_weights_of(asked, known))
        options["force_quick_gelu"] = bool(known.get("quick_gelu"))
        fields = ("mean", "std", "interpolation", "resize_mode")
        options["force_preprocess_cfg"] = {key: known[key] for key in fields if key in known}
    elif asked.tag not in ("", RANDOM):
        options["pretrained"] = asked.tag
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = open_clip.create_model(
                asked.model,
                precision="fp32",
                require_pretrained=asked.tag != RANDOM,
                **options,
            )
    except OSError as error:
        raise out_of_reach(asked, error) from error
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"weights that fit the model {asked.model}",
            f"{reason[0]} ({options.get('pretrained', asked.model)})",
            "remove that file so that it is fetched again, or choose other weights",
        ) from error
    return model.eval().requires_grad_(False), evaluation_transform(model)


def build_tokenizer(asked: Asked) -> Any:
    """What cuts sentences into the tokens of a model: ``tokenizer(list of str)`` gives int ``(n, length)``.

    Raises
    ------
    MissingDataError
        If it is out of reach; most models' comes with open_clip, others' is on the hub.
    """
    open_clip = _open_clip()
    try:
        with _quiet():
            return open_clip.get_tokenizer(asked.model)
    except Exception as error:
        raise out_of_reach(asked, error, what="tokenizer") from error


def evaluation_transform(model: nn.Module) -> Transform:
    """open_clip's own evaluation transform, in two halves: views are taken between them.

    Raises
    ------
    UsageError
        If the model takes images that are not square.
    """
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(**model.visual.preprocess_cfg)
    height, width = config.size if isinstance(config.size, (tuple, list)) else [config.size] * 2
    if height != width:
        raise UsageError("a model for square images", f"{height} x {width}", "choose another")
    steps = image_transform_v2(config, is_train=False).transforms
    pictures = [step for step in steps if type(step).__name__ not in ("MaybeToTensor", "Normalize")]

    def resize(image: Any) -> Any:
        for step in pictures:
            image = step(image)
        return image

    description = {
        "size": height,
        "mean": list(config.mean),
        "std": list(config.std),
        "interpolation": config.interpolation,
        "resize_mode": config.resize_mode,
    }
    return Transform(height, tuple(config.mean), tuple(config.std), resize, description)


def out_of_reach(asked: Asked, error: BaseException, what: str = "weights") -> MissingDataError:
    """The error for weights, or a tokenizer, that are neither here nor to be had."""
    from huggingface_hub import constants

    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return MissingDataError(
        f"the {what} {asked.text} in {constants.HF_HUB_CACHE}",
        f"not there, and not to be downloaded ({reason})",
        "run once on a machine with a network and copy that folder here (then set HF_HUB_OFFLINE=1), or "
        f"import features made elsewhere: ssr-bd features import --encoder {asked.text} ...",
    )


def _weights_of(asked: Asked, known: dict[str, Any]) -> Path:
    """The file of known weights: from the cache without asking the hub, else downloaded."""
    from open_clip.pretrained import download_pretrained

    cached = _cached(known)
    if cached:
        return cached
    try:
        _reach_hub()
        with _quiet():
            return Path(download_pretrained(known))
    except SSRError:
        raise
    except Exception as error:
        raise out_of_reach(asked, error) from error


def _cached(known: dict[str, Any]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    if "file" in known:
        return Path(known["file"])
    repository, _, file = known.get("hf_hub", "").rpartition("/")
    if not repository:
        return None
    for name in [file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def _reach_hub() -> None:
    """Fail at once where the hub cannot be reached: its client would try for most of a minute."""
    from huggingface_hub import constants, get_session

    get_session().head(constants.ENDPOINT, timeout=SECONDS_TO_REACH_HUB)


def _open_clip() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise MissingDataError(
            "the package open_clip", str(error), "install it: pip install open-clip-torch"
        ) from error
    return open_clip


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from setting up logging for the whole program."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
