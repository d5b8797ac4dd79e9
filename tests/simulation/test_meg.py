"""Simulated MEG: design and tables as published, files that MNE reads, signals that tell images apart."""

import json
import shutil

import mne
import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.things_meg.dataset import ThingsMEG
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.simulation import layouts
from braindecode_ssr.simulation.experiment import PRESETS as EEG
from braindecode_ssr.simulation.layouts import (
    CATCH,
    MEG_PRESETS,
    background,
    helmet,
    helmet_info,
    meg_images,
    meg_runs,
    part_names,
    rhythm,
    sample_attributes,
    spectral_noise,
    write_meg,
    write_parts,
)
from braindecode_ssr.trials.prepare import prepare

COLUMNS = (
    "trial_type image_nr category_nr exemplar_nr test_image_nr things_category_nr things_image_nr "
    "things_exemplar_nr image_path onset image_on image_off responded key_id key_time RT session_nr run_nr"
).split()
"""Published columns of ``sample_attributes``."""


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    return ThingsSim(tmp_path_factory.mktemp("sim"), "tiny")


@pytest.fixture(scope="module")
def out(sim, tmp_path_factory):
    out = tmp_path_factory.mktemp("meg")
    write_meg(sim, (1, 2), out)
    return out


@pytest.fixture(scope="module")
def full():
    preset = MEG_PRESETS["full"]
    images = meg_images(preset, EEG["full"], 0)
    return images, meg_runs(preset, images, 1, 0)


def test_counts_of_the_full_design_are_the_published_ones(full):
    images, runs = full
    table = sample_attributes(runs, images, 1)
    assert table["trial_type"].value_counts().to_dict() == {
        "exp": 22248,
        "test": 2400,
        "catch": 2400,
    }
    assert len(runs) == 120 and sorted({len(run.images) for run in runs}) == [225, 226]
    exp = table[table["trial_type"] == "exp"]
    assert exp["things_image_nr"].is_unique
    assert (exp.groupby("session_nr")["category_nr"].nunique() == 1854).all()
    test = table[table["trial_type"] == "test"].groupby("things_image_nr")["session_nr"]
    assert len(test) == 200 and (test.nunique() == 12).all()


def test_timing_is_the_published_one(full):
    _, runs = full
    soa = np.concatenate([np.diff(run.samples) for run in runs]) / 200
    assert 1.25 <= soa.min() and soa.max() <= 1.70
    assert soa.mean() == pytest.approx(1.501, abs=0.01)
    assert soa.std() == pytest.approx(0.106, abs=0.01)


def test_a_seventh_of_the_test_concepts_is_tested_by_the_eeg_experiment(sim):
    eeg = sim.images
    images = meg_images(MEG_PRESETS["full"], EEG["full"], 0)
    tested = set(images["concept"][images["trial_type"] == "test"])
    words = ThingsSim(sim.root, "full").images
    assert len(tested & set(words["concept"][words["split"] == "test"])) == 28
    assert len(tested & set(words["concept"][words["split"] == "train"])) == 172
    assert set(meg_images(MEG_PRESETS["tiny"], EEG["tiny"], 0)["concept"]) == set(eeg["concept"])


def test_the_table_has_the_published_columns_and_no_ids_for_catch_trials(out):
    table = pd.read_csv(out / "sourcedata" / "sample_attributes_P1.csv")
    assert table.columns.tolist() == COLUMNS
    catch = table[table["trial_type"] == "catch"]
    assert len(catch) == 24 and catch["things_image_nr"].isna().all()
    assert catch["image_path"].str.startswith("images_catch_meg/").all()
    assert (
        table.loc[table["trial_type"] == "exp", "image_path"]
        .str.match(r"images_meg/(\w+)/\1_\d\d[bs]\.jpg")
        .all()
    )


def test_files_are_named_as_published(out):
    names = {path.name for path in (out / "derivatives" / "preprocessed").iterdir()}
    assert names == {*part_names(1), *part_names(2)}
    assert json.loads((out / "things_sim.json").read_text())["dataset"] == "things-meg"


def test_mne_reads_all_parts_as_one(out):
    epochs = mne.read_epochs(
        out / "derivatives/preprocessed/preprocessed_P1-epo.fif", verbose="error"
    )
    table = pd.read_csv(out / "sourcedata" / "sample_attributes_P1.csv")
    assert len(epochs) == len(table) == 336
    assert epochs.times[0] == pytest.approx(-0.1) and epochs.times[-1] == pytest.approx(1.3)
    assert epochs.info["sfreq"] == 200 and set(epochs.get_channel_types()) == {"mag"}
    assert set(epochs.ch_names) <= set(helmet().names)
    codes = table["things_image_nr"].fillna(CATCH).astype(int)
    assert epochs.events[:, 2].tolist() == codes.tolist()
    pd.testing.assert_frame_equal(epochs.metadata, table, check_dtype=False)


def test_the_baseline_of_every_trial_is_z_scored(out):
    epochs = mne.read_epochs(
        out / "derivatives/preprocessed/preprocessed_P2-epo.fif", verbose="error"
    )
    rest = epochs.get_data()[:, :, epochs.times < 0.001]
    np.testing.assert_allclose(rest.mean(axis=2), 0, atol=1e-4)
    np.testing.assert_allclose(rest.std(axis=2), 1, atol=1e-4)


