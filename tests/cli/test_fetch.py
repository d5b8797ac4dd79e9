"""``ssr-bd data fetch`` from a mirror on the loopback: verified, resumed, alone, and ready to train on."""

import hashlib
import io
import json
import os
import signal
import sys
import threading
import time
import zipfile

import numpy as np
import pytest
from archives import encrypted, zipped
from faulty_server import FaultyServer, cut, page, stalled
from forked import on_a_terminal, ssr_bd, started

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.preprocessing.channels import OCCIPITAL_17
from braindecode_ssr.trials.prepare import prepare

from .conftest import SMALL

LIST, TRAIN, TEST = (
    f"image_set/{name}" for name in ("image_metadata.npy", "training_images.zip", "test_images.zip")
)
EEG = "Preprocessed_data/sub-05.zip"


def saved(content):
    buffer = io.BytesIO()
    np.save(buffer, content)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    """The tiny simulation as its authors would have released it: Gifford's form, and the images."""
    from braindecode_ssr.simulation.layouts import metadata

    sim = ThingsSim(tmp_path_factory.mktemp("sim"), preset="tiny")
    store = prepare(sim, 5, TrialSpec(start=-0.2, stop=0.8, sfreq=100.0))
    picks = store.pick(OCCIPITAL_17)
    eeg, images = {}, {"train": {}, "test": {}}
    for split, part in (("train", "training"), ("test", "test")):
        table = store.table[store.table["split"] == split]
        rows = [group.index for _, group in table.groupby("number")]
        rows = np.array([some[: min(map(len, rows))] for some in rows])
        content = {
            "preprocessed_eeg_data": store.trials[rows][:, :, picks].astype(float),
            "ch_names": list(OCCIPITAL_17),
            "times": np.round(np.arange(-0.2, 0.795, 0.01), 2),
        }
        eeg[f"sub-05/preprocessed_eeg_{part}.npy"] = saved(content)
    for row in sim.images.itertuples():
        folder = "training_images" if row.split == "train" else "test_images"
        images[row.split][f"{folder}/{row.file}"] = sim.jpeg(row.image_id)
        images[row.split][f"__MACOSX/{folder}/{row.file}"] = b"junk"
    return {
        LIST: saved(metadata(sim)),
        TRAIN: zipped(images["train"], 0),
        TEST: zipped(images["test"], 0),
        EEG: zipped(eeg, 0),
    }


@pytest.fixture
def mirror(released):
    """A server with the released files and their list."""
    with FaultyServer() as server:
        for path, body in released.items():
            server.put(f"/m/{path}", body)
        sums = [f"{hashlib.sha256(body).hexdigest()}  {path}\n" for path, body in released.items()]
        server.put("/m/SHA256SUMS", "".join(sums).encode())
        server.place = server.url + "/m"
        yield server


@pytest.fixture
def fetch(call, mirror, tmp_path):
    """``data fetch things-eeg --subject 5`` from the mirror into a new folder."""

    def run(*args, **options):
        place = ("--data-dir", tmp_path / "data", "--mirror", mirror.place)
        return call("data", "fetch", "things-eeg", "--subject", 5, *place, *args, **options)

    run.root = tmp_path / "data"
    return run


def states(done):
    return [file["state"] for file in done.json["files"]]


def test_from_nothing_to_a_retrieval_table(fetch, call, mirror, tmp_path):
    mirror.put(f"/m/{EEG}", mirror.files[f"/m/{EEG}"], cut(300_000), cut(200_000))
    done = fetch("--yes", "--json", code=0)
    assert states(done) == ["fetched"] * 4
    assert {file["proof"] for file in done.json["files"]} == {"SHA-256 of the mirror's own list"}
    assert mirror.ranges(f"/m/{EEG}")[1].startswith("bytes=") and "trying again in" in done.err
    files = sorted(str(p.relative_to(fetch.root)) for p in fetch.root.rglob("*.*"))
    assert not [name for name in files if name.endswith((".zip", ".part", ".json"))]
    assert not list(fetch.root.rglob("__MACOSX"))

    asked = len(mirror.requests)
    assert states(fetch("--yes", "--json", code=0)) == ["here"] * 4
    assert len(mirror.requests) == asked + 1  # the list of the mirror

    at = ("--data-dir", fetch.root)
    checked = call("data", "check", "things-eeg", "--subject", 5, *at, "--json", code=0).json
    assert {file["state"] for file in checked["files"]} == {"found"}
    extracted = call(
        *("features", "extract", "--dataset", "things-eeg", "--encoder", "pyramid", *at),
        *("--view", "original", "--view", "blur", "--json"),
    )
    assert extracted.json[0]["images"] == 112
    view = ("--set", 'images.views=["blur"]')
    summary = call(
        *("train", "--dataset", "things-eeg", "--subject", 5, "--epochs", 2, *SMALL, *view, *at),
        *("--out", tmp_path / "runs", "--json"),
        code=0,
    ).json
    assert summary["n_queries"] == 16 and summary["encoder"] == "pyramid"


