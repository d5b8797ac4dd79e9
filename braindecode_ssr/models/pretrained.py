"""Pretrained weights of a backbone, from a folder or the Hugging Face Hub: all but those of its head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DataError, MissingDataError, first_line
from .backbone import BackboneAdapter, adjustments

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
HEAD = "final_layer"  # what braindecode calls the last layer of every model


def load_pretrained(backbone: nn.Module, source: str) -> list[str]:
    """Load pretrained weights into a backbone, from a folder of ``save_pretrained`` or from the Hub.

    Returns the parameters that keep their random initial values: of the last layer, where its width differs.
    """
    model = backbone.model if isinstance(backbone, BackboneAdapter) else backbone
    name, own = type(model).__name__, model.state_dict()
    renamed: dict[str, str] = getattr(model, "mapping", None) or {}  # names in older checkpoints
    loaded = _read(weights_file(source, name))
    adapt: Any = getattr(model, "adapt_checkpoint", None)
    loaded = adapt(loaded) if adapt else loaded
    unused = adjustments(name).get("unused", ())
    given = {renamed.get(k, k): v for k, v in loaded.items() if k in own or k not in unused}

    def in_head(key: str) -> bool:
        return f"{key}.".startswith(f"{HEAD}.")

    misfits = [key for key in own if key not in given or given[key].shape != own[key].shape]
    fresh = [key for key in misfits if in_head(key)]
    wrong = [key for key in misfits if not in_head(key)]
    wrong += [key for key in given if key not in own and not in_head(key)]
    if wrong:
        raise DataError(
            f"{source} does not hold weights of {name} for these trials: "
            f"{_difference(wrong[0], given, own)} ({len(wrong)} such parameters)",
            "set backbone_params and the trials as in its config.json, or leave pretrained out",
        )
    fitting = {k: v for k, v in given.items() if k in own and k not in fresh}
    model.load_state_dict({**own, **fitting})
    return fresh


def loads_own_weights(build: Callable[[], nn.Module]) -> bool:
    """Whether a part of a model loads trained weights by itself, so that two seeds give equal ones."""
    models = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            models.append(build())
    one, other = (dict(model.named_parameters()) for model in models)
    return any(
        p.ndim > 1 and bool((p != p.flatten()[0]).any()) and torch.equal(p, other[name])
        for name, p in one.items()
    )


def _difference(key: str, given: dict[str, Tensor], own: dict[str, Tensor]) -> str:
    if key not in given:
        return f"{key} is missing"
    if key not in own:
        return f"{key} is not a parameter of the model"
    return f"{key} has shape {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"


def weights_file(source: str, name: str) -> Path:
    """The file with the weights of a model, in a folder or downloaded from a repository."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _file_in(folder, source, name)
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    reason: Exception | None = None
    for file in WEIGHTS:
        try:
            return Path(huggingface_hub.hf_hub_download(source, file))
        except LocalEntryNotFoundError as error:
            raise _missing(source, name, "no answer from the Hugging Face Hub") from error
        except EntryNotFoundError as error:
            reason = error
        except Exception as error:
            raise _missing(source, name, first_line(error), error) from error
    raise _missing(source, name, first_line(reason)) from reason


def _file_in(folder: Path, source: str, name: str) -> Path:
    file = next((folder / file for file in WEIGHTS if (folder / file).is_file()), None)
    if file is None:
        raise _missing(source, name, f"the folder has neither {' nor '.join(WEIGHTS)}")
    return file


def check_source(source: str, name: str = "the backbone") -> None:
    """Check that pretrained weights exist, without loading or downloading them."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        _file_in(folder, source, name)
        return
    if folder.exists() or source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise MissingDataError(
            f"there is no folder of pretrained weights at {folder}",
            "give the folder that `save_pretrained` wrote, or the name ORG/NAME of a repository on "
            "the Hugging Face Hub, with --set model.pretrained=...",
        )
    import huggingface_hub

    if any(isinstance(huggingface_hub.try_to_load_from_cache(source, f), str) for f in WEIGHTS):
        return
    try:
        found = any(huggingface_hub.file_exists(source, file) for file in WEIGHTS)
    except Exception as error:  # no network, no access, or a name that the Hub does not allow
        raise _missing(source, name, first_line(error), error) from error
    if not found:
        raise _missing(source, name, f"no repository with {' or '.join(WEIGHTS)}")


def _missing(
    source: str, name: str, reason: str, cause: Exception | None = None
) -> MissingDataError:
    from huggingface_hub.errors import GatedRepoError

    todo = (
        "check the name and the network, or download the repository elsewhere and give its folder"
    )
    if isinstance(cause, GatedRepoError):
        reason = "its owner gives access to those who ask"
        todo = (
            f"accept the terms on https://huggingface.co/{source}, then run `hf auth login`; or download the "
            "repository elsewhere and give its folder"
        )
    return MissingDataError(
        f"cannot get pretrained weights of {name} from {source}: {reason}", todo
    )


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(
            f"{file} is not a readable file of weights: {first_line(error)}", "download it again"
        ) from error
