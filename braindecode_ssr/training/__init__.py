"""Training: what a spec says becomes model, loss and features here; the rest stands in the modules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..images.features import ImageFeatures, image_features
from ..losses import LOSSES
from ..registry import unknown_name

if TYPE_CHECKING:
    import torch

    from ..config import ModelSpec, RunSpec
    from ..datasets.base import ImageDataset
    from ..models.ssr import SSR
    from .data import Signals
    from .encoding import Encoding
    from .ridge import Ridge


def features_of(
    spec: RunSpec, dataset: ImageDataset, made_by: dict[str, str] | None = None
) -> ImageFeatures:
    """The image features of a resolved spec; ``made_by`` as a run recorded it."""
    views = tuple(spec.images.views)  # resolved, so no longer "auto"
    return image_features(dataset, spec.images.encoder, views, made_by, spec.images.pool)


def build_model(
    spec: RunSpec,
    signals: Signals,
    n_features: int,
    widths: Sequence[int] = (),
    n_subjects: int = 1,
) -> SSR | Ridge | Encoding:
    """The untrained model of a resolved spec; ``widths`` are those of the vectors joined in the features."""
    n_signal = len(signals.chs_info) * signals.n_times
    if spec.train.solver != "gradient":
        return build_closed_form(spec, n_signal, n_features, signals.tmin)
    from ..models.ssr import SSR

    return SSR(
        n_outputs=n_features if spec.model.image_head == "none" else spec.model.n_outputs,
        n_chans=len(signals.chs_info),
        n_times=signals.n_times,
        sfreq=signals.sfreq,
        chs_info=signals.chs_info,
        backbone=spec.model.backbone,
        backbone_params=dict(spec.model.backbone_params) or None,
        feature_point=spec.model.feature_point,
        n_features=n_features,
        image_head=spec.model.image_head,
        image_head_params=dict(spec.model.image_head_params) or None,
        feature_widths=list(widths) or None,
        n_subjects=n_subjects if spec.model.subjects == "own" else None,
        width=spec.model.width,
        components=spec.model.components,
        space=spec.model.space,
        projector=spec.model.projector,
    )


def build_closed_form(
    spec: RunSpec, n_signal: int, n_features: int, tmin: float | None = None
) -> Ridge | Encoding:
    """The unfitted linear map of a spec between trials of ``n_signal`` numbers and image features."""
    if spec.train.solver == "encoding":
        from .encoding import Encoding

        return Encoding(n_signal, n_features, spec.trials.sfreq, tmin)
    from .ridge import RIDGES

    return RIDGES[spec.train.solver](n_signal, n_features)


def initialize(model: SSR, spec: ModelSpec) -> list[str]:
    """Load the pretrained weights of a new model and freeze parts of it; returns what to tell the user."""
    from ..models.modules import load_pretrained

    adjusted = "".join(f", {name} = {value}" for name, value in model.adjusted.items())
    parts = f", a part for each of {model.n_subjects} subjects" if model.n_subjects else ""
    lines = [
        f"backbone {spec.backbone}: {model.backbone_width} features ({model.feature_point})"
        f"{adjusted}{parts}"
    ]
    if spec.pretrained:
        new = load_pretrained(model.backbone, spec.pretrained)
        lines += [f"pretrained weights from {spec.pretrained}, except {', '.join(new) or 'none'}"]
    model.freeze(*spec.freeze)
    return lines


def is_pretrained(spec: ModelSpec, model: SSR, build: Callable[[], torch.nn.Module]) -> bool:
    """Whether training starts from weights that may have seen the tested concepts elsewhere."""
    if spec.pretrained_concepts != "unknown":
        return False
    roots = {type(part).__module__.partition(".")[0] for part in model.modules()}
    foreign = roots - {"braindecode", "braindecode_ssr", "torch"} or "@" in spec.backbone
    from ..models.modules import brings_weights

    return bool(spec.pretrained or (foreign and brings_weights(build)))


def build_loss(spec: RunSpec, model: SSR | Ridge | None = None) -> torch.nn.Module:
    """The loss of a spec, with the width of the shared space and the model's sizes where it takes them."""
    from .retriever import sizes_for

    check_loss_params(spec)
    loss = LOSSES[spec.loss.name]
    takes_width = "n_outputs" in inspect.signature(loss).parameters
    width = {"n_outputs": spec.model.n_outputs} if takes_width else {}
    return loss(**{**width, **sizes_for(loss, model), **spec.loss.params})


def check_loss_params(spec: RunSpec) -> None:
    """Raise UsageError if a parameter is set that the loss does not have."""
    known = inspect.signature(LOSSES[spec.loss.name]).parameters
    for name in sorted(set(spec.loss.params) - set(known)):
        raise unknown_name(f"parameter of the loss {spec.loss.name}", name, list(known))
