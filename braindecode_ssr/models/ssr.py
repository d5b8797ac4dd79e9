"""SSR: a brain encoder and an image projector into one space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..registry import check_choice
from . import IMAGE_HEADS
from .backbone import build_backbone, takes_subjects
from .modules import Components, Configured, TangentMap, feature_dict, parameters_of
from .names import class_at, is_path, quiet_import

with quiet_import():
    from braindecode.models.base import EEGModuleMixin

Space = Literal["euclidean", "hyperbolic"]
Projector = Literal["linear", "perceptron", "none"]


class SSR(
    Configured,
    EEGModuleMixin,
    nn.Module,
    license="bsd-3-clause",
    docs_url=None,
    repo_url=None,
    tags=["eeg", "meg", "image-retrieval", "contrastive-learning", "braindecode_ssr"],
):
    r"""SSR, the Semantic-anchored framework with croSs-modal Reconstruction.

    .. rubric:: Architecture Overview

    A brain encoder and a linear map take a trial into a shared space; a second linear map takes image
    features there. The image that a person saw is the one whose embedding has the largest cosine with that of
    the trial, or is nearest in hyperbolic space (``space``). What only training needs (views, contrastive
    losses, masked reconstruction) is in :class:`braindecode_ssr.losses.SSRLoss` and is discarded afterwards.

    .. rubric:: Macro Components

    - ``SSR.inputs``: supervised components of the trial, if ``components`` are asked for.
    - ``SSR.backbone`` **Brain encoder**: any braindecode model or one of ours, ``(b, c, t)`` to
      ``(b, width)``.
    - ``SSR.neck``: activation and dropout between the two; nothing by default.
    - ``SSR.image_head`` **Image projector**: image features ``(b, n_features)`` to ``(b, n_outputs)``, linear
      by default; one for original images and views. Not part of ``forward``.
    - ``SSR.final_layer`` **Brain projector**: linear, ``(b, width)`` to ``(b, n_outputs)``, unless another
      ``projector`` is chosen; in hyperbolic space times a learned number.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    Those of the backbone.

    .. rubric:: Usage

    ``n_outputs`` is the width of the shared space. Embeddings are not normalized.

    Parameters
    ----------
    backbone : str, type of nn.Module, or nn.Module, default="EEGProject"
        The brain encoder. A model with an instance as backbone cannot be saved with its configuration.
    backbone_params : dict, optional
        Parameters of the backbone; JSON values, types as dotted paths.
    width : int, default=1024
        Width of the backbone's head, and least width of an embedding that is taken instead.
    feature_point : {"auto", "embedding", "head"}, default="auto"
        Where the backbone's features are taken: before its last map, after it, or before it if there are at
        least ``width`` numbers, see :func:`braindecode_ssr.models.backbone.build_backbone`.
    n_features : int, default=1024
        Width of the image features.
    activation : type[nn.Module], default=nn.Identity
        Applied to the backbone's output; the backbone's own is set in ``backbone_params``.
    drop_prob : float, default=0.0
        Dropout probability on the backbone's output; the backbone's own is set in ``backbone_params``.
    image_head : str or type of nn.Module, default="linear"
        The image projector, see :func:`build_image_head`.
    image_head_params : dict, optional
        Parameters of the image projector; JSON values.
    feature_widths : list of int, optional
        Widths of the vectors that are concatenated in the image features; they sum to ``n_features``. None:
        the features are one vector.
    n_subjects : int, optional
        Training subjects, each with a part of its own in the backbone; None: all share one part.
    components : int, optional
        The backbone gets so many supervised components of a trial, as channels of one sample, see
        :class:`braindecode_ssr.models.modules.Components`. They are fitted when the model is trained by
        ``braindecode_ssr.train``.
    space : {"euclidean", "hyperbolic"}, default="euclidean"
        How embeddings are compared when images are ranked: by their cosine, or as tangent vectors by the
        distance of their points, see :mod:`braindecode_ssr.retrieval.hyperbolic`. The loss must use the same
        space.
    projector : {"linear", "perceptron", "none"}, default="linear"
        The brain projector: a linear map, two with GELU between as in VE-SDN, or nothing as in Brain-HIVE,
        for a backbone whose features are ``n_outputs`` wide.
    """

    _HUB_NOTES_TEMPLATE = """
    .. rubric:: Hugging Face Hub integration

    Weights and configuration are saved and loaded as with every braindecode model::

        from braindecode_ssr.models import {name}

        model = {name}(n_chans=17, n_times=250, sfreq=250, n_outputs=512)
        model.save_pretrained("folder")        # or model.push_to_hub("user/name")
        model = {name}.from_pretrained("folder")

    Loading is strict: missing or unexpected weights raise an error, unless ``strict=False`` is given. With
    another ``n_outputs`` both projectors are initialized anew.
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        backbone: str | type[nn.Module] | Any = "EEGProject",
        backbone_params: dict[str, Any] | None = None,
        width: int = 1024,
        feature_point: Literal["auto", "embedding", "head"] = "auto",
        n_features: int = 1024,
        activation: type[nn.Module] = nn.Identity,
        drop_prob: float = 0.0,
        image_head: str | type[nn.Module] = "linear",
        image_head_params: dict[str, Any] | None = None,
        feature_widths: list[int] | None = None,
        n_subjects: int | None = None,
        components: int | None = None,
        space: Space = "euclidean",
        projector: Projector = "linear",
    ) -> None:
        super().__init__(n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq)
        check_choice("space", space, Space)
        check_choice("projector", projector, Projector)
        if projector != "linear" and (space == "hyperbolic" or n_subjects is not None):
            raise UsageError(
                f"the projector {projector!r} works neither in hyperbolic space nor with n_subjects",
                "leave projector out: the default is linear",
            )
        if feature_widths is not None and sum(feature_widths) != n_features:
            raise UsageError(
                f"feature_widths {list(feature_widths)} sum to {sum(feature_widths)}, and n_features is "
                f"{n_features}",
                "correct one of the two, or leave feature_widths out",
            )
        self.space, self.projector = space, projector
        self.width = width
        self.n_features = n_features
        self.feature_widths = tuple(feature_widths or (n_features,))
        self._has_config = not isinstance(backbone, nn.Module)
        head = image_head_class(image_head)
        self._make_image_head = partial(
            build_image_head, head, self.feature_widths, params=image_head_params
        )
        self.inputs: nn.Module = nn.Identity()
        if components is not None:
            self.inputs = Components(self.n_chans * self.n_times, components)
        try:
            encoder = build_backbone(
                backbone,
                backbone_params,
                n_outputs=width,
                n_chans=components or self.n_chans,
                n_times=1 if components else self.n_times,
                sfreq=self._known("sfreq"),
                chs_info=None if components else self._known("chs_info"),
                feature_point=feature_point,
                n_subjects=n_subjects,
            )
        except UsageError as error:
            if components is None:
                raise
            raise UsageError(
                f"{error.message}: with model.components a trial is {components} channels of one sample",
                "choose a backbone without convolution, such as EEGProject, or leave model.components out",
            ) from error
        self.backbone = encoder.module
        self.n_subjects = n_subjects
        self.takes_subjects = takes_subjects(self.backbone)
        self.feature_point = encoder.feature_point
        self.backbone_width = encoder.width
        self.adjusted = encoder.adjusted
        self.channel_map = encoder.channels
        self.frozen: tuple[str, ...] = ()
        self.neck = nn.Sequential(activation(), nn.Dropout(drop_prob))
        self.image_head = self._make_image_head(self.n_outputs)
        self.final_layer = self._make_final_layer(self.n_outputs)

    def _known(self, name: str) -> Any:
        """A signal parameter, or None where it is neither given nor can be inferred."""
        try:
            return getattr(self, name)
        except ValueError:
            return None

    def _make_final_layer(self, n_outputs: int) -> nn.Module:
        if self.projector == "perceptron":
            return two_layers(self.backbone_width, n_outputs)
        if self.projector == "none":
            if self.backbone_width != n_outputs:
                raise UsageError(
                    f"without a projector, features of width {self.backbone_width} cannot enter a shared "
                    f"space of {n_outputs}",
                    f"set model.n_outputs to {self.backbone_width}, or model.projector to linear",
                )
            return nn.Identity()
        cls = TangentMap if self.space == "hyperbolic" else nn.Linear
        return cls(self.backbone_width, n_outputs)

    def forward(
        self, x: Tensor, return_features: bool = False, subject_index: Tensor | None = None
    ) -> Tensor:
        """Brain embeddings of trials.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)
            Trials.
        return_features : bool
            Return the backbone's output, before the brain projector, as a dictionary with ``"features"`` of
            shape (b, backbone_width).
        subject_index : Tensor of int, shape (b,), optional
            Who saw them, counted from 0, for a backbone with parts of its own for each subject. Without it:
            the mean of the embeddings over the parts of all ``n_subjects``, as for a subject who has no part;
            without ``n_subjects``, everything goes through one part.

        Returns
        -------
        Tensor, shape (b, n_outputs), or dict
            UsageError if subjects are given to a backbone that does not take them.
        """
        x = self.inputs(x)
        if torch.jit.is_scripting() or (subject_index is None and self.n_subjects is None):
            features = self.neck(self.backbone(x))
        elif subject_index is None:
            features = self._of_unknown_subject(x)
        else:
            features = self.neck(self._of_subjects(x, subject_index))
        if not torch.jit.is_scripting():
            if return_features:
                return feature_dict(features)
        return self.final_layer(features)

    def _of_subjects(self, x: Tensor, subject_index: Tensor) -> Tensor:
        if not self.takes_subjects:
            raise UsageError(
                f"{type(self.backbone).__name__} has no subject-specific parts and takes no subject_index",
                "leave subject_index out, or choose a backbone that has them, such as BrainModule",
            )
        return self.backbone(x, subject_index=subject_index)

    def _of_unknown_subject(self, x: Tensor) -> Tensor:
        """Mean of the features over all parts, and so of the embeddings, because the projector is linear."""
        index = torch.zeros(x.shape[0], dtype=torch.long, device=x.device)
        parts = [
            self.neck(self._of_subjects(x, index + part)) for part in range(self.n_subjects or 1)
        ]
        return torch.stack(parts).mean(0)

    def freeze(self, *parts: str) -> SSR:
        """Keep parts as they are: no gradients, no dropout, no updates of batch-norm statistics.

        Parameters
        ----------
        *parts : str
            Names of submodules or parameters, such as ``"backbone"`` or ``"backbone.temporal"``.
        """
        for part in parts:
            for parameter in parameters_of(self, part).values():
                parameter.requires_grad_(False)
        self.frozen = (*self.frozen, *parts)
        return self.train(self.training)

    def train(self, mode: bool = True) -> SSR:
        """Switch to training mode, except for frozen parts."""
        nn.Module.train(self, mode)  # not super(): braindecode's tests bind this to a plain module
        modules = dict(self.named_modules())
        for part in getattr(self, "frozen", ()):
            if part in modules:
                modules[part].eval()
        return self

    def reset_head(self, n_outputs: int) -> None:
        """Replace both projectors with new ones into a space of another width."""
        self._set_n_outputs(n_outputs)
        like = next(self.parameters())
        self.image_head = self._make_image_head(n_outputs).to(like)
        self.final_layer = self._make_final_layer(n_outputs).to(like)

    def get_config(self) -> dict[str, Any]:
        """All parameters of the model as JSON values; UsageError if the backbone was given as an instance."""
        if not self._has_config:
            raise UsageError(
                f"the backbone was given as an instance of {type(self.backbone).__name__}, which no "
                "configuration describes",
                "build the model with the backbone's name and backbone_params, or save model.state_dict()",
            )
        return super().get_config()

    def _save_pretrained(self, save_directory: Any) -> None:
        self.get_config()
        super()._save_pretrained(save_directory)

    @classmethod
    def _from_pretrained(cls, *, strict: bool = True, **kwargs: Any) -> SSR:
        return super()._from_pretrained(strict=strict, **kwargs)


