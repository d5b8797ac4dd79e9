"""THINGS-EEG2 as BIDS: the same trials as the raw files; what is missing or wrong is named."""

import io
import lzma
import re
import shutil
from pathlib import Path

import bids_trees
import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.bids.events import BidsEvents
from braindecode_ssr.datasets.bids.things import (
    ThingsEEGBids,
    things_bids_images,
    things_bids_subjects,
)
from braindecode_ssr.datasets.things_eeg.dataset import ThingsEEG
from braindecode_ssr.datasets.things_eeg.files import read_images
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import DataError, MissingDataError
from braindecode_ssr.trials.prepare import prepare

DATA = Path(__file__).parents[1] / "data" / "things_eeg2"
SPEC = TrialSpec(whitening="none")


@pytest.fixture(scope="module")
def simulation(tmp_path_factory):
    simulation = ThingsSim(tmp_path_factory.mktemp("sim"), preset="tiny")
    simulation.sessions = (1, 2, 3)  # of four
    return simulation


@pytest.fixture(scope="module")
def both(simulation, tmp_path_factory):
    """Subject 3 of the simulation: as raw files, and as BIDS in BDF."""
    raw, bids = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("bids")
    bids_trees.write_both(simulation, 3, raw, bids)
    return raw, bids


@pytest.fixture(scope="module")
def one_session(both, simulation, tmp_path_factory):
    """The first session alone, in BrainVision."""
    root = tmp_path_factory.mktemp("one")
    bids_trees.write_things_bids(simulation, 3, root, "BrainVision", sessions=[1])
    shutil.copytree(both[1] / "stimuli", root / "stimuli")
    return root


@pytest.fixture
def tree(one_session, tmp_path):
    """A copy of it to spoil."""
    shutil.copytree(one_session, tmp_path / "tree")
    return tmp_path / "tree"


def events_of(tree, task="train_run-01"):
    return tree / "sub-03" / "ses-01" / "eeg" / f"sub-03_ses-01_task-{task}_events.tsv"


def change(path, **columns):
    """Write other values into columns of an events.tsv; a callable changes what is there."""
    table = pd.read_csv(path, sep="\t", dtype=str, encoding="utf-8-sig", keep_default_na=False)
    for name, value in columns.items():
        table[name] = value(table[name]) if callable(value) else value
    table.to_csv(path, sep="\t", index=False)


def spoil(tree, error=DataError, spec=SPEC):
    with pytest.raises(error) as caught:
        prepare(ThingsEEG(tree), 3, spec)
    assert "\n" not in str(caught.value)
    assert not list((tree / "ssr").rglob("manifest.json")), "half a store is left"
    return str(caught.value)


@pytest.mark.parametrize("whitening", [pytest.param("none", marks=pytest.mark.slow), "mvnn"])
def test_raw_and_bids_give_the_same_trials(both, whitening):
    # BDF has 24 bits over the range of a channel (here 0.25 mV, so steps of 1.5e-11 V): 1e-6 of the
    # deviation; whitening stretches weak directions, and with them the steps, by less than ten
    raw, bids = (prepare(ThingsEEG(root), 3, TrialSpec(whitening=whitening)) for root in both)
    pd.testing.assert_frame_equal(raw.table, bids.table)
    assert raw.info["ch_names"] == bids.info["ch_names"] and raw.sfreq == bids.sfreq
    assert raw.manifest["units"] == bids.manifest["units"]
    deviation = np.asarray(raw.trials).std(axis=(0, 2), keepdims=True)
    difference = (np.asarray(raw.trials) - np.asarray(bids.trials)) / deviation
    assert np.abs(difference).max() < 2e-5


def test_sixteen_bits_are_coarser(both, simulation, tmp_path):
    bids_trees.write_things_bids(simulation, 3, tmp_path, "EDF", sessions=[1])
    shutil.copytree(both[1] / "stimuli", tmp_path / "stimuli")
    edf = prepare(ThingsEEG(tmp_path), 3, SPEC)
    raw = prepare(ThingsEEG(both[0]), 3, SPEC)
    first = raw.table["session"] == 1
    deviation = np.asarray(raw.trials).std(axis=(0, 2), keepdims=True)
    difference = (np.asarray(raw.trials)[first] - np.asarray(edf.trials)) / deviation
    assert 1e-5 < np.abs(difference).max() < 2e-3


