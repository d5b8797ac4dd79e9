"""Features: extracted, imported as arrays, checked; and training on a set without image files."""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.images.store import FeatureStore

from .conftest import SMALL


@pytest.fixture
def bare(written, tmp_path):
    """The written dataset without image files and without features."""
    out, _ = written
    root = tmp_path / "bare"
    ignore = shutil.ignore_patterns("training_images", "test_images", "ssr")
    shutil.copytree(out, root, ignore=ignore)
    return root


@pytest.fixture
def arrays(tmp_path):
    """Features of 24 x 4 training and 16 test images, original and one view."""
    rng = np.random.default_rng(0)
    paths = {}
    for view, noise in (("original", 0.0), ("blur", 0.1)):
        base = np.random.default_rng(1)
        for split, shape in (("train", (24, 4, 32)), ("test", (16, 32))):
            array = base.normal(size=shape) + noise * rng.normal(size=shape)
            paths[view, split] = tmp_path / f"{view}_{split}.npy"
            np.save(paths[view, split], array.astype("float32"))
    return paths


def bring(call, root, arrays, view, **changes):
    paths = {split: changes.get(split, arrays[view, split]) for split in ("train", "test")}
    files = [part for split, path in paths.items() for part in (f"--{split}", path)]
    place = ("--dataset", "things-eeg", "--data-dir", root, "--encoder", "mine", "--view", view)
    return lambda code: call("features", "import", *place, *files, "--json", code=code)


def train(call, root, tmp_path, *args, code=0):
    place = ("--dataset", "things-eeg", "--subject", 5, "--data-dir", root, "--out", tmp_path / "r")
    return call("train", *place, "--epochs", 1, *SMALL, *args, code=code)


def test_training_on_imported_features_without_any_image(call, bare, arrays, tmp_path):
    for view in ("original", "blur"):
        rows = bring(call, bare, arrays, view)(0).json
        assert (rows[0]["view"], rows[0]["images"], rows[0]["dim"]) == (view, 112, 32)
    done = train(call, bare, tmp_path, "--encoder", "mine", "--json")
    assert done.json["encoder"] == "mine" and done.json["views"] == ["blur"]
    assert "views blur instead of blur, noise, low-resolution, mosaic" in done.err


def test_originals_alone_replace_views_and_this_is_reported(call, bare, arrays, tmp_path):
    bring(call, bare, arrays, "original")(0)
    done = train(call, bare, tmp_path, "--json")
    assert done.json["encoder"] == "mine" and done.json["views"] == ["original"]
    assert "views original instead of" in done.err


def test_views_asked_for_by_name_must_be_there(call, bare, arrays, tmp_path):
    bring(call, bare, arrays, "original")(0)
    sets = ("--set", 'images.views=["mosaic"]', "--encoder", "mine")
    assert "mosaic" in train(call, bare, tmp_path, *sets, code=1).error


def test_an_image_without_features_is_named(call, bare, arrays, tmp_path):
    bring(call, bare, arrays, "original")(0)
    features = bare / "ssr" / "features"
    shutil.rmtree(features)
    place = ("--dataset", "things-eeg", "--data-dir", bare, "--encoder", "mine")
    call("features", "import", *place, "--train", arrays["original", "train"], code=0)
    done = train(call, bare, tmp_path, "--encoder", "mine", code=1)
    assert "features import" in done.error and "/" in done.error


def test_features_of_another_encoder_are_not_mixed_in(call, bare, arrays, tmp_path):
    bring(call, bare, arrays, "original")(0)
    other = tmp_path / "other.npy"
    np.save(other, np.random.default_rng(5).normal(size=(96, 48)).astype("float32"))
    done = bring(call, bare, arrays, "original", train=other)(1)
    assert "48" in done.error or "another" in done.error


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.ones((95, 32), "float32"), "95"),
        (np.full((96, 32), np.nan, "float32"), "NaN"),
        (np.ones((96, 32), "float32"), "cosine"),
        (np.array([{"a": 1}] * 96, dtype=object), "object"),
        (b"<html>quota</html>", "a web page"),
    ],
    ids=["count", "nan", "equal", "objects", "html"],
)
def test_arrays_that_cannot_be_right_are_refused(call, bare, arrays, tmp_path, array, expected):
    path = tmp_path / "bad.npy"
    if isinstance(array, bytes):
        path.write_bytes(array)
    else:
        np.save(path, array)
    done = bring(call, bare, arrays, "original", train=path)(1)
    assert expected in done.error
    assert call("features", "check", "--dataset", "things-eeg", "--data-dir", bare).out == ""


