"""One's own BIDS recordings: what the events must say, and what is wrong with them, by file and line."""

import shutil

import bids_trees
import mne
import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.bids.study import BIDSImages
from braindecode_ssr.errors import DataError, LeakageError, MissingDataError, SSRError, UsageError
from braindecode_ssr.trials.prepare import prepare

SPEC = TrialSpec(whitening="none")
CH_NAMES = ("P7", "Pz", "P8", "O1", "Oz", "O2")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return bids_trees.write_study(tmp_path_factory.mktemp("study"), CH_NAMES)


@pytest.fixture
def whole(study, tmp_path):
    """A copy to spoil."""
    ignore = shutil.ignore_patterns("ssr")
    return shutil.copytree(study, tmp_path / "tree", ignore=ignore)


@pytest.fixture
def tree(study, tmp_path):
    """A copy of the first sessions: two runs of each subject, 20 images a run."""
    ignore = shutil.ignore_patterns("ssr", "ses-2")
    return shutil.copytree(study, tmp_path / "tree", ignore=ignore)


def events_of(tree, subject="01", session="1", run="1"):
    name = f"sub-{subject}_ses-{session}_task-look_run-{run}_events.tsv"
    return tree / f"sub-{subject}" / f"ses-{session}" / "eeg" / name


def change(path, drop=(), **columns):
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    for name, value in columns.items():
        table[name] = value(table[name]) if callable(value) else value
    table.drop(columns=list(drop)).to_csv(path, sep="\t", index=False)


def spoil(tree, error=DataError):
    with pytest.raises(error) as caught:
        prepare(BIDSImages(tree), 1, SPEC)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 900
    return str(caught.value)


def test_the_contract(study):
    """Trial array, image id, concept, repetition, session, subject, split."""
    dataset = BIDSImages(study)
    assert dataset.subjects == dataset.present_subjects == (1, 2)
    images = dataset.images
    assert images["split"].value_counts().to_dict() == {"train": 8, "test": 2}
    assert images["image_id"].tolist()[:2] == ["apple/apple_0", "apple/apple_1"]
    assert set(images.loc[images["split"] == "test", "concept"]) == {"egg"}
    store = prepare(dataset, 1, SPEC)
    assert store.trials.shape == (80, 6, 250) and store.info["ch_names"] == list(CH_NAMES)
    table = store.table
    assert table.columns.tolist() == [
        "subject",
        "session",
        "split",
        "number",
        "image_id",
        "concept",
        "repetition",
    ]
    assert set(table["session"]) == {1, 2} and set(table["subject"]) == {1}
    assert table.groupby("image_id")["repetition"].max().eq(8).all()
    assert store.manifest["units"] == "V"


def test_trials_are_cut_at_the_onsets(study):
    """Against MNE alone, run by run."""
    store = prepare(BIDSImages(study), 1, SPEC)
    expected = []
    for run in ("1", "2"):
        path = events_of(study, run=run)
        raw = mne.io.read_raw_brainvision(
            str(path).replace("_events.tsv", "_eeg.vhdr"), verbose="error"
        )
        table = pd.read_csv(path, sep="\t")
        table = table[table["image"].notna()]
        events = np.c_[
            np.rint(table["onset"] * raw.info["sfreq"]), 0 * table.index, 1 + 0 * table.index
        ].astype(int)
        epochs = mne.Epochs(raw, events, None, -0.2, 1.0, baseline=(None, 0), verbose="error")
        chosen = (table["split"] == "train").to_numpy()
        expected.append(epochs.get_data()[chosen][..., 50:300])
    first = ((store.table["session"] == 1) & (store.table["split"] == "train")).to_numpy()
    np.testing.assert_allclose(store.trials[first], np.concatenate(expected), atol=1e-10)


def test_a_file_of_test_concepts_equals_the_column(study, tree):
    for path in tree.rglob("*_events.tsv"):
        if "rest" not in path.name:
            change(path, drop=["split"])
    assert "neither" in spoil(tree, MissingDataError)
    (tree / "test_concepts.txt").write_text("egg\n\n", encoding="utf-8")
    pd.testing.assert_frame_equal(BIDSImages(tree).images, BIDSImages(study).images)
    (tree / "test_concepts.txt").write_text("egs\n", encoding="utf-8")
    assert "did you mean 'egg'" in spoil(tree)
    (tree / "test_concepts.txt").write_text("\n", encoding="utf-8")
    assert "an empty file" in spoil(tree)
    (tree / "test_concepts.txt").write_text("apple\nbook\ncat\ndoor\negg\n", encoding="utf-8")
    assert "at least two train images" in spoil(tree)


