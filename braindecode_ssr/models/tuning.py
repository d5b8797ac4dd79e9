"""How much of a network is trained: all of it, its last layer only, or low-rank changes of its weights."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import UsageError
from ..registry import check_choice
from .backbone import BackboneAdapter
from .pretrained import HEAD

if TYPE_CHECKING:
    from .ssr import SSR

Tuning = Literal["full", "frozen", "lora"]


class LowRank(nn.Module):
    r"""A learned change of a fixed matrix by one of low rank.

    .. math:: W + \frac{\alpha}{r}\,B A, \qquad A \in \mathbb{R}^{r \times n},\ B \in \mathbb{R}^{m \times r}

    :math:`B` starts at zero, so that training starts from the fixed matrix.

    Source: LoRA (Hu et al., ICLR 2022, arXiv:2106.09685), with the initial values of its public code.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.A = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.B = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.A, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.B @ self.A)


def tune(model: SSR, tuning: str = "full", rank: int = 8, alpha: float = 16.0) -> SSR:
    """Choose what of a backbone is trained, apart from its own last layer, which is new, and the projectors.

    With ``"frozen"`` none of it is trained (no dropout, no updates of statistics); with ``"lora"`` each
    matrix of its linear and attention layers gets a :class:`LowRank` change, unless it is frozen already.
    The model is changed in place. Files of weights hold matrices with their changes added, see
    :func:`merged_state`.
    """
    check_choice("tuning", tuning, Tuning)
    if tuning == "full":
        return model
    inner = model.backbone.model if isinstance(model.backbone, BackboneAdapter) else model.backbone
    root = "backbone.model" if isinstance(model.backbone, BackboneAdapter) else "backbone"
    head = {id(part) for part in getattr(inner, HEAD, nn.Identity()).parameters()}
    found = matrices(inner, head) if tuning == "lora" else []
    if tuning == "lora" and not found:
        raise UsageError(
            f"{type(inner).__name__} has no linear layer that model.tuning = lora could adapt"
            + (f", with {', '.join(model.frozen)} frozen" if model.frozen else ""),
            "choose --set model.tuning=frozen or full, or freeze less",
        )
    rest = [part for part in inner.parameters() if id(part) not in head]
    if not rest:
        raise UsageError(
            f"{type(inner).__name__} is nothing but a last layer, which model.tuning = {tuning} would train",
            "choose --set model.tuning=full, or freeze it with --set 'model.freeze=[\"backbone\"]'",
        )
    for parameter in rest:
        parameter.requires_grad_(False)
    change(found, rank, alpha)
    if tuning == "frozen":
        parts = [name for name, _ in inner.named_children() if name != HEAD]
        model.frozen = (*model.frozen, *(f"{root}.{name}" for name in parts))
    return model.train(model.training)


def change(found: list[tuple[Any, str]], rank: int, alpha: float) -> list[LowRank]:
    """Give matrices, as layer and name, changes of low rank."""
    changes = []
    for layer, name in found:
        changes.append(LowRank(getattr(layer, name).detach(), rank, alpha))
        parametrize.register_parametrization(layer, name, changes[-1])
    return changes


def matrices(model: nn.Module, head: Collection[int] = ()) -> list[tuple[Any, str]]:
    """The trained matrices of linear and attention layers, except those of the head, as layer and name."""
    found: list[tuple[Any, str]] = []
    for layer in model.modules():
        for kind, name in ((nn.Linear, "weight"), (nn.MultiheadAttention, "in_proj_weight")):
            if isinstance(layer, kind) and not parametrize.is_parametrized(layer, name):
                weight = getattr(layer, name)
                if weight is not None and weight.requires_grad and id(weight) not in head:
                    found.append((layer, name))
    return found


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The ``state_dict`` of a model without adapters that gives the same; the model is left as it is."""
    state = model.state_dict()
    for path, layer in model.named_modules():
        changes: Any = getattr(layer, "parametrizations", {})
        for name in [name for name in changes if isinstance(changes[name][-1], LowRank)]:
            prefix = f"{path}.parametrizations.{name}."
            state = {key: part for key, part in state.items() if not key.startswith(prefix)}
            state[f"{path}.{name}"] = getattr(layer, name).detach()
    return state
