"""Raw files: damage of every kind is named in one line, and events are found as MNE finds them."""

import mne
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from things_files import (
    TARGET,
    THINGS_EEG_63_RAW,
    TRAIN,
    presentations,
    raw_content,
    write_metadata,
    write_raw_session,
    write_things,
)

from braindecode_ssr.datasets.things_eeg.dataset import ThingsEEG
from braindecode_ssr.datasets.things_eeg.raw import events_of_row
from braindecode_ssr.errors import DataError


def broken_session(root, change):
    """A set of one session whose training file is changed."""
    write_metadata(root)
    content = raw_content(*presentations(len(TRAIN), 2))
    change(content)
    write_raw_session(root, 5, 1, train=content)
    return ThingsEEG(root)


def drop_row(content):
    content["raw_eeg_data"] = content["raw_eeg_data"][1:]


def set_name(content, name):
    content["ch_names"][3] = name


def set_channel(content, values):
    content["raw_eeg_data"][7] = values


def no_stim(content):
    content["ch_names"][-1], content["ch_types"][-1] = "Fz", "eeg"


def one_nan(content):
    content["raw_eeg_data"][5, 100] = np.nan


def set_code(content, code):
    content["raw_eeg_data"][-1, 400] = code


@pytest.mark.parametrize(
    "change, message",
    [
        (drop_row, "63 rows, 64 names and 64 channel types"),
        (lambda c: set_name(c, "Fp1"), "the name Fp1 twice"),
        (lambda c: set_channel(c, 0.0), "a constant 0 on channel T7"),
        (lambda c: set_channel(c, 3e-5), "a constant 3e-05 on channel T7"),
        (lambda c: set_channel(c, np.inf), "NaN or infinite values on channel T7"),
        (one_nan, "NaN or infinite values on channel FC1"),
        (no_stim, "0 of them among 64 channels"),
        (lambda c: c.pop("ch_names"), "no ch_names"),
        (lambda c: c.update(sfreq=0), "sampling rate of 0"),
        (lambda c: c.update(sfreq="fast"), "'fast'"),
        (lambda c: c.update(raw_eeg_data=None), "an array of shape"),
        (lambda c: c.update(raw_eeg_data=c["raw_eeg_data"][0]), "an array of shape"),
        (lambda c: set_code(c, 7), "the unknown code 7 at sample 400"),
        (lambda c: set_code(c, -1), "-1.0 at sample 400"),
        (lambda c: set_code(c, 1.5), "1.5 at sample 400"),
        (lambda c: set_code(c, np.nan), "nan at sample 400"),
    ],
)
def test_damaged_recording_is_one_line(tmp_path, change, message):
    dataset = broken_session(tmp_path, change)
    with pytest.raises(DataError) as error:
        next(dataset.recordings(5))
    text = str(error.value)
    assert message in text and "raw_eeg_training.npy" in text and "\n" not in text


def test_unknown_code_names_code_session_and_file(tmp_path):
    dataset = broken_session(tmp_path, lambda c: set_code(c, 255))
    with pytest.raises(DataError, match="session 1.*raw_eeg_training.npy.*unknown code 255"):
        next(dataset.recordings(5))


def test_recording_without_images(tmp_path):
    def only_targets(content):
        row = content["raw_eeg_data"][-1]
        row[row > 0] = TARGET

    with pytest.raises(DataError, match="13 targets and no image"):
        next(broken_session(tmp_path, only_targets).recordings(5))


def test_other_channels_in_another_session(tmp_path):
    write_things(tmp_path, sessions=1, images=False)
    names = (*THINGS_EEG_63_RAW[:-1], "Fz")
    write_raw_session(tmp_path, 5, 2, ch_names=names)
    with pytest.raises(DataError, match="lacks AF8.*also has Fz"):
        list(ThingsEEG(tmp_path).recordings(5))
    write_raw_session(tmp_path, 5, 2, ch_names=THINGS_EEG_63_RAW[:-1])
    with pytest.raises(DataError, match="has 62"):
        list(ThingsEEG(tmp_path).recordings(5))