def test_the_split_is_given_only_once(tree):
    (tree / "test_concepts.txt").write_text("egg\n", encoding="utf-8")
    assert "remove one of the two" in spoil(tree)


def test_a_concept_column_goes_before_the_folder(tree):
    for path in tree.rglob("*look*_events.tsv"):
        change(
            path,
            image=lambda old: [name.split("/")[-1] if ".png" in name else name for name in old],
        )
    assert "neither" in spoil(tree) and "column 'image'" in spoil(tree)
    for path in tree.rglob("*look*_events.tsv"):
        change(path, **_concepts(path))
    images = BIDSImages(tree).images
    assert images["image_id"].iloc[0] == "apple_0" and images["concept"].iloc[0] == "apple"


def _concepts(path):
    names = pd.read_csv(path, sep="\t", keep_default_na=False)["image"]
    return {"concept": names.str.replace(r"_\d.*", "", regex=True).tolist()}


def _on_windows(name):
    return name if name == "n/a" else name.replace("/", "\\").removesuffix(".png")


def test_windows_paths_and_missing_suffixes(tree, study):
    for path in tree.rglob("*look*_events.tsv"):
        change(path, image=lambda old: [_on_windows(name) for name in old])
    dataset = BIDSImages(tree)
    assert dataset.images["image_id"].tolist() == BIDSImages(study).images["image_id"].tolist()
    assert dataset.image("apple/apple_0").size == (16, 16)


def relabel(tree, new, old="01"):
    """Another subject with the recordings of one that is here; the signal is changed a little."""
    shutil.copytree(tree / f"sub-{old}", tree / f"sub-{new}")
    for path in sorted(
        (tree / f"sub-{new}").rglob(f"*sub-{old}*"), key=lambda path: -len(str(path))
    ):
        if path.suffix in (".vhdr", ".vmrk"):
            path.write_text(path.read_text().replace(f"sub-{old}", f"sub-{new}"))
        if path.suffix == ".eeg":
            data = np.fromfile(path, "<f4")
            (data + np.random.default_rng(len(new)).normal(0, 5, data.size)).astype("<f4").tofile(
                path
            )
        path.rename(path.with_name(path.name.replace(f"sub-{old}", f"sub-{new}")))


def first_trials(tree, subject):
    return np.array(prepare(BIDSImages(tree), subject, SPEC).trials[:10])


def test_a_subject_is_the_folder_it_names(tree):
    """Labels that are no number, and a folder without images, renumber nobody."""
    before = first_trials(tree, 2)
    relabel(tree, "S01")
    relabel(tree, "pilot")
    noise = tree / "sub-emptyroom" / "ses-1" / "eeg"
    noise.mkdir(parents=True)
    for path in (tree / "sub-01" / "ses-1" / "eeg").glob("*task-rest*"):
        name = path.name.replace("sub-01", "sub-emptyroom").replace("rest", "noise")
        shutil.copy(path, noise / name)
    dataset = BIDSImages(tree)
    assert dataset.subjects == (1, 2, "pilot", "S01")
    np.testing.assert_array_equal(first_trials(tree, "sub-02"), before)
    for asked in ("02", 2, "2"):
        assert dataset.check_subject(asked) == 2
    for asked in ("S01", "sub-S01"):
        assert dataset.check_subject(asked) == "S01"
    store = prepare(dataset, "sub-S01", SPEC)
    assert set(store.table["subject"]) == {"S01"} and store.path.name.startswith("sub-S01_")
    with pytest.raises(MissingDataError, match="sub-emptyroom holds no recording in which images"):
        dataset.check_subject("emptyroom")
    with pytest.raises(UsageError, match="did you mean 'S01'"):
        dataset.check_subject("s01")


def test_two_folders_of_one_number(tree):
    relabel(tree, "2")
    dataset = BIDSImages(tree)
    assert dataset.subjects == (1, "02", "2")
    with pytest.raises(UsageError, match="sub-02 or sub-2"):
        dataset.check_subject(2)
    assert dataset.check_subject("sub-2") == "2" and dataset.check_subject("sub-02") == "02"
    table = prepare(dataset, "02", SPEC).table
    assert set(table["subject"]) == {"02"}


