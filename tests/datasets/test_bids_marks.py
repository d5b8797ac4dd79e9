"""What a lab marked bad is bad, and no trial crosses the join of two recordings."""

import shutil
import unicodedata

import bids_trees
import mne
import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.config import RunSpec, TrialSpec
from braindecode_ssr.datasets.bids.events import mark_of
from braindecode_ssr.datasets.bids.study import BIDSImages
from braindecode_ssr.datasets.bids.things import ThingsEEG1
from braindecode_ssr.errors import DataError, MissingDataError
from braindecode_ssr.training.data import trials_record
from braindecode_ssr.trials.prepare import prepare

SPEC = TrialSpec(whitening="none")
CH_NAMES = ("P7", "Pz", "P8", "PO3", "PO4", "O1", "Oz", "O2")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One subject, a session of two runs of 20 images, one each 62 samples from 500 on."""
    return short_study(tmp_path_factory.mktemp("study"), CH_NAMES)


def short_study(root, ch_names, *how):
    return bids_trees.write_study(root, ch_names, *how, labels=("01",), sessions=("1",))


@pytest.fixture(scope="module")
def plain(study):
    return prepare(BIDSImages(study), 1, SPEC)


@pytest.fixture
def tree(study, tmp_path):
    return shutil.copytree(study, tmp_path / "tree", ignore=shutil.ignore_patterns("ssr"))


def beside(tree, suffix, session="1", run="1"):
    name = f"sub-01_ses-{session}_task-look_run-{run}_{suffix}"
    return tree / "sub-01" / f"ses-{session}" / "eeg" / name


def read(path):
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def write(table, path):
    table.to_csv(path, sep="\t", index=False)


def mark(tree, text, onset, duration, **where):
    """A line of events.tsv that shows no image."""
    path = beside(tree, "events.tsv", **where)
    table = read(path).assign(trial_type="image")
    row = dict.fromkeys(table.columns, "n/a") | {"onset": str(onset), "duration": str(duration)}
    write(pd.concat([pd.DataFrame([row | {"trial_type": text}]), table]), path)


def status(tree, *bads, **where):
    path = beside(tree, "channels.tsv", **where)
    table = read(path)
    table.loc[table["name"].isin(bads), "status"] = "bad"
    write(table, path)


def refused(tree, spec=SPEC):
    with pytest.raises(DataError) as caught:
        prepare(BIDSImages(tree), 1, spec)
    return str(caught.value)


def asked(**choices):
    return SPEC.model_copy(update=choices)


@pytest.mark.parametrize(("run", "line", "onset"), [("1", 21, "8.4"), ("2", 2, "0.1")])
def test_an_image_near_the_end_or_start_of_an_inner_run(tree, plain, run, line, onset):
    path = beside(tree, "events.tsv", run=run)
    table = read(path)
    table.loc[line - 2, "onset"] = onset
    write(table, path)
    found = refused(tree)
    assert f"{path}, line {line}," in found and "1 of " in found
    assert "trials.tmax" in found and "trials.incomplete=drop" in found
    rows = BIDSImages(tree).inventory(read=True)
    assert [row["state"] for row in rows if row["path"].endswith(".vhdr")].count("broken") == 1
    store = prepare(BIDSImages(tree), 1, asked(incomplete="drop"))
    assert store.manifest["dropped"] == {"beyond the recording": 1}
    shown = pd.concat([read(beside(tree, "events.tsv", run=r)) for r in "12"])
    shown = shown[shown["image"] != "n/a"]
    kept = ~((shown["onset"] == onset).to_numpy())
    for split in ("train", "test"):
        old, new = (
            s.trials[((s.table["session"] == 1) & (s.table["split"] == split)).to_numpy()]
            for s in (plain, store)
        )
        kept_before = old[kept[(shown["split"] == split).to_numpy()]]
        # the last bit depends on threads and on the place of a trial in its block: 5e-13 V
        np.testing.assert_allclose(kept_before, new, atol=1e-11)
    shorter = asked(tmin=-0.1, tmax=0.2, stop=0.2)
    assert len(prepare(BIDSImages(tree), 1, shorter)) == len(plain)


def test_runs_of_eeg1_are_not_joined_by_a_trial(tmp_path):
    spec = TrialSpec(tmin=-0.1, whitening="none")
    table = read(bids_trees.write_eeg1(tmp_path, 2, CH_NAMES))
    names = {"subject": "02", "task": "rsvp", "run": "2"}
    data = np.random.default_rng(1).normal(0, 1e-5, (len(CH_NAMES), 2000))
    stem = bids_trees.write_run(tmp_path, data, CH_NAMES, 250.0, "BrainVision", **names)
    second = table[table["isteststim"] == "1"].iloc[:6].copy()
    second["onset"] = [str(20 + 100 * k) for k in range(6)]  # the first is sooner than -tmin
    path = bids_trees.write_events(stem, second)
    with pytest.raises(DataError) as caught:
        prepare(ThingsEEG1(tmp_path), 2, spec)
    assert f"{path}, line 2," in str(caught.value)


def test_trials_in_a_bad_segment_are_dropped_and_counted(tree, plain):
    mark(tree, "bad segment", 3.0, 1.0)
    said = []
    store = prepare(BIDSImages(tree), 1, SPEC, say=said.append)
    onsets = read(beside(tree, "events.tsv")).query("image != 'n/a'")["onset"].astype(float)
    inside = ((onsets + 1.0 >= 3.0) & (onsets - 0.2 < 4.0)).sum()
    assert store.manifest["dropped"] == {"in a bad segment": inside}
    assert len(store) == len(plain) - inside
    assert f"{inside} of {len(plain)} trials left out" in said[0]
    again = []
    prepare(BIDSImages(tree), 1, SPEC, say=again.append)
    assert again == said
    assert len(prepare(BIDSImages(tree), 1, asked(bad_segments="keep"))) == len(plain)
    assert SPEC.digest == TrialSpec.model_validate({"whitening": "none"}).digest
    rows = BIDSImages(tree).inventory(read=True)
    assert "left out in a bad segment" in rows[0]["detail"]


def test_a_run_records_what_was_left_out(tree):
    mark(tree, "BAD_", 3.0, 1.0)
    said = []
    spec = RunSpec(trials=SPEC)
    record = trials_record(spec, BIDSImages(tree), said.append)
    assert record["1"]["dropped"]["in a bad segment"] > 0 and record["1"]["n_trials"] < 40
    assert "left out" in said[0]


def test_annotations_of_the_file_count_though_events_replace_them(tree, study):
    path = beside(tree, "eeg.vhdr").with_suffix(".vmrk")
    lines = path.read_text(encoding="utf-8").rstrip("\n")
    path.write_text(f"{lines}\nMk9=Comment,BAD_blink,751,250,0\n", encoding="utf-8")
    first = prepare(BIDSImages(tree), 1, SPEC).manifest["dropped"]
    mark(tree, "BAD_blink", 3.0, 1.0)
    assert first == prepare(BIDSImages(tree), 1, SPEC).manifest["dropped"] != {}
    starts = "Mk1=New Segment,,1,1,0\nMk2=New Segment,,1001,1,0"  # the second after a pause
    path.write_text(f"{lines}\n{starts}\n", encoding="utf-8")
    shutil.copy(beside(study, "events.tsv"), beside(tree, "events.tsv"))
    found = prepare(BIDSImages(tree), 1, asked(bad_segments="keep")).manifest["dropped"]
    assert found == {"across an interruption": 4}


def test_no_trial_crosses_an_interruption_inside_a_file(tree):
    mark(tree, "EDGE boundary", 4.0, "n/a")
    found = prepare(BIDSImages(tree), 1, asked(bad_segments="keep")).manifest["dropped"]
    assert found == {"across an interruption": 4}


def test_a_whole_run_that_is_bad_leaves_the_others(tree):
    mark(tree, "BAD_run", 0, 8)
    assert prepare(BIDSImages(tree), 1, SPEC).manifest["dropped"]["in a bad segment"] == 20
    mark(tree, "BAD_run", 0, 8, run="2")
    assert "no train trials of" in refused(tree)


def test_a_badger_is_not_bad(tree, plain):
    for path in tree.rglob("*look*_events.tsv"):
        write(read(path).assign(trial_type="badger"), path)
    assert len(prepare(BIDSImages(tree), 1, SPEC)) == len(plain)
    assert mark_of("BADGER", image=True) == "" and mark_of("BAD_trial", image=True) == "bad"


@pytest.mark.parametrize(
    ("texts", "mark"),
    [
        (
            ("BAD_artifact", "bad segment", "Bad", "BADblink", "Bad Interval/Bad", "Comment/BAD_x"),
            "bad",
        ),
        (("boundary", "EDGE boundary", "BAD boundary", "New Segment/"), "boundary"),
        (("badger", "image", "edge"), ""),
    ],
)
def test_labels_mean_what_they_mean_to_mne(texts, mark):
    assert {mark_of(text) for text in texts} == {mark}


@pytest.mark.parametrize("duration", ["1,5", "1s", "inf", "-1"])
def test_a_bad_segment_of_unknown_length_is_refused(tree, duration):
    mark(tree, "BAD_", 3, duration)
    assert f"'{duration}' in " in (found := refused(tree)) and "line 2, column 'duration'" in found


def test_a_mark_after_the_end_is_named(tree):
    mark(tree, "BAD_", 3000, 1)
    assert "events.tsv, line 2, has a mark at 3000 s" in refused(tree)


def test_bad_channels_are_refused_with_every_way_out(tree):
    status(tree, "Pz", "O1", run="2")
    found = refused(tree)
    assert "channels Pz, O1 of" in found and f"{beside(tree, 'channels.tsv', run='2')}" in found
    for way in ("interpolate", "drop", "keep"):
        assert f"trials.bad_channels={way}" in found
    rows = BIDSImages(tree).inventory(read=True)
    assert [row["state"] for row in rows[:2]] == ["found", "broken"]


def test_bad_channels_are_interpolated_as_mne_does_where_they_are_bad(tree, plain):
    status(tree, "Pz", run="2")
    header = beside(tree, "eeg.vhdr", run="2")
    signal = np.fromfile(header.with_suffix(".eeg"), "<f4").reshape(-1, len(CH_NAMES))
    signal[:, 1] = 7  # flat: what it holds does not matter
    signal.tofile(header.with_suffix(".eeg"))
    said = []
    store = prepare(BIDSImages(tree), 1, asked(bad_channels="interpolate"), say=said.append)
    raw = mne.io.read_raw_brainvision(header, preload=True, verbose="error")
    raw.set_montage("easycap-M1")
    raw.info["bads"] = ["Pz"]
    raw.interpolate_bads(verbose="error")
    events = read(beside(tree, "events.tsv", run="2"))
    onset = float(events[events["split"] == "train"]["onset"].iloc[0])
    first = round((onset - 0.2) * 250)
    epoch = raw.get_data("Pz")[0, first : first + 301]
    expected = (epoch - epoch[:51].mean())[50:300]
    events1 = read(beside(tree, "events.tsv"))
    row = (events1["split"] == "train").sum()  # the trial after those of run 1
    np.testing.assert_allclose(store.trials[row, 1], expected, atol=1e-10)
    others = [k for k in range(len(CH_NAMES)) if k != 1]
    np.testing.assert_array_equal(store.trials[:, others], plain.trials[:, others])
    np.testing.assert_array_equal(store.trials[:row], plain.trials[:row])
    assert store.manifest["channels"] == {"interpolated": {"Pz": [header.stem[: -len("_eeg")]]}}
    assert "channels interpolated: Pz (sub-01_ses-1_task-look_run-2)" in said[0]


def test_bad_channels_leave_all_recordings_or_stay(tmp_path):
    tree = bids_trees.write_study(tmp_path, CH_NAMES, labels=("01",))  # two sessions
    status(tree, "Pz", session="2", run="2")
    kept = [name for name in CH_NAMES if name != "Pz"]
    assert prepare(BIDSImages(tree), 1, asked(bad_channels="drop")).ch_names == kept
    info, n_times = BIDSImages(tree).trial_axes(1, asked(bad_channels="drop"))
    assert info["ch_names"] == kept and n_times == 250
    store = prepare(BIDSImages(tree), 1, asked(bad_channels="keep"))
    assert store.ch_names == list(CH_NAMES)
    assert "Pz" in store.left_out
    status(tree, *CH_NAMES)
    assert "no channel is left" in refused(tree, asked(bad_channels="drop"))


def test_interpolation_needs_positions(tmp_path):
    names = ("EEG001", "EEG002", "EEG003", "EEG004", "EEG005")
    tree = short_study(tmp_path, names)
    status(tree, "EEG002")
    found = refused(tree, asked(bad_channels="interpolate"))
    assert "EEG002" in found and "position" in found and "electrodes.tsv" in found


def test_bads_of_a_fif_file(tmp_path):
    names = ["MEG0111", "MEG0121", "MEG0131"]
    tree = short_study(tmp_path, names, "FIF", "meg", "mag")
    path = next(tree.rglob("*task-look_run-2_meg.fif"))
    raw = mne.io.read_raw_fif(path, preload=True, verbose="error")
    raw.info["bads"] = ["MEG0121"]
    raw.set_annotations(mne.Annotations([3.0], [0.5], ["BAD_muscle"]))
    raw.save(path, overwrite=True, verbose="error")
    found = refused(tree)
    assert "MEG0121" in found and f"marked bad in {path}" in found
    store = prepare(BIDSImages(tree), 1, asked(bad_channels="keep"))
    assert store.manifest["dropped"]["in a bad segment"] > 0


def test_raw_says_what_is_bad(tree):
    mark(tree, "BAD_artifact", 3.0, 1.0)
    status(tree, "Pz")
    dataset = BIDSImages(tree)
    raw = next(dataset.recordings(1)).to_raw(dataset.images)
    assert raw.info["bads"] == ["Pz"]
    marks = dict(zip(raw.annotations.description, raw.annotations.onset, strict=True))
    assert marks["BAD_segment"] == 3.0
    assert marks["BAD boundary"] == mne.io.read_raw(beside(tree, "eeg.vhdr")).n_times / 250
    events, _ = mne.events_from_annotations(raw, {"stim": 1}, verbose="error")
    assert len(events) == 32


def test_channels_that_are_not_eeg_by_name(tree, tmp_path):
    names = (*CH_NAMES[:-2], "VEOG", "Status")
    tree = short_study(tmp_path / "new", names)
    for path in tree.rglob("*_channels.tsv"):
        path.unlink()
    store = prepare(BIDSImages(tree), 1, SPEC)
    assert store.ch_names == list(CH_NAMES[:-2])
    assert "VEOG" in store.left_out and "Status" in store.left_out
    assert "VEOG, Status" in BIDSImages(tree).inventory(read=True)[0]["detail"]


def test_stim_file_is_the_image_column(tree, study):
    for path in tree.rglob("*task-look*_events.tsv"):
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        table.rename(columns={"image": "stim_file"}).to_csv(path, sep="\t", index=False)
    pd.testing.assert_frame_equal(BIDSImages(tree).images, BIDSImages(study).images)


def test_names_of_pictures_in_other_case_and_unicode_form(tree):
    name = unicodedata.normalize("NFC", "café_0")
    for path in tree.rglob("*task-look*_events.tsv"):
        table = read(path)
        write(table.assign(image=table["image"].str.replace("apple_0.png", f"{name}.png")), path)
    picture = tree / "stimuli" / "apple" / "apple_0.png"
    picture.rename(picture.with_name(unicodedata.normalize("NFD", name) + ".PNG"))
    dataset = BIDSImages(tree)
    shown = [i for i in dataset.images["image_id"] if "caf" in i]
    assert len(shown) == 1 and dataset.image(shown[0]).size == (16, 16)


def test_text_in_utf16_is_read_and_in_latin1_named(tree, plain):
    path, concepts = beside(tree, "events.tsv"), tree / "test_concepts.txt"
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-16")
    assert len(prepare(BIDSImages(tree), 1, SPEC)) == len(plain)
    for file in tree.rglob("*look*_events.tsv"):
        text = file.read_bytes().decode("utf-16" if file == path else "utf-8")
        file.write_text(text.replace("egg", "\xe9gg").replace("\ttest", "\tn/a"), "utf-8")
        write(read(file).drop(columns="split"), file)
    concepts.write_text("\xe9gg\n", encoding="utf-16")
    assert set(BIDSImages(tree).images.query("split == 'test'")["concept"]) == {"\xe9gg"}
    concepts.write_text("dog\n\xe9gg\n", encoding="latin-1")
    found = refused(tree)
    assert f"{concepts} is not UTF-8" in found and "line 2" in found and "iconv" in found
    concepts.write_bytes("egg".encode("utf-16-le"))  # without its mark
    assert f"{concepts} is not UTF-8" in refused(tree)


@pytest.mark.parametrize("unlocked", [False, True])
@pytest.mark.parametrize("suffix", ["eeg.eeg", "events.tsv", "channels.tsv", "eeg.vhdr"])
def test_content_that_git_annex_keeps_elsewhere(tree, suffix, unlocked):
    path = beside(tree, suffix)
    path.unlink()
    if unlocked:
        path.write_text("/annex/objects/MD5E-s1--0.eeg\n", encoding="utf-8")
    else:
        path.symlink_to("../../../.git/annex/objects/aa/bb/MD5E-s1--0/MD5E-s1--0")
    found = refused(tree)
    assert f"datalad get {path}" in found
    rows = BIDSImages(tree).inventory(read=True)
    assert any("annex" in row["detail"] and row["state"] != "found" for row in rows)


def test_images_that_git_annex_keeps_elsewhere(tree):
    path = tree / "stimuli" / "apple" / "apple_0.png"
    path.unlink()
    path.symlink_to("../../.git/annex/objects/nowhere")
    with pytest.raises(MissingDataError, match="datalad get"):
        BIDSImages(tree).image("apple/apple_0")


@pytest.mark.parametrize("key", ["DataFile", "MarkerFile"])
def test_a_header_that_names_another_file(tree, key):
    header = beside(tree, "eeg.vhdr")
    lines = header.read_text(encoding="utf-8").splitlines()
    lines = [f"{key}=old name.dat" if line.startswith(key) else line for line in lines]
    header.write_text("\n".join(lines), encoding="utf-8")
    found = refused(tree)
    suffix = {"DataFile": ".eeg", "MarkerFile": ".vmrk"}[key]
    assert f"{header} names 'old name.dat' as its {key}" in found
    assert f"write {key}={header.stem}{suffix}" in found


def test_events_and_channels_are_inherited(tree, plain):
    """One list of events for the first runs of all sessions; a channel bad in all recordings."""
    store = prepare(BIDSImages(tree), 1, SPEC)
    beside(tree, "events.tsv").rename(tree / "task-look_run-1_events.tsv")
    for run in "12":
        beside(tree, "channels.tsv", run=run).unlink()
    path = tree / "sub-01" / "sub-01_task-look_channels.tsv"
    status = ["good", "bad", *["good"] * (len(CH_NAMES) - 2)]
    write(pd.DataFrame({"name": CH_NAMES, "type": "EEG", "status": status}), path)
    assert str(path) in refused(tree)
    inherited = prepare(BIDSImages(tree), 1, asked(bad_channels="keep"))
    np.testing.assert_array_equal(inherited.trials, store.trials)
    write(pd.DataFrame({"name": CH_NAMES, "type": ["MISC", *["EEG"] * 7]}), path)
    assert prepare(BIDSImages(tree), 1, SPEC).ch_names == list(CH_NAMES[1:])
    shutil.copy(tree / "task-look_run-1_events.tsv", tree / "ses-1_task-look_events.tsv")
    assert "both belong to" in refused(tree)


def test_formats_are_named_where_no_recording_is_read(tree):
    for path in tree.rglob("*_eeg.vhdr"):
        path.rename(path.with_suffix(".mff"))
    with pytest.raises(MissingDataError, match=r"_eeg\.mff.*\.vhdr"):
        prepare(BIDSImages(tree), 1, SPEC)
    shutil.copytree(tree / "sub-01", tree / "sub-02")
    for path in tree.glob("sub-01/**/*_eeg.mff"):
        path.rename(path.with_suffix(".vhdr"))
    with pytest.raises(MissingDataError, match=r"sub-02.*_eeg\.mff.*\.vhdr"):
        BIDSImages(tree).check_subject(2)
