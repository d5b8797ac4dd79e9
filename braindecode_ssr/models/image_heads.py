"""Image heads: maps of image features to the shared space, linear unless chosen otherwise.

An image head is built from the widths of the vectors that are concatenated in a feature and the width of the
shared space, ``Head(widths, n_outputs, **params)``. Its ``forward`` maps features (..., sum of widths) to
image embeddings (..., n_outputs). Features of another width raise a UsageError.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..registry import check_choice
from ..retrieval.hyperbolic import expmap0, geodesic, logmap0
from .modules import ResidualBlock
from .ssr import Length, check_width, two_layers, vectors_of


class Head(nn.Module):
    """What the heads below share: features are split into vectors of ``widths``."""

    def __init__(self, widths: Sequence[int], length: Length = "raw") -> None:
        super().__init__()
        self.widths, self.unit = list(widths), check_choice("length", length, Length) == "unit"

    def vectors(self, features: Tensor) -> list[Tensor]:
        return vectors_of(features, self.widths, self.unit)

    def require(self, fits: bool, takes: str, hint: str) -> None:
        """Raise UsageError unless the vectors are what a head takes."""
        if not fits:
            widths = ", ".join(map(str, self.widths)) or "(none)"
            raise UsageError(f"{takes}, and there are {len(self.widths)} of widths {widths}", hint)


class PerceptronHead(Head):
    """The image head of VE-SDN: two linear maps with GELU between.

    Source: the public code of VE-SDN (Chen et al., arXiv 2408.06788), 787,456 parameters for 1024 to 512.

    Parameters
    ----------
    widths, length
        As for :class:`ImageHead`.
    n_outputs : int
        Width of the shared space, and between the maps.
    """

    def __init__(self, widths: Sequence[int], n_outputs: int, length: Length = "raw") -> None:
        super().__init__(widths, length)
        self.maps = two_layers(sum(widths), n_outputs)

    def forward(self, features: Tensor) -> Tensor:
        return self.maps(torch.cat(self.vectors(features), -1))


class BlurLevelsHead(Head):
    """The image head of UBP: one linear map for each of several blur levels; the middle one is the embedding.

    Training chooses a level for each trial, see :class:`braindecode_ssr.losses.UncertainBlur`; galleries hold
    the middle one, as in UBP's public code.

    Parameters
    ----------
    widths : sequence of int
        Of the levels that are concatenated in a feature, from less to more blur: an odd number of one width.
    n_outputs, length
        As for :class:`ImageHead`; published: ``length="unit"``.
    """

    def __init__(self, widths: Sequence[int], n_outputs: int, length: Length = "raw") -> None:
        super().__init__(widths, length)
        self.require(
            len(set(widths)) == 1 and len(widths) % 2 == 1,
            "blur-levels takes an odd number of vectors of one width, from less to more blur",
            'give one encoder, and three views with images.pool="side-by-side"',
        )
        self.map = nn.Linear(widths[0], n_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Embeddings of the middle level, shape (..., sum of widths) to (..., n_outputs)."""
        return self.levels(features)[..., len(self.widths) // 2, :]

    def levels(self, features: Tensor) -> Tensor:
        """Embeddings of all levels, shape (..., sum of widths) to (..., levels, n_outputs)."""
        return self.map(torch.stack(self.vectors(features), -2))


class NoHead(nn.Module):
    """No map at all: the shared space is that of the image features, as in a gallery of frozen features."""

    def __init__(self, widths: int | Sequence[int], n_outputs: int) -> None:
        super().__init__()
        self.width = widths if isinstance(widths, int) else sum(widths)
        if n_outputs != self.width:
            raise UsageError(
                f"without an image head the shared space is that of the image features, of width "
                f"{self.width}, and n_outputs is {n_outputs}",
                f"set n_outputs to {self.width}, or choose another image head",
            )

    def forward(self, features: Tensor) -> Tensor:
        """The features (..., d) themselves."""
        if not torch.jit.is_scripting():
            check_width(features.shape[-1], self.width)
        return features


class FusionHead(Head):
    r"""The image head of Brain-HIVE: a linear map of each vector, their sum, residual layers with norms.

    .. math:: h = \sum_k W_k f_k + b_k, \qquad
              y = \mathrm{LayerNorm}(h + W_2\,\mathrm{drop}(\sigma(W_1 h)))

    Source: Brain-HIVE (ICLR 2026, arXiv 2602.07495), where the vectors are those of CLIP RN50, CLIP ViT-B/32
    and the autoencoder of SDXL; 4,723,712 parameters, as in its public code.

    Parameters
    ----------
    widths, n_outputs
        As for :class:`ImageHead`.
    n_blocks : int
        Number of residual layers.
    drop_prob : float
        Dropout probability inside the residual layers.
    """

    def __init__(
        self, widths: Sequence[int], n_outputs: int, n_blocks: int = 1, drop_prob: float = 0.1
    ) -> None:
        super().__init__(widths)
        self.maps = nn.ModuleList(nn.Linear(width, n_outputs) for width in widths)
        blocks = [ResidualBlock(n_outputs, nn.GELU, drop_prob) for _ in range(n_blocks)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, features: Tensor) -> Tensor:
        pairs = zip(self.maps, self.vectors(features), strict=True)
        mapped = [to(vector) for to, vector in pairs]
        return self.blocks(torch.stack(mapped).sum(0))


class LayerMixerHead(Head):
    r"""The image head of SAMGA: two linear maps of each layer, and their weighted mean.

    .. math:: y = \sum_k \mathrm{softmax}(\ell)_k \, (W_k (P f_k + p) + b_k)

    The first map :math:`P` is shared by all layers if they have one width, else each has its own. There is
    nothing between the two maps, as published, so that together they are linear.

    Source: SAMGA (arXiv 2604.17782), where the vectors are layers 20, 24, 28, 32 and 36 of InternViT-6B.
    There the logits also have a part for each subject, omitted at test time, and a linear map follows that
    brain and image share.

    Parameters
    ----------
    widths, n_outputs
        As for :class:`ImageHead`; the vectors are those of the layers.
    width : int
        Between the two maps.
    centre, strength : float
        Where the logits start, see :func:`depth_prior`.
    """

    def __init__(
        self,
        widths: Sequence[int],
        n_outputs: int,
        width: int = 1024,
        centre: float | None = None,
        strength: float = 1.0,
    ) -> None:
        super().__init__(widths)
        first = self.widths[:1] if len(set(self.widths)) == 1 else self.widths
        self.first = nn.ModuleList(nn.Linear(n_inputs, width) for n_inputs in first)
        self.maps = nn.ModuleList(nn.Linear(width, n_outputs) for _ in self.widths)
        self.logits = nn.Parameter(depth_prior(len(self.widths), centre, strength))

    def layer_weights(self) -> Tensor:
        """How much each layer counts, shape (k,); they sum to 1."""
        return self.logits.softmax(0)

    def forward(self, features: Tensor) -> Tensor:
        layers = self.vectors(features)
        first = [*self.first] * (len(layers) if len(self.first) == 1 else 1)
        mapped = [own(to(layer)) for own, to, layer in zip(self.maps, first, layers, strict=True)]
        return torch.einsum("k,k...e->...e", self.layer_weights(), torch.stack(mapped))


def depth_prior(n_layers: int, centre: float | None = None, strength: float = 1.0) -> Tensor:
    r"""Initial logits of layers, shape (n_layers,): :math:`-\mathrm{strength} \cdot |k - \mathrm{centre}|`.

    ``centre``, counted from 0, is by default the middle; a strength of 0 weighs all layers alike.
    """
    centre = (n_layers - 1) / 2 if centre is None else centre
    if not 0 <= centre <= n_layers - 1:
        raise UsageError(
            f"centre {centre} is outside the {n_layers} layers",
            f"set image_head_params.centre to 0 to {n_layers - 1}, or leave it out",
        )
    if strength < 0:
        raise UsageError(
            f"strength {strength} is negative", "set image_head_params.strength to 0 or more"
        )
    return -strength * (torch.arange(n_layers) - centre).abs().float()


class BlurMixerHead(Head):
    r"""The image head of VED: a learned mixture of blur levels, a bottleneck, a linear map.

    Each number of a feature is a weighted mean of that number at every blur level and in a few default
    features, which are learned and the same for all images; a number that blur does not help can thus be
    replaced by a constant. Then :math:`W_2\,\mathrm{drop}(\sigma(W_1 x + b_1)) + b_2`, with ELU.

    Source: VED (Liu et al., AAAI 2026). Not in the text, and as in the public code: four default features
    that start at 0, scores that start uniformly between 0 and 1, no residual around the bottleneck, whose
    width is 768 there and 1024 in the supplement. The linear map to ``n_outputs`` is ours: in VED the brain
    is compared with the bottleneck's output.

    Parameters
    ----------
    widths : sequence of int
        Of the vectors that are concatenated in a feature: all the same.
    n_outputs, length
        As for :class:`ImageHead`; published: ``length="unit"``.
    n_defaults : int
        Number of default features; 0 for none.
    n_hidden : int
        Width of the bottleneck.
    drop_prob : float
        Dropout probability inside it.
    """

    def __init__(
        self,
        widths: Sequence[int],
        n_outputs: int,
        n_defaults: int = 4,
        n_hidden: int = 768,
        drop_prob: float = 0.85,
        length: Length = "raw",
    ) -> None:
        super().__init__(widths, length)
        self.require(
            len(set(widths)) == 1,
            "the blur mixer mixes vectors of one width, element by element",
            "give one encoder with --encoder, or choose another model.image_head",
        )
        width = widths[0]
        self.defaults = nn.Parameter(torch.zeros(n_defaults, width))
        self.scores = nn.Parameter(torch.rand(len(widths) + n_defaults, width))
        self.adapter = nn.Sequential(
            nn.Linear(width, n_hidden), nn.ELU(), nn.Dropout(drop_prob), nn.Linear(n_hidden, width)
        )
        self.to_shared = nn.Linear(width, n_outputs)

    def forward(self, features: Tensor) -> Tensor:
        vectors = torch.stack(self.vectors(features), -2)
        return self.to_shared(self.adapter(mix(vectors, self.defaults, self.scores)))


def mix(vectors: Tensor, defaults: Tensor, scores: Tensor) -> Tensor:
    r"""Mix vectors (..., k, d) and learned defaults (m, d), each number weighted by a softmax of its own.

    .. math:: y_j = \sum_{i \le k} w_{ij} v_{ij} + \sum_{i > k} w_{ij} u_{i-k,j}, \qquad
              w_{ij} = e^{s_{ij}} \big/ \sum_l e^{s_{lj}}

    Scores (k + m, d) are those before the softmax, those of the vectors first.
    """
    shares = scores.softmax(0)
    n_vectors = vectors.shape[-2]
    return (vectors * shares[:n_vectors]).sum(-2) + (defaults * shares[n_vectors:]).sum(0)


class GeodesicHead(Head):
    r"""The image head of HyFI: a semantic and a perceptual vector, mapped, lifted and interpolated.

    With the semantic vector :math:`s`, the perceptual one :math:`p`, and maps between points and tangent
    vectors at the origin as in :mod:`braindecode_ssr.retrieval.hyperbolic`,

    .. math:: y = \log_0 \gamma_t\big(\exp_0(W_1 \tfrac{s}{|s|} + b_1),\; \exp_0(W_2\, p + b_2)\big), \qquad
              t = \sigma(w \cdot s + b),

    where :math:`\gamma_t` is the point at share t of the geodesic from the first to the second.

    Source: HyFI (AAAI 2026, arXiv 2603.22721), where s is the feature of a foveal blur and p that of a strong
    Gaussian blur; only s is normalized, and only for its map.

    Parameters
    ----------
    widths : sequence of int
        Of the vectors that are concatenated in a feature: first the semantic, then the perceptual one, of one
        width. A single vector is used as both.
    n_outputs : int
        Width of the shared space; published: 1024, as wide as the features.
    perceptual : {"raw", "unit"}
        Whether the perceptual vector keeps its length, as published, or is normalized, for encoders whose
        features are long (those of ``pyramid`` have length 28).
    """

    def __init__(self, widths: Sequence[int], n_outputs: int, perceptual: Length = "raw") -> None:
        super().__init__(widths)
        self.require(
            len(widths) <= 2 and len(set(widths)) == 1,
            "the image head geodesic takes one vector, or a semantic and a perceptual one of one width",
            'give one encoder, and two views with images.pool="side-by-side"',
        )
        self.perceptual_unit = check_choice("perceptual", perceptual, Length) == "unit"
        width = widths[0]
        self.semantic = nn.Linear(width, n_outputs)
        self.perceptual = nn.Linear(width, n_outputs)
        self.share = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Image embeddings: tangent vectors at the origin."""
        vectors = self.vectors(features)
        semantic, perceptual = vectors[0], vectors[-1]
        if self.perceptual_unit:
            perceptual = F.normalize(perceptual, dim=-1)
        start = expmap0(self.semantic(F.normalize(semantic, dim=-1)))
        end = expmap0(self.perceptual(perceptual))
        return logmap0(geodesic(start, end, self.share(semantic).sigmoid()))


class ExpertsHead(Head):
    r"""The image head of BraVL: perceptrons map vectors to Gaussians, which are multiplied.

    An image's embedding is the mean of the product of the Gaussians; for a single vector its own mean:

    .. math:: \mu = \sum_k \mu_k \sigma_k^{-2} \big/ \sum_k \sigma_k^{-2}

    Vectors are first scaled to a root mean square of 1.

    Source: BraVL (Du et al., TPAMI 2023, arXiv 2210.06756), where the vectors are those of CORnet-S and of
    the text encoder of CLIP, each multiplied by a fixed number.

    Parameters
    ----------
    widths, n_outputs
        As for :class:`ImageHead`.
    hidden : int
        Width of the two hidden layers.
    """

    def __init__(self, widths: Sequence[int], n_outputs: int, hidden: int = 256) -> None:
        super().__init__(widths)
        self.encoders = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
            for width in self.widths
        )
        self.means = nn.ModuleList(nn.Linear(hidden, n_outputs) for _ in self.widths)
        self.log_variances = nn.ModuleList(nn.Linear(hidden, n_outputs) for _ in self.widths)

    def forward(self, features: Tensor) -> Tensor:
        mean, log_variance = self.posteriors(features).unbind(-2)
        return (torch.softmax(-log_variance, -2) * mean).sum(-2)

    def posteriors(self, features: Tensor) -> Tensor:
        """Mean and log-variance from each vector, shape (..., sum of widths) to (..., m, 2, n_outputs)."""
        found = []
        for k, vector in enumerate(self.vectors(features)):
            size = vector.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)
            inside = self.encoders[k](vector / size)
            found.append(torch.stack([self.means[k](inside), self.log_variances[k](inside)], -2))
        return torch.stack(found, -3)