def test_sessions_keep_their_labels(whole):
    """A practice session of another task does not count, one of the task keeps its name."""
    place = whole / "sub-01" / "ses-practice" / "eeg"
    place.mkdir(parents=True)
    for path in (whole / "sub-01" / "ses-1" / "eeg").glob("*task-rest*"):
        shutil.copy(path, place / path.name.replace("ses-1", "ses-practice"))
    assert set(prepare(BIDSImages(whole), 1, SPEC).table["session"]) == {1, 2}
    shutil.move(whole / "sub-01" / "ses-1", whole / "sub-01" / "ses-B")
    for path in (whole / "sub-01" / "ses-B").rglob("*ses-1*"):
        if path.suffix in (".vhdr", ".vmrk"):
            path.write_text(path.read_text().replace("ses-1", "ses-B"))
        path.rename(path.with_name(path.name.replace("ses-1", "ses-B")))
    table = prepare(BIDSImages(whole), 1, SPEC).table
    assert table["session"].unique().tolist() == [2, "B"]


def test_a_file_in_the_folder_of_another_subject(tree):
    shutil.copytree(tree / "sub-01", tree / "sub-03")
    assert "sub-03" in spoil(tree) and "sub-01_ses-1" in spoil(tree)


def twin(tree, entity="", fmt="", gain=1.0):
    """A second version of every recording of subject 1."""
    for header in (tree / "sub-01").rglob("*task-look*_eeg.vhdr"):
        if fmt:
            raw = mne.io.read_raw_brainvision(header, preload=True, verbose="error")
            raw.apply_function(lambda signal: gain * signal)
            mne.export.export_raw(header.with_suffix(fmt), raw, verbose="error")
            continue
        for path in header.parent.glob(header.name.replace("_eeg.vhdr", "_*")):
            if entity[:3] in ("acq", "rec"):
                old, put = "_run", f"_{entity}_run"
            else:
                old, put = f"_{path.name.split('_')[-1]}", f"_{entity}_{path.name.split('_')[-1]}"
            new = path.with_name(path.name.replace(old, put))
            shutil.copy(path, new)
            if path.suffix in (".vhdr", ".vmrk"):
                text = path.read_text()
                for file in header.parent.glob("*task-look*_eeg.*"):
                    text = text.replace(file.name, new.stem + file.suffix)
                new.write_text(text)


@pytest.mark.parametrize("entity", ["acq-two", "desc-clean"])
def test_a_recording_in_two_versions_is_refused(tree, entity):
    twin(tree, entity)
    key, label = entity.split("-")
    found = spoil(tree)
    assert f"--set data.bids.{key}={label}" in found and f"--set data.bids.{key}=none" in found


@pytest.mark.parametrize("entity", ["proc-sss", "rec-x"])
def test_a_recording_in_two_versions_is_read_once(tree, entity):
    expected = first_trials(tree, 1)
    twin(tree, entity)
    found = spoil(tree)
    key, label = entity.split("-")
    assert f"_{entity}_" in found and "_task-look_run-1_eeg.vhdr" in found
    assert f"--set data.bids.{key}={label}" in found and f"--set data.bids.{key}=none" in found
    rows = BIDSImages(tree).inventory([1], read=True)
    assert rows[0]["state"] == "broken" and entity in rows[0]["detail"]
    for choice in ("none",) if key == "rec" else (label, "none"):  # mne-bids knows no rec
        store = prepare(BIDSImages(tree, bids={key: choice}), 1, SPEC)
        assert len(store.table) == 40
        np.testing.assert_array_equal(store.trials[:10], expected)
    with pytest.raises(UsageError, match=f"data.bids.{key}=other"):
        prepare(BIDSImages(tree, bids={key: "other"}), 1, SPEC)


def test_a_recording_in_two_formats_is_read_once(tree):
    twin(tree, fmt=".edf")
    found = spoil(tree)
    assert "run-1_eeg.edf" in found and "run-1_eeg.vhdr" in found
    assert "--set data.bids.format=edf" in found
    assert len(prepare(BIDSImages(tree, bids={"format": "vhdr"}), 1, SPEC).table) == 40
    assert len(prepare(BIDSImages(tree, bids={"format": "edf"}), 1, SPEC).table) == 40


