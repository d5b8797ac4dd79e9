"""What a lab marked bad, and epochs that would leave the recording that holds them."""

import shutil
import unicodedata

import bids_trees
import mne
import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.own_bids import OwnBids
from braindecode_ssr.datasets.prepare import prepare
from braindecode_ssr.errors import DataError

SPEC = TrialSpec(whitening="none")
CH_NAMES = ("P7", "Pz", "P8", "O1", "Oz", "O2")


def events_of(tree, run="1"):
    name = f"sub-01_ses-1_task-look_run-{run}_events.tsv"
    return tree / "sub-01" / "ses-1" / "eeg" / name


def change(path, **columns):
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    for name, value in columns.items():
        table[name] = value(table[name]) if callable(value) else value
    table.to_csv(path, sep="\t", index=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return bids_trees.write_study(tmp_path_factory.mktemp("study"), CH_NAMES, labels=("01",))


@pytest.fixture
def tree(study, tmp_path):
    return shutil.copytree(study, tmp_path / "tree", ignore=shutil.ignore_patterns("ssr"))


def prepared(tree, **settings):
    return prepare(OwnBids(tree), 1, SPEC.model_copy(update=settings))


def first_onset(path, onset):
    change(path, onset=lambda old: [onset, *old[1:]])


@pytest.mark.parametrize("run", ["1", "2"])
@pytest.mark.parametrize("place", ["start", "end"])
def test_no_epoch_leaves_the_recording_that_holds_it(tree, run, place):
    """The image is inside, but its baseline or its end would come from the other run."""
    path = events_of(tree, run=run)
    if place == "start":
        first_onset(path, "0.1")
    else:
        raw = mne.io.read_raw(str(path).replace("_events.tsv", "_eeg.vhdr"), verbose="error")
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        last = table.index[table["image"] != "n/a"][-1]
        table.loc[last, "onset"] = f"{raw.n_times / raw.info['sfreq'] - 0.5:.3f}"
        table.to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match="beyond the start or end.*trials.incomplete") as caught:
        prepared(tree)
    assert f"run-{run}" in str(caught.value)
    store = prepared(tree, incomplete="drop")
    assert len(store) == 79
    assert sum(store.manifest["dropped"].values()) == 1


def mark_segment(path, onset, duration, name="BAD_artifact"):
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    row = dict.fromkeys(table.columns, "n/a") | {"onset": onset, "duration": duration}
    table = table.assign(trial_type="image")
    table = pd.concat([table, pd.DataFrame([{**row, "trial_type": name}])])
    table.to_csv(path, sep="\t", index=False)


def test_trials_in_bad_segments_are_dropped(tree):
    path = events_of(tree)
    onsets = pd.read_csv(path, sep="\t")["onset"][:20].astype(float)
    mark_segment(path, "2.0", "1.0")
    hit = ((onsets - 0.2 < 3.0) & (onsets + 1.0 >= 2.0)).sum()
    store = prepared(tree)
    assert len(store) == 80 - hit and sum(store.manifest["dropped"].values()) == hit
    assert len(prepared(tree, bad_segments="keep")) == 80


def test_annotations_of_the_file_count_too(tree):
    header = str(events_of(tree)).replace("_events.tsv", "_eeg.vmrk")
    text = open(header, encoding="utf-8").read().rstrip("\n")
    with open(header, "w", encoding="utf-8") as file:
        file.write(f"{text}\nMk90=Comment,BAD_muscle,500,250,0\n")
    assert len(prepared(tree)) < 80


def mark_channel(tree, name="Pz"):
    for path in tree.rglob("*_channels.tsv"):
        change(path, status=lambda old, path=path: status_of(path, name))


def status_of(path, name):
    names = pd.read_csv(path, sep="\t")["name"]
    return ["bad" if n == name else "good" for n in names]


def test_a_bad_channel_is_an_error_that_says_what_to_do(tree):
    mark_channel(tree)
    with pytest.raises(DataError, match=r"Pz.*marked bad.*bad_channels=interpolate") as caught:
        prepared(tree)
    assert "_channels.tsv" in str(caught.value)
    assert prepared(tree, bad_channels="keep").ch_names == list(CH_NAMES)
    assert "Pz" not in prepared(tree, bad_channels="drop").ch_names


def test_interpolation_is_that_of_mne(tree):
    before = prepared(tree)
    mark_channel(tree)
    after = prepared(tree, bad_channels="interpolate")
    row = after.ch_names.index("Pz")
    raw = mne.io.read_raw_brainvision(
        str(events_of(tree)).replace("_events.tsv", "_eeg.vhdr"), preload=True, verbose="error"
    )
    raw.set_montage("easycap-M1", on_missing="ignore", verbose="error")
    raw.info["bads"] = ["Pz"]
    raw.interpolate_bads(verbose="error")
    table = pd.read_csv(events_of(tree), sep="\t")
    shown = table[table["image"].notna() & (table["split"] == "train")]
    first = round(shown["onset"].iloc[0] * 250)
    piece = raw.get_data("Pz")[0, first - 50 : first + 251]
    expected = (piece - piece[:51].mean())[50:300]
    np.testing.assert_allclose(after.trials[0, row], expected, atol=1e-10)
    others = [i for i in range(6) if i != row]
    np.testing.assert_array_equal(after.trials[:, others], before.trials[:, others])


def test_stim_file_is_the_image_column(tree, study):
    for path in tree.rglob("*task-look*_events.tsv"):
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        table.rename(columns={"image": "stim_file"}).to_csv(path, sep="\t", index=False)
    pd.testing.assert_frame_equal(OwnBids(tree).images, OwnBids(study).images)


def test_names_of_pictures_in_other_case_and_unicode_form(tree):
    name = unicodedata.normalize("NFC", "café_0")
    for path in tree.rglob("*task-look*_events.tsv"):
        change(path, image=lambda old: old.str.replace("apple_0.png", f"{name}.png"))
    picture = tree / "stimuli" / "apple" / "apple_0.png"
    picture.rename(picture.with_name(unicodedata.normalize("NFD", name) + ".PNG"))
    dataset = OwnBids(tree)
    shown = [i for i in dataset.images["image_id"] if "caf" in i]
    assert len(shown) == 1 and dataset.image(shown[0]).size == (16, 16)


def test_a_table_in_utf16_is_read_or_named(tree):
    path = events_of(tree)
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-16")
    try:
        assert len(prepared(tree)) == 80
    except DataError as error:
        assert str(path) in str(error)


def test_a_link_of_git_annex_behind_a_header_says_how_to_get_it(tree):
    path = events_of(tree).with_name(events_of(tree).name.replace("_events.tsv", "_eeg.eeg"))
    path.unlink()
    path.symlink_to("../../../.git/annex/objects/aa/bb/MD5E-s1--0.eeg/MD5E-s1--0.eeg")
    with pytest.raises(DataError, match="datalad get"):
        prepared(tree)