def test_bids_is_found_by_itself_or_asked_for(both, tmp_path):
    raw, bids = both
    assert ThingsEEG(bids).present_subjects == (3,)
    assert ThingsEEG(bids).source_key(3).startswith("bids|")
    together = tmp_path / "together"
    shutil.copytree(raw, together, ignore=shutil.ignore_patterns("ssr"))
    shutil.copytree(bids, together / "nm000232", ignore=shutil.ignore_patterns("ssr"))
    dataset = ThingsEEG(together)
    auto, asked = dataset.source_key(3), dataset.source_key(3, TrialSpec(release="bids"))
    assert auto.startswith("raw|") and asked.startswith("bids|")
    named = dataset.with_spec(TrialSpec(release="bids"))
    assert ".bdf" in next(named.recordings(3)).source
    assert ".npy" in next(dataset.recordings(3)).source


def test_recordings_are_one_for_each_part_of_a_session(both, simulation):
    found = list(ThingsEEG(both[1]).recordings(3))
    assert [(r.session, r.split) for r in found] == [
        (session, split) for session in (1, 2, 3) for split in ("train", "test")
    ]
    for recording in found[:2]:
        _, events = simulation.session(3, recording.session, recording.split)
        shown = ~events.is_target
        np.testing.assert_array_equal(recording.numbers, events.numbers[shown])
        # BDF ends with a whole second: what was there before the join stays where it was
        first = events.samples[shown] < events.joins[1]
        n_first = first.sum()
        np.testing.assert_array_equal(recording.samples[:n_first], events.samples[shown][first])


def test_a_change_of_any_file_makes_another_store(tree):
    before = ThingsEEG(tree).source_key(3)
    change(events_of(tree), block="2")
    assert ThingsEEG(tree).source_key(3) != before


def test_a_byte_order_mark_does_not_matter(tree):
    path = events_of(tree)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    marked = list(ThingsEEG(tree).recordings(3))
    path.write_bytes(path.read_bytes()[3:])
    plain = list(ThingsEEG(tree).recordings(3))
    for a, b in zip(marked, plain, strict=True):
        np.testing.assert_array_equal(a.numbers, b.numbers)


def test_missing_files_are_named(tree):
    folder = tree / "sub-03" / "ses-01" / "eeg"
    for file in folder.glob("*run-01*"):
        file.unlink()
    assert "sub-03_ses-01_task-train_run-01" in spoil(tree, MissingDataError)
    for file in folder.glob("*"):
        file.unlink()
    assert "missing session files" in spoil(tree, MissingDataError)


def test_a_missing_session_is_named(both, tmp_path):
    shutil.copytree(both[1], tmp_path / "tree", ignore=shutil.ignore_patterns("ssr"))
    shutil.rmtree(tmp_path / "tree" / "sub-03" / "ses-02")
    found = spoil(tmp_path / "tree", MissingDataError)
    assert "sub-03_ses-02_task-train_run-01" in found and "sub-03_ses-02_task-test" in found


def test_the_published_set_needs_all_sessions_and_runs(tree):
    dataset = ThingsEEGBids(tree)
    dataset.images = pd.DataFrame({"split": ["train"] * 16540})
    with pytest.raises(MissingDataError, match="4 sessions of 5 training runs") as caught:
        dataset.runs(3)
    assert "sub-03_ses-01_task-train_run-03" in str(caught.value)


def test_missing_events_are_named(tree):
    events_of(tree, "test").unlink()
    assert "sub-03_ses-01_task-test_events.tsv" in spoil(tree, MissingDataError)


def test_events_without_the_image_number(tree):
    change(events_of(tree), tot_img_number=lambda old: old)
    table = pd.read_csv(events_of(tree), sep="\t")
    table.drop(columns="tot_img_number").to_csv(events_of(tree), sep="\t", index=False)
    found = spoil(tree)
    assert "'tot_img_number'" in found and "trigger codes" in found


def test_inventory_names_what_is_missing_or_broken(tree):
    rows = [row for row in ThingsEEG(tree).inventory() if row["what"].startswith("BIDS")]
    assert [row["state"] for row in rows] == ["found"] * 3
    change(events_of(tree), trial_type="picture")
    rows = [row for row in ThingsEEG(tree).inventory(read=True) if row["what"].startswith("BIDS")]
    assert [row["state"] for row in rows] == ["broken", "found", "found"]
    assert "'picture'" in rows[0]["detail"] and "98 test trials of 16 images" in rows[2]["detail"]
    events_of(tree).unlink()
    rows = [row for row in ThingsEEG(tree).inventory() if row["what"].startswith("BIDS")]
    assert rows[0]["state"] == "missing" and "nm000232" in rows[0]["source"]
    assert "task-train_run-01_events.tsv" in rows[0]["detail"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"trial_type": "picture"}, "'picture' in .* line 2, column 'trial_type'"),
        ({"trial_type": "target"}, "60 other events"),
        ({"trial_type": "image"}, "'n/a' in .*column 'tot_img_number'"),
        ({"tot_img_number": "12.5"}, "12.5' in .* line"),
        ({"tot_img_number": "97"}, "97' in .* line"),
        ({"onset": "soon"}, "'soon' in .* line"),
        ({"sample": "n/a", "onset": "-1"}, "before the start"),
        (
            {"sample": "n/a", "onset": lambda old: [*old[:-1], "9999"]},
            "after its end.* at 9999.000 s .*line",
        ),
        ({"onset": lambda old: (old.astype(float) * 1000).astype(str)}, "onsets in seconds"),
    ],
)
def test_impossible_events(tree, columns, expected):
    change(events_of(tree), **columns)
    assert re.search(expected, spoil(tree)), spoil(tree)


