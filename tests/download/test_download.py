"""One source into its place: local files first, archives unpacked, turns taken, nothing wrong."""

import hashlib
import threading

import pytest
import requests
from archives import encrypted, zipped
from faulty_server import cut, stalled

from braindecode_ssr import files
from braindecode_ssr.datasets.archives import Archive
from braindecode_ssr.datasets.download import (
    ABSENT,
    HERE,
    OTHER,
    PACKED,
    Downloader,
    PartialFile,
    Source,
    Status,
    download,
    local_status,
)
from braindecode_ssr.errors import DataError, MissingDataError

NPY = b"\x93NUMPY" + bytes(90_000)
FILES = {"sub-05/train.npy": NPY, "sub-05/test.npy": NPY, "__MACOSX/sub-05/._train.npy": b"x"}
ARCHIVE = zipped(FILES, 0)


def archive_source(url, body=ARCHIVE, known=True, **archive):
    size, sha = (len(body), hashlib.sha256(body).hexdigest()) if known else (0, "")
    how = Archive("data/sub-05.zip", **{"names": ("train.npy", "test.npy"), **archive})
    return Source("EEG of subject 5", "data/sub-05", (url,), size, "CC0", sha, archive=how)


def listing(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


WHOLE = ["data/sub-05/test.npy", "data/sub-05/train.npy"]


def test_a_file_that_is_here_is_not_asked_for(server, downloader, source, tmp_path, content):
    wanted = source(server.put("/some.fif", content))
    assert local_status(wanted, tmp_path).state == ABSENT
    assert download(wanted, tmp_path, downloader) == wanted.url
    assert local_status(wanted, tmp_path).state == HERE
    assert download(wanted, tmp_path, downloader) == "" and len(server.requests) == 1


def test_another_file_is_not_replaced_unless_asked(server, downloader, source, tmp_path, content):
    wanted = source(server.put("/some.fif", content))
    path = tmp_path / wanted.place
    path.parent.mkdir()
    path.write_bytes(content[:-1])
    assert local_status(wanted, tmp_path).state == OTHER
    with pytest.raises(DataError, match=r"400007 bytes instead of 400008.*--replace"):
        download(wanted, tmp_path, downloader)
    assert path.read_bytes() == content[:-1] and server.requests == []
    download(wanted, tmp_path, downloader, replace_others=True)
    assert path.read_bytes() == content


@pytest.mark.parametrize("junk", [b"<!DOCTYPE html><html>quota", b"", b"{}"])
def test_junk_in_its_place_is_replaced(server, downloader, source, tmp_path, content, junk):
    wanted = source(server.put("/some.fif", content))
    path = tmp_path / wanted.place
    path.parent.mkdir()
    path.write_bytes(junk)
    assert "is in its place" in local_status(wanted, tmp_path).detail
    download(wanted, tmp_path, downloader)
    assert path.read_bytes() == content


def test_an_old_file_stays_until_the_new_one_is_whole(
    server, downloader, source, tmp_path, content
):
    wanted = source(server.put("/some.fif", content))
    server.always["/some.fif"] = cut(1000, ranges=False)
    path = tmp_path / wanted.place
    path.parent.mkdir()
    path.write_bytes(content[:-1])
    with pytest.raises(DataError):
        download(wanted, tmp_path, downloader, replace_others=True)
    assert path.read_bytes() == content[:-1]


@pytest.mark.parametrize("known", [True, False])
def test_an_archive_is_unpacked_and_forgotten(server, downloader, tmp_path, known):
    wanted = archive_source(server.put("/x.zip", ARCHIVE, cut(120_000)), known=known)
    assert download(wanted, tmp_path, downloader) == wanted.url
    assert listing(tmp_path) == WHOLE
    assert download(wanted, tmp_path, downloader) == "" and len(server.requests) == 2


def test_an_archive_that_the_user_put_there_is_used_and_kept(server, downloader, tmp_path):
    wanted = archive_source(server.url + "/none")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sub-05.zip").write_bytes(ARCHIVE)
    assert local_status(wanted, tmp_path).state == PACKED
    assert download(wanted, tmp_path, downloader) == str(tmp_path / "data/sub-05.zip")
    assert listing(tmp_path) == ["data/sub-05.zip", *WHOLE] and server.requests == []


@pytest.mark.parametrize("known", [True, False])
def test_half_an_archive_that_the_user_put_there_is_left_alone(server, downloader, tmp_path, known):
    wanted = archive_source(server.put("/x.zip", ARCHIVE), known=known)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sub-05.zip").write_bytes(ARCHIVE[:1000])
    assert "not used" in local_status(wanted, tmp_path).detail
    download(wanted, tmp_path, downloader)
    assert listing(tmp_path) == ["data/sub-05.zip", *WHOLE]
    assert (tmp_path / "data/sub-05.zip").stat().st_size == 1000


def test_a_folder_with_a_missing_or_broken_file_is_made_whole(server, downloader, tmp_path):
    wanted = archive_source(server.put("/x.zip", ARCHIVE))
    download(wanted, tmp_path, downloader)
    (tmp_path / "data/sub-05/train.npy").write_bytes(b"<html>")
    assert local_status(wanted, tmp_path) == local_status(wanted, tmp_path) and (
        "train.npy" in local_status(wanted, tmp_path).detail
    )
    download(wanted, tmp_path, downloader)
    assert (tmp_path / "data/sub-05/train.npy").read_bytes() == NPY


def test_a_damaged_archive_of_unknown_checksum_is_downloaded_once_more(
    server, downloader, tmp_path
):
    spoilt = bytearray(ARCHIVE)
    spoilt[50_000] ^= 1

    def wrong(handler, body):
        handler.answer(200, bytes(spoilt))

    wanted = archive_source(server.put("/x.zip", ARCHIVE, wrong), known=False)
    download(wanted, tmp_path, downloader)
    assert listing(tmp_path) == WHOLE and "once more" in " ".join(downloader.said)
    server.always["/y.zip"] = wrong
    other = archive_source(server.put("/y.zip", ARCHIVE), known=False)
    with pytest.raises(DataError, match="damaged.*download it again"):
        download(other, tmp_path / "other", downloader)
    assert listing(tmp_path / "other") == []


def test_an_archive_of_something_else_is_not_kept(server, downloader, tmp_path):
    other = zipped({"a/b/../../../evil": b"x" * 1000})
    wanted = archive_source(server.put("/x.zip", other), known=False)
    for _ in range(2):  # kept, it would be refused for ever
        with pytest.raises(DataError, match="is not the published archive"):
            download(wanted, tmp_path, downloader)
        assert listing(tmp_path) == []


def test_a_wrong_password_keeps_the_download(server, downloader, tmp_path):
    body = encrypted(
        {f"object_images/{i}/x.jpg": b"\xff\xd8\xff" + bytes(90) for i in "ab"}, "right"
    )
    kind = {"keep": 2, "names": (), "count": 2, "password": "given elsewhere"}
    wanted = archive_source(server.put("/x.zip", body), body, **kind)
    with pytest.raises(DataError, match="the download is kept"):
        download(wanted, tmp_path, downloader, password="wrong")
    download(wanted, tmp_path, downloader, password="right")
    assert listing(tmp_path) == ["data/sub-05/a/x.jpg", "data/sub-05/b/x.jpg"]
    assert len(server.requests) == 1
    assert not [line for line in downloader.said if "right" in line or "wrong" in line]


def test_a_disk_without_space(server, downloader, source, tmp_path, content, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda path: 300_000)
    wanted = source(server.put("/some.fif", content))
    with pytest.raises(DataError, match=r"needs 0.4 MB, and 0.3 MB are free.*--data-dir"):
        download(wanted, tmp_path, downloader)
    assert server.requests == []


def test_a_disk_that_fills_up_during_the_download(
    server, downloader, source, tmp_path, content, monkeypatch
):
    def full(*args):
        raise OSError(28, "No space left on device")

    wanted = source(server.put("/some.fif", content))
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="No space left.*free some space"):
        download(wanted, tmp_path, downloader)
    monkeypatch.undo()
    download(wanted, tmp_path, downloader)
    assert (tmp_path / wanted.place).read_bytes() == content


