"""Whether a backbone has a part of its own for each of some subjects."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import UsageError
from .bound import Bound, takes_subjects
from .feature_point import in_evaluation


def check_takes_subjects(backbone: type[nn.Module] | nn.Module) -> None:
    """Find a ``subject_index`` in the forward pass of a class or a model.

    Raises
    ------
    UsageError
        If there is none.
    """
    if not takes_subjects(backbone):
        raise _without_parts(_name(backbone))


def check_parts(module: nn.Module, n_chans: int, n_times: int, n_subjects: int | None) -> None:
    """Find a part for each of so many subjects.

    A trial must come out otherwise for the last of them than for the first. Noise is added to the weights
    for this, because parts may all begin alike; those of the model stay as they are.

    Parameters
    ----------
    module : nn.Module
        Maps ``(b, c, t)`` to ``(b, width)``.
    n_chans, n_times : int
        Shape of a trial.
    n_subjects : int, optional
        None: nothing is asked of the model.

    Raises
    ------
    UsageError
        If the model has no use for subjects, or parts for fewer.
    """
    if n_subjects is None:
        return
    check_takes_subjects(module)
    try:
        first, last = (_encode_as(module, (n_chans, n_times), who) for who in (0, n_subjects - 1))
    except Exception as error:
        raise UsageError(
            f"a backbone with parts for {n_subjects} subjects",
            f"{_name(module)}, which says: {(str(error) or type(error).__name__).splitlines()[0]}",
            "leave n_subjects out of backbone_params, or choose --set model.subjects=shared",
        ) from error
    if n_subjects > 1 and torch.equal(first, last):
        raise _without_parts(_name(module))


def _encode_as(module: nn.Module, shape: tuple[int, int], subject: int) -> Tensor:
    """Two trials of noise as seen by a subject, with weights that noise was added to; on the CPU."""
    with in_evaluation(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = {name: buffer.cpu() for name, buffer in module.named_buffers()}
        for name, weight in module.named_parameters():
            state[name] = weight.cpu() + 0.1 * torch.randn_like(weight, device="cpu")
        who = {"subject_index": torch.tensor([subject, subject])}
        return functional_call(module, state, (torch.randn(2, *shape),), who)


def _name(backbone: type[nn.Module] | nn.Module) -> str:
    backbone = backbone.model if isinstance(backbone, Bound) else backbone
    return (backbone if isinstance(backbone, type) else type(backbone)).__name__


def _without_parts(name: str) -> UsageError:
    return UsageError(
        "a backbone with parts of its own for each subject, such as ATM or BrainModule",
        f"{name}, which treats all alike",
        "choose such a --backbone, or --set model.subjects=shared",
    )
