"""Where a brain encoder hands over its features: at its head, or just before it.

The *head* of a model is the last map of its forward pass, linear or convolutional, whose result is
the model's output. The *embedding* is what enters that map, flattened. A model is cut there by
putting :class:`torch.nn.Flatten` in the place of the map: no hook and no wrapper, so that
TorchScript, torch.compile, torch.export, pickling and ``state_dict`` see an ordinary model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

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
