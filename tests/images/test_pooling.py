"""Features of one encoder or of several, of views as their mean or side by side."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.images.features import ImageFeatures
from braindecode_ssr.images.store import FeatureStore

IDS = ["cat/cat_01", "cat/cat_02", "dog/dog_01", "dog/dog_02"]
WIDTHS = {"a": 3, "b": 2}
VIEWS = ("original", "blur", "noise")


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return {
        (encoder, view): rng.normal(size=(len(IDS), width)).astype("float32")
        for encoder, width in WIDTHS.items()
        for view in VIEWS
    }


@pytest.fixture
def store(tmp_path, rows):
    store = FeatureStore(tmp_path)
    for (encoder, view), features in rows.items():
        store.write(encoder, view, IDS, features, f"made by {encoder}", "test")
    return store


@pytest.mark.parametrize("pool", ["mean", "side-by-side"])
def test_one_encoder_one_view(store, rows, pool):
    features = ImageFeatures(store, "a", ("blur",), pool=pool)
    np.testing.assert_array_equal(features.original(IDS), rows["a", "original"])
    np.testing.assert_array_equal(features.view(IDS), rows["a", "blur"])
    assert features.widths() == (3,)


def test_encoders_side_by_side(store, rows):
    features = ImageFeatures(store, "b+a", ("blur", "noise"))
    original, view = features.original(IDS), features.view(IDS)
    np.testing.assert_array_equal(
        original, np.hstack([rows["b", "original"], rows["a", "original"]])
    )
    means = [(rows[name, "blur"] + rows[name, "noise"]) / 2 for name in "ba"]
    np.testing.assert_allclose(view, np.hstack(means), rtol=1e-6)
    assert features.widths() == (2, 3)


def test_views_side_by_side_and_the_original_instead_of_each(store, rows):
    features = ImageFeatures(store, "b+a", ("noise", "blur"), pool="side-by-side")
    order = [("b", "noise"), ("a", "noise"), ("b", "blur"), ("a", "blur")]
    np.testing.assert_array_equal(features.view(IDS), np.hstack([rows[key] for key in order]))
    both = [rows["b", "original"], rows["a", "original"]]
    np.testing.assert_array_equal(features.original(IDS), np.hstack(both * 2))
    assert features.widths() == (2, 3, 2, 3)


def test_without_views_originals_stand_for_them(store, rows):
    features = ImageFeatures(store, "a+b", (), pool="side-by-side")
    np.testing.assert_array_equal(features.view(IDS), features.original(IDS))
    assert features.widths() == (3, 2)


def test_the_concept_gallery_of_several_encoders(store, rows):
    features = ImageFeatures(store, "a+b", ())
    expected = np.hstack([rows["a", "original"], rows["b", "original"]])
    np.testing.assert_array_equal(features.concept(["cat/cat_01"]), expected[[1]])


def test_the_concept_is_that_of_the_image_table(store, rows):
    """Images of a study of one's own may lie in folders that are no concepts."""
    images = pd.DataFrame({"image_id": IDS, "concept": ["pet", "wild", "pet", "wild"]})
    features = ImageFeatures(store, "a", (), dataset=SimpleNamespace(images=images))
    own = rows["a", "original"]
    np.testing.assert_array_equal(features.concept([IDS[0], IDS[3]]), own[[2, 1]])
    store.write("a", "original", ["pet/bird_01"], own[:1] + 1, "made by a", "test")
    expected = (own[:1] + 1 + own[2]) / 2
    np.testing.assert_allclose(features.concept([IDS[0]]), expected, rtol=1e-6)
    with pytest.raises(MissingDataError, match="other images of 'pet'.* import --dataset .*NAME"):
        features.concept([IDS[0], IDS[2], "pet/bird_01"])


def test_what_made_them_is_remembered_for_each_encoder(store, rows):
    assert ImageFeatures(store, "a", ()).made_by() == {"original": "made by a"}
    joint = ImageFeatures(store, "a+b", ("blur",)).made_by()
    assert joint == {
        f"{encoder}, {view}": f"made by {encoder}"
        for view in ("original", "blur")
        for encoder in "ab"
    }
    ImageFeatures(store, "a+b", ("blur",), joint).view(IDS)
    other = {**joint, "b, blur": "made by another"}
    with pytest.raises(DataError, match="made by another"):
        ImageFeatures(store, "a+b", ("blur",), other).view(IDS)


def test_an_encoder_of_several_that_is_missing_is_named(store):
    with pytest.raises(MissingDataError, match="c features of view original"):
        ImageFeatures(store, "a+c", ()).original(IDS)


def test_no_features_are_kept_under_the_name_of_several(store, rows):
    with pytest.raises(UsageError, match="one encoder.*'a\\+b'"):
        store.write("a+b", "original", IDS, rows["a", "original"], "f", "test")