def test_each_format_has_trials_of_its_own(tree):
    """Also where those of the other format have been prepared before."""
    twin(tree, fmt=".edf", gain=2.0)
    one, two = (prepare(BIDSImages(tree, bids={"format": f}), 1, SPEC) for f in ("vhdr", "edf"))
    np.testing.assert_allclose(two.trials, 2 * one.trials, rtol=0.01, atol=1e-8)
    key = BIDSImages(tree, bids={"format": "vhdr"}).source_key(1)
    next(tree.rglob("sub-01*look*.edf")).write_bytes(b"another")
    assert BIDSImages(tree, bids={"format": "vhdr"}).source_key(1) == key


def test_a_damaged_sidecar_file_is_named(tree):
    path = events_of(tree).with_name("sub-01_ses-1_task-look_run-1_eeg.json")
    for content in ("", "{", "\0"):
        path.write_text(content, encoding="utf-8")
        assert str(path) in spoil(tree)


def test_one_run_with_two_spellings_and_a_copy_under_another_name(tree):
    place = events_of(tree).parent
    for run in ("01", "3"):
        for path in place.glob("*look_run-1_*"):
            new = path.with_name(path.name.replace("run-1", f"run-{run}"))
            shutil.copy(path, new)
            if path.suffix in (".vhdr", ".vmrk"):
                new.write_text(path.read_text().replace("run-1", f"run-{run}"))
        found = spoil(tree)
        assert f"run-{run}_eeg" in found and "run-1_eeg" in found and "remove" in found
        for path in place.glob(f"*run-{run}_*"):
            path.unlink()


@pytest.mark.parametrize("kind", ["repeated", "block", "two images", "double trigger", "response"])
def test_an_event_that_is_listed_twice(tree, kind):
    path = events_of(tree)
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    shown = table[table["image"] != "n/a"]
    if kind == "repeated":
        table = pd.concat([table.iloc[:3], table.iloc[2:]])
    elif kind == "block":
        table = pd.concat([table, shown])
    elif kind == "two images":
        other = shown[shown["image"] != shown["image"].iloc[0]].iloc[[0]]
        table = pd.concat([table, other.assign(onset=str(float(table["onset"].iloc[0]) + 0.003))])
    elif kind == "double trigger":
        again = shown.iloc[[4]].assign(onset=str(float(shown["onset"].iloc[4]) + 0.02))
        table = pd.concat([table.iloc[:6], again, table.iloc[6:]])
    else:
        late = [str(float(onset) + 0.2) for onset in shown["onset"]]
        table = pd.concat(
            [table.assign(trial_type="stimulus"), shown.assign(onset=late, trial_type="button")]
        )
    table.to_csv(path, sep="\t", index=False)
    found = spoil(tree)
    assert path.name in found and "lines" in found and "listed twice" in found
    row = next(
        row for row in BIDSImages(tree).inventory([1], read=True) if row["state"] == "broken"
    )
    assert "listed twice" in row["detail"]


def test_other_tasks_are_left_alone(study):
    assert (study / "sub-01" / "ses-1" / "eeg").glob("*task-rest*")
    assert BIDSImages(study).tasks == {"look"}
    assert {run.task for run in BIDSImages(study).runs(1)} == {"look"}


def channels_of(tree):
    return sorted((tree / "sub-01").rglob("*_channels.tsv"))


def test_channels_listed_in_another_order_are_joined_by_name(study, whole):
    for path in channels_of(whole):
        pd.read_csv(path, sep="\t", dtype=str)[::-1].to_csv(
            path, sep="\t", index=False, na_rep="n/a"
        )
    there, here = (prepare(BIDSImages(root), 1, SPEC) for root in (study, whole))
    assert here.info["ch_names"] == there.info["ch_names"]
    np.testing.assert_array_equal(here.trials, there.trials)


def test_lines_of_events_in_another_order_are_the_same_trials(study, whole):
    """Repetitions are counted in order of time."""
    for path in (whole / "sub-01").rglob("*_events.tsv"):
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        table[::-1].to_csv(path, sep="\t", index=False)
    there, here = (prepare(BIDSImages(root), 1, SPEC) for root in (study, whole))
    pd.testing.assert_frame_equal(here.table, there.table)
    np.testing.assert_array_equal(here.trials, there.trials)


@pytest.mark.parametrize(
    "names", [lambda n: n.replace("Oz", "Iz"), lambda n: n.replace("Oz", "O1")]
)
def test_channels_listed_under_other_names(tree, names):
    path = channels_of(tree)[0]
    change(path, name=names)
    assert path.name in spoil(tree)


