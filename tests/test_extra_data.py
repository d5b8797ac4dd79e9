"""Datasets trained on together: joined by name, and no concept that any of them tests is trained on."""

import shutil
from pathlib import Path

import bids_trees
import numpy as np
import pytest
from PIL import Image

from braindecode_ssr import load_run, push
from braindecode_ssr.datasets.bids.things import ThingsEEG1
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.datasets.zero_shot import sources_of
from braindecode_ssr.errors import DataError, LeakageError, SSRError, UsageError
from braindecode_ssr.images.features import features_of
from braindecode_ssr.pipeline import evaluate, train
from braindecode_ssr.preprocessing.channels import OCCIPITAL_17
from braindecode_ssr.resolve import resolve, run_spec
from braindecode_ssr.training.data import training_data
from braindecode_ssr.trials.prepare import prepare

SETTINGS = {
    "method": "contrast",
    "data": {"preset": "tiny", "subject": 1},
    "images": {"encoder": "pyramid", "views": []},
    "model": {"width": 64, "n_outputs": 64},
    "train": {"epochs": 1, "batch_size": 4, "device": "cpu", "smoothing": 0.0},
}


def asked(*extra, **data):
    return run_spec(SETTINGS, {"data": {"extra": list(extra), **data}})


def write_other(root, images, tests):
    """Subject 2 of THINGS-EEG1 with these images, each of another color."""
    bids_trees.write_eeg1(root, 2, [*reversed(OCCIPITAL_17), "Fz"], images=(images, tests))
    for n, (concept, file) in enumerate([*images, *tests]):
        path = root / "stimuli" / concept / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            Image.new("RGB", (24, 24), (9 * n % 256, 255 - 7 * n % 256, 80)).save(path)
    return {"dataset": "things-eeg1", "data_dir": str(root)}


@pytest.fixture(scope="module")
def sim_dir(tmp_path_factory):
    """A folder of our own: features of another encoder would change what other tests choose."""
    return tmp_path_factory.mktemp("sim")


@pytest.fixture(scope="module")
def other(sim_dir, tmp_path_factory):
    """A folder of THINGS-EEG1 that tests a training concept of the simulation, and trains a tested one."""
    concepts = (
        ThingsSim(sim_dir, preset="tiny").images.groupby("split", sort=False)["concept"].unique()
    )
    known, tested = concepts["train"][:2], concepts["test"][0]
    images = [(c, f"{c}_{k}.png") for c in ("one", "two", known[1], tested) for k in range(3)]
    root = tmp_path_factory.mktemp("other")
    tests = [(known[0], f"{known[0]}_9.png")]
    return write_other(root, images, tests), root, (*known, tested)


def joined(spec, folder):
    """The training set of a resolved spec."""
    sources = sources_of(spec, folder)
    features = []
    for source in sources:
        features.append(features_of(source.spec, source.dataset))
        features[-1].complete(source.dataset, device="cpu", progress=False)
    others = list(zip(sources[1:], features[1:], strict=True))
    return training_data(spec, folder, features[0], others=others)[0], sources, features


def test_trials_images_and_concepts_are_joined_by_name(sim_dir, other):
    extra, root, (tested_there, shared, tested_here) = other
    sim = ThingsSim(sim_dir, preset="tiny")
    world = {"dataset": "things-sim", "data_dir": str(sim_dir), "preset": "tiny", "seed": 1}
    spec, notes = resolve(asked(extra, world | {"subjects": [2]}), sim)
    assert spec.data.channels == tuple(name for name in sim.ch_names if name in OCCIPITAL_17)
    assert any("things-eeg1: training on subjects 2; 1 of 4" in note for note in notes)

    data, sources, features = joined(spec, sim)
    table = data.table
    assert table["subject"].unique().tolist() == [1, "things-eeg1:2", "things-sim-2:2"]
    assert len(data.subject.unique()) == 3
    used = table.groupby("dataset", sort=False)["concept"].agg(set)
    assert used["things-eeg1"] == {"one", "two", shared}
    assert shared in used.iloc[0] and tested_there not in used.iloc[0]
    for source in sources:
        images = source.dataset.images
        assert not set(table["concept"]) & set(images.loc[images["split"] == "test", "concept"])

    store = prepare(ThingsEEG1(root), 2, spec.trials)
    means = store.average("train", channels=spec.data.channels).x
    of_other = store.averaged_images("train")
    for row in np.flatnonzero(table["dataset"] == "things-eeg1"):
        place = np.flatnonzero(of_other["image_id"] == table["image_id"][row]).item()
        np.testing.assert_array_equal(data.x[row], means[place])
        feature = features[1].original([table["image_id"][row]])[0]
        np.testing.assert_array_equal(data.original[data.image[row]], feature)


