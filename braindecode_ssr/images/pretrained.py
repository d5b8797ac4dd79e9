"""Image encoders with trained weights: of open_clip, of timm, DINOv2 among them, and of transformers."""

from __future__ import annotations

import logging
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..errors import DataError, MissingDataError, SSRError, UsageError, first_line
from ..registry import check_name, nearest, unknown_name
from .encoders import ImageEncoder

if TYPE_CHECKING:  # naming an encoder loads no torch
    from torch import Tensor, nn

RANDOM = "random"
SCHEMES = ("hf-hub:", "local-dir:")
HUB_TIMEOUT = 10  # seconds
OF_TENSORS = ("MaybeToTensor", "ToTensor", "Normalize")
"""Steps of an evaluation transform that follow the views; those before them resize pictures."""


class Pretrained(ImageEncoder):
    """A frozen network in float32 and its own evaluation transform; features are not normalized."""

    kind: ClassVar[str]
    _weights: str  # their SHA-256

    def _set_up(self, model: Any, transform: Any, preprocess: dict[str, Any], device: str) -> None:
        import torch

        self._model = model
        self._steps = [s for s in transform.transforms if type(s).__name__ not in OF_TENSORS]
        self._preprocess, self.size = preprocess, preprocess["size"]
        self._mean, self._sd = (
            torch.tensor(preprocess[key])[:, None, None] for key in ("mean", "std")
        )
        self.to(device)
        self.dim = self.encode(torch.zeros(1, 3, self.size, self.size, dtype=torch.uint8)).shape[1]

    @abstractmethod
    def _features(self, pixels: Tensor) -> Tensor:
        """The features of normalized images."""

    def _described(self, layer: str, **more: Any) -> dict[str, Any]:
        known = {"encoder": self.kind, "layer": layer or "output", "weights_sha256": self._weights}
        return {**known, "precision": "float32", "preprocess": self._preprocess, **more}

    def resize(self, image: Any) -> Any:
        for step in self._steps:
            image = step(image)
        return image

    @property
    def network(self) -> nn.Module:
        """The part that encodes images."""
        return self._model

    def to(self, device: Any) -> None:
        """Move the network to a device."""
        import torch

        self.device = torch.device(device)
        self._model = self._model.to(self.device)
        self._mean, self._sd = self._mean.to(self.device), self._sd.to(self.device)

    def features(self, images: Tensor) -> Tensor:
        """What :meth:`encode` gives, on the device and with gradients if parts of the network have them."""
        return self._features((images.to(self.device).float() / 255 - self._mean) / self._sd)

    def encode(self, images: Tensor) -> Tensor:
        import torch

        with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
            return self.features(images).float().cpu()


def weights_hash(module: nn.Module, without: str | None = None) -> str:
    """SHA-256 of names, shapes and values of weights and buffers, except those with a prefix."""
    import torch

    digest = sha256()
    for name, value in sorted(module.state_dict().items()):
        if without and name.startswith(without):
            continue
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def in_cache(repository: str, *files: str) -> str | None:
    """The first of some files that is in the cache of the Hugging Face Hub, without asking the Hub."""
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repository, file) for file in files)
    return next((path for path in found if isinstance(path, str)), None)


def reach_hub() -> None:
    """Fail at once if the Hub cannot be reached: its client would retry for most of a minute."""
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


def do_not_fit(name: str, error: BaseException) -> DataError:
    found = f"the weights of {name} do not fit the model ({first_line(error)})"
    return DataError(found, "remove their file to download it again, or choose other weights")


# -- open_clip -----------------------------------------------------------------------------------------------