def test_two_columns_that_name_different_images(tree):
    path = events_of(tree)
    change(
        path,
        stim_file=pd.read_csv(path, sep="\t")["image"].sample(frac=1, random_state=0).to_numpy(),
    )
    assert path.name in spoil(tree) and "stim_file" in spoil(tree)


def test_two_files_of_one_image_without_suffix(tree):
    name = BIDSImages(tree).images["file"].iloc[0]
    picture = BIDSImages(tree).image_file("train", name)
    stem = name.rpartition(".")[0]
    assert BIDSImages(tree).image_file("train", stem) == picture
    twin = picture.with_suffix(".bmp")
    twin.write_bytes(picture.read_bytes())
    assert BIDSImages(tree).image_file("train", name) == picture
    with pytest.raises(DataError, match=twin.name):
        BIDSImages(tree).image_file("train", stem)


def test_a_missing_image_column(whole):
    change(events_of(whole, run="2"), drop=["image"])
    found = spoil(whole)
    assert "'image'" in found and "run-2_events.tsv" in found
    for path in whole.rglob("*look*_events.tsv"):
        change(path, drop=["image"] if "run-2" not in path.name or "02" in path.name else [])
    shutil.rmtree(whole / "sub-02")
    shutil.rmtree(whole / "sub-01" / "ses-2")
    events_of(whole, run="2").unlink()
    assert "have a column 'image'" in spoil(whole, MissingDataError)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"image": "../egg/egg_0.png"}, "'../egg/egg_0.png' in .*line 2, column 'image'"),
        ({"image": "/data/egg/egg_0.png"}, "not a path below"),
        ({"split": "both"}, "'both' in .*line 2, column 'split'"),
        ({"split": ""}, "'' in .*line 2, column 'split'"),
        ({"onset": "1,5"}, "'1,5' in .*line 2, column 'onset'"),
        ({"duration": "1,5"}, "'1,5' in .*line 2, column 'duration'"),
        ({"duration": "inf"}, "'inf' in .*line 2, column 'duration'"),
        ({"duration": "-1"}, "'-1' in .*line 2, column 'duration'"),
        ({"concept": "egg"}, "two concepts"),
    ],
)
def test_impossible_events(tree, columns, expected):
    change(events_of(tree), **columns)
    with pytest.raises(DataError, match=expected):
        prepare(BIDSImages(tree), 1, SPEC)


@pytest.mark.parametrize(
    "spelled", ["Apple/apple_0.PNG", "./apple/apple_0.png", "apple//apple_0.png"]
)
def test_two_spellings_of_one_image(tree, spelled):
    """They would be two candidates of one test."""
    path = events_of(tree)
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table.loc[table.index[table["image"] == "apple/apple_0.png"][0], "image"] = spelled
    table.to_csv(path, sep="\t", index=False)
    found = spoil(tree)
    assert "two spellings of one image" in found and found.count("events.tsv, line ") == 2


def test_two_spellings_of_one_concept(tree):
    """They would stand on both sides of a validation."""
    for path in tree.rglob("*task-look*_events.tsv"):
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        concepts = table["image"].str.split("/").str[0]
        concepts[table["image"] == "apple/apple_1.png"] = "Apple"
        table.assign(concept=concepts).to_csv(path, sep="\t", index=False)
    found = spoil(tree)
    assert "two spellings of one concept" in found and found.count("events.tsv, line ") == 2


def test_channel_names_that_cannot_be_stored(tree):
    for path in (tree / "sub-01").rglob("*"):
        if path.suffix in (".vhdr", ".tsv"):
            path.write_text(path.read_text(encoding="utf-8").replace("Oz", "\uff2fz"), "utf-8")
    assert "'\uff2fz' has letters that a FIF file cannot hold" in spoil(tree)
    rows = BIDSImages(tree).inventory([1], read=True)
    assert all("\uff2fz" in row["detail"] for row in rows if row["state"] == "broken")


def test_a_concept_in_both_splits_names_both_places(tree):
    path = events_of(tree, subject="02")
    table = pd.read_csv(path, sep="\t", keep_default_na=False)
    rows = table.index[table["image"] == "apple/apple_0.png"]
    table.loc[rows, "split"] = "test"
    table.to_csv(path, sep="\t", index=False)
    found = spoil(tree, LeakageError)
    assert "'apple'" in found and f"{path}, line {rows[0] + 2}" in found and "never both" in found


