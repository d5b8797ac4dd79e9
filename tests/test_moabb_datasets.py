"""The datasets in MOABB's style give what our own loaders give, and nothing else."""

import logging

import bids_trees
import meg_files
import mne
import numpy as np
import pandas as pd
import pytest
from moabb.datasets.base import CacheConfig
from things_files import write_things

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.things_eeg.dataset import ThingsEEG
from braindecode_ssr.datasets.things_meg.dataset import ThingsMEG
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import MissingDataError, UsageError
from braindecode_ssr.moabb import Gifford2022, Hebart2023, ImageRetrieval, SimulatedThings
from braindecode_ssr.trials.prepare import prepare


@pytest.fixture(scope="module")
def eeg(tmp_path_factory):
    return write_things(tmp_path_factory.mktemp("eeg"), subjects=(5,), sessions=2)


@pytest.fixture(scope="module")
def meg(tmp_path_factory):
    root = tmp_path_factory.mktemp("meg")
    meg_files.write_subject(root, 2)
    return root


@pytest.fixture(scope="module")
def simulated():
    return SimulatedThings(subjects=[1], sessions=[0]).get_data()[1]


def same_recordings(data, recordings, images):
    """MOABB's dictionary against recordings of our own loader, one by one."""
    pairs = [(int(s) + 1, run[1:], raw) for s, runs in data.items() for run, raw in runs.items()]
    for (session, split, raw), own in zip(pairs, recordings, strict=True):
        assert (session, split) == (own.session, own.split)
        assert np.array_equal(raw.get_data(), own.data)
        assert raw.ch_names == list(own.ch_names) and raw.info["sfreq"] == own.sfreq
        shown = raw.annotations
        assert set(shown.description) == {split}
        assert np.array_equal(np.round(shown.onset * own.sfreq).astype(int), own.samples)
        names = images[images["split"] == split].set_index("number")["image_id"]
        assert [e["image_id"] for e in shown.extras] == names.loc[own.numbers].tolist()


def test_eeg_is_what_our_loader_reads(eeg):
    data = Gifford2022(root=eeg).get_data(subjects=[5])[5]
    assert {s: list(runs) for s, runs in data.items()} == dict.fromkeys("01", ["0train", "1test"])
    own = ThingsEEG(eeg)
    same_recordings(data, own.recordings(5), own.images)


def test_eeg_in_bids_is_the_same(tmp_path):
    simulation = ThingsSim(tmp_path / "sim", preset="tiny")
    bids_trees.write_both(simulation, 3, tmp_path / "raw", tmp_path / "bids", sessions=[1])
    made = Gifford2022(subjects=[3], sessions=[0], root=tmp_path / "bids")
    suffixes = [file.rsplit("_", 1)[-1] for file in made.data_path(3)]
    assert suffixes.count("eeg.bdf") == 3 and suffixes[0] == "metadata.npy"
    both = [
        ImageRetrieval(channels=["Oz", "POz"]).get_data(
            Gifford2022(subjects=[3], sessions=[0], root=tmp_path / name),
            additional_metadata="all",
        )
        for name in ("raw", "bids")
    ]
    assert np.allclose(both[0][0], both[1][0], atol=0.05)  # microvolts: BDF has 24 bits
    pd.testing.assert_frame_equal(both[0][2], both[1][2])


def test_the_simulation_is_what_our_simulator_makes(simulated, tmp_path):
    own = ThingsSim(tmp_path, preset="tiny")
    recordings = [own.recording(1, 1, split) for split in ("train", "test")]
    same_recordings({"0": simulated["0"]}, recordings, own.images)


