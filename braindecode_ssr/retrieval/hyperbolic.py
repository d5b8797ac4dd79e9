r"""Hyperbolic space in Lorentz's model: tangent vectors, points, distances, geodesics.

The space of curvature :math:`-c` is the sheet :math:`\langle x, x \rangle = -1/c,\ x_0 > 0` of the Lorentz
inner product :math:`\langle x, y \rangle = x \cdot y - x_0 y_0`. A point is given by its space part, shape
(..., e); its time part is :math:`x_0 = \sqrt{1/c + |x|^2}`. Embeddings are tangent vectors at the origin
(the point whose space part is 0): plain vectors, as long as their point is far from the origin.

The curvature is a constant of the project and no parameter of a run: vectors twice as long in a space of a
quarter of the curvature are twice as far from each other, :math:`d_c(u, v) = d_1(\sqrt c\, u, \sqrt c\, v) /
\sqrt c`, so maps that learn lengths make it redundant.

Sources: Nickel and Kiela (2018), arXiv:1806.03417; Desai et al. (2023), MERU, arXiv:2304.09172, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

CURVATURE = 0.07
"""That of HyFI's loss (AAAI 2026, arXiv 2603.22721)."""
FARTHEST = 40.0
"""Largest distance from the origin, in units of 1 / sqrt(c), that float32 can represent."""
SMALLEST = 1e-15


def expmap0(tangent: Tensor, curvature: float = CURVATURE) -> Tensor:
    r"""The point at which the geodesic from the origin along a tangent vector ends.

    .. math:: x = \frac{\sinh(\sqrt c\,|u|)}{\sqrt c\,|u|}\, u

    From vectors to the space parts of points, both (..., e); lengths above ``FARTHEST / sqrt(c)`` are clamped
    to it.
    """
    radius = _length(tangent, curvature).clamp_min(SMALLEST)
    return tangent * (radius.clamp(max=FARTHEST).sinh() / radius)


def logmap0(point: Tensor, curvature: float = CURVATURE) -> Tensor:
    r"""The tangent vector at the origin that leads to a point (..., e); the inverse of :func:`expmap0`.

    .. math:: u = \frac{\operatorname{asinh}(\sqrt c\,|x|)}{\sqrt c\,|x|}\, x
    """
    length = _length(point, curvature).clamp_min(SMALLEST)
    return point * (length.asinh() / length)


def distance(x: Tensor, y: Tensor, curvature: float = CURVATURE) -> Tensor:
    r"""Length of the geodesic between points, :math:`\operatorname{acosh}(-c\langle x, y\rangle) / \sqrt c`.

    From points (..., e) to distances (...). Gradients are finite everywhere, also where the points are equal:
    a distance below the rounding of its type goes to 0 like its square.
    """
    to, of = _length(x, curvature)[..., 0], _length(y, curvature)[..., 0]
    return _distance(to, of, (x * y).sum(-1), curvature)


def pairwise_distance(x: Tensor, y: Tensor, curvature: float = CURVATURE) -> Tensor:
    """Distance of all pairs of points, (n, e) and (m, e) to (n, m)."""
    return _distance(_length(x, curvature), _length(y, curvature).mT, x @ y.mT, curvature)


def geodesic(x: Tensor, y: Tensor, share: Tensor, curvature: float = CURVATURE) -> Tensor:
    r"""The point at a share :math:`t` (..., 1) of the way from x to y (..., e), along a geodesic.

    .. math:: \frac{\sinh((1 - t)\,\delta)}{\sinh \delta}\, x + \frac{\sinh(t\,\delta)}{\sinh \delta}\, y,
              \qquad \delta = \sqrt c\, d(x, y)
    """
    angle = curvature**0.5 * distance(x, y, curvature)[..., None]
    return _sinh_ratio(1 - share, angle) * x + _sinh_ratio(share, angle) * y


def _length(rows: Tensor, curvature: float) -> Tensor:
    """Lengths in units of 1 / sqrt(c), shape (..., 1)."""
    return curvature**0.5 * torch.linalg.vector_norm(rows, dim=-1, keepdim=True)


def _distance(to: Tensor, of: Tensor, dots: Tensor, curvature: float) -> Tensor:
    """Distances from lengths of space parts and their dot products.

    With lengths sinh a and sinh b, cosh(d) - 1 is cosh(a - b) - 1, which is 2 sinh((a - b) / 2) squared, plus
    the contribution of the angle; acosh of a number near 1 would lose what separates near points.
    """
    apart = (to.asinh() - of.asinh()).div(2).sinh().square()
    half = apart + (to * of - curvature * dots) / 2
    rounding = torch.finfo(half.dtype).eps
    near = (half / rounding).clamp(0, 1)
    return 2 * half.clamp_min(rounding).sqrt().asinh() * near / curvature**0.5


def _sinh_ratio(share: Tensor, angle: Tensor) -> Tensor:
    """sinh(share * angle) / sinh(angle); by its series where the angle is small."""
    small = angle < torch.finfo(angle.dtype).eps ** 0.25
    series = share * (1 - (1 - share.square()) * angle.square() / 6)
    angle = torch.where(small, 1.0, angle)
    return torch.where(small, series, (share * angle).sinh() / angle.sinh())
