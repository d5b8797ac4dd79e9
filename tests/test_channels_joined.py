"""Subjects, sessions and runs are joined by the names of their channels, never by position."""

import copy
import json
import re
import shutil
from functools import cache

import bids_trees
import mne
import numpy as np
import pandas as pd
import pytest
from bids_trees import write_events, write_run, write_things_bids
from things_files import TEST, TRAIN, presentations, raw_content, write_metadata, write_raw_session

from braindecode_ssr.config import RunSpec, TrialSpec
from braindecode_ssr.datasets.bids.study import BIDSImages
from braindecode_ssr.datasets.things_eeg.dataset import ThingsEEG
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import DataError
from braindecode_ssr.pipeline import evaluate, train
from braindecode_ssr.preprocessing.channels import (
    OCCIPITAL_17,
    THINGS_EEG_63_RAW,
    ChannelSet,
    channel_indices,
    check_facts,
    match_channels,
)
from braindecode_ssr.resolve import run_spec
from braindecode_ssr.simulation.layouts import write_raw as simulated_raw
from braindecode_ssr.training.data import copied_recordings, match_subjects
from braindecode_ssr.trials.prepare import prepare

METHOD = {
    "method": "ridge-decoding",
    "images": {"encoder": "pyramid", "views": ["original"]},
    "data": {"dataset": "bids", "subject": 1, "protocol": "inter"},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return ThingsSim(tmp_path_factory.mktemp("sim"), preset="tiny")


@pytest.fixture(scope="module")
def study(lab, tmp_path_factory):
    """The same brain as subjects 1 and 2."""
    root = tmp_path_factory.mktemp("study")
    for image in lab.images.itertuples():
        path = root / "stimuli" / f"{image.image_id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lab.jpeg(image.image_id))
    tested = lab.images.loc[lab.images["split"] == "test", "concept"].unique()
    (root / "test_concepts.txt").write_text("\n".join(tested))
    for subject in ("01", "02"):
        write_subject(root, lab, subject, OCCIPITAL_17)
    return root


@cache
def first_session(lab):
    return [lab.recording(1, 1, split) for split in ("train", "test")]


def write_subject(root, lab, label, names, called=None, average=False):
    """One session of subject 1 of the simulation, some channels of it, in an order and under names."""
    called = called or names
    for recording in first_session(lab):
        rows = [recording.ch_names.index(name) for name in names]
        entities = {
            "subject": label,
            "task": "look",
            "run": "1" if recording.split == "train" else "2",
        }
        signal = np.array(recording.data)[rows] * (
            1 + 0.01 * int(label)
        )  # no copy of another subject
        if average:
            signal -= signal.mean(0)
        stem = write_run(root, signal, called, recording.sfreq, "BrainVision", **entities)
        shown = lab.images[lab.images["split"] == recording.split].set_index("number")
        files = (shown["image_id"].loc[recording.numbers] + ".jpg").to_numpy()
        onsets = recording.samples / recording.sfreq
        name = str(stem).removesuffix("_eeg")
        write_events(name, pd.DataFrame({"onset": onsets, "duration": 0.1, "image": files}))


def trained(root, out, **data):
    return train(run_spec(METHOD, {"data": data}), data_dir=root, out=out)


@pytest.fixture
def other(study, lab, tmp_path):
    """The study with subject 2 written anew."""

    def write(names, called=None):
        root = tmp_path / "other"
        shutil.copytree(study, root, ignore=shutil.ignore_patterns("sub-02"))
        write_subject(root, lab, "02", names, called)
        return root

    return write


@pytest.fixture(scope="module")
def run(study, tmp_path_factory):
    return trained(study, tmp_path_factory.mktemp("runs"))


def test_order_case_and_decoration_of_channels_do_not_matter(run, other, tmp_path):
    called = tuple(f"EEG {name.upper()}-Ref" for name in OCCIPITAL_17)
    found = trained(other(OCCIPITAL_17[::-1], called[::-1]), tmp_path / "runs").queries
    pd.testing.assert_frame_equal(found, run.queries)


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (OCCIPITAL_17, (*OCCIPITAL_17[:-1], "Iz")),  # another electrode, the same number
        (OCCIPITAL_17[1:], None),  # one less
    ],
)
def test_other_channels_are_refused_before_training(other, tmp_path, names, called):
    root = other(names, called)
    with pytest.raises(DataError, match=r"sub-0[12].*(lacks|also has).*data\.channels=common"):
        trained(root, tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("*/history.csv"))
    if called:
        assert len(trained(root, tmp_path / "common", channels="common").queries)