class OpenCLIP(Pretrained):
    """A frozen image encoder of open_clip in float32, with its evaluation transform.

    ``argument`` is ``MODEL/WEIGHTS`` or ``MODEL/WEIGHTS@LAYER``: ``RN50/openai`` is the projected output
    (1024 numbers), ``RN50/openai@layer3`` the output of that module of the image tower, averaged over
    positions (class token included). WEIGHTS is a tag that open_clip knows, the path of a checkpoint, or
    ``random``: untrained weights, always the same ones. MODEL may also be ``hf-hub:ORG/REPO`` or
    ``local-dir:FOLDER``, which include weights.

    Features are not normalized, as in NeuroBridge. The training transform, which crops at random, is
    never used. Weights that were trained with QuickGELU run with QuickGELU.
    """

    kind = "open-clip"

    def __init__(self, argument: str = "RN50/openai", device: str = "cpu") -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self.asked = open_clip_name(argument)
        self.name = f"open-clip:{self.asked.text}"
        model = _open_clip_model(self.asked)
        self._weights = weights_hash(model.visual)
        self._layer = _find_layer(model.visual, self.asked.layer)
        config = PreprocessCfg(**model.visual.preprocess_cfg)
        height, width = config.size if isinstance(config.size, (tuple, list)) else [config.size] * 2
        if height != width:
            found = f"the model takes images of {height} x {width} pixels, which are not square"
            raise UsageError(found, "choose another model")
        preprocess = {"size": height, "mean": list(config.mean), "std": list(config.std)}
        preprocess |= {key: getattr(config, key) for key in ("interpolation", "resize_mode")}
        self._set_up(model, image_transform_v2(config, is_train=False), preprocess, device)

    @property
    def network(self) -> nn.Module:
        return self._model.visual

    def description(self) -> dict[str, Any]:
        everywhere = "mean over positions and tokens, the class token included"
        return self._described(
            self.asked.layer,
            model=self.asked.model,
            weights=self.asked.tag,
            pooling=everywhere if self.asked.layer else "none",
            normalise=False,  # spelled so in the fingerprints of stored features
        )

    def _features(self, pixels: Tensor) -> Tensor:
        if self._layer is None:
            return self._model.encode_image(pixels, normalize=False)
        seen: list[Any] = []
        handle = self._layer.register_forward_hook(lambda *call: seen.append(call[-1]))
        try:
            self._model.encode_image(pixels)
        finally:
            handle.remove()
        if not seen:
            found = "this layer is not used when an image is encoded"
            raise UsageError(found, "choose another layer")
        output = seen[-1][0] if isinstance(seen[-1], (tuple, list)) else seen[-1]
        return pooled(output, len(pixels))

    def text_description(self) -> dict[str, Any]:
        """Text tower by content, and tokenizer; raises as :meth:`encode_text` does."""
        self._check_reads()
        return {
            "text_weights_sha256": weights_hash(self._model, without="visual."),
            "tokenizer": type(self._tokenizer).__name__,
            "context_length": self._tokenizer.context_length,
        }

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """The projected output of the text tower, float32 (n, dim), not normalized."""
        import torch

        self._check_reads()
        if not sentences:
            return torch.empty(0, self.dim)
        with torch.no_grad():
            tokens = self._tokenizer(list(sentences)).to(self.device)
            return self._model.encode_text(tokens, normalize=False).float().cpu()

    @cached_property
    def _tokenizer(self) -> Any:
        """Most models' comes with open_clip, others' is on the Hub."""
        import open_clip

        try:
            with _quiet():
                return open_clip.get_tokenizer(self.asked.model)
        except Exception as error:
            raise unavailable(self.asked.text, error, what="tokenizer") from error

    def _check_reads(self) -> None:
        if layer := self.asked.layer:
            raise UsageError(
                f"only the output of {self.asked.model} can read sentences, not its layer {layer}",
                f"leave @{layer} out",
            )
        if not hasattr(self._model, "encode_text"):
            found = f"{self.asked.model} is a model without a text tower"
            raise UsageError(found, "choose another model")


def check_pretrained(kind: str, argument: str) -> None:
    """Raise UsageError if open_clip or timm have no such model or weights; nothing is built or downloaded."""
    if kind == "open-clip":
        open_clip_name(argument)
    elif not (model := timm_name(argument).model).startswith(SCHEMES):
        _check_known(model)


