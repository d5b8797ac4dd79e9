"""Pictures become RGB faithfully, or are refused."""

import warnings

import numpy as np
import pytest
from PIL import Image

from braindecode_ssr.datasets.pictures import ON_WHITE, ROTATED, open_picture
from braindecode_ssr.errors import DataError

RAMP = np.linspace(0, 65535, 64 * 64).reshape(64, 64)


def opened(path):
    picture = open_picture(path)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_16_bits_are_scaled(tmp_path, suffix, kind):
    if suffix == "tif" and kind == ">u2":
        content = Image.frombytes("I;16B", (64, 64), RAMP.astype(">u2").tobytes())
    else:
        content = Image.fromarray(RAMP.astype("<u2"))
    content.save(tmp_path / f"x.{suffix}")
    pixels = opened(tmp_path / f"x.{suffix}")
    assert np.abs(pixels - RAMP[..., None] / 257).max() <= 0.51


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (RAMP.astype("float32") / 65535, "floating-point"),
        (RAMP.astype("int32"), "signed"),
        (RAMP.astype("int32") // 257, "signed"),
    ],
)
def test_pixels_of_unknown_brightness_are_refused(tmp_path, array, words):
    Image.fromarray(array).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=f"x.tif has .*{words}"):
        open_picture(tmp_path / "x.tif")


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGB"])
def test_opaque_modes_are_as_before(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    grey = Image.fromarray((RAMP / 257).astype("uint8"))
    grey.convert("RGB").convert(mode).save(tmp_path / f"x.{suffix}")
    with Image.open(tmp_path / f"x.{suffix}") as picture:
        expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(opened(tmp_path / f"x.{suffix}"), expected)
    assert open_picture(tmp_path / f"x.{suffix}").info["remarks"] == ()


def cut_out(mode):
    """A red square on transparent black."""
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[2:6, 2:6] = 255, 0, 0, 255
    picture = Image.fromarray(rgba)
    if mode == "key":  # a palette with a transparent color
        return picture.convert("RGB").quantize(4, dither=Image.Dither.NONE)
    return picture.convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("RGBA", "png"), ("RGBA", "webp"), ("RGBA", "tif"), ("LA", "png"), ("key", "png")],
)
def test_transparent_parts_are_put_on_white(tmp_path, mode, suffix):
    picture = cut_out(mode)
    more = {"transparency": picture.getpixel((0, 0))} if mode == "key" else {}
    picture.save(tmp_path / f"x.{suffix}", **({"lossless": True} if suffix == "webp" else more))
    pixels = opened(tmp_path / f"x.{suffix}")
    assert (pixels[0, 0] == 255).all() and pixels[4, 4, 1] < 90
    assert open_picture(tmp_path / f"x.{suffix}").info["remarks"] == (ON_WHITE,)


def test_an_alpha_channel_that_hides_nothing_or_everything(tmp_path):
    full = np.full((8, 8, 4), 255, np.uint8)
    Image.fromarray(full).save(tmp_path / "x.png")
    assert open_picture(tmp_path / "x.png").info["remarks"] == ()
    full[..., 3] = 0
    Image.fromarray(full).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="fully transparent"):
        open_picture(tmp_path / "x.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_the_rotation_in_exif_data_is_applied(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / f"x.{suffix}", exif=exif)
    picture = open_picture(tmp_path / f"x.{suffix}")
    assert picture.size == (20, 30)
    assert suffix == "tif" or picture.info["remarks"] == (ROTATED,)


def test_postscript_never_starts_ghostscript(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **more: pytest.fail("gs"))
    Image.new("RGB", (8, 8)).save(tmp_path / "x.eps")
    Image.new("RGB", (8, 8)).save(tmp_path / "x.gif")
    for suffix in ("eps", "gif"):
        (tmp_path / f"x.{suffix}").rename(tmp_path / "x.jpg")
        with pytest.raises(DataError, match=r"x.jpg is .*not a JPEG, PNG"):
            open_picture(tmp_path / "x.jpg")


def test_long_and_huge_pictures_are_refused_before_they_are_decoded(tmp_path):
    Image.new("L", (1, 5000)).save(tmp_path / "long.png")
    with pytest.raises(DataError, match="long.png is 1 x 5000"):
        open_picture(tmp_path / "long.png")
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png", compress_level=1)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png", compress_level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for name in ("huge", "bomb"):
            with pytest.raises(DataError, match=f"{name}.png has .*more than the 89 million"):
                open_picture(tmp_path / f"{name}.png")


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_animations_are_refused(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="2 frames"):
        open_picture(tmp_path / f"x.{suffix}")


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff\xd8\xff\xe0 nonsense", None])
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / "x.jpg"
    if content is None:
        Image.fromarray((RAMP / 257).astype("uint8")).save(path)
        content = path.read_bytes()[:-200]
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"(?i)x.jpg.*(damaged|truncated)"):
        open_picture(path)


def test_a_folder_in_the_place_of_a_picture_is_not_called_damaged(tmp_path):
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(DataError, match="x.jpg cannot be read .*directory") as error:
        open_picture(tmp_path / "x.jpg")
    assert "damaged" not in str(error.value)