def test_a_line_with_too_many_cells_is_named(tree):
    path = events_of(tree)
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[6] += "\tmore"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert "line 7" in spoil(tree)
    lines[6] = lines[6].split("\t")[0]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert "line 7" in spoil(tree)
    path.write_bytes(b"onset\timage\n1.0\t\xff\xfe\n")
    assert "UTF-8" in spoil(tree)
    path.write_text("onset\tduration\timage\n", encoding="utf-8")
    assert "no rows" in spoil(tree)


def test_nothing_there(tmp_path):
    with pytest.raises(MissingDataError, match="is empty.*--data-dir"):
        prepare(BIDSImages(tmp_path), 1, SPEC)
    with pytest.raises(MissingDataError, match="no folder"):
        prepare(BIDSImages(tmp_path / "nowhere"), 1, SPEC)
    assert BIDSImages(tmp_path).inventory()[0]["state"] == "missing"


def test_a_subject_that_is_not_here(study):
    with pytest.raises(UsageError, match="subject 3.*1, 2"):
        BIDSImages(study).check_subject(3)


def test_runs_that_differ_in_channels(whole):
    names = {"subject": "01", "session": "2", "task": "look", "run": "1"}
    path = events_of(whole, session="2")
    kept = path.read_bytes()
    bids_trees.write_run(
        whole, np.ones((6, 2000)) * 1e-5, (*CH_NAMES[:-1], "Iz"), 250.0, "BrainVision", **names
    )
    path.write_bytes(kept)
    told = spoil(whole)
    assert "lacks O2" in told and "also has Iz" in told


def test_misc_channels_are_left_out(tree):
    for path in tree.rglob("sub-01*_channels.tsv"):
        change(path, type=lambda old: ["MISC", *old[1:]])
    assert prepare(BIDSImages(tree), 1, SPEC).info["ch_names"] == list(CH_NAMES[1:])
    for path in tree.rglob("sub-01*_channels.tsv"):
        change(path, type="MISC")
    assert "EEG channels" in spoil(tree) and "channels.tsv" in spoil(tree)


@pytest.mark.parametrize("kind", ["mag", "grad"])
def test_magnetic_sensors(tmp_path, kind):
    ch_names = [f"MEG{n:03d}1" for n in range(1, 6)]
    bids_trees.write_study(tmp_path, ch_names, "FIF", "meg", kind, labels=("01",))
    dataset = BIDSImages(tmp_path)
    store = prepare(dataset, 1, TrialSpec())
    assert store.info["ch_names"] == ch_names
    assert store.info.get_channel_types(unique=True) == [kind]
    assert np.isfinite(store.trials[:]).all() and store.manifest["units"] == "unitless (whitened)"
    assert next(dataset.recordings(1)).info.get_channel_types(unique=True) == [kind]


def test_two_kinds_of_magnetic_sensors_are_refused(tmp_path):
    ch_names = [f"MEG{n:03d}1" for n in range(1, 6)]
    types = ["mag", "grad", "grad", "grad", "grad"]
    bids_trees.write_study(tmp_path, ch_names, "FIF", "meg", types, labels=("01",))
    told = spoil(tmp_path)
    assert "magnetometers and gradiometers" in told and "data.channels=mag" in told
    for kind, names in (("mag", ch_names[:1]), ("grad", ch_names[1:])):
        store = prepare(BIDSImages(tmp_path), 1, SPEC.model_copy(update={"channels": kind}))
        assert store.info["ch_names"] == names
        assert store.info.get_channel_types(unique=True) == [kind]
    for path in tmp_path.rglob("*_channels.tsv"):
        change(path, type=lambda old: ["MISC", *old[1:]])
    store = prepare(BIDSImages(tmp_path), 1, SPEC)
    assert store.info["ch_names"] == ch_names[1:] and store.manifest["units"].startswith("T ")


def test_eeg_and_meg_of_one_subject_are_refused(whole):
    ch_names = [f"MEG{n:03d}1" for n in range(1, 6)]
    bids_trees.write_study(
        whole, ch_names, fmt="FIF", datatype="meg", ch_types="mag", labels=("01",)
    )
    assert "both EEG and MEG recordings of subject 1" in spoil(whole)
    store = prepare(BIDSImages(whole, bids={"datatype": "eeg"}), 1, SPEC)
    assert store.info["ch_names"] == list(CH_NAMES)


