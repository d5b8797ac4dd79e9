"""Weights that others have trained: from the Hugging Face hub, or from a folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import DataError, MissingDataError
from .bound import Bound

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
HEAD = "final_layer"  # what braindecode calls the last part of every model


def load_pretrained(backbone: nn.Module, source: str) -> list[str]:
    """Fill a backbone with pretrained weights, all but its last layer.

    Parameters
    ----------
    backbone : nn.Module
        Of a :class:`~braindecode_ssr.models.SSR`.
    source : str
        A folder as ``save_pretrained`` writes it, or the name of a repository on the hub, such as
        ``"braindecode/biot-pretrained-prest-16chs"``; see the table of backbones.

    Returns
    -------
    list of str
        Names of the parameters that keep their random start: those of the last layer, where its width
        is another one.

    Raises
    ------
    MissingDataError
        If there are no weights in the folder, or the hub does not give them.
    DataError
        If the weights are of another model, or of other trials; the backbone is then as it was.
    """
    model = backbone.model if isinstance(backbone, Bound) else backbone
    name = type(model).__name__
    given = _renamed(_read(weights_file(source, name)), model)
    own = model.state_dict()
    fresh = [key for key in own if _in_head(key) and not _fits(given.get(key), own[key])]
    wrong = [key for key in own if key not in fresh and not _fits(given.get(key), own[key])]
    wrong += [key for key in given if key not in own and not _in_head(key)]
    if wrong:
        raise DataError(
            f"weights of {name} for these trials",
            f"{source}, where {_difference(wrong[0], given, own)} ({len(wrong)} such parameters)",
            "set backbone_params and the trials as in its config.json, or leave pretrained out",
        )
    model.load_state_dict(
        {**own, **{k: v for k, v in given.items() if k in own and k not in fresh}}
    )
    return fresh


def weights_file(source: str, name: str) -> Path:
    """The file with the weights, downloaded if need be.

    Parameters
    ----------
    source : str
        Folder or repository.
    name : str
        Of the model, for messages.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        for file in WEIGHTS:
            if (folder / file).is_file():
                return folder / file
        raise _missing(source, name, f"neither of {', '.join(WEIGHTS)} in that folder")
    return _from_hub(source, name)


def check_source(source: str, name: str = "the backbone") -> None:
    """Find pretrained weights without loading or downloading them.

    Raises
    ------
    MissingDataError
        If there is no such folder or repository, or it holds no weights.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        weights_file(source, name)
        return
    if folder.exists() or source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise MissingDataError(
            f"there is no folder of pretrained weights at {folder}",
            "give the folder that `save_pretrained` wrote, or the name ORG/NAME of a repository on "
            "the Hugging Face hub, with --set model.pretrained=...",
        )
    import huggingface_hub

    if any(isinstance(huggingface_hub.try_to_load_from_cache(source, f), str) for f in WEIGHTS):
        return
    try:
        found = any(huggingface_hub.file_exists(source, file) for file in WEIGHTS)
    except Exception as error:  # no network, or a name that the hub does not allow
        raise _missing(source, name, _first_line(error)) from error
    if not found:
        raise _missing(source, name, f"no repository with one of {', '.join(WEIGHTS)}")


def _from_hub(source: str, name: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    reason: Exception | None = None
    for file in WEIGHTS:
        try:
            return Path(huggingface_hub.hf_hub_download(source, file))
        except LocalEntryNotFoundError as error:
            raise _missing(source, name, "no answer from the Hugging Face hub") from error
        except EntryNotFoundError as error:
            reason = error
        except Exception as error:
            raise _missing(source, name, _first_line(error)) from error
    raise _missing(source, name, _first_line(reason)) from reason


def _missing(source: str, name: str, found: str) -> MissingDataError:
    return MissingDataError(
        f"cannot get pretrained weights of {name} from {source}: {found}",
        "check the name and the network, or download the repository elsewhere and give its folder",
    )


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(
            "a file of weights", f"{file} ({_first_line(error)})", "fetch it again"
        ) from error


def _renamed(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Names of older checkpoints as the model has them now."""
    mapping = getattr(model, "mapping", None) or {}
    return {mapping.get(key, key): value for key, value in weights.items()}


def _in_head(key: str) -> bool:
    return key == HEAD or key.startswith(f"{HEAD}.")


def _fits(given: Tensor | None, own: Tensor) -> bool:
    return given is not None and given.shape == own.shape


def _difference(key: str, given: dict[str, Tensor], own: dict[str, Tensor]) -> str:
    if key not in given:
        return f"{key} is missing"
    if key not in own:
        return f"{key} is one parameter too many"
    return f"{key} has shape {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"


def _first_line(error: Exception | None) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
