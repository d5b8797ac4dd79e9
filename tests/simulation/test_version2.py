"""Version 2: meaning beside pixels, an encoder that is not the eye, varying responses, equal bits."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from braindecode_ssr.datasets import things_sim
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import UsageError
from braindecode_ssr.images.features import read_pixels
from braindecode_ssr.images.pyramid import SimNet
from braindecode_ssr.images.views import build_view
from braindecode_ssr.simulation.experiment import PRESETS, LivelyResponse, generator, session_events
from braindecode_ssr.simulation.images import category, meaning
from braindecode_ssr.simulation.recording import STEP, presentations, subject_brain, with_own

TINY, OLD = PRESETS["tiny"], "tiny-v1"
TINY = replace(TINY, image_size=128, response=replace(TINY.response, own_gain=1e-6))
# a size at which detail is visible
VIEWS = ("blur", "noise", "low-resolution", "mosaic")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return ThingsSim(tmp_path_factory.mktemp("sim"), TINY, seed=7)


@pytest.fixture(scope="module")
def encoded(dataset):
    """Features of the training images, of originals and of the mean of the views."""
    import torch

    net, ids = SimNet(), dataset.images["image_id"][:96].tolist()
    pixels = torch.stack([read_pixels(dataset, net, image_id) for image_id in ids])
    views = [net.encode(build_view(name)(pixels, seed=range(96))).numpy() for name in VIEWS]
    return net.encode(pixels).numpy(), np.mean(views, axis=0)


def cosines(a, b):
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return a @ b.T


def test_meaning_is_a_hierarchy_of_categories_concepts_and_exemplars():
    concepts = [f"c{k}" for k in range(60)]
    points = np.stack([[meaning(c, e, 0) for e in "ab"] for c in concepts])
    of = np.array([category(c, 0) for c in concepts])
    assert points.std() == pytest.approx(1, abs=0.1)
    first, second = points.swapaxes(0, 1)
    products = first @ second.T / first.shape[1]
    own = np.diag(products)
    kin = (of[:, None] == of) & ~np.eye(60, dtype=bool)
    assert own.mean() == pytest.approx(0.7, abs=0.1)
    assert products[kin].mean() == pytest.approx(0.3, abs=0.12)
    assert abs(products[of[:, None] != of].mean()) < 0.1


def test_late_responses_rise_with_the_meaning_and_level_off(dataset):
    names = [("wok", "a"), ("wok", "b"), ("bell", "a")]
    features = dataset.seen(names)
    late = features[:, dataset.dims[0] :]
    points = np.stack([meaning(*name, 7) for name in names])
    order = np.argsort(points, axis=None)
    scaled = late * np.arange(1, 33) ** dataset.preset.response.spectrum
    assert np.all(np.diff(scaled.ravel()[order]) > -1e-3), "not a rising function of the meaning"
    assert np.abs(scaled).max() <= dataset.preset.response.saturation + 1e-3


def test_an_original_and_its_views_are_as_near_as_those_of_real_encoders(encoded):
    original, view = encoded
    own = np.diag(cosines(original - original.mean(0), view - view.mean(0)))
    assert 0.7 < own.mean() < 0.95


def test_views_remove_what_no_brain_sees(dataset):
    """Two pictures that differ in grain alone: the encoder tells originals apart, but not their views."""
    import torch

    net = SimNet()
    ids = dataset.images["image_id"][:24]
    pixels = torch.stack([read_pixels(dataset, net, image_id) for image_id in ids])
    other = build_view("noise")(pixels, seed=range(24))

    def distance(name):
        view = build_view(name)
        first, second = (net.encode(view(x, seed=range(24))).numpy() for x in (pixels, other))
        return 1 - np.diag(cosines(first - first.mean(0), second - first.mean(0))).mean()

    assert distance("original") > 2 * max(distance("blur"), distance("low-resolution"))


def test_images_lie_to_each_other_as_in_real_encoders(encoded):
    """CLIP ViT-L/14 of the 200 test images: cosines of .54 ± .08, centered ± .11, the nearest at .40."""
    original, _ = encoded
    off = ~np.eye(96, dtype=bool)
    assert 0.35 < cosines(original, original)[off].mean() < 0.7
    centered = cosines(original - original.mean(0), original - original.mean(0))
    assert 0.08 < centered[off].std() < 0.25
    assert 0.25 < np.where(off, centered, -1).max(1).mean() < 0.6


def test_the_eye_is_not_the_encoder(encoded, dataset):
    """From the encoder's features a ridge regression does not get all of the early features."""
    from sklearn.linear_model import RidgeCV

    early = dataset.features("train")[:, : dataset.dims[0]]
    half = np.arange(96) % 2 == 0
    read = RidgeCV(np.logspace(0, 6, 13)).fit(encoded[0][half], early[half])
    assert read.score(encoded[0][~half], early[~half]) < 0.8


