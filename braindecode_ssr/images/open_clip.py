"""Image encoders of open_clip: finding the model and its weights, resizing as it does, encoding."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DataError, MissingDataError, SSRError, UsageError
from ..registry import unknown_name
from .encoders import ImageEncoder

RANDOM = "random"
SCHEMES = ("hf-hub:", "local-dir:")
HUB_TIMEOUT = 10  # seconds
POOLING = "mean over positions and tokens, the class token included"


class OpenCLIP(ImageEncoder):
    """A frozen image encoder of open_clip in float32, with its evaluation transform.

    ``argument`` is ``MODEL/WEIGHTS`` or ``MODEL/WEIGHTS@LAYER``: ``RN50/openai`` is the projected output
    (1024 numbers), ``RN50/openai@layer3`` the output of that module of the image tower, averaged over
    positions (class token included). WEIGHTS is a tag that open_clip knows, the path of a checkpoint, or
    ``random``: untrained weights, always the same ones. MODEL may also be ``hf-hub:ORG/REPO`` or
    ``local-dir:FOLDER``, which include weights.

    Features are not normalized, as in NeuroBridge. The training transform, which crops at random, is
    never used. Weights that were trained with QuickGELU run with QuickGELU.
    """

    def __init__(self, argument: str = "RN50/openai", device: str = "cpu") -> None:
        self.asked = parse_name(argument)
        self.name = f"open-clip:{self.asked.text}"
        self.device = torch.device(device)
        self._model = _build_model(self.asked)
        self._weights = weights_hash(self._model.visual)
        transform = _evaluation_transform(self._model)
        self._model.to(self.device)
        self.size, self._resize, self._preprocess = transform
        mean, std = self._preprocess["mean"], self._preprocess["std"]
        self._mean = torch.tensor(mean, device=self.device)[:, None, None]
        self._sd = torch.tensor(std, device=self.device)[:, None, None]
        self._layer = _find_layer(self._model.visual, self.asked.layer)
        self.dim = self.encode(torch.zeros(1, 3, self.size, self.size, dtype=torch.uint8)).shape[1]

    def description(self) -> dict[str, Any]:
        return {
            "encoder": "open-clip",
            "model": self.asked.model,
            "weights": self.asked.tag,
            "weights_sha256": self._weights,
            "layer": self.asked.layer or "output",
            "pooling": POOLING if self.asked.layer else "none",
            "normalise": False,  # spelled so in the fingerprints of stored features
            "precision": "float32",
            "preprocess": self._preprocess,
        }

    def resize(self, image: Any) -> Any:
        return self._resize(image)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        pixels = (images.to(self.device).float() / 255 - self._mean) / self._sd
        with torch.backends.cudnn.flags(allow_tf32=False):
            if self._layer is None:
                features = self._model.encode_image(pixels, normalize=False)
            else:
                features = pooled(_layer_output(self._model, self._layer, pixels), len(images))
        return features.float().cpu()

    def text_description(self) -> dict[str, Any]:
        """Text tower by content, and tokenizer; raises as :meth:`encode_text` does."""
        self._check_reads()
        return {
            "text_weights_sha256": weights_hash(self._model, without="visual."),
            "tokenizer": type(self._tokenizer).__name__,
            "context_length": self._tokenizer.context_length,
        }

    @torch.no_grad()
    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """The projected output of the text tower, float32 (n, dim), not normalized."""
        self._check_reads()
        if not sentences:
            return torch.empty(0, self.dim)
        tokens = self._tokenizer(list(sentences)).to(self.device)
        return self._model.encode_text(tokens, normalize=False).float().cpu()

    @cached_property
    def _tokenizer(self) -> Any:
        """Most models' comes with open_clip, others' is on the hub."""
        open_clip = _open_clip()
        try:
            with _quiet():
                return open_clip.get_tokenizer(self.asked.model)
        except Exception as error:
            raise unavailable(self.asked.text, error, what="tokenizer") from error

    def _check_reads(self) -> None:
        if self.asked.layer:
            what, hint = f"its layer {self.asked.layer}", f"leave @{self.asked.layer} out"
        elif not hasattr(self._model, "encode_text"):
            what, hint = "a model without a text tower", "choose another model"
        else:
            return
        raise UsageError(
            f"only the output of {self.asked.model} can read sentences, not {what}", hint
        )


# -- names ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """The parts of a name: model or ``hf-hub:...``, weights (empty for these), layer (empty: output)."""

    model: str
    tag: str
    layer: str

    @property
    def text(self) -> str:
        weights = f"/{self.tag}" if self.tag else ""
        return self.model + weights + (f"@{self.layer}" if self.layer else "")


def parse_name(text: str) -> Asked:
    """Split ``"RN50/openai@layer3"``; UsageError if the model or the weights are missing or unknown."""
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
            f"open-clip:{model} does not say which weights",
            f"write {model}/{(tags or [RANDOM])[0]} for example",
        )
    if tag != RANDOM and tag not in tags and not Path(tag).is_file():
        raise unknown_name(f"set of weights of {model}", tag, [*tags, RANDOM])
    return Asked(model, tag, layer)


# -- models and weights --------------------------------------------------------------------------------------


def _build_model(asked: Asked) -> Any:
    """The model, frozen and in float32."""
    open_clip = _open_clip()
    options: dict[str, Any] = {}
    known = open_clip.get_pretrained_cfg(asked.model, asked.tag)
    if known:
        options["pretrained"] = str(_weights_file(asked, known))
        options["force_quick_gelu"] = bool(known.get("quick_gelu"))
        fields = ("mean", "std", "interpolation", "resize_mode")
        options["force_preprocess_cfg"] = {key: known[key] for key in fields if key in known}
    elif asked.tag not in ("", RANDOM):
        options["pretrained"] = asked.tag
    required = asked.tag != RANDOM
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = open_clip.create_model(
                asked.model, precision="fp32", require_pretrained=required, **options
            )
    except OSError as error:
        raise unavailable(asked.text, error) from error
    except Exception as error:
        raise DataError(
            f"{options.get('pretrained', asked.model)} does not hold weights that fit the model "
            f"{asked.model} ({first_line(error)})",
            "remove that file to download it again, or choose other weights",
        ) from error
    return model.eval().requires_grad_(False)


def _weights_file(asked: Asked, known: dict[str, Any]) -> Path:
    """The file of known weights: from the cache without asking the hub, else downloaded."""
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
    from open_clip.pretrained import download_pretrained

    if "file" in known:
        return Path(known["file"])
    repository, _, file = known.get("hf_hub", "").rpartition("/")
    if repository:
        for name in [file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]:
            found = try_to_load_from_cache(repository, name)
            if isinstance(found, str):
                return Path(found)
    try:
        reach_hub()
        with _quiet():
            return Path(download_pretrained(known))
    except SSRError:
        raise
    except Exception as error:
        raise unavailable(asked.text, error) from error


def reach_hub() -> None:
    """Fail at once if the hub cannot be reached: its client would retry for most of a minute."""
    from huggingface_hub import constants, get_session

    get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)


def unavailable(name: str, error: BaseException, what: str = "weights") -> MissingDataError:
    """The error for weights that are neither stored nor can be downloaded."""
    from huggingface_hub import constants

    return MissingDataError(
        f"the {what} {name} are not in {constants.HF_HUB_CACHE} and cannot be downloaded "
        f"({first_line(error)})",
        "run once on a machine with a network and copy that folder here (then set HF_HUB_OFFLINE=1), or "
        f"import features extracted elsewhere: ssr-bd features import --encoder {name} ...",
    )


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _open_clip() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise MissingDataError(
            f"the package open_clip cannot be imported ({error})",
            "install it: pip install open-clip-torch",
        ) from error
    return open_clip


@contextmanager
def _quiet() -> Iterator[None]:
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def weights_hash(module: nn.Module, without: str | None = None) -> str:
    """SHA-256 of names, shapes and values of weights and buffers, except those with a prefix."""
    digest = sha256()
    for name, value in sorted(module.state_dict().items()):
        if without and name.startswith(without):
            continue
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


# -- images and layers ---------------------------------------------------------------------------------------


def _evaluation_transform(model: Any) -> tuple[int, Callable[[Any], Any], dict[str, Any]]:
    """open_clip's own transform, views applied between its halves: size, resizing function, description."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(**model.visual.preprocess_cfg)
    height, width = config.size if isinstance(config.size, (tuple, list)) else [config.size] * 2
    if height != width:
        raise UsageError(f"the model takes images of {height} x {width}", "choose one for squares")
    steps = image_transform_v2(config, is_train=False).transforms
    on_pictures = [
        s for s in steps if type(s).__name__ not in ("MaybeToTensor", "ToTensor", "Normalize")
    ]

    def resize(image: Any) -> Any:
        for step in on_pictures:
            image = step(image)
        return image

    description = {
        "size": height,
        "mean": list(config.mean),
        "std": list(config.std),
        "interpolation": config.interpolation,
        "resize_mode": config.resize_mode,
    }
    return height, resize, description


def _find_layer(visual: nn.Module, name: str) -> nn.Module | None:
    """The module of an image tower by its name, or by the end of its name if only one has it."""
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


def _layer_output(model: Any, layer: nn.Module, pixels: Tensor) -> Tensor:
    """The output of a layer for a batch of images."""
    seen: list[Any] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        model.encode_image(pixels)
    finally:
        handle.remove()
    output = seen[-1] if seen else None
    output = output[0] if isinstance(output, (tuple, list)) else output
    if not isinstance(output, Tensor):
        what = f"gives {type(output).__name__}, not a tensor," if seen else "is not used"
        raise UsageError(f"this layer {what} when an image is encoded", "choose another layer")
    return output


def pooled(output: Tensor, n: int) -> Tensor:
    """Average a layer's output for ``n`` images over positions, (n, c).

    Takes maps (n, c, h, h) or (n, h, h, c), tokens (n, l, c) or vectors (n, c).
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
        f"this layer gives shape {tuple(shape)} for {n} images: neither maps (n, c, h, h), tokens "
        "(n, l, c) nor vectors (n, c)",
        "choose another layer",
    )