def test_no_trial_crosses_the_join_of_two_runs_or_a_bad_segment(tree):
    path = events_of(tree)
    table = pd.read_csv(path, sep="\t", dtype=str, encoding="utf-8-sig", keep_default_na=False)
    last = table.index[table["trial_type"] == "image"][-1]
    table.loc[last, ["onset", "sample"]] = [str(float(table.loc[last, "onset"]) + 1), "n/a"]
    table["sample"] = "n/a"
    table.to_csv(path, sep="\t", index=False)
    found = spoil(tree)
    assert f"{path}, line {last + 2}," in found and "trials.incomplete=drop" in found
    dropped = SPEC.model_copy(update={"incomplete": "drop"})
    store = prepare(ThingsEEG(tree), 3, dropped)
    assert store.manifest["dropped"] == {"beyond the recording": 1}
    mark = dict.fromkeys(table.columns, "n/a") | {"trial_type": "BAD_blink", "duration": "0.5"}
    mark["onset"] = table.loc[table.index[table["trial_type"] == "image"][3], "onset"]
    pd.concat([pd.DataFrame([mark]), table]).to_csv(path, sep="\t", index=False)
    store = prepare(ThingsEEG(tree), 3, dropped)
    assert store.manifest["dropped"]["in a bad segment"] > 3
    channels = path.with_name(path.name.replace("events", "channels"))
    listed = pd.read_csv(channels, sep="\t", dtype=str, keep_default_na=False)
    listed.loc[listed["name"] == "Oz", "status"] = "bad"
    listed.to_csv(channels, sep="\t", index=False)
    assert "channel Oz of" in spoil_again(tree, dropped)
    mended = dropped.model_copy(update={"bad_channels": "interpolate"})
    assert list(prepare(ThingsEEG(tree), 3, mended).manifest["channels"]["interpolated"]) == ["Oz"]


def spoil_again(tree, spec):
    """Refused, where other stores are there already."""
    with pytest.raises(DataError) as caught:
        prepare(ThingsEEG(tree), 3, spec)
    return str(caught.value)


def test_numbers_off_by_one_are_found(tree):
    def less(column):
        return [str(int(float(n)) - 1) if n not in ("", "n/a") else n for n in column]

    change(events_of(tree), tot_img_number=less)
    found = spoil(tree)
    assert "off by one" in found or "0 in" in found


def test_runs_must_have_the_same_channels_and_rate(tree, simulation):
    data, events = simulation.session(3, 1, "train")
    signal = data[:-1, events.joins[1] :]
    names = {"subject": "03", "session": "01", "task": "train", "run": "02"}
    kept = events_of(tree, "train_run-02").read_bytes()
    bids_trees.write_run(tree, signal[:-1], simulation.ch_names[:-1], 250.0, "BrainVision", **names)
    events_of(tree, "train_run-02").write_bytes(kept)
    told = spoil(tree)
    assert "has 62" in told and "lacks" in told and "AF8" in told
    bids_trees.write_run(tree, signal, simulation.ch_names, 500.0, "BrainVision", **names)
    events_of(tree, "train_run-02").write_bytes(kept)
    assert "500 Hz" in spoil(tree)


def test_channels_in_another_order_are_sorted(tree, simulation, one_session):
    data, events = simulation.session(3, 1, "train")
    signal, kept = data[:-1, events.joins[1] :], events_of(tree, "train_run-02").read_bytes()
    names = {"subject": "03", "session": "01", "task": "train", "run": "02"}
    ch_names = simulation.ch_names[::-1]
    bids_trees.write_run(tree, signal[::-1], ch_names, 250.0, "BrainVision", **names)
    events_of(tree, "train_run-02").write_bytes(kept)
    found, expected = (next(ThingsEEG(root).recordings(3)) for root in (tree, one_session))
    assert found.ch_names == expected.ch_names
    np.testing.assert_allclose(found.data, expected.data, atol=1e-10)


