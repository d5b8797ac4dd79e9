"""THINGS-MEG: split fif files that MNE wrote, trials by name, normalised by session; every damage named."""

import shutil

import mne
import numpy as np
import pandas as pd
import pytest
from meg_files import (
    CATCH,
    EXP,
    SENSORS,
    SESSIONS,
    TEST,
    TRAIN_CONCEPTS,
    attributes,
    epochs,
    signals,
    write_images,
    write_subject,
)

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.things_meg.dataset import ThingsMEG
from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.preprocessing.channels import match_channels
from braindecode_ssr.simulation.layouts import helmet_info
from braindecode_ssr.training.data import channel_set
from braindecode_ssr.trials.prepare import prepare
from braindecode_ssr.trials.store import TrialStore

SPEC = TrialSpec(**ThingsMEG.settings["trials"])
AS_RELEASED = SPEC.model_copy(update={"whitening": "none"})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("meg")
    assert len(write_subject(root)) >= 3
    write_images(root)
    return root


@pytest.fixture
def copy(root, tmp_path):
    """The files of subject 1, to be damaged."""
    shutil.copytree(root / "derivatives", tmp_path / "derivatives")
    return tmp_path / "derivatives" / "preprocessed"


def test_images_by_name_and_the_zero_shot_split_by_name(root):
    images = ThingsMEG(root).images
    train, test = (images[images["split"] == split] for split in ("train", "test"))
    assert sorted(train["concept"].unique()) == TRAIN_CONCEPTS
    assert train["image_id"].tolist()[:3] == [
        "aardvark/aardvark_01b",
        "aardvark/aardvark_02s",
        "baton4/baton4_01b",
    ]
    assert test["file"].tolist() == [f"{concept}/{file}" for concept, file in TEST.values()]
    assert train["number"].tolist() == list(range(1, 7)) and test["number"].tolist() == [1, 2]


def test_trials_are_those_that_mne_reads(root):
    store = prepare(ThingsMEG(root), 1, AS_RELEASED)
    table, data = attributes(), signals(len(attributes()))
    tested = {concept for concept, _ in TEST.values()}
    kept = [
        row
        for row, (kind, number) in enumerate(
            zip(table["trial_type"], table["things_image_nr"], strict=True)
        )
        if kind == "test" or (kind == "exp" and EXP[int(number)][0] not in tested)
    ]
    order = [SENSORS.index(name) for name in store.ch_names]
    np.testing.assert_array_equal(store.trials, data[kept][:, order, 20:220].astype(np.float32))
    assert store.table["session"].tolist() == table["session_nr"][kept].tolist()
    assert sorted(store.ch_names) == sorted(SENSORS) and store.sfreq == 200
    assert store.units == "unitless (z-scored on the baseline)"
    assert store.manifest["first_time"] == 0 and store.manifest["last_time"] == 0.995
    assert mne.channel_type(store.info, 0) == "mag"


def test_each_image_is_counted_by_its_own_repetitions(root):
    table = prepare(ThingsMEG(root), 1, AS_RELEASED).table
    train, test = (table[table["split"] == split] for split in ("train", "test"))
    assert (train["repetition"] == 1).all() and train["image_id"].is_unique
    for _, group in test.groupby("image_id"):
        assert group["repetition"].tolist() == list(range(1, SESSIONS + 1))
        assert group["session"].tolist() == group["repetition"].tolist()


@pytest.mark.parametrize(("stop", "samples"), [(1.0, 200), (1.005, 201), (1.305, 261)])
def test_the_window_is_cropped_of_the_files_own_times(root, stop, samples):
    spec = AS_RELEASED.model_copy(update={"stop": stop})
    store = prepare(ThingsMEG(root), 1, spec)
    assert store.trials.shape[2] == samples
    assert store.manifest["last_time"] == pytest.approx((samples - 1) / 200)


def test_a_window_that_the_files_do_not_have(root):
    with pytest.raises(UsageError, match=r"trials.start"):
        prepare(ThingsMEG(root), 1, AS_RELEASED.model_copy(update={"start": 2.0, "stop": 3.0}))


def test_z_scores_are_fitted_on_the_training_trials_of_each_session(root):
    plain, scaled = (prepare(ThingsMEG(root), 1, spec) for spec in (AS_RELEASED, SPEC))
    assert scaled.units == "unitless (z-scored)"
    train = (plain.table["split"] == "train").to_numpy()
    for session in range(1, SESSIONS + 1):
        rows = (plain.table["session"] == session).to_numpy()
        fitted = plain.trials[rows & train].astype(float)
        mean, deviation = (f(fitted, axis=(0, 2))[:, None] for f in (np.mean, np.std))
        expected = (plain.trials[rows] - mean) / deviation
        np.testing.assert_allclose(scaled.trials[rows], expected, atol=1e-5)