@pytest.mark.parametrize("n_epochs", [4, 7, 9])
def test_what_is_written_is_what_mne_reads(tmp_path, n_epochs):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(n_epochs, 5, 30)).astype(np.float32)
    info = helmet_info(100.0, 55)
    events = np.stack([np.arange(n_epochs), np.zeros(n_epochs), rng.integers(1, 9, n_epochs)], 1)
    table = pd.DataFrame({"name": [f"a{k}" for k in range(n_epochs)], "nr": np.nan})
    names = part_names(3)
    paths = [tmp_path / name for name in names]
    write_parts(paths, names, info, events.astype(int), table, [data[:3], data[3:]], -10)
    epochs = mne.read_epochs(paths[0], verbose="error")
    np.testing.assert_array_equal(epochs.get_data(), data)
    assert epochs.events.tolist() == events.tolist() and epochs.ch_names == info["ch_names"]
    assert epochs.metadata["name"].tolist() == table["name"].tolist()
    assert epochs.times[0] == pytest.approx(-0.1) and epochs.baseline == pytest.approx((-0.1, 0))
    for sensor, written in zip(epochs.info["chs"], info["chs"], strict=True):
        np.testing.assert_allclose(sensor["loc"], written["loc"], rtol=1e-6)


def test_sensors_are_where_their_names_say():
    names, places = helmet().names, helmet().positions
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1)
    side = np.array([name[1] for name in names])
    region = np.array([name[2] for name in names])
    x, y, z = places.T
    assert (x[side == "L"] < 0).all() and (x[side == "R"] > 0).all()
    assert y[region == "F"].mean() > 0.3 and y[region == "O"].mean() < -0.3
    assert z[region == "C"].mean() > z[region == "T"].mean() + 0.3


def test_noise_has_its_spectrum_and_variance_one():
    rng = np.random.default_rng(0)
    slow = spectral_noise(20, 20_000, rng, background)
    assert slow.dtype == np.float32 and slow.std() == pytest.approx(1, abs=0.05)
    power = np.mean(np.abs(np.fft.rfft(slow)) ** 2, axis=0)
    frequency = np.fft.rfftfreq(slow.shape[1], 1 / 200)

    def band(low, high):
        return power[(frequency > low) & (frequency < high)].mean()

    assert band(50, 90) < 1e-3 * band(30, 38)
    assert band(2, 4) / band(20, 40) == pytest.approx(28.9 / 2.89, rel=0.3)
    alpha = spectral_noise(20, 20_000, rng, rhythm)
    peak = np.mean(np.abs(np.fft.rfft(alpha)) ** 2, axis=0).argmax()
    assert frequency[peak] == pytest.approx(10, abs=1.5)


@pytest.fixture
def begun(out, tmp_path):
    """A folder in which the images are written, and no recording."""
    return shutil.copytree(
        out, tmp_path / "begun", ignore=shutil.ignore_patterns("derivatives", "sourcedata")
    )


def test_subjects_and_seeds_differ_and_are_repeated(sim, out, begun):
    def written(folder, subject):
        folder = folder / "derivatives" / "preprocessed"
        return [(folder / name).read_bytes() for name in part_names(subject)]

    assert written(out, 1)[0] != written(out, 2)[0]
    write_meg(sim, (1,), begun)
    assert written(begun, 1) == written(out, 1)


SPEC = TrialSpec(sfreq=200, whitening="zscore")


def test_test_images_can_be_told_apart(sim, out):
    """A ridge regression from training trials to the eye's features finds most test images."""
    dataset = ThingsMEG(out)
    store = prepare(dataset, 1, SPEC)
    train, test = store.average("train"), store.average("test")
    images = meg_images(MEG_PRESETS["tiny"], sim.preset, 0)
    names = list(zip(images["concept"], images["stem"], strict=True))
    features = dict(zip(map("/".join, names), sim.seen(names), strict=True))
    y = np.stack([features[name] for name in train.table["image_id"]])
    gallery = np.stack([features[name] for name in test.table["image_id"]])
    x, queries = (part.x.reshape(len(part.x), -1).astype(float) for part in (train, test))
    kernel = x @ x.T
    weights = np.linalg.solve(
        kernel + 3 * np.trace(kernel) / len(x) * np.eye(len(x)), y - y.mean(0)
    )
    found, wanted = queries @ x.T @ weights, gallery - y.mean(0)
    scores = found @ (wanted / np.linalg.norm(wanted, axis=1, keepdims=True)).T
    top1 = np.mean(scores.argmax(axis=1) == np.arange(len(gallery)))
    assert len(gallery) == 16 and top1 >= 0.5


def test_files_that_are_there_are_left_as_they_are(sim, out):
    path = out / "derivatives/preprocessed/preprocessed_P1-epo.fif"
    before = path.stat().st_mtime_ns
    write_meg(sim, (1,), out)
    assert path.stat().st_mtime_ns == before


def test_a_folder_of_something_else_is_refused(sim, tmp_path):
    (tmp_path / "object_images").mkdir()
    with pytest.raises(UsageError, match="choose another --out"):
        write_meg(sim, (1,), tmp_path)


def test_unknown_subjects(sim, tmp_path):
    with pytest.raises(UsageError, match="1 to 4"):
        write_meg(sim, (5,), tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_half_written(sim, begun, monkeypatch):
    written = layouts._write_data
    calls = []

    def full(file, *rest):
        calls.append(file)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        written(file, *rest)

    monkeypatch.setattr(layouts, "_write_data", full)
    with pytest.raises(DataError, match="free some space"):
        write_meg(sim, (1,), begun)
    assert not list((begun / "derivatives" / "preprocessed").iterdir())