def test_a_broken_header_is_named(tree):
    header = events_of(tree).with_name("sub-03_ses-01_task-train_run-01_eeg.vhdr")
    header.write_text("Brain Vision Data Exchange\n", encoding="utf-8")
    found = spoil(tree)
    assert header.name in found and "cannot be read" in found


def test_a_cut_off_bdf_is_never_used(both, tmp_path):
    shutil.copytree(both[1], tmp_path / "tree", ignore=shutil.ignore_patterns("ssr"))
    path = tmp_path / "tree/sub-03/ses-01/eeg/sub-03_ses-01_task-train_run-01_eeg.bdf"
    path.write_bytes(path.read_bytes()[:300_000])
    found = spoil(tmp_path / "tree")
    assert path.name in found


def test_a_link_without_content_is_named(tree):
    header = events_of(tree).with_name("sub-03_ses-01_task-train_run-01_eeg.vhdr")
    header.unlink()
    header.symlink_to(tree / "annex" / "nowhere.vhdr")
    assert "datalad get" in spoil(tree)


def test_a_dead_channel_is_named(tree, simulation):
    data, events = simulation.session(3, 1, "test")
    data[4] = 0
    names = {"subject": "03", "session": "01", "task": "test"}
    kept = events_of(tree, "test").read_bytes()
    bids_trees.write_run(tree, data[:-1], simulation.ch_names, 250.0, "BrainVision", **names)
    events_of(tree, "test").write_bytes(kept)
    assert f"channel {simulation.ch_names[4]}" in spoil(tree)


# ----------------------------------------------------------------------------- the real events
@pytest.fixture(scope="module")
def images():
    return read_images(DATA / "image_metadata.npy")


@pytest.fixture(scope="module")
def real_runs():
    """Name of each real run to its samples and image numbers (0 = target)."""
    with lzma.open(DATA / "events_240_runs.npz.xz") as file:
        packed = np.load(io.BytesIO(file.read()))
    ends = np.cumsum(packed["sizes"])[:-1]
    numbers = packed["images_low"] + packed["images_high"].astype(np.int64) * 256
    steps = np.split(packed["steps"].astype(np.int64), ends)
    names = [name.decode() for name in packed["runs"]]
    return {
        name: (np.cumsum(step), number)
        for name, step, number in zip(names, steps, np.split(numbers, ends), strict=True)
    }


def as_listed(samples, numbers, listed):
    """A real run as NEMAR's events.tsv has it, all cells texts."""
    numbers = np.where(numbers == 0, bids_trees.TARGET, numbers)
    table = bids_trees.nemar_events(samples, numbers, 1000.0, listed.reset_index())
    table["tot_img_number"] = table["tot_img_number"].map(
        lambda n: "n/a" if pd.isna(n) else str(int(n))
    )
    return BidsEvents(table.fillna("n/a").astype(str), Path("events.tsv"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_real_events_of_a_session(images, real_runs, split):
    listed = images[images["split"] == split].set_index("number")
    runs = {name: run for name, run in real_runs.items() if f"sub-01_ses-01_task-{split}" in name}
    assert len(runs) == {"train": 5, "test": 1}[split]
    total = 0
    for samples, numbers in runs.values():
        found = things_bids_images(as_listed(samples, numbers, listed), 1000.0, listed)
        np.testing.assert_array_equal(found["sample"], samples[numbers > 0])
        np.testing.assert_array_equal(found["number"], numbers[numbers > 0])
        total += len(found)
    assert total == {"train": 16710, "test": 4056}[split]


def test_real_numbers_off_by_one_are_found(images, real_runs):
    listed = images[images["split"] == "train"].set_index("number")
    events = as_listed(*real_runs["sub-01_ses-01_task-train_run-01"], listed)
    shown = events.table["tot_img_number"] != "n/a"
    numbers = events.table.loc[shown, "tot_img_number"].astype(int)
    events.table.loc[shown, "tot_img_number"] = (numbers - 1).clip(lower=1).astype(str)
    with pytest.raises(DataError, match="off by one"):
        things_bids_images(events, 1000.0, listed)


def test_other_folders_are_not_subjects(tmp_path):
    (tmp_path / "sub-01" / "ses-01" / "anat").mkdir(parents=True)
    (tmp_path / "sub-x" / "eeg").mkdir(parents=True)
    assert things_bids_subjects(tmp_path) == {}
    assert things_bids_subjects(tmp_path / "nowhere") == {}
