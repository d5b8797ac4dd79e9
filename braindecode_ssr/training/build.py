"""The parts of a run, built as its resolved spec says: image features, model, loss."""

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
    from .ridge import Ridge


def features_of(
    spec: RunSpec, dataset: ImageDataset, made_by: dict[str, str] | None = None
) -> ImageFeatures:
    """The image features of a resolved spec; ``made_by`` as a run recorded it."""
    images = spec.images
    return image_features(dataset, images.encoder, images.views, made_by, images.pool)


def build_model(
    spec: RunSpec,
    signals: Signals,
    n_features: int,
    widths: Sequence[int] = (),
    n_subjects: int = 1,
) -> SSR | Ridge:
    """The untrained model of a resolved spec.

    Parameters
    ----------
    spec : RunSpec
    signals : Signals
        Channels, samples and rate of the trials.
    n_features : int
        Width of the image features.
    widths : sequence of int
        Widths of the vectors that stand side by side in them, where there are several.
    n_subjects : int
        Subjects that are trained on.
    """
    if spec.train.solver != "gradient":
        from .ridge import RIDGES

        return RIDGES[spec.train.solver](len(signals.chs_info) * signals.n_times, n_features)
    from ..models.ssr import SSR

    return SSR(
        n_outputs=spec.model.n_outputs,
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
        space=spec.model.space,
    )


def start_weights(model: SSR, spec: ModelSpec, say: Callable[[str], None] | None = None) -> None:
    """Load a new model's pretrained weights, and freeze what is not to be trained."""
    from ..models.feature_point import load_pretrained

    tell = say or (lambda text: None)
    adjusted = "".join(f", {name} = {value}" for name, value in model.adjusted.items())
    parts = f", a part for each of {model.n_subjects} subjects" if model.n_subjects else ""
    tell(
        f"backbone {spec.backbone}: {model.backbone_width} features ({model.feature_point})"
        f"{adjusted}{parts}"
    )
    if spec.pretrained:
        fresh = load_pretrained(model.backbone, spec.pretrained)
        tell(f"pretrained weights of {spec.pretrained}, except {', '.join(fresh) or 'none'}")
    model.freeze(*spec.freeze)


def build_loss(spec: RunSpec, model: SSR | Ridge | None = None) -> torch.nn.Module:
    """The loss of a spec; told the width of the shared space and the model's sizes where it takes them.

    Raises
    ------
    UsageError
        If it has no parameter of a name that is set.
    """
    from .retriever import sizes_for

    loss = LOSSES[spec.loss.name]
    takes = inspect.signature(loss).parameters
    width = {"n_outputs": spec.model.n_outputs} if "n_outputs" in takes else {}
    unknown = sorted(set(spec.loss.params) - set(takes))
    if unknown:
        raise unknown_name(f"parameter of the loss {spec.loss.name}", unknown[0], list(takes))
    return loss(**{**width, **sizes_for(loss, model), **spec.loss.params})