def test_meg_epochs_are_joined_end_to_end(meg):
    dataset = Hebart2023(subjects=[2], root=meg)
    data = dataset.get_data()[2]
    assert list(data) == ["0", "1", "2"]
    published = mne.read_epochs(meg_files.write_subject(meg, 2)[0], verbose="error")
    table = published.metadata
    for session, runs in data.items():
        raw = runs["1test"]
        rows = np.flatnonzero(
            (table["trial_type"] == "test") & (table["session_nr"] == int(session) + 1)
        )
        assert np.array_equal(
            raw.get_data(),
            np.concatenate(published.get_data(picks=raw.ch_names)[rows].astype(np.float32), axis=1),
        )
        shown = [i for i, name in enumerate(raw.annotations.description) if name == "test"]
        onsets = raw.annotations.onset[shown] * 200
        assert np.allclose(onsets, 281 * np.arange(len(rows)) + 20)
        stems = table["image_path"].iloc[rows].str.extract(r"([^/]+)\.jpg")[0]
        images = [raw.annotations.extras[row]["image_id"].split("/")[1] for row in shown]
        assert images == stems.tolist()


def test_meg_trains_on_no_concept_that_it_tests(meg):
    data = Hebart2023(subjects=[2], root=meg).get_data()[2]
    concepts = {
        run: {
            extras["concept"]
            for runs in data.values()
            for extras in runs[run].annotations.extras
            if "concept" in extras
        }
        for run in ("0train", "1test")
    }
    assert concepts["0train"] == set(meg_files.TRAIN_CONCEPTS)
    assert concepts["1test"] == {"aircraft_carrier", "alligator"}


@pytest.mark.parametrize(
    ("tmin", "tmax", "kept"),
    [(0, 0.995, 4), (-0.1, 1.3, 4), (-0.1, 1.305, 0), (-0.105, 1.3, 0), (0, 1.4, 0)],
)
def test_windows_over_a_join_are_dropped(meg, tmin, tmax, kept):
    """A window must lie within its trial."""
    runs = Hebart2023(subjects=[2], root=meg).get_data()[2]
    raw = mne.concatenate_raws([runs["0"]["1test"], runs["1"]["1test"]], verbose="error")
    codes = {"test": 2}
    events, _ = mne.events_from_annotations(raw, event_id=codes, verbose="error")
    epochs = mne.Epochs(
        raw, events, codes, tmin, tmax, baseline=None, preload=True, verbose="error"
    )
    assert len(epochs) == kept


def test_only_chosen_sessions_are_read(meg, monkeypatch):
    from braindecode_ssr.datasets.things_meg.dataset import TrialsOnDisk

    read = []
    slices = TrialsOnDisk.__getitem__
    monkeypatch.setattr(
        TrialsOnDisk, "__getitem__", lambda self, part: read.append(len(self)) or slices(self, part)
    )
    data = Hebart2023(subjects=[2], sessions=[1], root=meg).get_data()[2]
    assert list(data) == ["1"] and sum(read) == 4
    assert list(Hebart2023(subjects=[2], sessions=["2"], root=meg).get_data()[2]) == ["2"]


@pytest.mark.parametrize(
    ("dataset", "folder", "own"), [(Gifford2022, "eeg", ThingsEEG), (Hebart2023, "meg", ThingsMEG)]
)
def test_trials_through_a_paradigm_are_those_of_the_store(request, dataset, folder, own, tmp_path):
    """Same windows, by MOABB and by ``prepare``: 0 to 1 s at the rate of the files, nothing else done."""
    root = request.getfixturevalue(folder)
    subject = {"eeg": 5, "meg": 2}[folder]
    sfreq = {"eeg": 1000.0, "meg": 200.0}[folder]
    made = dataset(subjects=[subject], root=root)
    x, images, table = ImageRetrieval().get_data(made, additional_metadata="all")
    spec = TrialSpec(sfreq=sfreq, baseline="none", whitening="none", tmin=-0.05, tmax=1.05)
    store = prepare(own(root), subject, spec)
    order = store.table.sort_values(["session", "split"], ascending=[True, False], kind="stable")
    assert images.tolist() == order["image_id"].tolist() == table["image_id"].tolist()
    assert np.allclose(x, made.unit_factor * store.trials[order.index], rtol=1e-4, atol=1e-3)
    columns = ["split", "number", "concept", "repetition"]
    pd.testing.assert_frame_equal(
        table[columns], order[columns].reset_index(drop=True), check_dtype=False
    )