def test_whitening_is_a_choice_too(tmp_path):
    sensors = SENSORS[:6]
    write_subject(tmp_path, made=epochs(data=signals(len(attributes()), sensors), sensors=sensors))
    spec = SPEC.model_copy(update={"whitening": "mvnn"})
    store = prepare(ThingsMEG(tmp_path), 1, spec)
    assert store.units == "unitless (whitened)"
    train = store.trials[store.rows("train")]
    within = np.mean([np.cov(trial) for trial in train], axis=0)
    np.testing.assert_allclose(np.diag(within), 1, atol=0.25)


def test_the_files_may_lie_in_the_folder_itself_or_below_a_data_folder(root, tmp_path):
    parts = write_subject(tmp_path / "ds004212", folder="")
    assert ThingsMEG(tmp_path / "ds004212").present_subjects == (1,)
    assert ThingsMEG(tmp_path).root == parts[0].parent
    assert ThingsMEG(tmp_path).subjects == (1, 2, 3, 4)


def test_metadata_may_have_an_unnamed_index(tmp_path):
    table = attributes()
    table.insert(0, "Unnamed: 0", range(len(table)))
    write_subject(tmp_path, made=epochs(table))
    assert len(ThingsMEG(tmp_path).images) == 8


def test_sample_attributes_stand_in_for_metadata(tmp_path):
    write_subject(tmp_path, made=epochs(False))
    with pytest.raises(MissingDataError, match=r"sample_attributes_P1.csv"):
        _ = ThingsMEG(tmp_path).images
    table = tmp_path / "sourcedata" / "sample_attributes_P1.csv"
    table.parent.mkdir()
    attributes().to_csv(table)  # with an unnamed index
    assert len(prepare(ThingsMEG(tmp_path), 1, AS_RELEASED)) == 12
    attributes().iloc[:-1].to_csv(table)
    with pytest.raises(DataError, match="20 trials.* 21"):
        prepare(ThingsMEG(tmp_path), 1, SPEC)


def test_the_table_of_images_needs_no_trials(tmp_path):
    attributes().to_csv(tmp_path / "sample_attributes_P3.csv")
    assert len(ThingsMEG(tmp_path).images) == 8


def test_images_are_in_object_images(root):
    assert ThingsMEG(root).image("baton4/baton4_02s").size == (20, 20)
    with pytest.raises(DataError, match="concept/file stem"):
        ThingsMEG(root).image("baton4/baton4_09s")


def test_the_image_set_of_the_eeg_experiment_is_named_as_such(copy, tmp_path):
    (tmp_path / "image_set" / "training_images" / "00001_aardvark").mkdir(parents=True)
    with pytest.raises(
        MissingDataError, match=r"image set of THINGS-EEG2.*object_images"
    ) as caught:
        ThingsMEG(tmp_path).image("aardvark/aardvark_01b")
    assert "\n" not in str(caught.value)


def test_other_sensors_than_meg_are_left_out(tmp_path):
    made = epochs()
    extra = made.copy().pick(SENSORS[:2]).rename_channels(lambda name: f"UADC{name[3:5]}{name[1]}")
    types = dict.fromkeys(extra.ch_names, "misc")
    extra.set_channel_types(types, on_unit_change="ignore")
    write_subject(tmp_path, made=made.add_channels([extra]))
    assert sorted(prepare(ThingsMEG(tmp_path), 1, AS_RELEASED).ch_names) == sorted(SENSORS)


def test_a_store_is_made_again_when_a_part_changes(copy, tmp_path):
    dataset = ThingsMEG(tmp_path)
    first = dataset.source_key(1)
    write_subject(tmp_path, made=epochs(data=signals(len(attributes()), seed=1)))
    assert dataset.source_key(1) != first