def test_extract_then_check(call, written, tmp_path):
    out, _ = written
    root = tmp_path / "fresh"
    shutil.copytree(out, root, ignore=shutil.ignore_patterns("ssr", "Raw_data"))
    place = ("--dataset", "things-eeg", "--data-dir", root)
    args = ("--encoder", "pyramid", "--view", "original", "--view", "mosaic", "--json")
    rows = call("features", "extract", *place, *args, code=0).json
    assert [(row["view"], row["images"]) for row in rows] == [("original", 112), ("mosaic", 112)]
    rows = call("features", "check", *place, "--json", code=0).json
    assert {row["view"] for row in rows} == {"original", "mosaic"}
    assert all(row["missing"] == 0 and row["problem"] == "" for row in rows)
    damaged = next(root.rglob("*.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-10])
    rows = call("features", "check", *place, "--json", code=1).json
    assert sum(bool(row["problem"]) for row in rows) == 1


VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}


def test_text_needs_no_images_but_an_encoder_that_reads(call, bare, tmp_path):
    import open_clip

    place = ("features", "extract", "--dataset", "things-eeg", "--data-dir", bare, "--view", "text")
    error = call(*place, "--encoder", "pyramid", code=2).error
    assert "an encoder that reads sentences" in error and "--encoder RN50/openai" in error
    config = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
    (tmp_path / "readable-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "readable-clip.json")
    done = call(*place, "--encoder", "readable-clip/random", "--json", code=0)
    assert done.json == [
        {"encoder": "open-clip:readable-clip/random", "view": "text", "images": 112}
    ]


def test_import_wants_one_way_of_naming_images(call, bare, arrays):
    place = ("--dataset", "things-eeg", "--data-dir", bare, "--encoder", "mine")
    file = arrays["original", "test"]
    said = call("features", "import", *place, "--array", file, code=2).err
    assert "no names" in said and "--images" in said
    for options in ((), ("--images",), ("--test", "--array")):
        given = [word for option in options for word in (option, file)]
        said = call("features", "import", *place, *given, code=2).err
        assert "--train and/or --test, or --array with --images" in said
        assert f"{' with '.join(options) or 'no file'} given" in said


def test_the_image_order_is_printed_and_names_features(call, bare, tmp_path):
    """The order of a dataset, with features in another order, lands on the right images."""
    place = ("things-eeg", "--data-dir", bare)
    text = call("data", "images", *place, "--csv", code=0).out
    images = pd.read_csv(io.StringIO(text))
    assert list(images) == ["split", "number", "image_id", "concept", "file"]
    assert images["number"].tolist() == [*range(1, 97), *range(1, 17)]
    assert images["split"].tolist() == ["train"] * 96 + ["test"] * 16
    assert call("data", "images", *place, "--json", code=0).json == images.to_dict("records")
    assert len(call("data", "images", *place, code=0).out.splitlines()) == 113
    rows = np.random.default_rng(0).standard_normal((112, 4)).astype("float32")
    order = np.random.default_rng(1).permutation(112)
    images.iloc[order].to_csv(tmp_path / "names.csv", index=False)
    np.save(tmp_path / "rows.npy", rows[order])
    options = ("--array", tmp_path / "rows.npy", "--images", tmp_path / "names.csv")
    call("features", "import", "--dataset", *place, "--encoder", "mine", *options, code=0)
    store = FeatureStore(bare / "ssr" / "features")
    np.testing.assert_array_equal(store.read("mine", "original", images["image_id"]), rows)


def test_the_order_of_arrays_without_names_is_reported(call, bare, arrays):
    said = bring(call, bare, arrays, "original")(0).err
    assert "no names" in said and f"ssr-bd data images things-eeg --data-dir {bare} --csv" in said


@pytest.mark.parametrize("dataset", ["things-eeg", "bids", "things-meg"])
def test_an_empty_folder_gives_the_usual_error_for_images(call, tmp_path, dataset):
    done = call("data", "images", dataset, "--data-dir", tmp_path, "--csv", code=1)
    assert str(tmp_path) in done.error and done.out == ""


def test_the_images_of_a_simulation(call):
    rows = call("data", "images", "things-sim", "--preset", "tiny", "--json", code=0).json
    assert rows[0]["split"] == "train" and rows[-1]["number"] == 16
    call("data", "images", "things-sim", "--csv", "--json", code=2)