def test_a_read_only_folder(server, downloader, source, content):
    with pytest.raises(DataError, match="--data-dir"):
        download(source(server.put("/x", content)), type(files.Path())("/dev/null/x"), downloader)


def test_two_at_once_take_turns_and_the_second_says_whom_it_waits_for(
    server, downloader, source, tmp_path, content
):
    event = threading.Event()
    wanted = source(server.put("/some.fif", content, stalled(200_000, event)))
    said, waiting = [], threading.Event()

    def say(text):
        said.append(text)
        waiting.set()

    second = Downloader(say=say, timeout=(5, 5), session=downloader.session)
    came = []
    threads = [
        threading.Thread(target=lambda: came.append(download(wanted, tmp_path, downloader))),
        threading.Thread(target=lambda: came.append(download(wanted, tmp_path, second))),
    ]
    threads[0].start()
    while not (tmp_path / "folder/some-epo.fif.part").exists():
        event.wait(0.01)
    threads[1].start()
    assert waiting.wait(10) and "waiting for process" in said[0]
    event.set()
    for thread in threads:
        thread.join(10)
    assert came == [wanted.url, ""] and len(server.requests) == 1


def test_bids_without_its_client(downloader, tmp_path, monkeypatch):
    from braindecode_ssr.datasets import download as module

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", missing)
    wanted = Source("BIDS", "nm000232/sub-05", ("http://127.0.0.1:9",), 0, "CC", nemar="nm000232")
    with pytest.raises(MissingDataError, match="pip install 'nemar-py"):
        download(wanted, tmp_path, downloader)