def test_the_metadata_of_trials(eeg):
    made = Gifford2022(subjects=[5], root=eeg)
    table = made.get_additional_metadata(5, "1", "1test")  # read for this
    assert set(table["run"]) == {"1test"} and set(table["session"]) == {"1"}
    per_image = table.groupby("image_id")["repetition"].agg(
        list
    )  # three were in the session before
    assert per_image.tolist() == [[4, 5, 6]] * 3
    _, _, chosen = ImageRetrieval().get_data(made, [5], additional_metadata=["concept"])
    assert list(chosen.columns) == ["session", "subject", "run", "concept"]
    with pytest.raises(UsageError, match="no run '1test' in session '7' of subject 5"):
        made.get_additional_metadata(5, "7", "1test")


def test_moabbs_cache_keeps_the_names_of_images(tmp_path, caplog):
    made = SimulatedThings(subjects=[1], sessions=[0], root=tmp_path)
    paradigm = ImageRetrieval(channels=["Oz", "O1"])
    cache = CacheConfig(save_raw=True, use=True, path=tmp_path)
    with caplog.at_level(logging.WARNING):
        x, images, _ = paradigm.get_data(made, cache_config=cache)
    assert "Failed to save" not in caplog.text
    made._get_single_subject_data = None  # whoever comes here does not use the cache
    again, same, _ = paradigm.get_data(made, cache_config=cache)
    assert same.tolist() == images.tolist()
    assert np.allclose(again, x, atol=1)  # microvolts: EDF has 16 bits


def test_presets_and_seeds_do_not_share_a_cache():
    codes = {SimulatedThings(preset=p, seed=s).code for p in ("tiny", "small") for s in (0, 1)}
    assert len(codes) == 4


def test_nothing_is_downloaded_unless_asked(tmp_path, monkeypatch):
    """With the id of its NEMAR deposit, MOABB would bring gigabytes before it reads local files."""
    import moabb.datasets.base as base

    for name in ("nemar_dl", "nemar_sourcedata_dl"):
        monkeypatch.setattr(base, name, lambda *args, **others: pytest.fail("NEMAR was asked"))
    root = write_things(tmp_path, subjects=(1,), sessions=1, images=False)
    made = Gifford2022(subjects=[1], root=root)
    assert list(made.get_data()[1]) == ["0"]
    made.download()
    assert made.data_path(1)[1].endswith("raw_eeg_training.npy")


@pytest.mark.parametrize("dataset", [Gifford2022, Hebart2023])
def test_missing_files_are_named(dataset, tmp_path):
    made = dataset(subjects=[1])
    with pytest.raises(MissingDataError, match=str(tmp_path / made.folder)):
        made.data_path(1, path=tmp_path)
    with pytest.raises(MissingDataError, match="ssr-bd data where"):
        dataset(subjects=[1], root=tmp_path).get_data()


def test_other_subjects_are_refused(eeg):
    with pytest.raises(UsageError, match="6 is not a subject of Gifford2022: 5"):
        Gifford2022(subjects=[5], root=eeg).data_path(6)


def test_sessions_that_are_not_there_are_refused(meg):
    with pytest.raises(UsageError, match=r"Hebart2023 has the sessions 0 to 11, not \[7\]"):
        Hebart2023(subjects=[2], sessions=[7], root=meg).get_data()


def test_downloading_is_our_own(tmp_path, monkeypatch):
    """What is asked of the download room; its own tests hold what it does."""
    from braindecode_ssr.datasets import fetch

    asked = []
    monkeypatch.setattr(
        fetch, "run_download", lambda todo, carrier, **options: asked.append((todo, options))
    )
    for options in ({"accept": True}, {"force_update": True}):
        with pytest.raises(MissingDataError):
            Gifford2022().download([3], path=tmp_path, **options)
    assert [todo.form for todo, _ in asked] == ["raw", "raw"]
    assert asked[0][0].subjects == (3,) and asked[0][0].root == tmp_path / "things-eeg"
    assert [options["replace_others"] for _, options in asked] == [False, True]


def test_the_package_does_not_import_moabb():
    import subprocess
    import sys

    code = "import sys, braindecode_ssr.moabb as m; print('moabb' in sys.modules, len(dir(m)) > 9)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
