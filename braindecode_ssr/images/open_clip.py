"""Which model of open_clip, where its weights are, and how its images are resized."""

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