def test_bids_that_the_nemar_client_refuses(downloader, tmp_path):
    place = "nm000232/sub-05"
    wanted = Source("BIDS", place, ("http://127.0.0.1:9",), 0, "CC", nemar="nm000232")
    with pytest.raises(DataError, match="must use HTTPS.*complete files are kept|pip install"):
        download(wanted, tmp_path, downloader)
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "x.bdf").write_bytes(bytes(100))
    assert local_status(wanted, tmp_path).have == 100


def test_a_network_error_of_the_nemar_client_is_not_one_of_the_disk(
    downloader, tmp_path, monkeypatch
):
    from braindecode_ssr.datasets import download as module

    class Client:
        @staticmethod
        def download(**options):
            raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(module.importlib, "import_module", lambda name: Client)
    wanted = Source("BIDS", "nm000232/sub-05", ("http://127.0.0.1:9",), 0, "CC", nemar="nm000232")
    with pytest.raises(
        DataError, match="BIDS could not be downloaded from NEMAR.*no route to host"
    ):
        download(wanted, tmp_path, downloader)


def test_what_is_here_of_a_download_is_counted(source, tmp_path):
    for wanted in (source("https://host/x"), archive_source("https://host/x.zip")):
        part = PartialFile(tmp_path / wanted.file)
        part.begin(wanted.url, "", 0)
        part.path.write_bytes(bytes(123))
        assert local_status(wanted, tmp_path) == Status(ABSENT, have=123)


def test_sizes_and_proofs():
    wanted = archive_source("https://host/x.zip", known=False, unpacked=7)
    assert (wanted.proof, wanted.on_disk) == ("CRC-32 of every unpacked file", 7)
    assert archive_source("https://host/x.zip").proof == "SHA-256 as published"
