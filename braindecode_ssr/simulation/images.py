"""Procedural images: a concept is a family of shapes, textures, colors and layouts."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

from ..files import in_chunks, in_threads
from .experiment import LivelyResponse, Preset, Response, generator

TEXTURES = ("plain", "stripes", "checks", "dots", "rings", "patches")
GROUNDS = ("gradient", "clouds", "horizon", "stripes")
JPEG_QUALITY = 92
CATEGORIES = 20
MEANINGS = 32  # dimensions of a meaning
WAVE = 1.0  # of each dimension, in units of an orthonormal cosine transform of an image in 0..1
LUMINANCE = np.array([0.299, 0.587, 0.114])
N_ANGLES = 360


@dataclass(frozen=True, eq=False)
class Concept:
    """What the images of a concept have in common; lengths in half image edges, angles in radians."""

    palette: np.ndarray  # hue, saturation, value of two background and two object colors, (4, 3)
    ground: str  # kind of background, one of GROUNDS
    texture: str  # texture of the objects, one of TEXTURES
    frequency: float  # of the texture, in cycles per object
    angle: float  # of the texture, relative to the axis of the object
    outline: np.ndarray  # cosine and sine coefficients of the log radius of the outline, (6, 2)
    hole: float  # radius of the hole relative to the outline; 0 for none
    squash: float  # height over width of an object
    layout: np.ndarray  # center x and y, size and rotation of each object, (objects, 4)
    upright: float  # how much an exemplar may rotate
    grain: float  # strength of fine grain


def draw_concept(rng: np.random.Generator) -> Concept:
    outline = rng.normal(size=(6, 2)) / np.arange(2, 8)[:, None] ** rng.uniform(0.5, 1.6)
    palette = np.column_stack(
        [rng.uniform(0, 1, 4), rng.uniform(0.1, 0.95, 4), rng.uniform(0.15, 1.0, 4)]
    )
    palette[3, 0] = palette[2, 0] + rng.normal(0, 0.15)
    palette[1, 0] = palette[0, 0] + rng.normal(0, 0.1)
    return Concept(
        palette=palette,
        ground=str(rng.choice(GROUNDS)),
        texture=str(rng.choice(TEXTURES)),
        frequency=float(np.exp(rng.uniform(np.log(1.0), np.log(6.0)))),
        angle=float(rng.uniform(0, np.pi)),
        outline=0.45 * rng.uniform(0.2, 1.0) * outline,
        hole=float(rng.uniform(0.3, 0.6)) if rng.random() < 0.2 else 0.0,
        squash=float(np.exp(rng.normal(0, 0.35))),
        layout=_draw_layout(rng),
        upright=float(rng.choice([0.15, 0.35, 0.7])),
        grain=float(rng.uniform(0.02, 0.16)),
    )


def _draw_layout(rng: np.random.Generator) -> np.ndarray:
    n = int(rng.choice([1, 1, 1, 2, 3, 5, 7]))
    if n == 1:
        centers = rng.normal(0, 0.15, (1, 2))
    elif rng.random() < 0.5:
        turn = rng.uniform(0, 2 * np.pi) + np.arange(n) * 2 * np.pi / n
        centers = 0.5 * np.column_stack([np.cos(turn), np.sin(turn)])
    else:
        across = np.linspace(-0.6, 0.6, n)
        slope = rng.uniform(0, np.pi)
        centers = np.column_stack([across * np.cos(slope), across * np.sin(slope)])
        centers += rng.normal(0, 0.08, centers.shape)
    size = rng.uniform(0.4, 0.75) / n**0.45 * np.exp(rng.normal(0, 0.1, n))
    return np.column_stack([centers, size, np.full(n, rng.uniform(0, 2 * np.pi))])


def vary(concept: Concept, rng: np.random.Generator) -> Concept:
    """An exemplar of a concept: rotated, moved, scaled, recolored and reshaped a little."""
    layout = concept.layout.copy()
    turn = rng.normal(0, concept.upright)
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    layout[:, :2] = layout[:, :2] @ spin.T + rng.normal(0, 0.12, 2)
    layout[:, :2] += rng.normal(0, 0.05, (len(layout), 2))
    layout[:, 2] *= np.exp(rng.normal(0, 0.18)) * np.exp(rng.normal(0, 0.08, len(layout)))
    layout[:, 3] += turn + rng.normal(0, 0.15, len(layout))
    palette = concept.palette + rng.normal(0, (0.025, 0.08, 0.08), (4, 3))
    palette[:2] += rng.normal(0, (0.06, 0.08, 0.1), (2, 3))
    return replace(
        concept,
        palette=palette,
        layout=layout,
        ground=concept.ground if rng.random() < 0.7 else str(rng.choice(GROUNDS)),
        frequency=concept.frequency * float(np.exp(rng.normal(0, 0.15))),
        angle=concept.angle + float(rng.normal(0, 0.15)),
        outline=concept.outline + rng.normal(0, 0.03, (6, 2)),
        squash=concept.squash * float(np.exp(rng.normal(0, 0.15))),
        grain=concept.grain * float(np.exp(rng.normal(0, 0.3))),
    )


def render(concept: Concept, size: int, rng: np.random.Generator) -> np.ndarray:
    """Paint a concept, after :func:`vary`, with random background, light and grain: uint8 (size, size, 3)."""
    colors = _rgb(concept.palette)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    canvas = _blend(colors[0], colors[1], _ground(concept, x, y, rng))
    for thing in concept.layout.tolist():
        _paint(canvas, concept, colors[2:], thing, x, y, rng)
    light = rng.normal(0, 0.15, 2).tolist()
    canvas *= (1 + light[0] * x + light[1] * y)[..., None]
    noise = rng.standard_normal((size, size), dtype=np.float32)
    canvas += (concept.grain * (noise - gaussian_filter(noise, size / 50)))[..., None]
    return np.clip(np.rint(255 * canvas), 0, 255).astype(np.uint8)


def _paint(
    canvas: np.ndarray,
    concept: Concept,
    colors: np.ndarray,
    thing: list[float],
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Paint one object onto the canvas, within the rectangle it can reach."""
    center_x, center_y, extent, turn = thing
    reach = math.exp(0.7) * extent * max(1.0, concept.squash)
    size = len(canvas)
    box = tuple(
        slice(
            max(0, math.floor((center - reach + 1) / 2 * (size - 1)) - 1),
            max(0, math.ceil((center + reach + 1) / 2 * (size - 1)) + 2),
        )
        for center in (center_y, center_x)
    )
    x, y, canvas = x[box] - center_x, y[box] - center_y, canvas[box]
    cosine, sine = math.cos(turn) / extent, math.sin(turn) / extent
    u, v = x * cosine + y * sine, y * cosine - x * sine
    mask = _mask(concept, u, v / concept.squash, extent * size / 2)
    surface = _blend(colors[0], colors[1], _texture(concept, u, v, rng))
    canvas += mask[..., None] * (surface - canvas)