def test_evaluate_holds_to_the_channels_of_the_run(run, study):
    assert sorted(run.record["channels"]) == sorted(OCCIPITAL_17)
    again, _ = evaluate(run.path, data_dir=study)
    pd.testing.assert_frame_equal(again[["image_id", "rank"]], run.queries[["image_id", "rank"]])


def test_evaluate_takes_the_channels_of_the_run_by_name_or_refuses(run, lab, study, tmp_path):
    root = tmp_path / "again"
    shutil.copytree(study, root, ignore=shutil.ignore_patterns("sub-01", "trials"))
    write_subject(root, lab, "01", OCCIPITAL_17[::-1])
    again, _ = evaluate(run.path, data_dir=root)
    pd.testing.assert_frame_equal(again[["image_id", "rank"]], run.queries[["image_id", "rank"]])
    shutil.rmtree(root / "sub-01")
    write_subject(root, lab, "01", OCCIPITAL_17, (*OCCIPITAL_17[:-1], "Iz"))
    with pytest.raises(DataError, match=r"sub-01.*no channel O2"):
        evaluate(run.path, data_dir=root)


def test_another_reference_in_the_sidecar_files_is_refused(other, tmp_path):
    root = other(OCCIPITAL_17)
    for path in root.glob("sub-*/eeg/*_eeg.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        content["EEGReference"] = "Cz" if path.name.startswith("sub-01") else "linked mastoids"
        path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"reference differs: linked mastoids in .*sub-02.*Cz in .*sub-01"
    ):
        trained(root, tmp_path / "runs")
    path.write_text(json.dumps({**content, "EEGReference": "FCz"}), encoding="utf-8")
    with pytest.raises(DataError, match="reference differs.*FCz"):
        BIDSImages(root).reference(2 if "sub-02" in path.name else 1)


def test_a_sidecar_that_gives_another_rate_than_the_recording_is_refused(other):
    root = other(OCCIPITAL_17)
    path = next(root.glob("sub-01/eeg/*_eeg.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "SamplingFrequency": 1000}), encoding="utf-8")
    with pytest.raises(DataError, match=r"sub-01.*1000 Hz.*SamplingFrequency"):
        BIDSImages(root).trial_axes(1, TrialSpec())


def in_units(root, text, subject="02", only=None):
    for path in root.glob(f"sub-{subject}/eeg/*_channels.tsv"):
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        table.loc[table["name"].isin(only or table["name"]), "units"] = text
        table.to_csv(path, sep="\t", index=False)
    return root


def test_another_unit_in_channels_tsv_than_in_the_header_is_refused(other, tmp_path):
    root = other(OCCIPITAL_17)
    for text in ("mV", "nV", "a.u.", "T", "°C"):
        in_units(root, text, only=["Oz"])
        said = (
            rf"unit of channel Oz differs: {text} in .*sub-02.*channels\.tsv, µV in .*sub-02.*vhdr"
        )
        with pytest.raises(DataError, match=said):
            BIDSImages(root).trial_axes(2, TrialSpec())
    with pytest.raises(DataError, match=said):
        trained(root, tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("*/history.csv"))
    rows = BIDSImages(root).inventory(read=True)
    assert any(re.search(said, str(row["detail"])) for row in rows)


def test_the_unit_of_the_header_the_one_of_mne_and_none_are_fine(other):
    root = other(OCCIPITAL_17)
    for text in ("uV", "\u00b5V", "\u03bcV", "microV", "microvolts", "V", "n/a", ""):
        assert BIDSImages(in_units(root, text)).trial_axes(2, TrialSpec())


def test_a_header_in_millivolts_is_read_as_such(study, other, tmp_path):
    root = other(OCCIPITAL_17)
    in_units(root, "mV")
    for path in root.glob("sub-02/eeg/*.vhdr"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"(?m)^(Ch\d+=.*,)µV", r"\1mV", text), encoding="utf-8")
    here = [next(iter(BIDSImages(r).recordings(2))).data for r in (study, root)]
    np.testing.assert_allclose(here[1], 1000 * here[0])


@pytest.mark.parametrize(
    ("fmt", "text", "match"),
    [
        ("EDF", "µV", r"µV in .*channels\.tsv, no unit that is known"),
        ("FIF", "fT", r"fT in .*channels\.tsv, T in .*\.fif"),
    ],
)
def test_units_of_edf_without_one_and_of_fif(tmp_path, fmt, text, match):
    kind = ("meg", "mag") if fmt == "FIF" else ("eeg", "eeg")
    bids_trees.write_study(tmp_path, OCCIPITAL_17, fmt, *kind, labels=("01",))
    assert BIDSImages(tmp_path).trial_axes(1, TrialSpec())
    for path in tmp_path.rglob("*_eeg.edf"):  # no physical dimension in the header
        content = bytearray(path.read_bytes())
        n = int(content[252:256])
        content[256 + 96 * n : 256 + 104 * n] = b" " * 8 * n
        path.write_bytes(bytes(content))
    for path in (tmp_path / "sub-01").rglob("*_channels.tsv"):
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        table.assign(units=text).to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match=match):
        BIDSImages(tmp_path).trial_axes(1, TrialSpec())


