"""Fixed arguments of a backbone's forward pass, and cutting a backbone before its last layer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

SUBJECT = "subject_index"  # what braindecode calls the numbers of the subjects


class Bound(nn.Module):
    """A model with fixed arguments of its ``forward``, and with subjects where it takes them.

    ``n_zeros`` samples of zeros are appended to every trial.
    """

    def __init__(self, model: nn.Module, arguments: dict[str, Any], n_zeros: int = 0) -> None:
        super().__init__()
        self.model = model
        self.arguments = arguments
        self.n_zeros = n_zeros
        self.with_subjects = takes_subjects(model)

    def forward(self, x: Tensor, subject_index: Tensor | None = None) -> Any:
        """The output for trials (b, c, t) of subjects (b,), counted from 0; None: all the first subject's."""
        x = nn.functional.pad(x, (0, self.n_zeros))
        if not self.with_subjects:
            return self.model(x, **self.arguments)
        if subject_index is None:
            subject_index = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return self.model(x, subject_index=subject_index, **self.arguments)


def bind(model: nn.Module, arguments: dict[str, Any], n_zeros: int = 0) -> nn.Module:
    """The model itself if it needs nothing but the trials, else a :class:`Bound` one."""
    optional = getattr(model, "subject_is_optional", False)
    if arguments or n_zeros or (takes_subjects(model) and not optional):
        return Bound(model, arguments, n_zeros)
    return model


def takes_subjects(model: nn.Module | type[nn.Module]) -> bool:
    """Whether the forward pass has a parameter ``subject_index``."""
    if isinstance(model, Bound):
        return model.with_subjects
    return SUBJECT in inspect.signature(model.forward).parameters


# Cutting the head ---------------------------------------------------------------------------------

_MAPS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_N_TRIALS = 2


class _Call(NamedTuple):
    """One call of a submodule in a forward pass."""

    name: str
    input: Tensor
    output: Tensor


def encode_zeros(module: nn.Module, n_chans: int, n_times: int) -> Any:
    """The output of a model for two trials of zeros; modes and random state are left unchanged."""
    parameter = next(module.parameters(), torch.empty(0))
    shape = (_N_TRIALS, n_chans, n_times)
    trials = torch.zeros(shape, device=parameter.device, dtype=parameter.dtype)
    with in_evaluation(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
        return module(trials)


def is_one_vector(output: Any) -> bool:
    """Whether the output for two trials is one vector for each."""
    return isinstance(output, Tensor) and output.ndim == 2 and len(output) == _N_TRIALS


def embedding_width(module: nn.Module, n_chans: int, n_times: int) -> int:
    """Numbers per trial that enter the last map of a model; 0 if it does not end with a single map."""
    calls = _last_maps(module, n_chans, n_times)
    return calls[0].input[0].numel() if calls else 0


def cut_head(module: nn.Module, n_chans: int, n_times: int) -> bool:
    """Remove the last map of a model, in place, so that it returns its embedding; False if it cannot be."""
    for call in _last_maps(module, n_chans, n_times):
        parent, _, name = call.name.rpartition(".")
        holder, head = module.get_submodule(parent), module.get_submodule(call.name)
        setattr(holder, name, nn.Flatten())
        try:
            output = encode_zeros(module, n_chans, n_times)
        except Exception:
            output = None
        if is_one_vector(output) and output.shape[1] == call.input[0].numel():
            return True
        setattr(holder, name, head)
    return False


def _last_maps(module: nn.Module, n_chans: int, n_times: int) -> list[_Call]:
    """The last linear or convolutional map, then the modules that only wrap it, inner ones first."""
    calls: list[_Call] = []
    with _recorded(module, calls):
        output = encode_zeros(module, n_chans, n_times)
    if not is_one_vector(output):
        return []
    last = [call for call in calls if _same_memory(call.output, output)]
    maps = [call for call in last if isinstance(module.get_submodule(call.name), _MAPS)]
    if not maps:
        return []
    head = maps[-1]
    wrappers = [
        call
        for call in last
        if head.name.startswith(f"{call.name}.") and _same_memory(call.input, head.input)
    ]
    return [head, *wrappers]


@contextmanager
def _recorded(module: nn.Module, calls: list[_Call]) -> Iterator[None]:
    """Record every call of a submodule that maps one tensor, first axis the trials, to another."""

    def hook_of(name: str) -> Any:
        def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            tensors = [*inputs, output]
            if len(tensors) == 2 and all(isinstance(tensor, Tensor) for tensor in tensors):
                if all(tensor.ndim > 1 and len(tensor) == _N_TRIALS for tensor in tensors):
                    calls.append(_Call(name, inputs[0], output))

        return hook

    handles = [
        part.register_forward_hook(hook_of(name)) for name, part in module.named_modules() if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _same_memory(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are views of the same numbers; also on the meta device, which has no addresses."""
    same = one.storage_offset() == other.storage_offset() and one.numel() == other.numel()
    return bool(same and one.untyped_storage()._cdata == other.untyped_storage()._cdata)


@contextmanager
def in_evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards every submodule has its own mode again."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
