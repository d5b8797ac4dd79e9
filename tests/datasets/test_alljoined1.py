"""Alljoined-1 as OSF has it: fif files with one trigger per image, and the lists of the authors' code."""

import json

import mne
import numpy as np
import pytest
from scipy.io import savemat

from braindecode_ssr import train
from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.alljoined1 import CHANNELS, DESIGN, N_IMAGES, TESTED, Alljoined1
from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.trials.prepare import prepare

SHARED = 2951 + 7 * np.arange(1000)  # counted from 1, as in NSD
TEST = (SHARED[[2, 5, 7, 900]] - 1).tolist()
TRIGGERS = [3, 1, 2, 6, 960, 8, 4, 901, 1, 3, 10, 8]


def write_lists(root):
    subjects = np.concatenate([np.tile(SHARED, (8, 1)), np.zeros((8, 9000))], 1)
    savemat(root / DESIGN, {"sharedix": SHARED[None], "subjectim": subjects})
    (root / TESTED).write_text(json.dumps([*TEST, 69442]))


def write_session(root, triggers=TRIGGERS, session=1, subject=1, folder="raw", sfreq=512.0):
    """Channels in another order, a stimulus channel, and a file that does not begin at sample 0."""
    names = [*reversed(CHANNELS), "Status"]
    rng = np.random.default_rng([session, subject])
    data = rng.normal(0, 1e-5, (65, int(sfreq) * (4 + len(triggers))))
    data[-1] = 0
    onsets = int(sfreq) + int(0.6 * sfreq) * np.arange(len(triggers))
    data[-1, onsets] = triggers
    info = mne.create_info(names, sfreq, ["eeg"] * 64 + ["stim"])
    raw = mne.io.RawArray(data, info, first_samp=100, verbose="error")
    (root / folder).mkdir(exist_ok=True, parents=True)
    path = root / folder / f"subj{subject:02d}_session{session}_eeg.fif"
    raw.save(path, overwrite=True, verbose="error")
    return data[-2::-1], onsets


@pytest.fixture
def root(tmp_path):
    write_lists(tmp_path)
    return tmp_path


def test_an_image_is_its_own_concept_and_the_split_is_that_of_the_authors(root):
    images = Alljoined1(root).images
    assert len(images) == N_IMAGES and images["concept"].is_unique
    assert images["image_id"].iloc[0] == "nsd02950/nsd02950"
    tested = images[images["split"] == "test"]
    assert tested["file"].tolist() == [f"{number:05d}.png" for number in TEST]
    for _, rows in images.groupby("split"):
        assert rows["number"].tolist() == list(range(1, len(rows) + 1))


def test_trials_are_those_of_the_triggers(root):
    written = {
        1: write_session(root),
        2: write_session(root, TRIGGERS[::-1], 2, folder="xu2024/raw"),
    }
    dataset = Alljoined1(root)
    assert dataset.present_subjects == (1,)
    names = dataset.images["image_id"].to_numpy()  # by trigger
    for recording in dataset.recordings(1):
        data, onsets = written[recording.session]
        np.testing.assert_allclose(recording.data, data, atol=1e-11)
        triggers = np.array(TRIGGERS if recording.session == 1 else TRIGGERS[::-1])
        rows = dataset.images.set_index(["split", "number"]).loc[recording.split]
        shown = rows.loc[recording.numbers, "image_id"].to_numpy()
        mine = np.isin(triggers, [3, 6, 8, 901]) == (recording.split == "test")
        np.testing.assert_array_equal(recording.samples, onsets[mine])
        np.testing.assert_array_equal(shown, names[triggers[mine] - 1])
    store = prepare(dataset, 1, TrialSpec(sfreq=128.0, stop=0.5, tmax=0.5))
    assert tuple(store.ch_names) == CHANNELS
    assert store.table.groupby("split").size().to_dict() == {"test": 12, "train": 12}
    counts = store.table.groupby("image_id").size()
    assert counts["nsd02950/nsd02950"] == 4 and counts.sum() == 24


@pytest.mark.parametrize(
    ("triggers", "sfreq", "said"),
    [([3, 961], 512.0, "trigger 961"), ([], 512.0, "no trigger"), (TRIGGERS, 256.0, "256 Hz")],
)
def test_what_is_refused(root, triggers, sfreq, said):
    write_session(root, triggers, sfreq=sfreq)
    with pytest.raises(DataError, match=said):
        list(Alljoined1(root).recordings(1))


def test_missing_and_damaged_lists(root):
    (root / DESIGN).write_bytes(b"no list")
    with pytest.raises(DataError, match="damaged.*0_data_collection"):
        Alljoined1(root).images  # noqa: B018
    write_lists(root)
    (root / TESTED).write_text("[1]")
    with pytest.raises(DataError, match="0 of the 960 images"):
        Alljoined1(root).images  # noqa: B018
    (root / TESTED).unlink()
    with pytest.raises(MissingDataError, match="final_dataset"):
        Alljoined1(root).images  # noqa: B018
    with pytest.raises(MissingDataError, match="alljoined1"):
        Alljoined1(root).check_here()


def test_what_needs_concepts_is_refused(root, sim_dir, tmp_path):
    write_session(root)
    known = {"dataset": "alljoined1", "data_dir": root, "subject": 1, "out": tmp_path / "out"}
    with pytest.raises(UsageError, match="no concepts with names"):
        train(**known, encoder="RN50/random", **{"images.views": ["text"]})
    extra = [{"dataset": "things-sim", "preset": "tiny", "data_dir": str(sim_dir)}]
    with pytest.raises(UsageError, match="alljoined1 names no concepts"):
        train(**known, **{"data.extra": extra})


def test_a_run_on_written_files(root, tmp_path):
    from PIL import Image

    write_session(root)
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in SHARED[:N_IMAGES] - 1:
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(root / "images" / f"{number:05d}.png")
    options = {"train.epochs": 1, "batch_size": 2, "encoder": "timm:test_vit.random:32"}
    options |= {"trials.sfreq": 100, "images.views": ["original"], "method": "nice"}
    run = train(dataset="alljoined1", data_dir=root, subject=1, out=tmp_path / "out", **options)
    assert (run.summary["n_queries"], run.summary["n_gallery"], run.summary["n_train"]) == (4, 4, 5)