def test_volts_under_a_header_of_microvolts_are_noticed(other, tmp_path):
    root = in_units(other(OCCIPITAL_17), "V")
    for path in root.glob("sub-02/eeg/*.eeg"):
        (np.fromfile(path, "<f4") * 1e-6).astype("<f4").tofile(path)
    with pytest.raises(DataError, match=r"sub-02.*too small for EEG"):
        trained(root, tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("*/history.csv"))


def test_an_average_reference_that_no_file_mentions_is_refused(other, lab, tmp_path):
    root = other(OCCIPITAL_17)
    shutil.rmtree(root / "sub-02")
    write_subject(root, lab, "02", OCCIPITAL_17, average=True)
    assert BIDSImages(root).reference(2) == "average" != BIDSImages(root).reference(1)
    with pytest.raises(DataError, match=r"reference differs: average in .*sub-02"):
        trained(root, tmp_path / "runs")
    for path in root.glob("sub-02/eeg/*_eeg.json"):  # what a file says goes before the samples
        path.write_text(json.dumps({"EEGReference": "Cz"}), encoding="utf-8")
    assert BIDSImages(root).reference(2) == "Cz"
    check_facts(*(ChannelSet("", (), {"reference": BIDSImages(root).reference(s)}) for s in (1, 2)))


def copy_subject(tree, old, new):
    """The recordings of a subject under the name of another one, as a renaming tool would write them."""
    for path in sorted((tree / f"sub-{old}").rglob("*.*")):
        target = tree / str(path.relative_to(tree)).replace(f"sub-{old}", f"sub-{new}")
        target.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes()
        if path.suffix in (".vhdr", ".vmrk"):
            content = content.replace(f"sub-{old}".encode(), f"sub-{new}".encode())
        target.write_bytes(content)


@pytest.mark.parametrize("linked", [False, True])
def test_a_recording_copied_to_another_subject_is_flagged(study, tmp_path, linked):
    root = tmp_path / "other"
    shutil.copytree(study, root, ignore=shutil.ignore_patterns("sub-02"))
    copy_subject(root, "01", "02")
    if linked:
        (copy,) = (root / "sub-02").rglob("*run-1_eeg.eeg")
        copy.unlink()
        copy.symlink_to(next((root / "sub-01").rglob("*run-1_eeg.eeg")))
    said = []
    run = train(run_spec(METHOD), data_dir=root, out=tmp_path / "runs", say=said.append)
    (line,) = [line for line in said if "same recording" in line]
    assert re.search(r"sub-0[12].*\.eeg and .*sub-0[12].*\.eeg", line)
    assert run.summary["flags"] == ["same-recording"]
    if linked:
        alone = trained(root, tmp_path / "runs", protocol="intra")
        assert alone.summary["flags"] == []