class OpenCLIPName(NamedTuple):
    """Model or ``hf-hub:...``, weights (empty for these) and layer (empty: the output)."""

    model: str
    tag: str
    layer: str

    @property
    def text(self) -> str:
        weights = f"/{self.tag}" if self.tag else ""
        return self.model + weights + (f"@{self.layer}" if self.layer else "")


def open_clip_name(text: str) -> OpenCLIPName:
    """Split ``"RN50/openai@layer3"``; UsageError if the model or the weights are missing or unknown."""
    body, at, layer = text.rpartition("@")
    if not at or "/" in layer:
        body, layer = text, ""
    if body.startswith(SCHEMES):
        return OpenCLIPName(body, "", layer)
    import open_clip

    model, _, tag = body.partition("/")
    models = open_clip.list_models()
    check_name("model of open_clip", model, models)
    tags = [known for name, known in open_clip.list_pretrained() if name == model]
    if not tag:
        found = f"open-clip:{model} does not say which weights"
        raise UsageError(found, f"write {model}/{(tags or [RANDOM])[0]} for example")
    if tag != RANDOM and tag not in tags and not Path(tag).is_file():
        raise unknown_name(f"set of weights of {model}", tag, [*tags, RANDOM])
    return OpenCLIPName(model, tag, layer)


def _open_clip_model(asked: OpenCLIPName) -> Any:
    """The model, frozen and in float32."""
    import open_clip
    import torch

    options: dict[str, Any] = {}
    known = open_clip.get_pretrained_cfg(asked.model, asked.tag)
    if known:
        options["pretrained"] = _open_clip_weights(asked, known)
        options["force_quick_gelu"] = bool(known.get("quick_gelu"))
        fields = ("mean", "std", "interpolation", "resize_mode")
        options["force_preprocess_cfg"] = {key: known[key] for key in fields if key in known}
    elif asked.tag not in ("", RANDOM):
        options["pretrained"] = asked.tag
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = open_clip.create_model(
                asked.model, precision="fp32", require_pretrained=asked.tag != RANDOM, **options
            )
    except OSError as error:
        raise unavailable(asked.text, error) from error
    except Exception as error:
        raise do_not_fit(asked.text, error) from error
    return model.eval().requires_grad_(False)


