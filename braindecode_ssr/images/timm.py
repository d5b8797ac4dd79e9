"""Image encoders of timm: DINOv2 and any other vision model, its output or any block."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DataError, UsageError
from ..registry import nearest, unknown_name
from .encoders import ImageEncoder

if TYPE_CHECKING:
    from torch import Tensor

RANDOM = "random"
SCHEMES = ("hf-hub:", "local-dir:")
POOLINGS = {
    "mean": "mean over patches or positions",
    "cls": "class token",
    "tokens": "mean over all tokens, the class token included",
}


class Timm(ImageEncoder):
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

    def __init__(self, argument: str, device: str = "cpu") -> None:
        import torch

        from .open_clip import weights_hash

        self.asked = parse_name(argument)
        self.name = f"timm:{self.asked.text}"
        self.device = torch.device(device)
        self._model = _build_model(self.asked)
        self._weights = weights_hash(self._model)
        self._block = _find_block(self._model, self.asked)
        self._preprocess, self._steps = _evaluation_transform(self._model, self.asked.size)
        self.size = self._preprocess["size"]
        self._model.to(self.device)
        self._mean, self._sd = (
            torch.tensor(self._preprocess[key], device=self.device)[:, None, None]
            for key in ("mean", "std")
        )
        self.dim = self.encode(torch.zeros(1, 3, self.size, self.size, dtype=torch.uint8)).shape[1]

    @classmethod
    def canonical_name(cls, argument: str) -> str:
        return f"timm:{parse_name(argument).text}"

    def description(self) -> dict[str, Any]:
        return {
            "encoder": "timm",
            "model": self.asked.model,
            "weights_sha256": self._weights,
            "layer": f"block{self._block}" if self.asked.layer else "output",
            "pooling": POOLINGS.get(self.asked.pooling, "the model's own"),
            "precision": "float32",
            "preprocess": self._preprocess,
        }

    def resize(self, image: Any) -> Any:
        for step in self._steps:
            image = step(image)
        return image

    def encode(self, images: Tensor) -> Tensor:
        import torch

        with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
            pixels = (images.to(self.device).float() / 255 - self._mean) / self._sd
            features = self._pooled(pixels) if self.asked.pooling else self._model(pixels)
        return features.float().cpu()

    def _pooled(self, pixels: Tensor) -> Tensor:
        import torch

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


class Asked(NamedTuple):
    """A canonical name after ``timm:``, and its parts; layer, pooling and size (0) may be empty."""

    text: str
    model: str
    layer: str
    pooling: str
    size: int


def parse_name(text: str) -> Asked:
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
    return Asked(":".join(filter(None, parts)), model, layer, pooling, int(size or 0))


def _build_model(asked: Asked) -> Any:
    """The model without classifier, frozen and in float32."""
    import timm
    import torch

    from .open_clip import first_line, unavailable

    source = asked.model.removesuffix(f".{RANDOM}")
    options: dict[str, Any] = {"num_classes": 0, "pretrained": source == asked.model}
    known = not source.startswith(SCHEMES)
    if known:
        _check_known(asked.model)
    try:
        if known and options["pretrained"]:
            options["pretrained_cfg_overlay"] = _stored_weights(source)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                model = timm.create_model(source, img_size=asked.size or None, **options)
            except TypeError:  # images of any size
                model = timm.create_model(source, **options)
    except RuntimeError as error:
        raise DataError(
            f"the weights of timm:{asked.model} do not fit the model ({first_line(error)})",
            "remove their file to download it again, or choose other weights",
        ) from error
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
    if tag not in tags:
        raise unknown_name(f"set of weights of {model}", tag, tags)


def _stored_weights(name: str) -> dict[str, Any]:
    """Where timm finds weights that are in the cache, without asking the hub, which else must answer."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    from .open_clip import reach_hub

    config: Any = timm.get_pretrained_cfg(name)
    named = config.hf_hub_filename
    for file in [named] if named else ["model.safetensors", "pytorch_model.bin"]:
        found = config.hf_hub_id and try_to_load_from_cache(config.hf_hub_id, file)
        if found and isinstance(found, str) and config.custom_load != "hf":
            return {"file": found, "custom_load": False}
    reach_hub()
    return {}


def _find_block(model: Any, asked: Asked) -> int:
    """The index of the block that is pooled."""
    depth = len(getattr(model, "feature_info", ()))
    if asked.pooling and not (depth and hasattr(model, "forward_intermediates")):
        raise UsageError(f"timm shows no blocks of {asked.model}", "ask for its output alone")
    if asked.pooling == "cls" and getattr(model, "cls_token", None) is None:
        raise UsageError(f"{asked.model} has no class token", "write :mean instead of :cls")
    if asked.layer.startswith("block"):
        block = int(asked.layer.removeprefix("block"))
    else:
        block = int(float(asked.layer or 1) * depth) - 1
    if asked.pooling and not 0 <= block < depth:
        raise UsageError(
            f"{asked.model} has no block at {asked.layer}",
            f"choose one of block0 to block{depth - 1}, or a depth of {1 / depth:.2g} to 1",
        )
    return block


def _evaluation_transform(model: Any, size: int) -> tuple[dict[str, Any], list[Any]]:
    """The numbers of timm's evaluation transform and its steps on pictures, after which views are applied."""
    from timm.data import create_transform, resolve_model_data_config

    config = resolve_model_data_config(model, {"input_size": (3, size, size)} if size else {})
    _, height, width = config.pop("input_size")
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    patch = max(patch) if isinstance(patch, (tuple, list)) else patch
    if height != width or height % patch:
        raise UsageError(
            f"images of {height} x {width} are not squares of whole patches ({patch} pixels)",
            f"give another size: :{max(height // patch, 1) * patch}",
        )
    steps = create_transform((3, height, width), **config, is_training=False).transforms
    tensors = ("MaybeToTensor", "ToTensor", "Normalize")
    config |= {"size": height, "mean": list(config["mean"]), "std": list(config["std"])}
    return config, [step for step in steps if type(step).__name__ not in tensors]
