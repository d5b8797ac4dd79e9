"""A model whose forward pass wants more than the trials, with what it wants."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import DataError, MissingDataError
from ..registry import unknown_name

SUBJECT = "subject_index"  # what braindecode calls the numbers of the subjects


class Bound(nn.Module):
    """A model together with fixed arguments of its ``forward``, and with subjects where it takes them.

    Parameters
    ----------
    model : nn.Module
        Its ``forward`` takes the trials first.
    arguments : dict
        Other arguments, the same for every batch, such as the names of the channels.
    n_zeros : int
        Samples of zeros that are put behind every trial.
    """

    def __init__(self, model: nn.Module, arguments: dict[str, Any], n_zeros: int = 0) -> None:
        super().__init__()
        self.model = model
        self.arguments = arguments
        self.n_zeros = n_zeros
        self.with_subjects = takes_subjects(model)

    def forward(self, x: Tensor, subject_index: Tensor | None = None) -> Any:
        """The model's output.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)
            Trials.
        subject_index : Tensor of int, shape (b,), optional
            Who saw them, counted from 0; None: everything goes through the first subject's part.
        """
        x = nn.functional.pad(x, (0, self.n_zeros))
        if not self.with_subjects:
            return self.model(x, **self.arguments)
        if subject_index is None:
            subject_index = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return self.model(x, subject_index=subject_index, **self.arguments)


def bind(model: nn.Module, arguments: dict[str, Any], n_zeros: int = 0) -> nn.Module:
    """The model itself if trials as they are are all it wants, else a :class:`Bound` one."""
    optional = getattr(model, "subject_is_optional", False)
    if arguments or n_zeros or (takes_subjects(model) and not optional):
        return Bound(model, arguments, n_zeros)
    return model


def takes_subjects(model: nn.Module) -> bool:
    """Whether the forward pass has a parameter ``subject_index``."""
    if isinstance(model, Bound):
        return model.with_subjects
    return SUBJECT in inspect.signature(model.forward).parameters


_MAPS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_N_TRIALS = 2


class _Call(NamedTuple):
    """One call of a module in a forward pass."""

    name: str
    entered: Tensor
    left: Tensor


def encode_zeros(module: nn.Module, n_chans: int, n_times: int) -> Any:
    """What a model makes of two trials of zeros; modes and random state stay as they were.

    Parameters
    ----------
    module : nn.Module
    n_chans, n_times : int
        Shape of a trial.

    Returns
    -------
    Any
        What the model returns; for a brain encoder a Tensor of shape (2, width).
    """
    parameter = next(module.parameters(), torch.empty(0))
    shape = (_N_TRIALS, n_chans, n_times)
    trials = torch.zeros(shape, device=parameter.device, dtype=parameter.dtype)
    with in_evaluation(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
        return module(trials)


def is_one_vector(output: Any) -> bool:
    """Whether what a model returned for two trials is one vector for each."""
    return isinstance(output, Tensor) and output.ndim == 2 and len(output) == _N_TRIALS


def embedding_width(module: nn.Module, n_chans: int, n_times: int) -> int:
    """Numbers that enter the head for each trial; 0 if the head is no single map.

    Parameters
    ----------
    module : nn.Module
        A model that gives one vector for a trial.
    n_chans, n_times : int
        Shape of a trial.
    """
    found = _last_maps(module, n_chans, n_times)
    return found[0].entered[0].numel() if found else 0


def cut_head(module: nn.Module, n_chans: int, n_times: int) -> bool:
    """Cut a model before its head, in place, so that it gives its embedding.

    Parameters
    ----------
    module : nn.Module
        A model that gives one vector for a trial.
    n_chans, n_times : int
        Shape of a trial.

    Returns
    -------
    bool
        Whether it was possible; if not, the model is as it was.
    """
    for call in _last_maps(module, n_chans, n_times):
        parent, _, name = call.name.rpartition(".")
        holder, head = module.get_submodule(parent), module.get_submodule(call.name)
        setattr(holder, name, nn.Flatten())
        try:
            output = encode_zeros(module, n_chans, n_times)
        except Exception:
            output = None
        if is_one_vector(output) and output.shape[1] == call.entered[0].numel():
            return True
        setattr(holder, name, head)
    return False


def _last_maps(module: nn.Module, n_chans: int, n_times: int) -> list[_Call]:
    """Calls that end with the model's output: the map itself first, then what wraps no more."""
    calls: list[_Call] = []
    with _recorded(module, calls):
        output = encode_zeros(module, n_chans, n_times)
    if not is_one_vector(output):
        return []
    last = [call for call in calls if _same_memory(call.left, output)]
    maps = [call for call in last if isinstance(module.get_submodule(call.name), _MAPS)]
    if not maps:
        return []
    head = maps[-1]
    around = [
        call
        for call in last
        if head.name.startswith(f"{call.name}.") and _same_memory(call.entered, head.entered)
    ]
    return [head, *around]


@contextmanager
def _recorded(module: nn.Module, calls: list[_Call]) -> Iterator[None]:
    """Note every call of a part with one tensor, first axis the trials, that returns a tensor."""

    def note(name: str) -> Any:
        def hook(part: nn.Module, entered: tuple[Any, ...], left: Any) -> None:
            tensors = [*entered, left]
            if len(tensors) == 2 and all(isinstance(tensor, Tensor) for tensor in tensors):
                if all(tensor.ndim > 1 and len(tensor) == _N_TRIALS for tensor in tensors):
                    calls.append(_Call(name, entered[0], left))

        return hook

    handles = [
        part.register_forward_hook(note(name)) for name, part in module.named_modules() if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _same_memory(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are views of the same numbers; also on the meta device, which has no addresses."""
    storages = (part.untyped_storage()._cdata for part in (one, other))
    same = one.storage_offset() == other.storage_offset() and one.numel() == other.numel()
    return same and next(storages) == next(storages)


@contextmanager
def in_evaluation(module: nn.Module) -> Iterator[None]:
    """No drop-out and no new statistics for a while; every part's mode stays as it was."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def parameters_of(model: nn.Module, part: str) -> dict[str, nn.Parameter]:
    """The parameters of a part, by their full names.

    Parameters
    ----------
    model : nn.Module
    part : str
        Name of a submodule or parameter, such as ``"backbone"`` or ``"backbone.temporal.1"``.

    Raises
    ------
    UsageError
        If no parameter is in a part of that name.
    """
    parameters = dict(model.named_parameters())
    found = {
        name: parameter
        for name, parameter in parameters.items()
        if name == part or name.startswith(f"{part}.")
    }
    if not found:
        raise unknown_name("part of the model", part, _parts(parameters, depth=part.count(".") + 1))
    return found


def rate_groups(model: nn.Module, rates: dict[str, float]) -> list[tuple[str, dict[str, Any]]]:
    """Learning rates of parts as skorch's ``optimizer__param_groups``; the deeper part wins.

    Parameters
    ----------
    model : nn.Module
    rates : dict of str to float
        Name of a part to its learning rate.

    Raises
    ------
    UsageError
        If a part is not there.
    """
    groups = []
    for part in sorted(rates, key=lambda name: -name.count(".")):
        parameters_of(model, part)
        groups += [(pattern, {"lr": rates[part]}) for pattern in (part, f"{part}.*")]
    return groups


def _parts(names: Iterable[str], depth: int) -> list[str]:
    """Names of parts down to a depth."""
    return list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in names))


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