def refused(root, subject=1, error=DataError):
    """The one line that preparing a subject ends with; nothing is left behind."""
    with pytest.raises(error) as caught:
        prepare(ThingsMEG(root), subject, SPEC)
    trials = ThingsMEG(root).derived / "trials"
    for folder in trials.glob("sub-*") if trials.is_dir() else ():
        with pytest.raises(DataError):
            TrialStore.open(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_part(copy, tmp_path):
    (copy / "preprocessed_P1-epo-1.fif").unlink()
    told = refused(tmp_path, error=MissingDataError)
    assert "the part" in told and "preprocessed_P1-epo-1.fif" in told and "download it" in told


def test_a_renamed_part(copy, tmp_path):
    (copy / "preprocessed_P1-epo-1.fif").rename(copy / "preprocessed_P1-epo_1.fif")
    told = refused(tmp_path, error=MissingDataError)
    assert "preprocessed_P1-epo_1.fif" in told and "keep the names" in told


def test_a_renamed_first_part(copy, tmp_path):
    (copy / "preprocessed_P1-epo.fif").rename(copy / "MEG_P1.fif")
    told = refused(tmp_path, error=MissingDataError)
    assert "MEG_P1.fif" in told and "keep the names" in told


@pytest.mark.parametrize("part", ["", "-1"])
@pytest.mark.parametrize("cut", [100, 200_000])
def test_a_part_that_is_cut_off(copy, tmp_path, part, cut):
    path = copy / f"preprocessed_P1-epo{part}.fif"
    path.write_bytes(path.read_bytes()[:-cut])
    told = refused(tmp_path)
    assert path.name in told and "cut off" in told and "download it again" in told


def test_a_page_instead_of_a_part(copy, tmp_path):
    (copy / "preprocessed_P1-epo-1.fif").write_text("<!DOCTYPE html><title>Access denied</title>")
    assert "a web page (Access denied)" in refused(tmp_path)


@pytest.mark.parametrize("column", ["image_path", "trial_type", "session_nr", "things_image_nr"])
def test_metadata_without_a_column(tmp_path, column):
    codes = attributes()["things_image_nr"].fillna(999999).to_numpy(int)
    write_subject(tmp_path, made=epochs(attributes().drop(columns=column), codes=codes))
    told = refused(tmp_path)
    assert f"no {column}" in told and "2.0.1" in told


def test_event_codes_off_by_one(tmp_path):
    codes = attributes()["things_image_nr"].fillna(999999).to_numpy(int) - 1
    write_subject(tmp_path, made=epochs(codes=codes))
    assert "all of them by -1" in refused(tmp_path)


def test_ids_and_event_codes_off_by_one(tmp_path):
    table = attributes()
    table["things_image_nr"] -= 1
    write_subject(tmp_path, made=epochs(table))
    told = refused(tmp_path)
    assert "aircraft_carrier_22s" in told and "is 147, not 148: ids are shifted" in told


def test_rows_off_by_one(tmp_path):
    codes = attributes()["things_image_nr"].fillna(999999).to_numpy(int)
    write_subject(tmp_path, made=epochs(codes=np.roll(codes, 1)))
    assert "events and metadata of one release" in refused(tmp_path)


def test_a_single_code_that_differs_is_reported(tmp_path, monkeypatch):
    from braindecode_ssr.datasets.things_meg import files as things_meg_design

    monkeypatch.setattr(things_meg_design, "MOST_MISMATCHES", 0.1)
    codes = attributes()["things_image_nr"].fillna(999999).to_numpy(int)
    codes[np.flatnonzero(codes < 999999)[0]] = 5
    write_subject(tmp_path, made=epochs(codes=codes))
    notes = prepare(ThingsMEG(tmp_path), 1, SPEC).manifest["notes"]
    assert any(note.startswith("1 trials have another event code") for note in notes)


def test_catch_trials_that_are_not_called_so(tmp_path):
    table = attributes()
    table["trial_type"] = table["trial_type"].replace("catch", "exp")
    write_subject(tmp_path, made=epochs(table))
    told = refused(tmp_path)
    assert f"{2 * SESSIONS} trials" in told and "trial_type catch" in told


def test_a_type_that_is_not_known(tmp_path):
    write_subject(tmp_path, made=epochs(attributes().replace({"trial_type": {"exp": "train"}})))
    assert "'train'" in refused(tmp_path)


def test_a_missing_session(tmp_path):
    table = attributes()
    kept = (table["session_nr"] != 2).to_numpy()
    write_subject(tmp_path, made=epochs()[kept])
    told = refused(tmp_path)
    assert "no trial of session 2" in told and "get all parts" in told


def test_trials_without_a_session(tmp_path):
    write_subject(tmp_path, made=epochs(attributes().replace({"session_nr": {2: np.nan}})))
    assert "no session_nr" in refused(tmp_path)


def test_a_session_without_training_trials_cannot_be_normalized(tmp_path):
    table = attributes()
    kept = ~((table["session_nr"] == 2) & (table["trial_type"] == "exp")).to_numpy()
    write_subject(tmp_path, made=epochs()[kept])
    assert "training trials in session 2" in refused(tmp_path)
    assert len(prepare(ThingsMEG(tmp_path), 1, AS_RELEASED))


def test_subjects_with_other_sensors(copy, tmp_path):
    made = epochs(data=signals(len(attributes()), SENSORS[1:]), sensors=SENSORS[1:])
    write_subject(tmp_path, 2, made=made)
    stores = [prepare(ThingsMEG(tmp_path), subject, AS_RELEASED) for subject in (1, 2)]
    with pytest.raises(DataError, match="lacks MLF11"):
        match_channels([channel_set(store) for store in stores], "all")
    names, picks = match_channels([channel_set(store) for store in stores], "common")
    assert len(names) == 29 and len(picks[0]) == len(picks[1]) == 29


def test_parts_with_other_sensors(tmp_path):
    parts = write_subject(tmp_path)
    made = epochs(data=signals(len(attributes()), SENSORS[1:]), sensors=SENSORS[1:])
    others = write_subject(tmp_path / "other", made=made)
    shutil.copy(others[1], parts[1])
    told = refused(tmp_path)
    assert parts[1].name in told and "29" in told


def test_subjects_who_saw_other_images(copy, tmp_path):
    table = attributes()
    table["image_path"] = table["image_path"].str.replace("aardvark", "abacus")
    write_subject(tmp_path, 2, made=epochs(table))
    assert "abacus/abacus_0" in refused(tmp_path, 2)


def test_a_part_of_another_subject_is_noticed(tmp_path):
    parts = write_subject(tmp_path)
    moved = attributes(seed=1)
    others = write_subject(tmp_path / "other", made=epochs(moved))
    shutil.copy(others[1], parts[1])
    told = refused(tmp_path)
    assert "shown once" in told and "parts of one subject" in told


def test_two_numbers_for_one_image(tmp_path):
    table = attributes()
    first = table.index[table["trial_type"] == "test"][0]
    table.loc[first, "things_image_nr"] = 149
    table.to_csv(tmp_path / "sample_attributes_P1.csv")
    with pytest.raises(DataError):
        _ = ThingsMEG(tmp_path).images


@pytest.mark.parametrize("whitening", ["mvnn", "zscore", "none"])
def test_a_constant_sensor(tmp_path, whitening):
    data = signals(len(attributes()))
    data[:, 3] = 0
    write_subject(tmp_path, made=epochs(data=data))
    with pytest.raises(DataError, match="constant"):
        prepare(ThingsMEG(tmp_path), 1, SPEC.model_copy(update={"whitening": whitening}))


def test_there_are_no_continuous_recordings(root):
    with pytest.raises(UsageError, match="subject 1 of things-meg has epochs"):
        ThingsMEG(root).recordings(1)


def test_no_files_at_all(tmp_path):
    with pytest.raises(MissingDataError, match=r"preprocessed_P1-epo.fif.*8.25 GB"):
        _ = ThingsMEG(tmp_path).images


def test_where_and_check(copy, tmp_path):
    write_images(tmp_path)
    files = ThingsMEG(tmp_path).inventory(read=True)
    trials = [file for file in files if file["path"].endswith(".fif")]
    assert all(file["state"] == "found" for file in trials) and len(trials) >= 3
    assert f"{SESSIONS} sessions: 6 training trials of 6 images, 6 test" in trials[0]["detail"]
    assert files[-1]["state"] == "found" and files[-1]["detail"] == "8 of 8 here"
    (copy / "preprocessed_P1-epo-1.fif").unlink()
    assert ThingsMEG(tmp_path).inventory(read=True)[0]["state"] == "missing"
    looked = ThingsMEG(tmp_path).inventory()
    assert any("names as the next" in file["detail"] for file in looked)
    empty = ThingsMEG(tmp_path / "empty").inventory()
    assert len([file for file in empty if file["path"].endswith(".fif")]) == 16
    assert all("openneuro" in file["source"] for file in empty[:20])


def test_trials_are_read_a_few_at_a_time(root, monkeypatch):
    from braindecode_ssr.datasets.things_meg import dataset

    asked = []
    get_data = mne.BaseEpochs.get_data
    monkeypatch.setattr(
        mne.BaseEpochs,
        "get_data",
        lambda self, **options: asked.append(len(options["item"])) or get_data(self, **options),
    )
    monkeypatch.setattr(dataset, "TRIALS_AT_ONCE", 2)
    trials = ThingsMEG(root).epochs(1, AS_RELEASED)
    batches = [batch for batch in trials]
    assert max(asked) == 2 and sum(asked) == 12
    assert pd.concat([batch.table for batch in batches])["session"].is_monotonic_increasing


@pytest.fixture(scope="module")
def marked():
    """Epochs of sensors with places, one of them bad, and a bad segment in the first and the third."""
    table = attributes()
    info = helmet_info(200.0, every=16)
    data = signals(len(table), info["ch_names"])
    codes = table["things_image_nr"].fillna(CATCH).to_numpy(int)
    events = np.stack([300 * np.arange(len(table)) + 100, 0 * codes, codes], axis=1)
    made = mne.EpochsArray(data, info, events, tmin=-0.1, metadata=table, verbose="error")
    made.info["bads"] = [info["ch_names"][3]]
    scalp = np.random.default_rng(0).normal(size=(40, 3)) * [1, 1, 0.5] + [0, 0, 1]
    scalp *= 0.09 / np.linalg.norm(scalp, axis=1, keepdims=True)
    ears = {"nasion": [0, 0.09, 0], "lpa": [-0.08, 0, 0], "rpa": [0.08, 0, 0]}
    made.set_montage(mne.channels.make_dig_montage(hsp=scalp, coord_frame="head", **ears))
    made.set_annotations(mne.Annotations([0.6, 3.6], [0.1, 0.1], ["BAD_muscle", "EDGE boundary"]))
    return made


def test_what_is_marked_bad_in_the_epochs(marked, tmp_path):
    write_subject(tmp_path, made=marked, split_size="2GB")
    bad = marked.info["bads"][0]
    with pytest.raises(DataError, match=rf"{bad}.*marked bad.*bad_channels=interpolate"):
        prepare(ThingsMEG(tmp_path), 1, AS_RELEASED)

    def made(how, **more):
        update = {"bad_channels": how, **more}
        return prepare(ThingsMEG(tmp_path), 1, AS_RELEASED.model_copy(update=update))

    kept, dropped, mended = made("keep"), made("drop"), made("interpolate")
    assert set(kept.ch_names) - set(dropped.ch_names) == {bad}
    assert len(kept) == len(dropped) == len(mended)
    others = [k for k, name in enumerate(kept.ch_names) if name != bad]
    np.testing.assert_array_equal(mended.trials[:, others], kept.trials[:, others])
    np.testing.assert_array_equal(dropped.trials, kept.trials[:, others])
    expected = marked.copy().interpolate_bads(verbose="error")
    trial = mended.table.index[-1]
    row = kept.ch_names.index(bad)
    candidates = expected.get_data(bad)[:, 0, 20:220]
    assert np.abs(candidates - mended.trials[trial, row]).max(axis=1).min() < 1e-4
    assert mended.manifest["channels"] == {"interpolated": {bad: ["preprocessed_P1-epo.fif"]}}
    all_trials = made("keep", bad_segments="keep")
    assert len(all_trials) - len(kept) == kept.manifest["dropped"].get("in a bad segment", 0)
    assert sum(kept.manifest["dropped"].values()) > 0


def test_an_epoch_stored_twice_is_refused_with_both_places(tmp_path):
    data, table = signals(len(attributes())), attributes()
    tests = np.flatnonzero(table["trial_type"] == "test")
    data[tests[-1]] = data[tests[0]]
    parts = write_subject(tmp_path, made=epochs(table, data))
    with pytest.raises(DataError, match="stored twice") as error:
        prepare(ThingsMEG(tmp_path), 1, SPEC)
    assert f"epoch {tests[0]} of {parts[0]} (session 1" in str(error.value)
    checked = ThingsMEG(tmp_path).inventory(read=True)[0]  # data check
    assert (checked["state"], checked["detail"]) == ("broken", error.value.message)
    assert str(parts[-1]) in str(error.value) and f"(session {SESSIONS}" in str(error.value)


def test_a_session_copied_under_another_name_is_refused(tmp_path):
    table, data = attributes(), signals(len(attributes()))
    first, second = (np.flatnonzero(table["session_nr"] == session) for session in (1, 2))
    n_trials = min(len(first), len(second))
    data[second[:n_trials]] = data[first[:n_trials]]
    write_subject(tmp_path, made=epochs(table, data))
    with pytest.raises(DataError, match=r"stored twice: .*session 1.* and .*session 2"):
        prepare(ThingsMEG(tmp_path), 1, AS_RELEASED)
