"""A trained run on new recordings, against its own test and against MNE."""

import json
import shutil

import mne
import numpy as np
import pandas as pd
import pytest
from forked import started
from safetensors.numpy import load_file, save

from braindecode_ssr import SSR, load_run
from braindecode_ssr.datasets.recordings import ImageFolder
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import DataError, MissingDataError, SSRError, UsageError
from braindecode_ssr.pipeline import evaluate, train
from braindecode_ssr.preprocessing.channels import NOT_AVERAGE
from braindecode_ssr.preprocessing.whitening import mean_whitening, whitening_of
from braindecode_ssr.resolve import run_spec
from braindecode_ssr.runs import _with_sha256


@pytest.fixture(scope="module")
def sim(sim_dir):
    return ThingsSim(sim_dir, preset="tiny")


@pytest.fixture(scope="module")
def plain(tmp_path_factory, sim_dir):
    """A run on trials that are not whitened: nothing depends on training trials."""
    settings = {
        "data": {"preset": "tiny", "subject": 5},
        "model": {"width": 64, "n_outputs": 64},
        "train": {"epochs": 2, "batch_size": 32},
        "trials": {"whitening": "none"},
    }
    return train(run_spec(settings), data_dir=sim_dir, out=tmp_path_factory.mktemp("plain")).path


@pytest.fixture(scope="module")
def whitened(tmp_path_factory, plain):
    """The same run, as if it had been trained on whitened trials."""
    run = shutil.copytree(plain, tmp_path_factory.mktemp("whitened") / "run")
    record = json.loads((run / "run.json").read_text())
    record["spec"]["trials"]["whitening"] = "mvnn"
    (run / "run.json").write_text(json.dumps(record))
    mixing = np.random.default_rng(0).normal(size=(63, 63)) / 20 + np.eye(63)
    content = _with_sha256(save, {"matrix": 1e5 * mixing @ mixing.T})
    (run / "whitening.safetensors").write_bytes(content)
    return run


@pytest.fixture(scope="module")
def raws(sim):
    """The test recordings of the subject that the run was trained on."""
    return [sim.recording(5, session, "test").to_raw(sim.images) for session in sim.sessions]