# -- image heads, which map features to the shared space; the others stand in image_heads.py -----------------


def build_image_head(
    head: str | type[nn.Module],
    widths: Sequence[int],
    n_outputs: int,
    params: dict[str, Any] | None = None,
) -> nn.Module:
    """An image head by its registered name, by a path as for backbones, or by its class.

    Parameters
    ----------
    head : str or type of nn.Module
    widths : sequence of int
        Of the vectors that are concatenated in a feature.
    n_outputs : int
        Width of the shared space.
    params : dict, optional
        The head's own parameters; UsageError if it does not take them, or there is no such head.
    """
    cls = image_head_class(head)
    try:
        return cls(tuple(widths), n_outputs, **(params or {}))
    except TypeError as error:
        raise UsageError(
            f"the image head {cls.__name__} cannot be built: {error}", "correct image_head_params"
        ) from error


def image_head_class(head: str | type[nn.Module]) -> type[nn.Module]:
    by_path = isinstance(head, str) and is_path(head)
    found = class_at("an image head", str(head)) if by_path else IMAGE_HEADS.resolve(head)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UsageError(
            f"{head!r} is not an image head: it is not a subclass of torch.nn.Module",
            f"choose one of: {', '.join(IMAGE_HEADS)}",
        )
    return found


def check_width(width: int, wanted: int) -> None:
    if width != wanted:
        raise UsageError(
            f"the model was built for image features of width {wanted}, and these have width {width}",
            "set n_features to the width of the features, or use the features of the model's own encoder",
        )