def _open_clip_weights(asked: OpenCLIPName, known: dict[str, Any]) -> str:
    """The file of known weights, from the cache if it is there, else downloaded."""
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
    from open_clip.pretrained import download_pretrained

    if "file" in known:
        return str(known["file"])
    repository, _, file = known.get("hf_hub", "").rpartition("/")
    names = [file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    if repository and (found := in_cache(repository, *names)):
        return found
    try:
        reach_hub()
        with _quiet():
            return download_pretrained(known)
    except SSRError:
        raise
    except Exception as error:
        raise unavailable(asked.text, error) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip's warnings from setting up logging for the whole program."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


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


def pooled(output: Tensor, n: int) -> Tensor:
    """Average a layer's output for ``n`` images over positions, (n, c).

    Takes maps (n, c, h, h) or (n, h, h, c), tokens (n, l, c) or vectors (n, c).
    """
    shape = tuple(getattr(output, "shape", ()))
    if shape[:1] == (n,):
        if len(shape) == 4 and shape[2] == shape[3]:
            return output.mean((2, 3))
        if len(shape) == 4 and shape[1] == shape[2]:
            return output.mean((1, 2))
        if len(shape) in (2, 3):
            return output.mean(1) if len(shape) == 3 else output
    raise UsageError(
        f"this layer gives shape {shape} for {n} images: neither maps (n, c, h, h), tokens (n, l, c) nor "
        "vectors (n, c)",
        "choose another layer",
    )


# -- timm ----------------------------------------------------------------------------------------------------

POOLINGS = {
    "mean": "mean over patches or positions",
    "cls": "class token",
    "tokens": "mean over all tokens, the class token included",
}


class Timm(Pretrained):
    """A frozen vision model of timm, such as DINOv2, in float32, with its evaluation transform.

    ``argument`` is ``MODEL.WEIGHTS`` as timm names them (``vit_small_patch14_dinov2.lvd142m``),
    ``hf-hub:ORG/REPO`` or ``local-dir:FOLDER``; ``MODEL.random`` has untrained weights, always the same
    ones. Alone, the output without the classifier. ``@block6`` is block 6, counted from 0 as timm does (a
    stage of a network without blocks), before any final norm; ``@0.6667`` the block at that part of the
    depth: block ``int(0.6667 * blocks) - 1``. ``:mean`` (of a layer the default) averages over patches,
    ``:cls`` takes the class token, ``:tokens`` averages both; without a layer they pool the last block
    after the final norm. ``:224`` makes images 224 pixels large instead of the model's own size. Nothing
    is normalized.
    """

    kind = "timm"

    def __init__(self, argument: str, device: str = "cpu") -> None:
        from timm.data import create_transform, resolve_model_data_config

        self.asked = timm_name(argument)
        self.name = f"timm:{self.asked.text}"
        model = _timm_model(self.asked)
        self._weights = weights_hash(model)
        self._block = _find_block(model, self.asked)
        size = self.asked.size
        config = resolve_model_data_config(model, {"input_size": (3, size, size)} if size else {})
        _, height, width = config.pop("input_size")
        patch = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
        patch = max(patch) if isinstance(patch, (tuple, list)) else patch
        if height != width or height % patch:
            raise UsageError(
                f"images of {height} x {width} are not squares of whole patches ({patch} pixels)",
                f"give another size: :{max(height // patch, 1) * patch}",
            )
        transform = create_transform((3, height, width), **config, is_training=False)
        config |= {"size": height, "mean": list(config["mean"]), "std": list(config["std"])}
        self._set_up(model, transform, config, device)

    @classmethod
    def canonical_name(cls, argument: str) -> str:
        return f"timm:{timm_name(argument).text}"

    def description(self) -> dict[str, Any]:
        layer = f"block{self._block}" if self.asked.layer else ""
        pooling = POOLINGS.get(self.asked.pooling, "the model's own")
        return self._described(layer, model=self.asked.model, pooling=pooling)

    def _features(self, pixels: Tensor) -> Tensor:
        import torch

        if not self.asked.pooling:
            return self._model(pixels)
        has_prefix = bool(getattr(self._model, "num_prefix_tokens", 0))
        (output,) = self._model.forward_intermediates(
            pixels,
            indices=[self._block],
            norm=not self.asked.layer,
            stop_early=True,
            intermediates_only=True,
            **({"return_prefix_tokens": True} if has_prefix else {}),
        )
        maps, prefix = output if has_prefix else (output, output[:0])
        if self.asked.pooling == "cls":
            return prefix[:, 0]
        tokens = maps.flatten(2).mT  # (n, patches, d)
        if self.asked.pooling == "tokens" and has_prefix:
            tokens = torch.cat([prefix, tokens], 1)
        return tokens.mean(1)


class TimmName(NamedTuple):
    """A canonical name after ``timm:``, and its parts; layer, pooling and size (0) may be empty."""

    text: str
    model: str
    layer: str
    pooling: str
    size: int


def timm_name(text: str) -> TimmName:
    """Split ``"vit_small_patch14_dinov2.lvd142m@block6:mean:518"``, without asking timm."""
    options = rf"(?:@(block\d+|0?\.\d+|1(?:\.0*)?))?(?::({'|'.join(POOLINGS)}))?(?::([1-9]\d*))?"
    found = re.fullmatch(rf"((?:{'|'.join(SCHEMES)})[^@]+?|[^@:/]+){options}", text)
    if not found:
        hint = "write timm:MODEL.WEIGHTS[@block6 or @0.5][:mean, :cls or :tokens][:PIXELS]"
        raise UsageError(f"timm:{text} is not the name of an encoder", hint)
    model, layer, pooling, size = (part or "" for part in found.groups())
    if layer and not layer.startswith("block"):
        layer = f"{float(layer):g}"
    if layer:
        pooling = pooling or "mean"
    parts = [model + f"@{layer}" * bool(layer), pooling, size]
    return TimmName(":".join(filter(None, parts)), model, layer, pooling, int(size or 0))


def _timm_model(asked: TimmName) -> Any:
    """The model without classifier, frozen and in float32."""
    import timm
    import torch

    source = asked.model.removesuffix(f".{RANDOM}")
    options: dict[str, Any] = {"num_classes": 0, "pretrained": source == asked.model}
    known = not source.startswith(SCHEMES)
    if known:
        _check_known(asked.model)
    try:
        if known and options["pretrained"]:
            options["pretrained_cfg_overlay"] = _timm_weights(source)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                model = timm.create_model(source, img_size=asked.size or None, **options)
            except TypeError:  # images of any size
                model = timm.create_model(source, **options)
    except RuntimeError as error:
        raise do_not_fit(f"timm:{asked.model}", error) from error
    except Exception as error:
        raise unavailable(f"timm:{asked.text}", error) from error
    return model.float().eval().requires_grad_(False)


def _check_known(name: str) -> None:
    import timm

    model, _, tag = name.partition(".")
    if not timm.is_model(model):
        near = nearest(model, timm.list_models())
        hint = "timm.list_pretrained() lists all in Python"
        raise UsageError(f"unknown model of timm: {model!r}", f"did you mean {near!r}? {hint}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{model}.*")] + [RANDOM]
    if not tag:
        hint = f"write timm:{model}.{tags[0]} for example"
        raise UsageError(f"timm:{model} does not say which weights", hint)
    check_name(f"set of weights of {model}", tag, tags)