def things_subjects(root, fmt, simulation, second=2):
    """Subjects 1 and 2 of a simulated THINGS-EEG2 as raw files or in BIDS, one session each."""
    simulation = copy.copy(simulation)
    simulation.sessions = (1,)
    if fmt == "raw":
        simulated_raw(simulation, [1, second], root)
    else:
        simulated_raw(simulation, [1], root / "raw")
        for subject in (1, second):
            write_things_bids(simulation, subject, root, "BDF")
        (root / "stimuli").mkdir()
        shutil.copy(root / "raw" / "image_set" / "image_metadata.npy", root / "stimuli")
        shutil.rmtree(root / "raw")


def joined(root, release):
    spec = RunSpec(trials={"release": release, "whitening": "none"}, data={"channels": "all"})
    return match_subjects(spec, ThingsEEG(root), [1, 2])


@pytest.mark.parametrize("fmt", ["raw", "bids"])
def test_things_eeg2_copied_to_another_subject_is_noticed(lab, tmp_path, fmt):
    things_subjects(tmp_path, fmt, lab)
    assert len(joined(tmp_path, fmt)) == 2
    if fmt == "bids":
        copy_subject(tmp_path, "01", "02")
    else:
        one, two = sorted((tmp_path / "Raw_data").rglob("raw_eeg_training.npy"))
        shutil.copy(one, two)
    spec = RunSpec(trials={"release": fmt, "whitening": "none"}, data={"channels": "all"})
    (said,) = copied_recordings(ThingsEEG(tmp_path), [1, 2], spec)
    assert re.search(r"subjects 1 and 2 have the same recording: .*sub-01.*sub-02", said)


def test_things_eeg2_of_two_references_is_refused(lab, tmp_path):
    things_subjects(tmp_path, "bids", lab)
    for path in tmp_path.glob("sub-*/ses-*/eeg/*_eeg.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        content["EEGReference"] = "Fz" if path.name.startswith("sub-01") else "Cz"
        path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="reference differs: Fz in .*subject 1 .*Cz in .*subject 2"):
        joined(tmp_path, "bids")


def test_raw_files_with_rows_in_another_order_give_the_same_trials(tmp_path):
    stores = []
    for order in (1, -1):
        root = tmp_path / str(order)
        write_metadata(root)
        parts = [raw_content(*presentations(n, 2)) for n in (len(TRAIN), len(TEST))]
        for content in parts:
            content["raw_eeg_data"][:-1] = content["raw_eeg_data"][:-1][::order].copy()
            content["ch_names"][:-1] = content["ch_names"][:-1][::order]
        write_raw_session(root, 5, 1, *parts)
        stores.append(prepare(ThingsEEG(root), 5, TrialSpec()))
    assert stores[0].ch_names == stores[1].ch_names == list(THINGS_EEG_63_RAW)
    np.testing.assert_array_equal(stores[0].trials, stores[1].trials)


@pytest.mark.parametrize("name", ["OZ", "oz", "Oz.", "Oz..", "EEG Oz-Ref", "EEG OZ-REF"])
def test_spellings_of_one_electrode(name):
    assert channel_indices(["Pz", name, "O1"], ("Oz",)) == [1]


def test_two_channels_that_could_be_meant_are_refused():
    with pytest.raises(DataError, match="Oz"):
        channel_indices(["OZ", "Oz.", "O1"], ("oz",))


def test_another_reference_unit_or_rate_is_refused():
    one = ChannelSet("sub-01", ("Oz", "Pz"), {"unit": "V", "sampling rate": "250 Hz"})
    for key, value in (("unit", "unitless"), ("sampling rate", "500 Hz")):
        with pytest.raises(DataError, match=f"sub-0[12].*{value}|{value}.*sub-0[12]"):
            match_channels(
                [one, ChannelSet("sub-02", one.ch_names, {**one.facts, key: value})], "all"
            )


def test_positions_are_those_of_the_plain_names():
    from braindecode_ssr.datasets.base import eeg_info

    decorated, plain = eeg_info(["EEG OZ-Ref", "PZ."], 250.0), eeg_info(["Oz", "Pz"], 250.0)
    assert decorated["ch_names"] == ["EEG OZ-Ref", "PZ."]
    for one, two in zip(decorated["chs"], plain["chs"], strict=True):
        np.testing.assert_array_equal(one["loc"], two["loc"])
    assert isinstance(decorated, mne.Info)
