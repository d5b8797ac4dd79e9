"""Encoders: names, the face all share, and resizing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from braindecode_ssr.errors import UsageError
from braindecode_ssr.images.encoders import (
    build_encoder,
    canonical_name,
    encoder_name,
    is_encoder,
    shortest_side,
)


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("pyramid", "pyramid"),
        ("Pyramid", "pyramid"),
        ("RN50/openai", "open-clip:RN50/openai"),
        ("RN50/openai@layer3", "open-clip:RN50/openai@layer3"),
        ("open_clip:RN50/openai", "open-clip:RN50/openai"),
        ("OpenCLIP:hf-hub:org/repo", "open-clip:hf-hub:org/repo"),
    ],
)
def test_names(written: str, full: str) -> None:
    assert encoder_name(written) == canonical_name(written) == full
    assert encoder_name(full) == full
    assert is_encoder(written)


def test_names_of_imported_features() -> None:
    assert encoder_name("mine", ["mine", "yours"]) == canonical_name("mine") == "mine"
    assert not is_encoder("mine")
    with pytest.raises(UsageError) as error:
        encoder_name("mien", ["mine"])
    assert "did you mean 'mine'" in str(error.value) and "features import" in str(error.value)
    with pytest.raises(UsageError, match="pyramid"):
        build_encoder("pyramide")


def test_pyramid_has_no_variants() -> None:
    with pytest.raises(UsageError, match="write pyramid"):
        build_encoder("pyramid:big")


def test_an_object_with_the_face_of_an_encoder_is_one() -> None:
    pyramid = build_encoder("pyramid")
    assert build_encoder(pyramid) is pyramid
    with pytest.raises(UsageError, match="without name, dim"):
        build_encoder(3)


@pytest.mark.parametrize("shape", [(500, 500), (60, 60), (224, 224), (333, 500), (501, 300)])
def test_resizing_is_that_of_open_clip(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    published = Compose(
        [Resize(224, interpolation=InterpolationMode.BICUBIC), CenterCrop((224, 224))]
    )
    np.testing.assert_array_equal(
        np.asarray(shortest_side(image, 224)), np.asarray(published(image))
    )


def test_square_images_are_resized_as_by_neurobridge() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (500, 500, 3), np.uint8))
    np.testing.assert_array_equal(
        np.asarray(shortest_side(image, 224)), np.asarray(image.resize((224, 224)))
    )
    assert torch.from_numpy(np.array(shortest_side(image, 224))).shape == (224, 224, 3)