@pytest.fixture(scope="module")
def images(sim, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rows = sim.images[sim.images["split"] == "test"]
    for file, image_id in zip(rows["file"], rows["image_id"], strict=True):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(sim.jpeg(image_id))
    return folder


def test_the_test_recordings_give_the_ranks_of_the_run(plain, raws, images):
    """By another way: Raw instead of the store, files instead of the dataset's images, config.json."""
    run = load_run(plain)
    found = run.retrieve(raws, images, top=3)
    assert evaluate(run)[1]["top1"] == run.summary["top1"]
    own = run.retrieve(top=3)  # its own test, without naming recordings
    assert own["rank"].tolist() == run.queries["rank"].tolist()
    assert own["image"].tolist() == run.queries["image_id"].tolist()
    assert own["top_3"].tolist() == run.queries["top_3"].tolist()
    known = run.queries.set_index(run.queries["image_id"].str.partition("/")[2])
    own = known.loc[found["image"].str.partition("/")[2]]
    assert found["rank"].tolist() == own["rank"].tolist() and len(found) == 16
    for place in (1, 2, 3):
        assert found[f"top_{place}"].str.partition("/")[2].tolist() == (
            own[f"top_{place}"].str.partition("/")[2].tolist()
        )
    first = found["rank"] == 1
    assert first.any()
    np.testing.assert_allclose(found["score_1"][first], own["score"][first.to_numpy()], atol=1e-5)


def test_names_order_files_and_epochs_do_not_matter(plain, raws, tmp_path):
    run, raw = load_run(plain), raws[0]
    expected = run.embed(raw)
    assert expected.shape == (len(raw.annotations), 64)
    np.testing.assert_allclose(run.embed([raw, raws[1]])[: len(expected)], expected, atol=1e-6)

    other = raw.copy().reorder_channels(raw.ch_names[::-1])
    other.rename_channels({name: f"EEG {name.upper()}-Ref" for name in other.ch_names})
    other.save(tmp_path / "x_raw.fif", fmt="double", verbose="error")
    read = run.embed(tmp_path / "x_raw.fif")
    np.testing.assert_allclose(read, expected, atol=1e-4)
    assert read.index.get_level_values("image").tolist() == (
        expected.index.get_level_values("image").tolist()
    )

    samples = raw.time_as_index(raw.annotations.onset, use_rounding=True)
    events = np.column_stack([samples, samples * 0, samples * 0 + 1])
    cut = mne.Epochs(raw, events, tmin=-0.3, tmax=1.1, baseline=None, verbose="error")
    np.testing.assert_allclose(run.embed(cut), expected, atol=1e-4)
    with pytest.raises(DataError, match="-0.2 to 1 s.*tmin=-0.2"):
        run.embed(mne.Epochs(raw, events, tmin=-0.1, tmax=1.1, baseline=None, verbose="error"))


def test_events_from_tables_and_onsets(plain, raws, images, tmp_path):
    run, raw = load_run(plain), raws[0].copy()
    expected = run.retrieve(raw, images, average="none")
    onsets = raw.annotations.onset
    names = [extra["image_id"] for extra in raw.annotations.extras]
    raw.set_annotations(None)
    table = pd.DataFrame({"onset": onsets, "duration": 0.1, "stim_file": names})
    table["stim_file"] = "stimuli/" + table["stim_file"].str.upper() + ".JPG"
    table.loc[len(table)] = [onsets[-1] + 0.9, 0, "n/a"]
    table.to_csv(tmp_path / "events.tsv", sep="\t", index=False)
    read = pd.read_csv(tmp_path / "events.tsv", sep="\t")  # pandas reads n/a as NaN
    for given in (tmp_path / "events.tsv", read):
        pd.testing.assert_frame_equal(
            run.retrieve(raw, images, events=given, average="none"), expected
        )
    (tmp_path / "onsets.txt").write_text("\n".join(map(str, onsets)))
    for listed in (tmp_path / "onsets.txt", list(onsets)):
        unnamed = run.retrieve(raw, images, events=listed)
        assert "rank" not in unnamed and unnamed["image"].isna().all()
        assert unnamed["top_1"].tolist() == expected["top_1"].tolist()
    pd.testing.assert_frame_equal(run.embed([raw], events=read), run.embed(raw, events=read))
    samples = np.column_stack([raw.time_as_index(onsets), 0 * onsets, 0 * onsets + 1])
    for given, words in ((samples, "first_samp"), ([[0.5, 1.0]], "not onsets")):
        with pytest.raises(UsageError, match=words):
            run.embed(raw, events=given)
    for recordings, words in (
        ([raw, raw], "2 recordings were given, but events for 1"),
        ([], "no recording"),
        (raw.get_data(), "ndarray"),
    ):
        with pytest.raises(UsageError, match=words):
            run.embed(recordings, events=read)
    with pytest.raises(DataError, match="no events.*--events"):
        run.embed(raw)
    named = raw.copy().set_annotations(mne.Annotations(onsets, 0, names))
    said = []
    named.annotations.append([5.0, onsets[-1] + 0.5], 0, "Response/R  1")
    found = run.retrieve(named, images, average="none", say=said.append)
    pd.testing.assert_frame_equal(found, expected)
    assert any("'Response/R  1' (2)" in line for line in said)


def test_bad_segments_and_joins_are_left_out(plain, raws):
    run, raw, said = load_run(plain), raws[0].copy(), []
    onset = raw.annotations.onset[3]
    raw.annotations.append(onset + 0.3, 0.001, "BAD_blink")
    found = run.embed(raw, say=said.append)
    touched = np.abs(raws[0].annotations.onset - onset - 0.3 + 0.4) <= 0.6
    assert len(raws[0].annotations) - len(found) == touched.sum() > 0
    assert f"{touched.sum()} in a bad segment" in said[0]


def test_whitening_is_a_choice_and_reported(whitened, raws, sim):
    run, said = load_run(whitened), []
    cut, whiten_with = raws[0], load_file(whitened / "whitening.safetensors")
    by = {
        how: run.embed(cut, whitening=how, say=said.append) for how in ("auto", "recording", "run")
    }
    np.testing.assert_array_equal(by["auto"], by["recording"])
    assert not np.allclose(by["run"], by["recording"], atol=1e-3)
    assert "own 98 trials" in said[0] and "training sessions" in said[2]
    assert whiten_with["matrix"].shape == (63, 63)
    with pytest.raises(DataError, match="standard deviation.*--whitening recording"):
        run.embed(cut, whitening="none")
    # trials that are whitened already are taken as they are
    data = np.array(cut.get_data())
    done = whitening_of(whiten_with)(data[None].copy())[0]
    already = mne.io.RawArray(done, cut.info, verbose="error").set_annotations(cut.annotations)
    windows = mne.Epochs(already, None, tmin=-0.2, tmax=1, baseline=None, verbose="error")
    np.testing.assert_allclose(run.embed(windows, whitening="none"), by["run"], atol=1e-3)
    old = shutil.copytree(whitened, whitened.parent / "old")
    file = old / "whitening.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="its bytes have changed.*--whitening recording"):
        load_run(old).embed(cut, whitening="run")
    file.unlink()
    with pytest.raises(MissingDataError, match="--whitening recording"):
        load_run(old).embed(cut, whitening="run")
    with pytest.raises(UsageError, match="did you mean 'recording'"):
        run.embed(cut, whitening="recordings")


def test_the_mean_whitening_is_that_of_the_mean_covariance():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(3, 5, 5)) + 3 * np.eye(5)
    covariances = factors @ factors.swapaxes(1, 2)
    values, vectors = np.linalg.eigh(covariances)
    roots = [v / np.sqrt(w) @ v.T for w, v in zip(values, vectors, strict=True)]
    matrix = mean_whitening([{"matrix": root} for root in roots])["matrix"]
    np.testing.assert_allclose(matrix @ covariances.mean(0) @ matrix, np.eye(5), atol=1e-9)
    x = rng.normal(2, 3, (2, 4, 1000)) * np.arange(1, 5)[:, None]
    both = mean_whitening([{"mean": s.mean(1), "deviation": s.std(1)} for s in x])
    joined = np.concatenate(list(x), axis=1)
    np.testing.assert_allclose(both["mean"], joined.mean(1))
    np.testing.assert_allclose(both["deviation"], joined.std(1))


