"""The published layout: keys, types, shapes, and nothing half-written."""

import errno
import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.things_eeg.dataset import ThingsEEG
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.preprocessing.epochs import windows
from braindecode_ssr.simulation import layouts
from braindecode_ssr.simulation.experiment import PRESETS
from braindecode_ssr.simulation.layouts import write_raw

OWN = replace(PRESETS["tiny"], name="own", concepts=4, image_size=32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    made = ThingsSim(tmp_path_factory.mktemp("sim"), OWN)
    made.session = cache(made.session)  # the same recordings are written and compared
    return made


@pytest.fixture(scope="module")
def written(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("written")
    return out, write_raw(dataset, [5], out)


def test_all_files_are_named_as_published(written, dataset):
    out, files = written
    recordings = {
        f"Raw_data/sub-05/ses-0{session}/raw_eeg_{part}.npy"
        for session in (1, 2, 3, 4)
        for part in ("training", "test")
    }
    pictures = {
        f"image_set/{'training' if row.split == 'train' else 'test'}_images/{row.file}"
        for row in dataset.images.itertuples()
    }
    expected = recordings | pictures | {"image_set/image_metadata.npy"}
    assert {str(file.relative_to(out)) for file in files} == expected
    found = {str(f.relative_to(out)) for f in out.rglob("*") if f.is_file()}
    assert found == expected | {"things_sim.json"}


def test_a_raw_file_is_the_published_dictionary(written, dataset):
    out, _ = written
    array = np.load(out / "Raw_data/sub-05/ses-02/raw_eeg_test.npy", allow_pickle=True)
    assert array.shape == () and array.dtype == object
    contents = array.item()
    keys = ["raw_eeg_data", "ch_names", "ch_types", "sfreq", "highpass", "lowpass"]
    assert list(contents) == keys
    data = contents["raw_eeg_data"]
    assert data.dtype == np.float64 and data.shape[0] == 64
    assert contents["ch_names"][:3] == ["Fp1", "F3", "F7"] and contents["ch_names"][-1] == "stim"
    assert contents["ch_types"] == ["eeg"] * 63 + ["stim"]
    assert contents["sfreq"] == 250
    codes = data[-1][data[-1] > 0]
    assert len(codes) == 100 and (codes == 99999).sum() == 2
    recording = dataset.recording(5, 2, "test")
    np.testing.assert_array_equal(data[:-1], recording.data)
    np.testing.assert_array_equal(codes[codes < 99999], recording.numbers)


def test_metadata_lists_names_in_number_order(written, dataset):
    out, _ = written
    lists = np.load(out / "image_set/image_metadata.npy", allow_pickle=True).item()
    assert list(lists) == [
        "test_img_concepts",
        "test_img_concepts_THINGS",
        "test_img_files",
        "train_img_files",
        "train_img_concepts",
        "train_img_concepts_THINGS",
    ]
    assert all(type(names) is list and type(names[0]) is str for names in lists.values())
    for split, short in (("train", "train"), ("test", "test")):
        files = dataset.images["file"][dataset.images["split"] == split]
        both = zip(lists[f"{short}_img_concepts"], lists[f"{short}_img_files"], strict=True)
        assert [f"{folder}/{file}" for folder, file in both] == files.tolist()
    numbers = {*lists["train_img_concepts_THINGS"], *lists["test_img_concepts_THINGS"]}
    assert sorted(numbers) == sorted(numbers, key=lambda name: name[6:])
    assert {int(name[:5]) for name in numbers} == set(range(1, 4 + 16 + 1))


def test_written_images_have_the_same_pixels(written, dataset):
    out, _ = written
    row = dataset.images.iloc[-1]
    with Image.open(out / "image_set/test_images" / row["file"]) as picture:
        assert picture.format == "JPEG"
        np.testing.assert_array_equal(picture, dataset.image(row["image_id"]))


def test_things_eeg_reads_the_same_trials(written, dataset):
    out, _ = written
    real = ThingsEEG(out)
    columns = ["split", "number", "image_id", "concept"]
    theirs, ours = (d.images[columns].sort_values(columns) for d in (real, dataset))
    np.testing.assert_array_equal(theirs.to_numpy(), ours.to_numpy())
    for read, made in zip(real.recordings(5), dataset.recordings(5), strict=True):
        assert (read.session, read.split) == (made.session, made.split)
        np.testing.assert_array_equal(read.numbers, made.numbers)
        first, second = (windows(r.data, r.samples, r.sfreq, TrialSpec()) for r in (read, made))
        assert first.tobytes() == second.tobytes()


def test_writing_again_adds_what_is_missing_and_leaves_the_rest(written, dataset):
    out, files = written
    gone, kept = files[-1], files[-2]
    before = kept.stat().st_mtime_ns
    contents = gone.read_bytes()
    gone.unlink()
    assert write_raw(dataset, [5], out) == files
    assert gone.read_bytes() == contents
    assert kept.stat().st_mtime_ns == before


def test_other_data_are_never_overwritten(written, dataset, tmp_path):
    out, _ = written
    with pytest.raises(UsageError, match="other data in"):
        write_raw(ThingsSim(dataset.root, OWN, seed=1), [5], out)
    (tmp_path / "Raw_data").mkdir()
    with pytest.raises(UsageError, match="other data in"):
        write_raw(dataset, [5], tmp_path)
    (tmp_path / "things_sim.json").write_text("<html>")
    with pytest.raises(DataError, match="cannot be read"):
        write_raw(dataset, [5], tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Raw_data", "things_sim.json"]


def test_a_full_disk_leaves_nothing_half_written(dataset, tmp_path, monkeypatch):
    def full(file, array, **how):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(layouts.np, "save", full)
    with pytest.raises(DataError, match="No space left on device; free some space"):
        write_raw(dataset, [5], tmp_path / "new")
    left = [path.name for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert left == ["things_sim.json"]
    assert json.loads((tmp_path / "new/things_sim.json").read_text())["dataset"] == "things-sim"


def test_a_place_that_cannot_be_written(dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write .*--out"):
        write_raw(dataset, [5], tmp_path / "file" / "below")


def test_a_subject_out_of_range(dataset, tmp_path):
    with pytest.raises(UsageError, match="subject 11"):
        write_raw(dataset, [11], tmp_path)
    assert not list(tmp_path.iterdir())
