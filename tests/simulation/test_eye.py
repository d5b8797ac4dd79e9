"""The eye: a deterministic, low-pass function of the pixels."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from braindecode_ssr.simulation.experiment import Response
from braindecode_ssr.simulation.images import (
    decode,
    fit_eye,
    jpeg,
    oriented_energy,
    raw_features,
    retina,
)


@pytest.fixture(scope="module")
def pictures():
    return [decode(jpeg(f"c{k}", "x", 128, 0)) for k in range(60)]


@pytest.fixture(scope="module")
def eye(pictures):
    return fit_eye(pictures[:40], Response(early_dims=12, late_dims=8), 0)


def test_features_are_standardized_on_the_references(eye, pictures):
    features = eye.see(pictures[:40])
    assert features.shape == (40, 20) and features.dtype == np.float32
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    wanted = np.concatenate([np.arange(1, 13) ** -0.3, np.arange(1, 9) ** -0.3])
    np.testing.assert_allclose(features.std(0), wanted, rtol=1e-3)


def test_features_do_not_depend_on_the_company(eye, pictures):
    together = eye.see(pictures, batch=64)
    alone = np.concatenate([eye.see([picture]) for picture in pictures[:5]])
    np.testing.assert_allclose(together[:5], alone, atol=1e-5)


def test_blurred_views_share_what_the_eye_gets(eye, pictures):
    original = eye.see(pictures[40:])
    blurred = eye.see([p.filter(ImageFilter.GaussianBlur(2)) for p in pictures[40:]])
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(original, blurred, strict=True)]
    assert np.median(correlation) > 0.95
    strangers = [np.corrcoef(a, b)[0, 1] for a, b in zip(original, blurred[::-1], strict=True)]
    assert np.median(strangers) < 0.5


def test_the_periphery_is_seen_less_sharply():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    view = retina(noise)[0]
    assert view[18:30, 18:30].std() > 2 * view[:8, :8].std()


def test_energy_answers_to_its_orientation_and_wavelength():
    x = np.arange(48)
    vertical = np.sin(2 * np.pi * x / 5)[None, None].repeat(48, 1).astype(np.float32)
    energy = oriented_energy(vertical)[0, :, 12:-12, 12:-12].mean((1, 2))
    assert np.argmax(energy) == 0
    turned = oriented_energy(vertical.swapaxes(1, 2))[0, :, 12:-12, 12:-12].mean((1, 2))
    assert np.argmax(turned) == 2
    assert energy[0] > 5 * energy[2]


def test_late_features_tolerate_shifts_and_early_ones_do_not(pictures):
    views = np.stack([retina(p) for p in pictures])
    moved = np.stack(
        [retina(Image.fromarray(np.roll(np.asarray(p), 24, axis=1))) for p in pictures]
    )
    changes = []
    for before, after in zip(raw_features(views), raw_features(moved), strict=True):
        spread = before.std(0) + 1e-6
        changes.append(np.mean(np.square((after - before) / spread)))
    assert changes[1] < 0.5 * changes[0]


def test_fewer_references_than_dimensions(pictures):
    eye = fit_eye(pictures[:6], replace(Response(), early_dims=30, late_dims=30), 0)
    assert eye.see(pictures[:2]).shape == (2, 10)