def test_what_it_prints(fetch):
    done = fetch("--yes", code=0)
    assert "[SHA-256 of the mirror's own list]" in done.out
    assert f"ssr-bd train --dataset things-eeg --subject 5 --data-dir {fetch.root}" in done.out
    assert "unpacking training images" in done.err


def test_without_its_own_list_a_mirror_must_hold_the_published_files(fetch, mirror):
    del mirror.files["/m/SHA256SUMS"]
    line = fetch("--yes", code=1).error
    assert "instead of 656579" in line and not list(fetch.root.rglob("*.npy"))


def test_a_tampered_file_is_neither_used_nor_seen(fetch, mirror):
    body = bytearray(mirror.files[f"/m/{EEG}"])
    body[-1000] ^= 1
    mirror.files[f"/m/{EEG}"] = bytes(body)
    assert "SHA-256" in fetch("--yes", code=1).error
    assert not list((fetch.root / "Preprocessed_data").rglob("*"))


def test_a_page_instead_of_a_file(fetch, mirror):
    mirror.always[f"/m/{LIST}"] = page(b"Quota exceeded", 404)
    assert "no such file (404)" in fetch("--yes", code=1).error


def test_more_than_a_gigabyte_needs_a_word(fetch, mirror):
    line = fetch(code=2).error
    assert "1.74 GB" in line and "--yes" in line and mirror.requests == []
    assert not fetch.root.exists()


def test_a_dry_run_asks_nobody_and_writes_nothing(fetch, mirror):
    done = fetch("--dry-run", "--json", code=0).json
    assert done["bytes"] == 656579 + 655039265 + 8129948 + 1072655693
    assert {file["state"] for file in done["files"]} == {"absent"}
    assert "osf.io/download/2cn7v" in fetch("--dry-run", code=0).out
    assert mirror.requests == [] and not fetch.root.exists()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("things-sim",), 2, "cannot be downloaded"),
        (("things-eg",), 2, "did you mean"),
        (("things-eeg",), 2, "--subject"),
        (("things-eeg", "--subject", "11"), 2, "1 to 10"),
        (("things-eeg", "--form", "giford"), 2, "did you mean 'gifford'"),
        (("things-eeg", "--form", "nice"), 2, "huggingface.co/datasets/LidongYang"),
        (("things-meg", "--subject", "5"), 2, "1 to 4"),
        (("things-meg", "--form", "images", "--yes"), 2, "SSR_THINGS_PASSWORD"),
        (("things-eeg", "--form", "images", "--mirror", "nowhere"), 2, "https://host/folder"),
    ],
)
def test_what_cannot_be_downloaded(call, tmp_path, args, code, said, monkeypatch):
    monkeypatch.delenv("SSR_THINGS_PASSWORD", raising=False)
    line = call("data", "fetch", *args, "--data-dir", tmp_path / "x", code=code).error
    assert said in line and not (tmp_path / "x").exists()


def test_an_image_list_of_another_set_is_not_replaced(fetch, call, mirror):
    path = fetch.root / LIST
    path.parent.mkdir(parents=True)
    path.write_bytes(mirror.files[f"/m/{LIST}"])
    args = ("things-eeg", "--subject", 5, "--data-dir", fetch.root, "--yes")
    assert "a file other than" in call("data", "fetch", *args, code=1).error
    assert path.read_bytes() == mirror.files[f"/m/{LIST}"]


def test_where_lists_the_forms(call, tmp_path):
    done = call("data", "where", "things-eeg", "--data-dir", tmp_path, "--json", code=0).json
    forms = {form["form"]: form for form in done["forms"]}
    assert list(forms) == ["gifford", "raw", "bids", "images"]
    assert len(forms["gifford"]["sources"]) == 13 and forms["gifford"]["exact"]
    out = call("data", "where", "things-meg", "--data-dir", tmp_path, code=0).out
    assert "data fetch things-meg" in out and "8.26 GB per subject" in out and "CC0" in out


@pytest.fixture
def start(fetch, mirror, tmp_path):
    """Start the command as a process."""
    running = []

    def process():
        place = ("--data-dir", str(fetch.root), "--mirror", mirror.place)
        call = ("data", "fetch", "things-eeg", "--form", "images", *place, "--yes", "--json")
        running.append(started(ssr_bd, *call, folder=tmp_path, env={"NO_PROXY": "*"}))
        return running[-1]

    yield process
    for left in running:
        left.kill()
        left.join()


def until(condition, seconds=30):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "nothing happened"
        time.sleep(0.02)