def changed(raw, change):
    raw = raw.copy()
    change(raw)
    return raw


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda raw: raw.drop_channels(["Oz", "P7"]), "Oz.*run things-sim_ssr.*needs 17"),
        (lambda raw: raw.rename_channels({"Oz": "Iz"}), "did you mean|no channel Oz"),
        (lambda raw: raw.set_channel_types({"Oz": "eog"}, verbose="error"), "no channel Oz"),
        (lambda raw: raw.info["bads"].append("Oz"), "Oz.*marked bad"),
        (lambda raw: raw.resample(125, verbose="error"), "125 Hz, below the 250 Hz"),
    ],
    ids=["missing", "renamed", "type", "bad", "slow"],
)
def test_what_does_not_fit_is_refused(plain, raws, change, expected):
    raw = changed(raws[0], change)
    with pytest.raises(SSRError, match=expected):
        load_run(plain).embed(raw)


def test_a_channel_that_channels_tsv_marks_as_bad_is_bad(plain, raws, tmp_path):
    path = tmp_path / "sub-01_task-look_eeg.fif"
    raws[0].save(path, verbose="error")
    run, rows = load_run(plain), [f"{name}\tEEG\t{{}}" for name in raws[0].ch_names]
    listed = tmp_path / "sub-01_task-look_channels.tsv"
    for status in ("good", "Bad"):
        text = "\n".join(["name\ttype\tstatus", *rows]).format(*[status] * len(rows))
        listed.write_text(text, encoding="utf-8")
        if status == "good":
            assert len(run.embed(path)) == len(run.embed(raws[0]))
    with pytest.raises(DataError, match="Oz.*marked bad.*interpolate"):
        run.embed(path)