def _timm_weights(name: str) -> dict[str, Any]:
    """Where timm finds weights that are in the cache, without asking the Hub, which else must answer."""
    import timm

    config: Any = timm.get_pretrained_cfg(name)
    if config.hf_hub_id and config.custom_load != "hf":
        named = config.hf_hub_filename
        names = [named] if named else ["model.safetensors", "pytorch_model.bin"]
        if found := in_cache(config.hf_hub_id, *names):
            return {"file": found, "custom_load": False}
    reach_hub()
    return {}


def _find_block(model: Any, asked: TimmName) -> int:
    """The index of the block that is pooled."""
    depth = len(getattr(model, "feature_info", ()))
    if asked.pooling and not (depth and hasattr(model, "forward_intermediates")):
        found = f"timm gives no access to the blocks of {asked.model}"
        raise UsageError(found, "leave out the layer and the pooling")
    if asked.pooling == "cls" and getattr(model, "cls_token", None) is None:
        raise UsageError(f"{asked.model} has no class token", "write :mean instead of :cls")
    return _block_at(asked, depth) if asked.pooling else depth - 1


# -- transformers --------------------------------------------------------------------------------------------


class HuggingFace(Pretrained):
    """A frozen vision model of the Hugging Face package ``transformers``, in float32, with its own resizing.

    ``argument`` is ``ORG/REPO`` on the Hub or a folder that ``save_pretrained`` wrote, with weights in
    safetensors; ``@block6``, ``@0.6667``, ``:mean``, ``:cls``, ``:tokens`` and ``:518`` are as for timm.
    Of a model of images and text, the image tower. Alone, ``pooler_output``. Models that bring code of
    their own, such as InternViT, are refused: nothing that is downloaded is executed.
    """

    kind, needs = "hf", "extra hf (transformers)"

    def __init__(self, argument: str, device: str = "cpu") -> None:
        from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

        self.asked = timm_name(f"{SCHEMES[0]}{argument}")
        self.source = self.asked.model.removeprefix(SCHEMES[0])
        self.name = f"hf:{self.asked.text.removeprefix(SCHEMES[0])}"
        model, processor = _hugging_face_model(self.source, self.name)
        self._weights = weights_hash(model)
        crop = processor.get("crop_size") or processor["size"]
        size = self.asked.size or crop.get("height") or crop.get("shortest_edge")
        edge = size if self.asked.size else processor["size"].get("shortest_edge", size)
        names = {0: "nearest", 2: "bilinear", 3: "bicubic"}
        interpolation = names.get(processor.get("resample", 3), "bicubic")
        preprocess = {"size": size, "edge": edge, "interpolation": interpolation}
        preprocess |= {"mean": processor["image_mean"], "std": processor["image_std"]}
        steps = [Resize(edge, InterpolationMode(interpolation)), CenterCrop(size)]
        self._options = {"output_hidden_states": True}
        if "interpolate_pos_encoding" in signature(model.forward).parameters:
            self._options["interpolate_pos_encoding"] = True
        self._set_up(model, Compose(steps), preprocess, device)

    @classmethod
    def canonical_name(cls, argument: str) -> str:
        return f"hf:{timm_name(SCHEMES[0] + argument).text.removeprefix(SCHEMES[0])}"

    def description(self) -> dict[str, Any]:
        pooling = POOLINGS.get(self.asked.pooling, "the model's own")
        return self._described(self.asked.layer, model=type(self._model).__name__, pooling=pooling)

    def _features(self, pixels: Tensor) -> Tensor:
        found = self._model(pixel_values=pixels, **self._options)
        if not self.asked.pooling:
            own = getattr(found, "pooler_output", None)
            if own is None:
                hint = "write :mean, or :cls for the class token"
                raise UsageError(f"{self.source} has no pooled output of its own", hint)
            return own.flatten(1)
        output = found.last_hidden_state
        if self.asked.layer:
            depth = len(found.hidden_states) - 1  # the first ones are the embedded patches
            output = found.hidden_states[_block_at(self.asked, depth) + 1]
        if output.ndim != 3:
            return pooled(output, len(pixels))
        patch = getattr(self._model.config, "patch_size", None)
        prefix = output.shape[1] - (self.size // patch) ** 2 if isinstance(patch, int) else 0
        if self.asked.pooling == "cls":
            if prefix < 1:
                raise UsageError(f"{self.source} has no class token", "write :mean instead of :cls")
            return output[:, 0]
        return output[:, max(prefix, 0) * (self.asked.pooling == "mean") :].mean(1)


def _block_at(asked: TimmName, depth: int) -> int:
    """The index of the block that a name asks for: the one named, or at that part of the depth."""
    named = asked.layer.startswith("block")
    at = asked.layer.removeprefix("block")
    block = int(at) if named else int(float(at or 1) * depth) - 1
    if not 0 <= block < depth:
        raise UsageError(
            f"{asked.model} has no block at {asked.layer}",
            f"choose one of block0 to block{depth - 1}, or a depth of {1 / depth:.2g} to 1",
        )
    return block


def _hugging_face_model(source: str, name: str) -> tuple[Any, dict[str, Any]]:
    """The vision model, frozen and in float32, and what its image processor does, from cache or Hub."""
    if not find_spec("transformers"):
        found = f"the encoder {name} needs transformers"
        raise UsageError(found, 'install it: pip install "braindecode-ssr[hf]"')
    from transformers import AutoImageProcessor, AutoModel
    from transformers import logging as said

    said.set_verbosity_error()
    local = Path(source).expanduser().is_dir()
    path = str(Path(source).expanduser()) if local else source
    where: dict[str, Any] = {"pretrained_model_name_or_path": path, "trust_remote_code": False}
    try:
        try:
            processor = AutoImageProcessor.from_pretrained(**where, local_files_only=True)
            model = AutoModel.from_pretrained(**where, use_safetensors=True, local_files_only=True)
        except OSError:
            if local:
                raise
            reach_hub()
            processor = AutoImageProcessor.from_pretrained(**where)
            model = AutoModel.from_pretrained(**where, use_safetensors=True)
    except ValueError as error:  # an architecture of its own
        raise UsageError(
            f"transformers cannot build the encoder {name} ({first_line(error)})",
            "choose a model without code of its own, or import features extracted elsewhere: "
            "ssr-bd features import --encoder NAME ...",
        ) from error
    except Exception as error:
        raise unavailable(name, error) from error
    model = getattr(model, "vision_model", model)
    return model.float().eval().requires_grad_(False), processor.to_dict()