Length = Literal["raw", "unit"]


def vectors_of(features: Tensor, widths: list[int], unit: bool = False) -> list[Tensor]:
    """The vectors that are concatenated in features (..., sum of widths), of unit length if asked for."""
    if not torch.jit.is_scripting():
        check_width(features.shape[-1], sum(widths))
    vectors = features.split(widths, -1)
    return [F.normalize(vector, dim=-1) for vector in vectors] if unit else vectors


class ImageHead(nn.Linear):
    """A linear map of image features to the shared space.

    Parameters
    ----------
    widths : int or sequence of int
        Width of the features, or of the vectors that are concatenated in them.
    n_outputs : int
        Width of the shared space.
    length : {"raw", "unit"}
        Whether each vector keeps its length, or is normalized before the map.
    """

    def __init__(self, widths: int | Sequence[int], n_outputs: int, length: Length = "raw") -> None:
        self.widths = [widths] if isinstance(widths, int) else list(widths)
        self.unit = check_choice("length", length, Length) == "unit"
        super().__init__(sum(self.widths), n_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Image embeddings, shape (..., d) to (..., e)."""
        vectors = vectors_of(features, self.widths, self.unit)
        return F.linear(torch.cat(vectors, -1), self.weight, self.bias)


def two_layers(n_inputs: int, n_outputs: int) -> nn.Sequential:
    """Two linear maps with GELU between; weights start as in VE-SDN's code, normal with sd 0.02."""
    maps = nn.Linear(n_inputs, n_outputs), nn.Linear(n_outputs, n_outputs)
    for one in maps:
        nn.init.normal_(one.weight, 0.0, 0.02)
    return nn.Sequential(maps[0], nn.GELU(), maps[1])