def test_trials_that_begin_at_another_time_are_refused(plain, raws, tmp_path):
    """As those of a run on released files that begin later than trials.start."""
    run = shutil.copytree(plain, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    assert record["signals"]["time of the first sample"] == "0 s"
    record["signals"]["time of the first sample"] = "0.1 s"
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="time of the first sample differs: 0.1 s in .*, 0 s in "):
        load_run(run).embed(raws[0])


def test_microvolts_are_refused(whitened, raws):
    raw = changed(raws[0], lambda raw: raw.apply_function(lambda data: data * 1e6, verbose="error"))
    with pytest.raises(DataError, match="microvolts"):
        load_run(whitened).embed(raw)


def test_a_recording_of_another_reference_is_refused(plain, raws, tmp_path):
    run = shutil.copytree(plain, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record["signals"]["reference"] = NOT_AVERAGE
    (run / "run.json").write_text(json.dumps(record))
    assert len(load_run(run).embed(raws[0])) == len(raws[0].annotations)
    averaged = raws[0].copy().set_eeg_reference("average", verbose="error")
    with pytest.raises(DataError, match="reference differs.*not the mean.*average"):
        load_run(run).embed(averaged)


def test_images_are_joined_by_name(plain, raws, images, tmp_path):
    some = shutil.copytree(images, tmp_path / "some", ignore=shutil.ignore_patterns("ssr"))
    shutil.rmtree(sorted(some.iterdir())[0])
    run = load_run(plain)
    with pytest.raises(DataError, match="1 of the images .* are not among the candidates"):
        run.retrieve(raws[0], some)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(next(some.rglob("*.jpg")), other / "a.jpg")
    said = []
    found = run.retrieve(raws[0], other, say=said.append)
    assert "no ranks: none of the images" in said[-1]
    assert "rank" not in found and len(found) == 16 and (found["n_trials"] > 1).all()
    with pytest.raises(MissingDataError, match="no images in"):
        run.retrieve(raws[0], tmp_path / "other" / "ssr")
    shutil.copy(other / "a.jpg", other / "a.png")
    with pytest.raises(DataError, match="a.jpg and a.png"):
        run.retrieve(raws[0], other)


def test_the_image_that_a_name_means(tmp_path):
    for name in ("00001_bat/bat_1.jpg", "00002_bed/bed_1.jpg", "a/x.png", "b/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    find = ImageFolder(tmp_path).find
    assert (
        find("bat/bat_1") == find("stimuli\\bat\\BAT_1.JPG") == find("bat_1") == "00001_bat/bat_1"
    )
    assert find("bed/bat_1") is None and find("") is None and find("bat_10") is None
    assert find("a/x") == "a/x"
    with pytest.raises(DataError, match="a/x or b/x"):
        find("x.png")


def test_other_features_are_refused(plain, raws, images, tmp_path):
    other = shutil.copytree(plain, tmp_path / "run")
    record = json.loads((other / "run.json").read_text())
    record["features"]["original"] = "another"
    (other / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="simnet"):
        load_run(other).retrieve(raws[0], images)
    record["spec"]["images"]["encoder"] = "mine"
    (other / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="imported as 'mine'"):
        load_run(other).retrieve(raws[0], images)


def test_a_folder_that_cannot_be_used(plain, tmp_path):
    with pytest.raises(MissingDataError, match="no run folder .*Hugging Face"):
        load_run(tmp_path / "nothing")
    other = shutil.copytree(plain, tmp_path / "run")
    (other / "config.json").unlink()
    with pytest.raises(DataError, match="config.json.*train the run again"):
        load_run(other).model  # noqa: B018
    (other / "model.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match="model.safetensors"):
        load_run(other)


@pytest.mark.parametrize("name", ["backbone", "activation", "image_head"])
def test_a_folder_of_a_stranger_executes_nothing(plain, tmp_path, name):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Net: pass\n")
    other = shutil.copytree(plain, tmp_path / "run")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {name: f"{tmp_path}/evil.py:Net"}))
    for use in (lambda: load_run(other).model, lambda: SSR.from_pretrained(str(other))):
        with pytest.raises(UsageError):
            use()
    assert not (tmp_path / "ran").exists()


def test_a_closed_form_is_used_in_the_same_way(tmp_path, sim_dir, raws, images):
    settings = {"method": "ridge-decoding", "data": {"preset": "tiny", "subject": 5}}
    settings["trials"] = {"whitening": "none"}
    run = train(run_spec(settings), data_dir=sim_dir, out=tmp_path)
    found = load_run(run.path).retrieve(raws, images)
    ranks = run.queries.set_index(run.queries["image_id"].str.partition("/")[2])["rank"]
    assert found["rank"].tolist() == ranks.loc[found["image"].str.partition("/")[2]].tolist()
    look = load_run(run.path).interpret()
    assert look.regions(("only",))["top1"].iloc[-1] == run.summary["top1"]


def in_a_fresh_process(folder):
    from braindecode_ssr import SSR

    print(sum(p.numel() for p in SSR.from_pretrained(folder).parameters()))


@pytest.mark.slow
def test_from_pretrained_in_another_process(plain, tmp_path):
    done = started(in_a_fresh_process, str(plain), folder=tmp_path)
    done.join()
    assert done.exitcode == 0, done.err.read_text()
    expected = sum(p.numel() for p in load_run(plain).model.parameters())
    assert done.out.read_text().split()[-1] == str(expected)


def test_a_run_says_what_it_decodes_from(plain):
    """Its accuracy with complete trials is that of its test, and its figures show the tables."""
    from matplotlib import pyplot as plt

    run = load_run(plain)
    look = run.interpret()
    table = look.time_windows(0.5, 0.25)
    assert table["kind"].tolist() == ["only"] * 3 + ["until"] * 3 + ["all"]
    assert (table["top1"].iloc[-1], table["top1"].iloc[5]) == (run.summary["top1"],) * 2
    figure = run.plot_time_windows(0.5, 0.25)
    [until] = [line for line in figure.axes[0].lines if line.get_label().startswith("all samples")]
    assert until.get_ydata() == pytest.approx(100 * table["top1"][3:6].to_numpy())
    maps = run.plot_regions(neighbors=3).axes
    bars = [bar.get_width() for bar in maps[2].patches]
    assert bars == pytest.approx((100 * look.regions()["top1"][:-1]).tolist())
    assert "nothing is trained again" in figure._supxlabel.get_text()
    near, axis = look.similarity(), run.plot_similarity().axes[0]
    right = np.array([near.loc[name, name] for name in near.index])
    assert (near.ge(right, axis=0).sum(axis=1).to_numpy() == run.queries["rank"]).all()
    rows, columns = (
        [label.get_text() for label in labels]
        for labels in (axis.get_yticklabels(), axis.get_xticklabels())
    )
    assert rows == columns and len(rows) == 16
    full = {name.rpartition("/")[2]: name for name in near.index}
    shown = axis.images[0].get_array()
    row = near.loc[full[rows[0]], [full[name] for name in columns]].to_numpy()
    np.testing.assert_allclose(shown[0], (row - row.mean()) / row.std(), rtol=1e-4)
    plt.close("all")


def test_the_fill_is_the_mean_training_trial(plain, sim):
    from braindecode_ssr.config import TrialSpec
    from braindecode_ssr.trials.prepare import prepare

    run = load_run(plain)
    store = prepare(sim, 5, TrialSpec(whitening="none"))
    rows = store.rows("train")
    assert len(rows) < 500
    mean = store.trials[rows][:, store.pick(tuple(run.channels.ch_names))].mean(axis=0)
    np.testing.assert_allclose(run.interpret().mean, mean, atol=1e-5 * abs(mean).max())
