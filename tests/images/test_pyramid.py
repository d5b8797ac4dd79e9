"""The pyramid: what its filters see, and that nothing is fitted to the images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from braindecode_ssr.images import pyramid
from braindecode_ssr.images.pyramid import Pyramid, gabor_filters, opponent_colors
from braindecode_ssr.images.store import mean_pair_cosine
from braindecode_ssr.images.views import build_view


def noise(n: int, seed: int = 0, size: int = 224) -> torch.Tensor:
    """Images of grey 1/f noise, standard deviation 50 grey levels."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    phases = np.exp(2j * np.pi * rng.random((n, 1, *frequency.shape)))
    waves = np.fft.irfft2(phases / frequency, s=(size, size))
    waves /= waves.std((-2, -1), keepdims=True)
    grey = (127.5 + 50 * waves).clip(0, 255).astype(np.uint8)
    return torch.from_numpy(grey.repeat(3, 1))


def grating(cycles: float, angle: float, size: int = 224) -> torch.Tensor:
    axis = torch.arange(size) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    wave = torch.sin(2 * torch.pi * cycles * (x * np.cos(angle) + y * np.sin(angle)))
    return (127.5 + 100 * wave).to(torch.uint8).expand(1, 3, size, size)


def energies(images: torch.Tensor) -> torch.Tensor:
    n = pyramid.LEVELS * pyramid.ORIENTATIONS * 16
    return Pyramid().encode(images)[:, :n].reshape(-1, pyramid.LEVELS, pyramid.ORIENTATIONS, 16)


@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("orientation", [0, 2, 3])
def test_gratings_excite_their_own_filters(level: int, orientation: int) -> None:
    image = grating(28 / 2**level, orientation * torch.pi / pyramid.ORIENTATIONS)
    mean = energies(image)[0].mean(-1)
    assert divmod(int(mean.argmax()), pyramid.ORIENTATIONS) == (level, orientation)


def test_filters_are_a_quadrature_blind_to_gray() -> None:
    filters = gabor_filters()[:, 0]
    torch.testing.assert_close(filters.sum((1, 2)), torch.zeros(12), atol=1e-6, rtol=0)
    torch.testing.assert_close(filters.square().sum((1, 2)), torch.ones(12))
    even, odd = filters.chunk(2)
    torch.testing.assert_close((even * odd).sum((1, 2)), torch.zeros(6), atol=1e-6, rtol=0)


def test_energy_is_the_plain_sum() -> None:
    images = noise(1)
    luminance = opponent_colors(images.double() / 255)[0, 0].reshape(112, 2, 112, 2).mean((1, 3))
    padded = np.pad(luminance.numpy(), 4, mode="reflect")
    cell = np.zeros(2)
    for part, filtered in enumerate(gabor_filters()[[2, 8], 0].double().numpy()):
        for y in range(28):
            for x in range(28, 56):
                cell[part] += (padded[y : y + 9, x : x + 9] * filtered).sum() ** 2
    expected = np.log(cell.sum() / 28**2 + pyramid.FLOOR) - pyramid.ENERGY_MEAN[0]
    assert float(energies(images)[0, 0, 2, 1]) == pytest.approx(expected, abs=1e-4)


def test_colors_are_opponent() -> None:
    colours = {"white": (1, 1, 1), "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
    images = torch.tensor(list(colours.values())).float()[:, :, None, None]
    seen = opponent_colors(images)[..., 0, 0]
    expected = [[1, 0, 0], [0.299, 0.5, -0.25], [0.587, -0.5, -0.25], [0.114, 0, 0.5]]
    torch.testing.assert_close(seen, torch.tensor(expected))


def test_energies_are_centered_on_noise() -> None:
    seen = energies(noise(24)).mean((0, 2, 3))
    torch.testing.assert_close(seen, torch.zeros(4), atol=0.05, rtol=0)


def test_features_do_not_depend_on_their_batch() -> None:
    images, encoder = noise(20), Pyramid()
    together = encoder.encode(images)
    alone = torch.cat([encoder.encode(images[i : i + 1]) for i in range(20)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert torch.equal(together, encoder.encode(images))
    assert together.shape == (20, encoder.dim) and together.dtype == torch.float32
    assert encoder.encode(images[:0]).shape == (0, encoder.dim)


@pytest.mark.parametrize("view", ["original", "blur", "low-resolution", "mosaic", "noise", "fovea"])
def test_images_can_be_told_apart_in_every_view(view: str) -> None:
    coarse = np.random.default_rng(1).integers(0, 256, (16, 3, 7, 7))
    blocks = torch.from_numpy(coarse.repeat(32, 2).repeat(32, 3).astype(np.uint8))
    for images in (noise(16), blocks):
        seen = Pyramid().encode(build_view(view)(images, seed=range(16)))
        assert mean_pair_cosine(seen.numpy()) < 0.95


def test_uniform_gray_is_not_a_zero_vector() -> None:
    for level in (0, 127, 255):
        assert Pyramid().encode(torch.full((1, 3, 224, 224), level, dtype=torch.uint8)).norm() > 1


def test_fingerprint_follows_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Pyramid().fingerprint
    assert Pyramid().fingerprint == before and len(before) == 64
    monkeypatch.setitem(Pyramid.constants, "floor", 0.02)
    assert Pyramid().fingerprint != before
