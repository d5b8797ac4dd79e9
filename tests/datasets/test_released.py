"""The four released forms: joined by image number, aligned in time, nothing done twice."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from things_files import (
    OCCIPITAL_17,
    TEST,
    THINGS_EEG_63,
    TRAIN,
    write_gifford,
    write_metadata,
    write_neurobridge,
    write_nice,
    write_raw_session,
    write_ubp,
)

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.base import TRIAL_COLUMNS
from braindecode_ssr.datasets.things_eeg import preprocessed as released_module
from braindecode_ssr.datasets.things_eeg.dataset import ThingsEEG
from braindecode_ssr.datasets.things_eeg.preprocessed import crop
from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.trials.prepare import prepare

WRITERS = {
    "gifford": write_gifford,
    "nice": write_nice,
    "ubp": write_ubp,
    "neurobridge": write_neurobridge,
}
SPEC = TrialSpec()


def in_order_of(data, ch_names, released):
    """Channels of an array, ``(..., chans, times)``, in the order that they have in what was read."""
    return data[..., [ch_names.index(name) for name in released.info["ch_names"]], :]


def batches_of(root, spec=SPEC, subject=5):
    released = ThingsEEG(root).epochs(subject, spec)
    batches = list(released)
    tables = [batch.table for batch in batches]
    return released, np.concatenate([batch.trials for batch in batches]), tables


@pytest.mark.parametrize("form", WRITERS)
def test_every_condition_is_joined_to_its_image(tmp_path, form, monkeypatch):
    monkeypatch.setattr(released_module, "TRIALS_AT_ONCE", 8)
    write_metadata(tmp_path)
    train, test = WRITERS[form](tmp_path)
    released, trials, tables = batches_of(tmp_path)
    assert len(tables) == 3 + 3
    assert all(list(table.columns) == TRIAL_COLUMNS for table in tables)
    images = ThingsEEG(tmp_path).images.set_index(["split", "number"])
    keep = slice(20, 100) if form == "gifford" else slice(None)
    rows = pd.concat(tables).itertuples()
    expected = []
    for split, data in (("train", train), ("test", test)):
        for number, image in enumerate(data, start=1):
            for repetition, trial in enumerate(image, start=1):
                row, image = next(rows), images.loc[(split, number)]
                assert (row.split, row.number, row.repetition) == (split, number, repetition)
                assert (row.image_id, row.concept) == (image["image_id"], image["concept"])
                assert row.subject == 5
                expected.append(trial[:, keep].astype(np.float32))
    names = OCCIPITAL_17 if form == "gifford" else tuple(released.info["ch_names"])
    np.testing.assert_array_equal(trials, in_order_of(np.array(expected), names, released))
    assert trials.dtype == np.float32
    assert released.info["sfreq"] == (100.0 if form == "gifford" else 250.0)


@pytest.mark.parametrize("form", WRITERS)
def test_prepared_like_any_other_trials(tmp_path, form):
    write_metadata(tmp_path)
    WRITERS[form](tmp_path)
    dataset = ThingsEEG(tmp_path)
    store = prepare(dataset, 5, SPEC)
    assert store.manifest["release"] == form
    assert store.manifest["units"] == "unitless (whitened)"
    assert store.sfreq == (100.0 if form == "gifford" else 250.0)
    averaged = store.average("test", channels="occipital-17")
    assert averaged.x.shape == (len(TEST), 17, 80 if form == "gifford" else 250)
    assert averaged.table["image_id"].tolist()[-1] == "wok/wok_12s"
    assert prepare(dataset, 5, SPEC).path == store.path


def test_what_differs_from_the_spec_is_recorded(tmp_path):
    write_metadata(tmp_path)
    write_gifford(tmp_path)
    manifest = ThingsEEG(tmp_path).epochs(5, SPEC).manifest
    notes = " / ".join(manifest["notes"])
    assert "100 Hz as in the files, not 250 Hz" in notes
    assert "the files do not cover 0 to 1 s" in notes
    assert "whitening is not applied again" in notes and "session 0" in notes
    assert (manifest["sfreq"], manifest["first_time"], manifest["last_time"]) == (100.0, 0.0, 0.79)


def test_sessions_are_kept_where_the_files_have_them(tmp_path):
    write_metadata(tmp_path)
    write_ubp(tmp_path)
    released, _, tables = batches_of(tmp_path)
    assert tables[0]["session"].tolist()[:4] == [1, 1, 2, 2]
    assert not any("session 0" in note for note in released.manifest["notes"])


def test_sessions_are_0_where_they_are_lost(tmp_path):
    write_metadata(tmp_path)
    write_nice(tmp_path)
    assert set(batches_of(tmp_path)[2][0]["session"]) == {0}


def test_zscored_files_say_so(tmp_path):
    write_metadata(tmp_path)
    write_neurobridge(tmp_path, normalization="zscore")
    assert ThingsEEG(tmp_path).epochs(5, SPEC).manifest["units"] == "unitless (z-scored)"


def test_window_within_the_files(tmp_path):
    write_metadata(tmp_path)
    _, test = write_gifford(tmp_path)
    released, trials, _ = batches_of(tmp_path, TrialSpec(start=-0.1, stop=0.3))
    assert trials.shape[-1] == 40
    expected = in_order_of(test[-1, -1, :, 10:50].astype(np.float32), OCCIPITAL_17, released)
    np.testing.assert_array_equal(trials[-1], expected)
    assert released.manifest["first_time"] == pytest.approx(-0.1)


def test_window_outside_of_the_files(tmp_path):
    write_metadata(tmp_path)
    write_gifford(tmp_path)
    with pytest.raises(UsageError, match="-0.200 to 0.790 s.*2 to 3 s"):
        ThingsEEG(tmp_path).epochs(5, TrialSpec(start=2.0, stop=3.0))


@given(
    first=st.integers(-60, 0),
    n=st.integers(2, 320),
    start=st.integers(-60, 200),
    length=st.integers(2, 250),
)
def test_crop_keeps_the_samples_of_the_window(first, n, start, length):
    times = (first + np.arange(n)) / 250
    expected = np.flatnonzero(
        (times > (start - 0.5) / 250) & (times < (start + length - 0.5) / 250)
    )
    if start == first - 1:  # one sample late counts as on time
        expected = np.arange(min(length, n))
    if len(expected) < 2:
        with pytest.raises(UsageError):
            crop(times, 250.0, start / 250, (start + length) / 250, "test")
    else:
        keep = crop(times, 250.0, start / 250, (start + length) / 250, "test")
        np.testing.assert_array_equal(np.arange(n)[keep], expected)


# ---- which form is read -----------------------------------------------------------------------


def test_auto_takes_raw_first(tmp_path):
    write_metadata(tmp_path)
    write_nice(tmp_path)
    assert ThingsEEG(tmp_path).epochs(5, SPEC).manifest["release"] == "nice"
    write_raw_session(tmp_path)
    assert ThingsEEG(tmp_path).epochs(5, SPEC) is None
    named = ThingsEEG(tmp_path).epochs(5, TrialSpec(release="NICE"))
    assert named.manifest["release"] == "nice"


def test_auto_does_not_choose_between_forms(tmp_path):
    write_metadata(tmp_path)
    write_nice(tmp_path)
    write_ubp(tmp_path)
    with pytest.raises(UsageError, match="the forms nice, ubp.*trials.release=nice"):
        ThingsEEG(tmp_path).epochs(5, SPEC)


def test_unknown_form(tmp_path):
    write_metadata(tmp_path)
    with pytest.raises(UsageError, match="did you mean 'gifford'"):
        ThingsEEG(tmp_path).epochs(5, TrialSpec(release="giford"))


def test_missing_form_names_its_paths(tmp_path):
    write_metadata(tmp_path)
    with pytest.raises(MissingDataError) as error:
        ThingsEEG(tmp_path).epochs(5, TrialSpec(release="ubp"))
    folder = tmp_path / "Preprocessed_data_250Hz_whiten" / "sub-05"
    assert str(folder / "train.pt") in str(error.value) and str(folder / "test.pt") in str(
        error.value
    )
    write_neurobridge(tmp_path)
    (tmp_path / "preprocessed_eeg" / "info.json").unlink()
    with pytest.raises(MissingDataError, match="preprocessed_eeg/info.json"):
        ThingsEEG(tmp_path).epochs(5, SPEC)


def test_whitening_cannot_be_left_out(tmp_path):
    write_metadata(tmp_path)
    write_nice(tmp_path)
    with pytest.raises(UsageError, match="already normalized"):
        ThingsEEG(tmp_path).epochs(5, TrialSpec(whitening="none"))


def test_source_key_names_the_form(tmp_path):
    write_metadata(tmp_path)
    write_nice(tmp_path)
    before = ThingsEEG(tmp_path).source_key(5, SPEC)
    assert before.startswith("nice|")
    write_nice(tmp_path, n_axis=301)
    assert ThingsEEG(tmp_path).source_key(5, SPEC) != before


# ---- damaged files ------------------------------------------------------------------------------


def refused(root, match):
    with pytest.raises(DataError, match=match) as error:
        list(ThingsEEG(root).epochs(5, SPEC))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", WRITERS)
def test_counts_of_another_image_list(tmp_path, form):
    WRITERS[form](tmp_path)
    write_metadata(tmp_path, train=TRAIN[:-1])
    refused(tmp_path, "6 conditions, but 5 train images")
    write_metadata(tmp_path, test=TEST[:-1])
    refused(tmp_path, "3 conditions, but 2 test images")


def test_rows_of_other_images(tmp_path):
    write_metadata(tmp_path)
    write_ubp(tmp_path, train=[TRAIN[1], TRAIN[0], *TRAIN[2:]])
    refused(tmp_path, "image number 1 .*aardvark_02s.jpg.*list it is aardvark_01b.jpg")


def nice_with(root, **change):
    write_metadata(root)
    write_nice(root)
    path = root / "Preprocessed_data_250Hz/sub-05/preprocessed_eeg_test.npy"
    content = pickle.loads(path.read_bytes())
    content.update({key: value(content[key]) for key, value in change.items()})
    path.write_bytes(pickle.dumps(content, 4))


@pytest.mark.parametrize(
    "change, match",
    [
        ({"times": lambda t: t[:200]}, "250 samples and a time axis of shape"),
        ({"times": lambda t: t[::-1]}, "a time axis that does not rise"),
        ({"ch_names": lambda n: n[1:]}, "63 channels with 62 different names"),
        ({"ch_names": lambda n: ["Oz", *n[1:]]}, "63 channels with 62 different names"),
        ({"ch_names": lambda n: ["Iz2", *n[1:]]}, "lacks"),
        ({"times": lambda t: t + 0.1}, "the times of the trials differ"),
        ({"preprocessed_eeg_data": lambda d: d[0]}, "ndarray of shape"),
        ({"preprocessed_eeg_data": lambda d: d.tolist()}, "list of shape"),
    ],
)
def test_damaged_axes(tmp_path, change, match):
    nice_with(tmp_path, **change)
    refused(tmp_path, match)


def test_damaged_neurobridge(tmp_path):
    write_metadata(tmp_path)
    write_neurobridge(tmp_path)
    info = tmp_path / "preprocessed_eeg" / "info.json"
    text = info.read_text()
    info.write_text("<html>")
    refused(tmp_path, "JSON of .* cannot be read")
    info.write_text("[]")
    refused(tmp_path, "the keys ch_names, times")
    info.write_text(json.dumps({**json.loads(text), "ch_names": ["Oz"]}))
    refused(tmp_path, "63 channels with 1 different names")
    info.write_text(text)
    np.save(tmp_path / "preprocessed_eeg/sub-05/train.npy", np.ones((6, 4, 63, 250)))
    refused(tmp_path, "concepts, images, repetitions, chans, times")


def test_damaged_ubp(tmp_path):
    import torch

    write_metadata(tmp_path)
    write_ubp(tmp_path)
    path = tmp_path / "Preprocessed_data_250Hz_whiten/sub-05/train.pt"
    content = torch.load(path, weights_only=False)
    torch.save({**content, "session": content["session"][:, :1]}, path)
    refused(tmp_path, "one entry of 'session' per trial")
    torch.save({k: v for k, v in content.items() if k != "img"}, path)
    refused(tmp_path, "no img")


@pytest.mark.parametrize("form", WRITERS)
def test_web_page_in_place_of_a_file(tmp_path, form):
    write_metadata(tmp_path)
    WRITERS[form](tmp_path)
    folder = next(tmp_path.rglob("sub-05"))
    for path in folder.iterdir():
        path.write_text("<!doctype html><title>403</title>")
    refused(tmp_path, "a web page")


def test_channels_are_those_of_the_files(tmp_path):
    write_metadata(tmp_path)
    write_nice(tmp_path)
    assert tuple(ThingsEEG(tmp_path).epochs(5, SPEC).info["ch_names"]) == THINGS_EEG_63
    other = tmp_path / "other"
    write_metadata(other)
    write_gifford(other)
    assert set(ThingsEEG(other).epochs(5, SPEC).info["ch_names"]) == set(OCCIPITAL_17)


@pytest.mark.parametrize("form", WRITERS)
def test_only_the_release_of_the_authors_was_whitened_with_test_trials(tmp_path, form):
    write_metadata(tmp_path)
    WRITERS[form](tmp_path)
    expected = ("test-in-whitening",) if form == "gifford" else ()
    assert ThingsEEG(tmp_path).flags(5, SPEC) == expected