def test_a_session_that_is_a_copy_of_another_is_refused(tmp_path):
    dataset = ThingsEEG(write_things(tmp_path, sessions=3))
    assert len(list(dataset.recordings(5))) == 6
    first, *_, last = sorted(tmp_path.rglob("raw_eeg_training.npy"))
    last.write_bytes(first.read_bytes())
    with pytest.raises(DataError, match=r"ses-03.*ses-01.* hold the same recording"):
        next(ThingsEEG(tmp_path).recordings(5))
    rows = ThingsEEG(tmp_path).inventory([5], read=True)
    (copy,) = [row for row in rows if "hold the same recording" in row["detail"]]
    assert copy["path"] == str(last) and copy["state"] == "broken"


def test_other_order_of_channels_in_another_session(tmp_path):
    write_metadata(tmp_path)
    write_raw_session(tmp_path, 5, 1)
    content = raw_content(*presentations(len(TRAIN), 2), ch_names=THINGS_EEG_63_RAW[::-1])
    write_raw_session(tmp_path, 5, 2, train=content)
    third = list(ThingsEEG(tmp_path).recordings(5))[2]
    assert third.ch_names == THINGS_EEG_63_RAW
    np.testing.assert_array_equal(third.data, content["raw_eeg_data"][:-1][::-1])


def test_stimulus_row_anywhere_and_other_kinds_of_rows(tmp_path):
    def move(content):
        data = content["raw_eeg_data"]
        content["raw_eeg_data"] = np.vstack([data[-1:], data[:-1]])
        content["ch_names"] = ["stim", *content["ch_names"][:-1]]
        content["ch_types"] = ["stim", "eog", *content["ch_types"][1:-1]]

    recording = next(broken_session(tmp_path, move).recordings(5))
    assert recording.ch_names == THINGS_EEG_63_RAW[1:]
    assert recording.data.shape[0] == 62


# ---- the stimulus row ------------------------------------------------------------------------------


def find_events(row):
    info = mne.create_info(["stim"], 1000.0, "stim")
    raw = mne.io.RawArray(np.asarray(row, float)[None], info, verbose="error")
    return mne.find_events(raw, stim_channel="stim", verbose="error")


def assert_as_mne(row):
    expected = find_events(row)
    samples, codes = events_of_row(np.asarray(row, float), "test")
    np.testing.assert_array_equal(samples, expected[:, 0])
    np.testing.assert_array_equal(codes, expected[:, 2])


@pytest.mark.parametrize(
    "row",
    [
        [0, 5, 0, 0, 99999],
        [5, 0, 0, 7, 0],
        [5, 5, 0, 7, 0],
        [5, 7, 7, 0],
        [0, 5, 5, 5, 0, 5],
        [0, 5, 5, 7, 7, 0],
        [0, 16540, 0, 1],
        [0, 0, 0],
    ],
)
def test_events_as_mne_finds_them(row):
    assert_as_mne(row)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 99999), st.integers(1, 3)), max_size=9),
    st.integers(0, 2),
)
def test_events_as_mne_finds_them_in_any_row(events, tail):
    row = []
    for zeros, code, length in events:
        zeros = zeros or (1 if row and row[-1] >= code else 0)
        row += [0] * zeros + [code] * length
    row += [0] * (tail + (not row))
    try:
        find_events(row)
    except ValueError:  # MNE refuses codes one sample apart
        with pytest.raises(DataError, match="one code right after another"):
            events_of_row(np.asarray(row, float), "test")
    else:
        assert_as_mne(row)


def test_a_code_that_falls_to_another_is_refused():
    """MNE would leave out the second without a word."""
    assert len(find_events([0, 7, 5, 0])) == 1
    with pytest.raises(DataError, match="at sample 2"):
        events_of_row(np.array([0.0, 7, 5, 0]), "test")


@pytest.mark.parametrize(
    "change",
    [
        {"ch_names": None},
        {"ch_names": 63},
        {"ch_types": None},
        {"ch_types": 5},
        {"raw_eeg_data": [[1.0, 2.0], [1.0]]},
        {"raw_eeg_data": None},
        {"sfreq": 1e9},
        {"sfreq": [250]},
    ],
    ids=str,
)
def test_fields_of_another_kind_name_the_file(tmp_path, change):
    dataset = broken_session(tmp_path, lambda content: content.update(change))
    with pytest.raises(DataError, match="raw_eeg_training.npy"):
        list(dataset.recordings(5))


def test_a_name_that_is_not_text(tmp_path):
    write_metadata(tmp_path, train=[("00001_aardvark\udc80", TRAIN[0][1]), *TRAIN[1:]])
    with pytest.raises(DataError, match="image_metadata.npy"):
        ThingsEEG(tmp_path).images  # noqa: B018
