"""Views against OpenCV, Pillow and slow plain references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from braindecode_ssr.errors import UsageError
from braindecode_ssr.images.views import VIEWS, blur_operator, build_view, image_seed, sharpness

OF_PIXELS = [name for name in VIEWS if not build_view(name).is_text]


def pictures(n: int = 2, size: int = 224, seed: int = 0) -> torch.Tensor:
    """Noise with sharp edges, smooth parts and both extremes."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 3, 14, 14))
    image = np.repeat(np.repeat(coarse, -(-size // 14), 2), -(-size // 14), 3)[..., :size, :size]
    image = image + rng.normal(0, 20, image.shape)
    return torch.from_numpy(image.clip(0, 255).astype(np.uint8))


def channels_last(images: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def largest_difference(images: torch.Tensor, reference: list[np.ndarray]) -> int:
    return int(np.abs(channels_last(images).astype(int) - np.stack(reference).astype(int)).max())


def view(name: str, images: torch.Tensor) -> torch.Tensor:
    return build_view(name)(images, seed=list(range(len(images))))


@pytest.mark.parametrize("size", [224, 96])
@pytest.mark.parametrize("kernel", [3, 7, 15, 31, 51])
def test_blur_is_opencv(kernel: int, size: int) -> None:
    cv2 = pytest.importorskip("cv2")
    images = pictures(size=size)
    reference = [cv2.GaussianBlur(one, (kernel, kernel), 0) for one in channels_last(images)]
    assert largest_difference(view(f"blur?kernel={kernel}", images), reference) <= 2


def test_blur_is_a_plain_sum() -> None:
    images, kernel, sd = pictures(1, 20), 15, 0.3 * (7 - 1) + 0.8
    taps = np.exp(-((np.arange(kernel) - 7) ** 2) / (2 * sd**2))
    weights = np.outer(taps, taps) / np.outer(taps, taps).sum()
    padded = np.pad(images[0].numpy().astype(float), ((0, 0), (7, 7), (7, 7)), mode="reflect")
    slow = np.empty((3, 20, 20))
    for channel, y, x in np.ndindex(slow.shape):
        slow[channel, y, x] = (padded[channel, y : y + 15, x : x + 15] * weights).sum()
    assert np.abs(view("blur", images)[0].numpy() - slow).max() <= 0.51


def test_low_resolution_is_pillow() -> None:
    images = pictures(size=224)
    reference = [
        np.asarray(
            Image.fromarray(one)
            .resize((22, 22), Image.Resampling.BILINEAR)
            .resize((224, 224), Image.Resampling.BILINEAR)
        )
        for one in channels_last(images)
    ]
    assert largest_difference(view("low-resolution", images), reference) <= 1


@pytest.mark.parametrize("level", [3, 5, 16])
def test_mosaic_is_opencv(level: int) -> None:
    cv2 = pytest.importorskip("cv2")
    images = pictures(size=224)
    tiles = 224 // level
    small = [
        cv2.resize(one, (tiles, tiles), interpolation=cv2.INTER_LINEAR)
        for one in channels_last(images)
    ]
    reference = [cv2.resize(one, (224, 224), interpolation=cv2.INTER_NEAREST) for one in small]
    assert largest_difference(view(f"mosaic?level={level}", images), reference) <= 1


def test_mosaic_is_made_of_tiles() -> None:
    images = view("mosaic", pictures(size=100))
    assert torch.equal(
        images, images[..., ::5, ::5].repeat_interleave(5, 2).repeat_interleave(5, 3)
    )


def test_fovea_is_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    images = pictures(size=224)
    mask = np.zeros((224, 224, 1), np.float32)
    for y, x in np.ndindex(224, 224):
        distance = np.hypot(y - 112, x - 112) / np.hypot(111, 111)
        mask[y, x] = 0.5 * np.exp(-3 * min(1, distance))
    reference = [
        cv2.convertScaleAbs(one * mask + cv2.GaussianBlur(one, (51, 51), 0) * (1 - mask))
        for one in channels_last(images)
    ]
    assert largest_difference(view("fovea", images), reference) <= 2


def test_fovea_is_half_blurred_in_the_center() -> None:
    mask = sharpness(224, 224, 3.0)
    assert mask[112, 112] == 0.5
    assert mask.min() == pytest.approx(0.5 * np.exp(-3))


def test_noise_has_the_published_size_and_is_cut_not_rounded() -> None:
    grey = torch.full((1, 3, 224, 224), 128, dtype=torch.uint8)
    added = view("noise", grey).double() - 128
    assert float(added.std()) == pytest.approx(25, rel=0.02)
    assert float(added.mean()) == pytest.approx(-0.5, abs=0.3)
    assert view("noise", torch.zeros_like(grey)).min() == 0


def test_noise_belongs_to_the_image() -> None:
    images, seeds = pictures(3, 32), [image_seed(name) for name in "abc"]
    noise = build_view("noise")
    together = noise(images, seed=seeds)
    alone = torch.cat([noise(images[i : i + 1], seed=seeds[i : i + 1]) for i in range(3)])
    assert torch.equal(together, alone)
    assert not torch.equal(together, build_view("noise?draw=1")(images, seed=seeds))
    assert image_seed("aardvark/aardvark_01b") == 13883562580970521809


def test_all_but_text_look_at_the_image() -> None:
    assert set(VIEWS) - set(OF_PIXELS) == {"text"}


@pytest.mark.parametrize("name", OF_PIXELS)
@given(
    size=st.tuples(st.integers(16, 60), st.integers(16, 60)),
    n=st.integers(0, 3),
    grey=st.integers(0, 255),
)
@settings(max_examples=8, deadline=None)
def test_every_view_keeps_shape_kind_and_input(name: str, size: tuple, n: int, grey: int) -> None:
    images = torch.full((n, 3, *size), grey, dtype=torch.uint8)
    before = images.clone()
    seen = view(name, images)
    assert seen.shape == images.shape and seen.dtype == torch.uint8
    assert torch.equal(images, before)
    if name != "noise":
        assert torch.equal(seen, images)


@given(n=st.integers(1, 40), half=st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_blur_keeps_the_mean_level(n: int, half: int) -> None:
    torch.testing.assert_close(blur_operator(n, 2 * half + 1).sum(1), torch.ones(n))


def test_names_are_canonical() -> None:
    assert build_view("Low_Resolution").name == "low-resolution"
    assert build_view("blur?kernel=15").name == "blur"
    assert build_view("noise?sd=10&draw=2").name == "noise?draw=2&sd=10.0"
    assert build_view(build_view("fovea")).parameters == {"kernel": 51, "gain": 3.0}
    assert build_view("mosaic").parameters == {"level": 5}


def test_a_function_is_a_view() -> None:
    def negative(images: torch.Tensor, *, seed: list[int], level: int = 255) -> torch.Tensor:
        return level - images

    made = build_view(negative)
    assert (made.name, made.parameters) == ("negative", {"level": 255})
    assert torch.equal(view(negative, pictures(1, 16)), 255 - pictures(1, 16))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("blurr", "did you mean 'blur'"),
        ("blur?kernal=3", "did you mean 'kernel'"),
        ("blur?kernel=big", "a whole number"),
        ("original?x=1", "(none)"),
    ],
)
def test_unknown_names(name: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        build_view(name)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["blur?kernel=4", "mosaic?level=0", "mosaic?level=99", "noise?sd=-1", "noise?sd=nan"]
    + ["low-resolution?scale=0", "low-resolution?scale=2", "low-resolution?scale=0.01"],
)
def test_impossible_parameters(name: str) -> None:
    with pytest.raises(UsageError):
        view(name, pictures(1, 32))
