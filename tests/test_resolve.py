import pytest

from braindecode_ssr.datasets import data_root, open_dataset
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.datasets.zero_shot import training_subjects
from braindecode_ssr.errors import UsageError
from braindecode_ssr.images.store import FeatureStore
from braindecode_ssr.resolve import default_batch, resolve, run_spec

TINY = {"data": {"dataset": "things-sim", "preset": "tiny", "subject": 3}}


@pytest.fixture
def dataset(tmp_path):
    return ThingsSim(tmp_path, "tiny")


@pytest.mark.parametrize(
    ("trials", "expected"),
    [(2, 2), (24, 2), (96, 8), (600, 64), (1600, 128), (8191, 512), (16540, 1024), (148860, 1024)],
)
def test_the_batch_is_the_published_one_where_there_are_images_enough(trials, expected):
    assert default_batch(trials) == expected


def test_intra_and_inter_take_the_published_channels_and_backbones(dataset):
    intra, _ = resolve(run_spec(TINY), dataset)
    inter, _ = resolve(run_spec(TINY, {"data": {"protocol": "inter"}}), dataset)
    assert (intra.data.channels, intra.model.backbone) == ("occipital-17", "EEGProject")
    assert (inter.data.channels, inter.model.backbone) == ("all", "TSConv")
    assert training_subjects(intra.data, dataset) == [3]
    assert training_subjects(inter.data, dataset) == [1, 2, 4, 5, 6, 7, 8, 9, 10]


def test_what_is_asked_for_stays(dataset):
    asked = {"model": {"backbone": "EEGNet"}, "train": {"batch_size": 50}}
    spec, notes = resolve(run_spec(TINY, asked, {"data": {"channels": ["Oz", "Pz"]}}), dataset)
    assert spec.model.backbone == "EEGNet" and spec.train.batch_size == 50
    assert spec.data.channels == ("Oz", "Pz") and notes == []


def test_a_method_lies_under_what_is_asked():
    assert run_spec({"method": "neurobridge"}).loss.name == "neurobridge"
    assert run_spec({"method": "neurobridge", "loss": {"name": "contrast"}}).loss.name == "contrast"


def test_the_warm_up_of_a_recipe_fits_a_short_run(dataset):
    """``benchmark --methods all --epochs 1`` measures what each method costs."""
    for epochs, warmup in ((1, 0.1), (3, 0.3), (4, 4), (20, 4)):
        spec = run_spec({"method": "neuralbench", "train": {"epochs": epochs}})
        assert resolve(spec, dataset)[0].train.warmup == pytest.approx(warmup)
    with pytest.raises(UsageError, match=r"warmup = 2 epochs is longer"):
        run_spec({"method": "neuralbench", "train": {"epochs": 1, "warmup": 2}})


def test_plain_contrast_needs_no_views(dataset):
    spec, _ = resolve(run_spec(TINY, {"method": "contrast"}), dataset)
    assert spec.images.views == ()


def test_resolving_twice_changes_nothing(dataset):
    once, _ = resolve(run_spec(TINY), dataset)
    assert resolve(once, dataset)[0] == once


def test_validation_must_have_concepts(dataset):
    with pytest.raises(UsageError, match="train.validation_concepts=50"):
        resolve(run_spec(TINY, {"train": {"selection": "validation"}}), dataset)
    with pytest.raises(UsageError, match="at most 22 validation concepts, out of 24"):
        resolve(run_spec(TINY, {"train": {"validation_concepts": 23}}), dataset)


def test_the_only_encoder_that_is_there_is_taken_and_reported(dataset):
    import numpy as np

    ids = dataset.images["image_id"].tolist()
    features = np.random.default_rng(0).normal(size=(len(ids), 8)).astype("float32")
    store = FeatureStore.of(dataset)
    store.write("mine", "original", ids, features, "f", "test")
    spec, notes = resolve(run_spec(TINY), dataset)
    assert spec.images.encoder == "mine" and "mine" in notes[0]
    store.write("yours", "original", ids, features[:, ::-1].copy(), "g", "test")
    with pytest.raises(UsageError, match="mine, yours.*--encoder"):
        resolve(run_spec(TINY), dataset)
    spec, _ = resolve(run_spec(TINY, {"images": {"encoder": "yours"}}), dataset)
    assert spec.images.encoder == "yours"