def big(mirror, event, times=300):
    """Put a stalled archive with a large file, of which half comes at once; its size."""
    with io.BytesIO(mirror.files[f"/m/{TRAIN}"]) as file:
        with zipfile.ZipFile(file, "a") as packed:
            packed.writestr("training_images/big.jpg", os.urandom(times * 1000))
        body = file.getvalue()
    mirror.put(f"/m/{TRAIN}", body, stalled(len(body) // 2, event))
    sums = mirror.files["/m/SHA256SUMS"].decode().splitlines()
    sums = [line for line in sums if TRAIN not in line]
    sums.append(f"{hashlib.sha256(body).hexdigest()}  {TRAIN}")
    mirror.files["/m/SHA256SUMS"] = "\n".join(sums).encode()
    return len(body)


def test_a_killed_download_resumes(start, fetch, mirror):
    event = threading.Event()
    size = big(mirror, event)
    part = fetch.root / f"{TRAIN}.part"
    first = start()
    until(lambda: part.is_file() and part.stat().st_size > size // 3)
    first.kill()
    first.join(10)
    assert first.exitcode == -signal.SIGKILL
    assert not (fetch.root / "image_set/training_images").exists()
    here = part.stat().st_size
    event.set()
    second = start()
    second.join(60)
    assert second.exitcode == 0, second.err.read_text()
    files = json.loads(second.out.read_text())["files"]
    assert [file["state"] for file in files] == ["here", "fetched", "fetched"]
    assert mirror.ranges(f"/m/{TRAIN}") == [None, f"bytes={here}-"]
    assert len(list((fetch.root / "image_set/training_images").rglob("*.jpg"))) == 96
    assert not list(fetch.root.rglob("*.part*"))


def test_ctrl_c_and_two_at_once(start, fetch, mirror):
    event = threading.Event()
    big(mirror, event)
    first = start()
    until(lambda: (fetch.root / f"{TRAIN}.part").is_file())
    second = start()
    until(lambda: "\n" in second.err.read_text())
    line = second.err.read_text()
    assert (
        "waiting for process" in line and "training_images.zip" in line and str(first.pid) in line
    )
    os.kill(first.pid, signal.SIGINT)
    first.join(30)
    assert first.exitcode == 130 and "run the same command again" in first.err.read_text()
    assert json.loads(first.out.read_text())["exit_code"] == 130
    event.set()
    second.join(60)
    assert second.exitcode == 0, second.err.read_text()
    assert mirror.ranges(f"/m/{TRAIN}")[1].startswith("bytes=")


@pytest.mark.skipif(sys.platform != "linux", reason="a terminal as Linux has it")
def test_on_a_terminal_it_asks(mirror, tmp_path):
    args = ("data", "fetch", "things-eeg", "--subject", 5, "--data-dir", tmp_path / "x")
    code, seen = on_a_terminal(
        ssr_bd, *args, "--mirror", mirror.place, until="[y/N]:", typed=b"n\n"
    )
    assert code == 130 and "1.74 GB" in seen and "stopped" in seen
    assert mirror.requests == [] and not (tmp_path / "x").exists()


IMAGES = {f"object_images/{c}/{c}_01b.jpg": b"\xff\xd8\xff" + c.encode() for c in ("wok", "yak")}
IMAGES_ZIP = encrypted(IMAGES, "open sesame")
IMAGES_SUMS = f"{hashlib.sha256(IMAGES_ZIP).hexdigest()}  images_THINGS.zip".encode()


@pytest.mark.skipif(sys.platform != "linux", reason="a terminal as Linux has it")
def test_the_password_is_asked_and_never_shown(tmp_path):
    with FaultyServer() as server:
        server.put("/images_THINGS.zip", IMAGES_ZIP)
        args = ("data", "fetch", "things-meg", "--form", "images", "--yes", "--data-dir", tmp_path)
        args += ("--mirror", server.url)
        server.put("/SHA256SUMS", IMAGES_SUMS)
        code, seen = on_a_terminal(ssr_bd, *args, until="Password:", typed=b"sesame\n")
        assert code == 1 and "osf.io/52wrx" in seen and "the download is kept" in seen
        code, more = on_a_terminal(ssr_bd, *args, until="Password:", typed=b"open sesame\n")
        assert code == 0 and len(list(tmp_path.rglob("*.jpg"))) == 2
        assert "sesame" not in seen + more
        everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert b"sesame" not in everything
        assert server.ranges("/images_THINGS.zip") == [None, f"bytes={len(IMAGES_ZIP)}-"]


def test_the_password_from_the_environment(call, tmp_path, monkeypatch):
    monkeypatch.setenv("SSR_THINGS_PASSWORD", "open sesame")
    with FaultyServer() as server:
        server.put("/images_THINGS.zip", IMAGES_ZIP)
        server.put("/SHA256SUMS", IMAGES_SUMS)
        args = ("--yes", "--json", "--data-dir", tmp_path, "--mirror", server.url)
        done = call("data", "fetch", "things-meg", "--form", "images", *args, code=0)
    assert "sesame" not in done.out + done.err
    assert (tmp_path / "object_images/yak/yak_01b.jpg").read_bytes() == b"\xff\xd8\xffyak"