def _ground(concept: Concept, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turn = float(rng.normal(0, 0.6))
    along = math.cos(turn) * y + math.sin(turn) * x
    if concept.ground == "gradient":
        return 0.5 + 0.5 * along
    if concept.ground == "horizon":
        return 1 / (1 + np.exp(-18 * (along - float(rng.normal(0, 0.25)))))
    if concept.ground == "stripes":
        cycles, phase = rng.uniform((1, 0), (3, 2 * np.pi)).tolist()
        return 0.5 + 0.5 * np.sin(2 * np.pi * cycles * along + phase)
    clouds = zoom(rng.normal(0.5, 0.35, (6, 6)), len(x) / 6, order=3)
    return np.clip(clouds[: len(x), : len(x)], 0, 1).astype(np.float32)


def _mask(concept: Concept, u: np.ndarray, v: np.ndarray, pixels: float) -> np.ndarray:
    """Mask of the inside of the outline, with a soft edge of one pixel; ``pixels`` is the radius."""
    angle, radius = np.arctan2(v, u), np.hypot(u, v)
    edge = _edge(concept.outline)[(angle * (N_ANGLES / (2 * np.pi))).astype(np.intp)]
    inside = np.minimum(edge - radius, radius - concept.hole * edge if concept.hole else np.inf)
    return np.clip(0.5 + inside * pixels, 0, 1)


def _edge(outline: np.ndarray) -> np.ndarray:
    """Radius of the outline at ``N_ANGLES`` angles from 0; negative indices are negative angles."""
    waves = np.arange(2, 8)[:, None] * np.linspace(0, 2 * np.pi, N_ANGLES, endpoint=False)
    logarithm = outline[:, 0] @ np.cos(waves) + outline[:, 1] @ np.sin(waves)
    return np.exp(np.clip(logarithm, -0.9, 0.7)).astype(np.float32)


def _texture(
    concept: Concept, u: np.ndarray, v: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    cosine, sine = math.cos(concept.angle), math.sin(concept.angle)
    phase = rng.uniform(0, 2 * np.pi, 2).tolist()
    along = np.pi * concept.frequency * (u * cosine + v * sine) + phase[0]
    across = np.pi * concept.frequency * (v * cosine - u * sine) + phase[1]
    if concept.texture == "plain":
        return 0.5 + 0.3 * (u * cosine + v * sine)
    if concept.texture == "stripes":
        wave = np.sin(along)
    elif concept.texture == "checks":
        wave = np.sin(along) * np.sin(across) * 2
    elif concept.texture == "dots":
        wave = np.cos(along) + np.cos(across) - 0.6
    elif concept.texture == "rings":
        wave = np.sin(np.pi * concept.frequency * np.hypot(u, v) + phase[0])
    else:
        wave = np.sin(along + 1.5 * np.sin(0.7 * across)) + np.sin(0.6 * across + np.sin(along))
    return 0.5 + 0.5 * np.tanh(3 * wave)


def _blend(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1).astype(np.float32)[..., None]
    return first + share * (second - first)


def _rgb(palette: np.ndarray) -> np.ndarray:
    """Hue, saturation, value to red, green, blue; hue is cyclic, the others are clipped."""
    hue = palette[:, :1] % 1
    saturation, value = np.clip(palette[:, 1:], 0, 1).T[..., None]
    ramp = np.abs((hue + np.array([1, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    return (value * (1 + saturation * (np.clip(ramp, 0, 1) - 1))).astype(np.float32)


def jpeg(concept: str, exemplar: str, size: int, seed: int, version: int = 1) -> bytes:
    """The JPEG file of an image, which its names and the seed determine; ``size`` in pixels.

    In version 2, a category has background and palette, and the luminance holds the :func:`meaning`.
    """
    family = draw_concept(generator(seed, "concept", concept))
    rng = generator(seed, "exemplar", concept, exemplar)
    if version == 1:
        picture = render(vary(family, rng), size, rng)
    else:
        kin = _category_look(seed, category(concept, seed))
        hue = generator(seed, "hue", concept).normal(0, 0.12, (4, 3))
        family = replace(family, ground=kin.ground, palette=kin.palette + hue)
        small = Image.fromarray(render(vary(family, rng), size // 2, rng))
        picture = with_meaning(small.resize((size, size)), meaning(concept, exemplar, seed))
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def category(concept: str, seed: int) -> int:
    """The category of a concept, from 0."""
    return int(generator(seed, "category of", concept).integers(CATEGORIES))


@cache
def _category_look(seed: int, number: int) -> Concept:
    return draw_concept(generator(seed, "look", number))


def meaning(
    concept: str,
    exemplar: str,
    seed: int,
    shares: tuple[float, float, float] = (0.3, 0.4, 0.3),
) -> np.ndarray:
    """The meaning of an image: a vector of variance one, (MEANINGS,), fixed by its names and the seed.

    The sum of a point of its category, one of its concept and one of its own, with shares of the variance.
    """
    origins = ((category(concept, seed),), (concept,), (concept, exemplar))
    parts = [generator(seed, "meaning", *origin).normal(size=MEANINGS) for origin in origins]
    return np.sqrt(shares) @ np.stack(parts)


def with_meaning(picture: Image.Image, point: np.ndarray) -> np.ndarray:
    """Replace some coarse waves of the luminance by those of a meaning; uint8, shape (size, size, 3)."""
    pixels = np.asarray(picture, np.float64) / 255
    down, across = _waves(picture.size[0])
    now = np.sum(down @ (pixels @ LUMINANCE) * across, axis=1)
    pixels += ((WAVE * point - now) * down.T @ across)[..., None]
    return np.clip(np.rint(255 * pixels), 0, 255).astype(np.uint8)


@cache
def _waves(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of each wave along both axes, ``(MEANINGS, size)``: a DCT, from 3 half cycles on."""
    down, across = np.nonzero(np.add.outer(np.arange(9) ** 2, np.arange(9) ** 2) >= 9)
    order = np.argsort(np.hypot(down, across), kind="stable")
    order = order[(down[order] > 0) & (across[order] > 0)][:MEANINGS]
    cosines = np.cos(np.pi * np.outer(np.arange(9), np.arange(size) + 0.5) / size)
    cosines *= np.sqrt(2 / size)
    return cosines[down[order]], cosines[across[order]]


def decode(file: bytes) -> Image.Image:
    with Image.open(io.BytesIO(file)) as picture:
        return picture.convert("RGB")


ONSETS = "b bl br c ch d dr f fl g gr h j k kl l m n p pl pr r s sh sk sl sn st t tr v w z".split()
VOWELS = "a e i o u oo ee ai ou".split()
CODAS = "b ck d g l m n nd ng p r rn sk st t x".split()


def concept_words(n: int, seed: int) -> list[str]:
    """``n`` invented words, all different, in random order."""
    rng = generator(seed, "words")
    words: dict[str, None] = {}
    while len(words) < n:
        syllables = [
            str(rng.choice(ONSETS)) + str(rng.choice(VOWELS)) for _ in range(rng.integers(1, 3))
        ]
        words["".join(syllables) + str(rng.choice(CODAS))] = None
    return list(words)


def image_table(preset: Preset, seed: int) -> pd.DataFrame:
    """The image table of an experiment; as in THINGS-EEG2, sorted files of a split are in number order."""
    words = concept_words(preset.concepts + preset.test_images, seed)
    exemplar = generator(seed, "exemplars").integers(1, 13, preset.test_images)
    of_concept = range(1, preset.images_per_concept + 1)
    train = [(word, k) for word in sorted(words[: preset.concepts]) for k in of_concept]
    test = list(zip(sorted(words[preset.concepts :]), exemplar.tolist(), strict=True))
    return pd.concat([_rows("train", train), _rows("test", test)], ignore_index=True)


def things_numbers(concepts: list[str]) -> dict[str, int]:
    """Concept to its number from 1 in the ASCII-sorted list of all concepts."""
    return {concept: k for k, concept in enumerate(sorted(set(concepts)), 1)}


def _rows(split: str, images: list[tuple[str, int]]) -> pd.DataFrame:
    concepts = [concept for concept, _ in images]
    folder = things_numbers(concepts)
    ids = [f"{concept}/{concept}_{k:02d}{'b' if k == 1 else 's'}" for concept, k in images]
    files = [f"{folder[c]:05d}_{image_id}.jpg" for c, image_id in zip(concepts, ids, strict=True)]
    table = {"number": range(1, len(ids) + 1), "image_id": ids, "concept": concepts, "file": files}
    return pd.DataFrame({"split": split, **table})


# -- the eye -------------------------------------------------------------------------------------------------

# The eye leads from pixels to the features that the simulated brain responds to. Its view is low-pass and
# foveated: sharp only near the center, and nowhere finer than about a fortieth of the image edge. Early
# features are luminance, opponent colors and local oriented energy on a coarse retinotopic grid; late ones
# are statistics of the whole view through a fixed random nonlinear layer. Both are reduced by fixed
# projections, fitted once on reference images of the training split.

RETINA = 48  # edge of the view, in samples
BLURS = (0.8, 1.6, 3.2)  # samples: fovea to periphery
WAVELENGTHS = (5.0, 10.0)  # samples
N_ORIENTATIONS = 4
GRID, COLOR_GRID = 5, 4
HIDDEN = 96
LATE_DRIVE = 0.5  # standard deviation of the input to the random nonlinear layer
PAD = 12
OPPONENT = np.array([[0.30, 0.59, 0.11], [0.70, -0.70, 0.0], [-0.35, -0.35, 0.70]], np.float32)


def retina(image: Image.Image) -> np.ndarray:
    """Foveated luminance, red-green and blue-yellow of a square RGB image, float32 (3, RETINA, RETINA)."""
    small = np.asarray(image.resize((RETINA, RETINA), Image.Resampling.BOX), np.float32) / 255
    channels = np.moveaxis(small @ OPPONENT.T, -1, 0)
    levels = np.stack([gaussian_filter(channels, (0, sigma, sigma)) for sigma in BLURS])
    return np.einsum("lij,lcij->cij", _acuity(), levels)


def raw_features(views: np.ndarray, only_early: bool = False) -> list[np.ndarray]:
    """Early and late features of views ``(n, 3, RETINA, RETINA)`` before reduction, each ``(n, d)``."""
    luminance = views[:, 0]
    parts = in_chunks(lambda part: oriented_energy(luminance[part]), len(luminance), 32)
    energy = np.concatenate(list(parts))
    compressed = np.sqrt(energy)
    early = [_pool(compressed, GRID), _pool(views[:, :1], 8), _pool(views[:, 1:], COLOR_GRID)]
    if only_early:
        return [_joined(early)]
    flat = compressed.reshape(*compressed.shape[:2], -1)
    colors = views.reshape(len(views), 3, -1)
    late = [
        np.log(flat.mean(-1) + 0.01),
        np.log(flat.std(-1) + 0.01),
        *(np.quantile(colors, q, axis=-1) for q in (0.1, 0.5, 0.9)),
        np.log(colors.std(-1) + 0.02),
        compressed.mean(1).reshape(len(views), -1) @ _rings().T,
    ]
    return [_joined(early), _joined(late)]


def oriented_energy(luminance: np.ndarray) -> np.ndarray:
    """Squared modulus of Gabor responses to luminance (n, RETINA, RETINA), one map a filter."""
    padded = np.pad(luminance, ((0, 0), (PAD, PAD), (PAD, PAD)), mode="reflect")
    spectrum = np.fft.fft2(padded)[:, None] * _gabor_spectra()[None]
    filtered = np.fft.ifft2(spectrum)[..., PAD:-PAD, PAD:-PAD]
    return np.square(np.abs(filtered)).astype(np.float32)


def latents(
    early: np.ndarray, images: Sequence[tuple[str, str]], response: LivelyResponse, seed: int
) -> np.ndarray:
    """The features that drive a brain of version 2: early ones, as an eye saw them, and meanings.

    Each dimension levels off at ``response.saturation`` of its standard deviations; rounded, so that the last
    bits of linear algebra do not matter. Float32, shape (n_images, early + late dims).
    """
    points = np.stack([meaning(*image, seed, response.shares) for image in images])
    points = points[:, : response.late_dims]
    points *= np.arange(1, response.late_dims + 1) ** -response.spectrum
    spread = np.concatenate([np.arange(1, part.shape[1] + 1) for part in (early, points)])
    limit = response.saturation * spread**-response.spectrum
    return np.round(limit * np.tanh(np.hstack([early, points]) / limit), 4).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Eye:
    """Fixed maps from images to the features of the brain; the late ones are those of version 1."""

    early: tuple[np.ndarray, np.ndarray]  # mean (raw,) and projection (raw, dims)
    late: tuple[np.ndarray, np.ndarray] | None = None
    hidden: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # mean, weights, bias before it

    def see(self, images: Iterable[Image.Image], batch: int = 64) -> np.ndarray:
        """Features of images: early dimensions first; float32, shape (n_images, dims)."""
        views = list(in_threads(retina, images))
        batches = in_chunks(lambda part: self.features(np.stack(views[part])), len(views), batch)
        return np.concatenate(list(batches))

    def features(self, views: np.ndarray) -> np.ndarray:
        """Features of views of :func:`retina`; float32, shape (n_images, dims)."""
        early, *rest = raw_features(views, self.late is None)
        parts = [(early - self.early[0]) @ self.early[1]]
        if self.late is not None and self.hidden is not None:
            parts.append((_hidden_layer(rest[0], self.hidden) - self.late[0]) @ self.late[1])
        return np.concatenate(parts, axis=1).astype(np.float32)


def fit_eye(references: Iterable[Image.Image], response: Response, seed: int) -> Eye:
    """The eye of an experiment; ``references`` are training images that fix means, scales and directions."""
    of_meaning = isinstance(response, LivelyResponse)
    views = np.stack(list(in_threads(retina, references)))
    early, *rest = raw_features(views, of_meaning)
    seen = _principal(early, response.early_dims, response.spectrum)
    if of_meaning:
        return Eye(seen)
    (late,) = rest
    rng = generator(seed, "eye")
    layer = rng.normal(size=(late.shape[1], HIDDEN)) / np.sqrt(late.shape[1])
    layer = LATE_DRIVE * layer / (late.std(0)[:, None] + 1e-6)
    hidden = late.mean(0), layer, rng.normal(0, 0.5, HIDDEN)
    late = _hidden_layer(late, hidden)
    return Eye(seen, _principal(late, response.late_dims, response.spectrum), hidden)


def _hidden_layer(
    late: np.ndarray, weights: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """The random nonlinear layer: ``tanh((late - mean) W + bias)``; shape (n, HIDDEN)."""
    mean, matrix, bias = weights
    return np.tanh((late - mean) @ matrix + bias)


def _principal(raw: np.ndarray, dims: int, spectrum: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and projection to principal components whose k-th standard deviation is k^-spectrum."""
    mean = raw.mean(0)
    _, scales, directions = np.linalg.svd(raw - mean, full_matrices=False)
    dims = min(dims, int((scales > 1e-6 * scales[0]).sum()))
    directions = directions[:dims]
    directions *= np.sign(directions[range(dims), np.abs(directions).argmax(1)])[:, None]
    wanted = np.arange(1, dims + 1) ** -spectrum
    return mean, (directions * (wanted * np.sqrt(len(raw)) / scales[:dims])[:, None]).T


def _axis(size: int) -> np.ndarray:
    return (np.arange(size) + 0.5) / size * 2 - 1


@cache
def _acuity() -> np.ndarray:
    """Weight of each blur level at each place; sums to one over levels."""
    x = _axis(RETINA)
    level = np.clip(1.6 * np.hypot(x[:, None], x[None]), 0, len(BLURS) - 1)
    steps = np.arange(len(BLURS))[:, None, None]
    return np.clip(1 - np.abs(level - steps), 0, 1).astype(np.float32)


@cache
def _gabor_spectra() -> np.ndarray:
    """One-sided Gaussian filters in the frequency plane, of one octave and 45 degrees or so."""
    frequency = np.fft.fftfreq(RETINA + 2 * PAD)
    fy, fx = np.meshgrid(frequency, frequency, indexing="ij")
    filters = []
    for wavelength in WAVELENGTHS:
        for k in range(N_ORIENTATIONS):
            angle = np.pi * k / N_ORIENTATIONS
            cy, cx = np.sin(angle) / wavelength, np.cos(angle) / wavelength
            width = 0.35 / wavelength
            filters.append(2 * np.exp(-((fy - cy) ** 2 + (fx - cx) ** 2) / (2 * width**2)))
    stack = np.stack(filters)
    stack[:, 0, 0] = 0
    return stack.astype(np.float32)


@cache
def _pooling(grid: int) -> np.ndarray:
    """Gaussian windows of a regular grid; shape (grid, RETINA), rows sum to one."""
    windows = np.exp(-((_axis(RETINA)[None] - _axis(grid)[:, None]) ** 2) / (2 * (0.8 / grid) ** 2))
    return (windows / windows.sum(1, keepdims=True)).astype(np.float32)


def _pool(maps: np.ndarray, grid: int) -> np.ndarray:
    windows = _pooling(grid)
    return np.einsum("yi,ncij,xj->ncyx", windows, maps, windows, optimize=True)


@cache
def _rings() -> np.ndarray:
    """Mean over six rings around the center; shape (6, RETINA * RETINA)."""
    x = _axis(RETINA)
    ring = np.minimum((np.hypot(x[:, None], x[None]) * 5).astype(int), 5).ravel()
    inside = ring[None] == np.arange(6)[:, None]
    return (inside / inside.sum(1, keepdims=True)).astype(np.float32)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1, dtype=np.float64)