def test_the_data_folder(tmp_path, monkeypatch):
    assert data_root("things-eeg", tmp_path) == tmp_path
    monkeypatch.setenv("SSR_DATA", str(tmp_path))
    assert data_root("things-eeg") == tmp_path / "things-eeg"
    monkeypatch.delenv("SSR_DATA")
    monkeypatch.setenv("MNE_DATA", str(tmp_path / "mne"))
    assert data_root("things-eeg") == tmp_path / "mne" / "things-eeg"


def test_mne_finds_its_folder_in_the_same_place(tmp_path, monkeypatch):
    import mne

    monkeypatch.delenv("SSR_DATA", raising=False)
    monkeypatch.delenv("MNE_DATA", raising=False)
    monkeypatch.setenv("_MNE_FAKE_HOME_DIR", str(tmp_path))
    mne.set_config("MNE_DATA", str(tmp_path / "elsewhere"), set_env=False)
    assert data_root("things-eeg").parent == tmp_path / "elsewhere"
    assert mne.get_config("MNE_DATA") == str(tmp_path / "elsewhere")


def test_a_dataset_gets_its_own_options(tmp_path):
    spec = run_spec(TINY, {"data": {"seed": 4}})
    dataset = open_dataset(spec.data, tmp_path)
    assert dataset.preset.name == "tiny" and dataset.seed == 4


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["original", "mosaic", "blur"], ("blur", "mosaic")),
        (["original", "mosaic", "blur", "fovea"], ("blur", "mosaic")),
        (["original", "fovea"], ("fovea",)),
        (["original"], ("original",)),
    ],
)
def test_only_those_views_of_a_method_that_are_there(dataset, monkeypatch, there, taken):
    import numpy as np

    ids = dataset.images["image_id"].tolist()
    rows = np.random.default_rng(0).normal(size=(len(ids), 4)).astype("float32")
    for view in there:
        FeatureStore.of(dataset).write("mine", view, ids, rows, "imported:x", "test")
    monkeypatch.setattr(type(dataset), "has_images", lambda self: False)
    spec, notes = resolve(run_spec({"images": {"encoder": "mine"}}), dataset)
    assert spec.images.views == taken
    assert f"views {', '.join(taken)} instead of blur, noise" in notes[-1]


def test_a_loss_compares_embeddings_as_they_are_ranked(dataset):
    spec, _ = resolve(run_spec(TINY, {"method": "hyfi"}), dataset)
    assert (spec.model.space, spec.loss.name) == ("hyperbolic", "hyperbolic")
    other = run_spec(TINY, {"method": "hyfi", "loss": {"name": "contrast"}})
    with pytest.raises(UsageError, match="space = euclidean.*loss contrast.*model.space=euclidean"):
        resolve(other, dataset)
    other = run_spec(TINY, {"loss": {"name": "Hyperbolic"}})
    with pytest.raises(UsageError, match="space = hyperbolic.*loss hyperbolic.*space=hyperbolic"):
        resolve(other, dataset)
    other = run_spec(TINY, {"method": "ridge-decoding", "model": {"space": "hyperbolic"}})
    with pytest.raises(UsageError, match="ridge-decoding.*hyperbolic.*leave model.space out"):
        resolve(other, dataset)


def test_a_loss_of_another_package_is_taken_at_its_word(dataset, monkeypatch):
    from braindecode_ssr.losses import LOSSES

    monkeypatch.setattr(LOSSES, "_foreign", {"theirs": "torch.nn:Identity"})
    asked = {"loss": {"name": "theirs"}, "model": {"space": "hyperbolic"}}
    assert resolve(run_spec(TINY, asked), dataset)[0].loss.name == "theirs"
    assert LOSSES.is_own("hyperbolic") and not LOSSES.is_own("theirs")