def test_inventory(whole):
    rows = BIDSImages(whole).inventory(read=True)
    assert {row["state"] for row in rows} == {"found"}
    assert sum(row["what"].startswith("recording of subject 1") for row in rows) == 4
    assert "6 channels (eeg)" in rows[0]["detail"] and "16 train trials" in rows[0]["detail"]
    assert rows[-1]["detail"] == "8 training and 2 test images, 10 of 10 here"
    (whole / "stimuli" / "egg" / "egg_0.png").unlink()
    last = BIDSImages(whole).inventory()[-1]
    assert last["state"] == "missing" and not last["needed"] and "egg/egg_0.png" in last["detail"]
    events_of(whole).unlink()
    rows = BIDSImages(whole).inventory()
    assert rows[0]["state"] == "missing"


def cut_off(tree, samples):
    path = events_of(tree, run="2").with_name("sub-01_ses-1_task-look_run-2_eeg.eeg")
    content = path.read_bytes()
    n_samples = round((2 + 0.25 * 19 + 2) * 250)
    path.write_bytes(content[: len(content) // n_samples * samples])


def other_rate(tree):
    path = events_of(tree, run="2")
    kept, names = path.read_bytes(), {"subject": "01", "session": "1", "task": "look", "run": "2"}
    data = np.random.default_rng(0).normal(0, 1e-5, (6, 5000))
    bids_trees.write_run(tree, data, CH_NAMES, 500.0, "BrainVision", **names)
    path.write_bytes(kept)


def no_training_part(tree):
    for run in ("1", "2"):
        path = events_of(tree, run=run)
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        table[table["split"] == "test"].to_csv(path, sep="\t", index=False)


REFUSED = {
    "cut off": (lambda tree: cut_off(tree, 800), ("run-2_events.tsv, line ", "run-2_eeg.vhdr")),
    "cut off in the last epoch": (lambda tree: cut_off(tree, 1800), ("run-2_events.tsv, line ",)),
    "shorter than an epoch": (lambda tree: cut_off(tree, 125), ("run-2_events.tsv, line 2",)),
    "onset at 0": (
        lambda tree: change(events_of(tree), onset=lambda old: ["0", *old[1:]]),
        ("run-1_events.tsv, line 2",),
    ),
    "another rate": (other_rate, ("250 Hz", "500 Hz", "run-1_eeg.vhdr", "run-2_eeg.vhdr")),
    "no training part": (no_training_part, ("session 1", "run-1_eeg.vhdr")),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_the_check_finds_what_prepare_refuses(tree, kind):
    damage, said = REFUSED[kind]
    damage(tree)
    rows = BIDSImages(tree).inventory(read=True)
    broken = [row for row in rows if row["state"] == "broken"]
    assert len(broken) == 1 and broken[0]["what"].startswith("recording of subject 1, session 1")
    with pytest.raises(DataError) as caught:
        prepare(BIDSImages(tree), 1, TrialSpec())
    for text in (broken[0]["detail"], str(caught.value)):
        assert all(part in text for part in said), text


def test_the_check_is_of_the_trials_that_are_asked_for(tree):
    def broken(**asked):
        rows = BIDSImages(tree).with_spec(TrialSpec(**asked)).inventory([1], read=True)
        return [row["detail"] for row in rows if row["state"] == "broken"]

    assert not broken() and len(broken(tmin=-3.0)) == 2 and "line 2" in broken(tmin=-3.0)[0]
    no_training_part(tree)
    assert broken() and not broken(whitening="none")
    change(events_of(tree), onset=lambda old: ["0", *old[1:]])
    assert not broken(whitening="none", incomplete="drop")


def test_a_change_of_the_split_makes_another_store(study, tree):
    before = BIDSImages(tree).source_key(1)
    for path in tree.rglob("sub-02*look*_events.tsv"):
        change(path, image=lambda old: old.str.replace("door/", "gate/"))
    assert BIDSImages(tree).source_key(1) != before


def test_every_error_is_one_of_ours(tree):
    path = events_of(tree)
    for content in (b"", b"\x00\x01\x02", b"onset\n", b"{}", b"onset\timage\nx\ty\tz\n"):
        path.write_bytes(content)
        with pytest.raises(SSRError):
            prepare(BIDSImages(tree), 1, SPEC)
