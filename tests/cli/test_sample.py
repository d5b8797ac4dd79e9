"""The first real recording in five minutes: one test run, its images, and what they are good for."""

import hashlib
from pathlib import Path

import bids_trees
import numpy as np
import pytest
from archives import zipped
from faulty_server import FaultyServer, cut

from braindecode_ssr.datasets.things_eeg.sample import ThingsEEGSample
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.datasets.zero_shot import published_test_concepts
from braindecode_ssr.simulation.layouts import metadata

RUN = "sub-05/ses-01/eeg/sub-05_ses-01_task-test_"
PUBLISHED = Path(__file__).parents[1] / "data" / "things_eeg2"


@pytest.fixture(scope="module")
def host(sim_dir, tmp_path_factory):
    """A server with the test recording of a simulated subject, as NEMAR has the real ones."""
    sim, root = ThingsSim(sim_dir, preset="tiny"), tmp_path_factory.mktemp("nemar")
    data, events = sim.session(5, 1, "test")
    names = {"subject": "05", "session": "01", "task": "test"}
    stem = bids_trees.write_run(root, data[:-1], sim.ch_names, sim.preset.sfreq, "BDF", **names)
    listed = sim.images[sim.images["split"] == "test"]
    shown = bids_trees.nemar_events(events.samples, events.numbers, sim.preset.sfreq, listed)
    bids_trees.write_events(stem, shown, bom=True)
    files = {
        f"{RUN}{kind}": Path(f"{root}/{RUN}{kind}").read_bytes()
        for kind in ("channels.tsv", "eeg.json", "events.tsv", "eeg.bdf")
    }
    np.save(root / "list.npy", metadata(sim))
    files["stimuli/image_metadata.npy"] = (root / "list.npy").read_bytes()
    pictures = {f"test_images/{row.file}": sim.jpeg(row.image_id) for row in listed.itertuples()}
    files["stimuli/test_images.zip"] = zipped(pictures, 0)
    sums = [f"{hashlib.sha256(body).hexdigest()}  {path}\n" for path, body in files.items()]
    with FaultyServer() as server:
        for path, body in files.items():
            server.put(f"/m/{path}", body)
        server.put("/m/SHA256SUMS", "".join(sums).encode())
        server.place = server.url + "/m"
        yield server


def test_from_nothing_to_a_retrieval_table(call, host, tmp_path):
    at = ("--data-dir", tmp_path / "nm")
    name = "things-eeg-sample"
    bdf = f"/m/{RUN}eeg.bdf"
    host.put(bdf, host.files[bdf], cut(100_000))
    fetch = ("data", "fetch", name, "--subject", 5, *at, "--mirror", host.place)
    fetched = call(*fetch, "--json", code=0).json
    assert [file["state"] for file in fetched["files"]] == ["fetched"] * 6
    assert host.ranges(bdf)[1].startswith("bytes="), "the recording was not resumed"
    again = call(*fetch, "--json", code=0).json
    assert {file["state"] for file in again["files"]} == {"here"}

    checked = call("data", "check", name, "--subject", 5, *at, "--json", code=0).json["files"]
    assert {file["state"] for file in checked} == {"found"}
    assert "train trials of 12 images" in checked[0]["detail"]
    assert "12 training and 4 test images, 16 of 16 here" in checked[1]["detail"]
    extracted = call(
        "features", "extract", "--dataset", name, "--encoder", "pyramid", *at, "--json"
    )
    assert extracted.json[0]["images"] == 16
    train = ("train", "--dataset", name, "--subject", 5, "--method", "encoding", *at)
    summary = call(*train, "--out", tmp_path / "runs", "--json", code=0).json
    assert summary["n_queries"] == 4 and summary["dataset"] == name and summary["n_train"] == 12


def test_split_by_concept(tmp_path):
    """The 200 published test images: 150 and 50, no concept in both, nothing of the training set."""
    images = published_sample(tmp_path)
    parts = images.groupby("split")
    assert parts.size().to_dict() == {"train": 150, "test": 50}
    assert parts["concept"].nunique().to_dict() == {"train": 150, "test": 50}
    listed = sorted(published_test_concepts("things-eeg"))
    assert sorted(images["concept"]) == listed
    assert images.loc[images["split"] == "test", "concept"].tolist() == listed[3::4]
    assert images["number"].tolist() == [*range(1, 151), *range(1, 51)]


def published_sample(root):
    (root / "stimuli").mkdir()
    (root / "stimuli" / "image_metadata.npy").symlink_to(PUBLISHED / "image_metadata.npy")
    return ThingsEEGSample(root).images


@pytest.mark.parametrize("subject", range(1, 11))
def test_published_files(call, tmp_path, subject):
    """Sizes and checksums are those of git-annex keys; a first look asks for no agreement."""
    args = ("things-eeg-sample", "--subject", subject, "--data-dir", tmp_path / "x")
    done = call("data", "fetch", *args, "--dry-run", "--json", code=0).json
    assert 250e6 < done["bytes"] < 360e6
    assert all(file["exact"] and len(file["sha256"]) == 64 for file in done["files"])
    signal = done["files"][-1]
    assert f"SHA256E-s{signal['bytes']}--{signal['sha256']}.bdf" in signal["url"]
    assert not (tmp_path / "x").exists()


def test_without_the_recording(call, tmp_path):
    published_sample(tmp_path)
    args = ("--dataset", "things-eeg-sample", "--subject", 5, "--data-dir", tmp_path)
    assert "ssr-bd data fetch things-eeg-sample" in call("train", *args, code=1).error