def test_a_recording_is_the_same_to_the_bit_with_any_number_of_threads(dataset, tmp_path):
    def made(threads):
        with threadpool_limits(threads):
            things_sim._seen.cache_clear()
            fresh = ThingsSim(tmp_path, TINY, seed=7)
            fresh._seen.files |= dataset._seen.files  # drawn once
            return fresh.recording(1, 2, "train").data

    one, two = made(1), made(2)
    assert one.tobytes() == two.tobytes()
    np.testing.assert_allclose(one / STEP, np.rint(one / STEP), atol=1e-6)
    assert np.abs(one).max() > 100 * STEP


def test_no_two_responses_are_the_same():
    response = LivelyResponse()
    events = session_events(PRESETS["small"], "test", 1, 1, 0)
    samples, gains = presentations(events, response, generator(0, "state"))
    late = (samples - events.samples) / events.sfreq
    assert late.std() == pytest.approx(response.jitter, rel=0.2)
    assert np.log(gains).std() == pytest.approx(response.attention, rel=0.2)
    shown = events.numbers == 17
    quiet = replace(response, attention=0.0, jitter=0.0)
    samples, gains = presentations(events, quiet, generator(0, "state"))
    np.testing.assert_array_equal(samples, events.samples)
    np.testing.assert_allclose(gains[shown], np.arange(1, shown.sum() + 1) ** -0.1)


def test_part_of_a_response_belongs_to_one_image_and_one_subject(dataset):
    """It has the strength that is asked for, and neither features nor the other subject tell it."""
    features = dataset.features("train")

    def own(subject):
        brain = dataset.brain(subject)
        seen = with_own(features, brain, subject, "train", 7)
        np.testing.assert_array_equal(seen[:, : features.shape[1]], features)
        return (brain.respond(seen) - brain.respond(features))[..., 25:100]

    first, again, second = own(1), own(1), own(2)
    np.testing.assert_array_equal(first, again)
    assert 0.6e-6 < first.std() < 1e-6
    flat, other = first.reshape(96, -1), second.reshape(96, -1)
    off = ~np.eye(96, dtype=bool)
    assert abs(np.corrcoef(flat)[off].mean()) < 0.02
    assert abs(np.corrcoef(flat, other)[:96, 96:].mean()) < 0.02
    assert ThingsSim(dataset.root, OLD).brain(1).courses is None


def test_subjects_weigh_features_differently():
    def spread(weight_sd):
        response = replace(TINY.response, weight_sd=weight_sd)
        brains = [subject_brain(response, (24, 32), s, 0, 250.0) for s in (1, 2)]
        first, second = (np.linalg.norm(brain.weights, axis=(1, 2)) for brain in brains)
        return np.log(first / second).std()

    assert spread(0.5) > 1.5 * spread(0.0)


def test_ceilings_are_ordered(dataset, encoded, tmp_path):
    """Who knows the brain beats who sees images through the encoder, and both beat chance."""
    weak = replace(TINY.response, early_gain=0.6e-6, late_gain=0.5e-6)
    quiet = ThingsSim(tmp_path, replace(TINY, response=weak), seed=7)
    quiet._seen.eye = dataset.eye
    quiet.session = cache(quiet.session)  # both observers get the same recordings
    import torch

    net, ids = SimNet(), quiet.images["image_id"][96:].tolist()
    test = net.encode(torch.stack([read_pixels(quiet, net, one) for one in ids])).numpy()
    ideal = quiet.ceiling(1, 8)["ceiling_top1"]
    through = quiet.ceiling_through(encoded[0], test, 1, 8)["ceiling_top1"]
    assert 1 / 16 < through < ideal <= 1


def test_versions_never_share_a_place_or_a_name(tmp_path):
    old, new = (ThingsSim(tmp_path, preset) for preset in (OLD, TINY))
    assert old.source_key().startswith("things-sim v1 constants 6a2fb6fb7447cf8d ")
    assert new.source_key().startswith("things-sim v2 ")
    assert old.derived != new.derived
    assert (old.default_encoder, new.default_encoder) == ("pyramid", "simnet")


def test_the_variant_of_the_encoder_sees_more_detail(dataset):
    import torch

    with pytest.raises(UsageError, match="no variant 'large'") as error:
        SimNet("large")
    assert error.value.hint == "write simnet or simnet:detail"
    plain, detail = SimNet(), SimNet("detail")
    assert plain.fingerprint == SimNet().fingerprint != detail.fingerprint
    assert detail.description()["encoder"] == detail.name == "simnet:detail"
    ids = dataset.images["image_id"][:32].tolist()
    images = torch.stack([read_pixels(dataset, plain, one) for one in ids])
    blurred = build_view("blur")(images, seed=range(32))
    kept = [
        cosines(net.encode(images), net.encode(blurred)).diagonal().mean()
        for net in (plain, detail)
    ]
    assert kept[1] < kept[0]