def test_run_says_what_it_was_trained_on(sim_dir, other, tmp_path):
    extra, root, _ = other
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)
    spec = asked(extra | {"data_dir": str(moved)})
    run = train(spec, data_dir=sim_dir, out=tmp_path)
    first, second = run.record["sources"]
    assert (first["concepts"], first["excluded_concepts"]) == (24, 1)
    assert (second["concepts"], second["excluded_concepts"], second["n_trials"]) == (4, 1, 9)
    assert first["n_trials"] + second["n_trials"] == run.summary["n_train"]
    assert list(second["fingerprints"]) == ["2"] and second["root"] == str(moved)
    assert run.summary["method"] == "contrast-with-things-eeg1"
    assert run.record["trials"]["things-eeg1:2"]["n_trials"] == 16

    pushed = Path(push(run.path, "lab/net", to=tmp_path))
    assert load_run(pushed).summary == run.summary
    for folder in (moved, sim_dir):
        assert str(folder) not in (pushed / "run.json").read_text()

    _, again = evaluate(run.path, "repetitions=1")
    assert again["n_queries"] == 16
    events = next(moved.rglob("*_events.tsv"))
    events.write_text(events.read_text().replace("\t0.05\n", "\t0.051\n", 1))
    with pytest.raises(DataError, match="things-eeg1"):
        train(spec, data_dir=sim_dir, out=tmp_path)
    shutil.rmtree(moved)
    _, alone = evaluate(run.path, "repetitions=1")
    assert alone["top1"] == again["top1"]


@pytest.mark.parametrize("same", [False, True])
def test_tested_picture_under_another_name(tmp_path, same):
    """A picture that one dataset tests may not train in the other, whatever it is called there."""
    here, there = tmp_path / "here", tmp_path / "there"
    write_other(here, [("a", "a_1.png"), ("b", "b_1.png")], [("c", "c_1.png")])
    extra = write_other(there, [("d", "d_1.png"), ("e", "e_1.png")], [("f", "f_1.png")])
    for concept, color in (("d", 20), ("e", 30), ("f", 40)):
        Image.new("RGB", (24, 24), (200, color, color)).save(
            there / f"stimuli/{concept}/{concept}_1.png"
        )
    if same:
        shutil.copy(here / "stimuli/c/c_1.png", there / "stimuli/e/e_1.png")
    dataset = ThingsEEG1(here)
    spec, _ = resolve(asked(extra, dataset="things-eeg1", subject=2), dataset)
    if not same:
        assert len(joined(spec, dataset)[0]) == 4
        return
    with pytest.raises(LeakageError, match="e/e_1.*c/c_1"):
        joined(spec, dataset)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"dataset": "things-eg1"}, UsageError, "did you mean"),
        ({"subjects": [7]}, SSRError, "7"),
        ({"data_dir": "nowhere"}, SSRError, "nowhere"),
        ({"dataset": "things-sim", "preset": "tiny", "data_dir": None}, UsageError, "twice"),
    ],
)
def test_what_cannot_be_joined(sim_dir, other, settings, error, said):
    extra = {**other[0], **settings}
    if extra["data_dir"] is None:
        extra["data_dir"] = str(sim_dir)
    with pytest.raises(error, match=said):
        resolve(asked(extra), ThingsSim(sim_dir, preset="tiny"))


def test_channels_that_are_asked_for_must_be_everywhere(sim_dir, other):
    with pytest.raises(DataError, match="Fp1"):
        resolve(asked(other[0], channels=("Oz", "Fp1")), ThingsSim(sim_dir, preset="tiny"))


def test_digest_is_of_the_data_not_of_their_place():
    one, two = (asked({"dataset": "things-eeg1", "data_dir": place}) for place in ("A", "B"))
    assert one.digest == two.digest != asked().digest
    assert asked().digest == run_spec(SETTINGS).digest
