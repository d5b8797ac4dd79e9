"""A zip becomes a folder whole or not at all, and writes nowhere else."""

import random
import socket
import zipfile

import pytest
from archives import encrypted, with_link, zipped

from braindecode_ssr.datasets import archives
from braindecode_ssr.datasets.archives import Archive, DamagedArchive, unpack
from braindecode_ssr.errors import DataError

IMAGES = {
    "training_images/00001_aardvark/aardvark_01b.jpg": b"\xff\xd8\xff1",
    "training_images/00002_t-shirt/t-shirt_01b.jpg": b"\xff\xd8\xff2",
}
NOBODY = 1 << 22  # no process has such a number
NAMES = ("00001_aardvark/aardvark_01b.jpg", "00002_t-shirt/t-shirt_01b.jpg")


@pytest.fixture
def run(tmp_path):
    """Unpack bytes; the files of the folder, or None where there is no folder."""

    def unpacked(body, password="", jobs=1, **archive):
        path, folder = tmp_path / "some.zip.part", unpacked.folder
        path.write_bytes(body)
        try:
            unpack(path, Archive("some.zip", **{"keep": 2, **archive}), folder, password, jobs)
        finally:
            beside = [p for p in (tmp_path, folder.parent) if p.exists() for p in p.iterdir()]
            assert {path.name for path in beside} <= {"some.zip.part", "down", "folder"}
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    unpacked.folder = tmp_path / "down/folder"
    return unpacked


@pytest.mark.parametrize("above", ["", "training_images/", "./some/where/"])
def test_paths_are_kept_from_their_end(run, above):
    files = {above + name: body for name, body in zip(NAMES, IMAGES.values(), strict=True)}
    assert run(zipped(files), names=NAMES) == dict(zip(NAMES, IMAGES.values(), strict=True))


def test_what_macos_and_windows_leave_is_left(run):
    junk = {
        "__MACOSX/training_images/00001_aardvark/._aardvark_01b.jpg": b"junk",
        "training_images/00001_aardvark/._aardvark_01b.jpg": b"junk",
        "training_images/00001_aardvark/.DS_Store": b"junk",
        "training_images/00001_aardvark/Thumbs.db": b"junk",
        "training_images/": b"",
        "README.txt": b"above",
    }
    assert list(run(zipped({**junk, **IMAGES}))) == list(NAMES)


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.txt",
        "/etc/cron.d/evil",
        "a/../../evil",
        "a\\..\\..\\evil",
        "\\\\host\\share\\evil",
        "C:\\evil.txt",
        "a/b:stream",
    ],
)
def test_no_path_leads_outside(run, name, tmp_path):
    body = zipped({**IMAGES, name: b"evil"})
    with pytest.raises(DataError, match="outside its folder.*nothing was unpacked"):
        run(body)
    assert not run.folder.exists() and not list(tmp_path.parent.rglob("evil*"))


def test_no_links(run):
    with pytest.raises(DataError, match="'a/link' is a link"):
        run(with_link())
    assert not run.folder.exists()


def test_no_file_twice(run):
    with pytest.raises(DataError, match="it holds x/a.jpg twice"):
        run(zipped({"one/x/a.jpg": b"1", "two/x/a.jpg": b"2"}))


def test_what_is_needed_must_be_there(run):
    with pytest.raises(
        DataError, match=r"00009_wok/wok_01b.jpg is not among its 2 members \(training_"
    ):
        run(zipped(IMAGES), names=(*NAMES, "00009_wok/wok_01b.jpg"))
    with pytest.raises(DataError, match=r"a file is not among its 0 members \(none"):
        run(zipped({}))
    assert not run.folder.exists()


def test_an_archive_bomb(run):
    body = zipped({"a/zeros.bin": bytes(10_000_000)})
    assert len(body) < 20_000
    with pytest.raises(DataError, match="unpacks to 10.0 MB instead of 1.0 MB"):
        run(body, unpacked=1_000_000)


@pytest.mark.parametrize("cut", [10, 100, -1, -30])
def test_a_zip_that_is_cut_off(run, cut):
    with pytest.raises(DamagedArchive, match="download it again"):
        run(zipped(IMAGES)[:cut])
    assert not run.folder.exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_crc_is_compared(run, compression):
    body = random.Random(0).randbytes(5000)
    packed = bytearray(zipped({**IMAGES, "training_images/x/y.jpg": body}, compression))
    packed[len(packed) // 2] ^= 1
    with pytest.raises(DamagedArchive, match="y.jpg"):
        run(bytes(packed))
    assert not run.folder.exists()


def test_files_that_are_there_stay(run):
    run.folder.mkdir(parents=True)
    (run.folder / "mine.txt").write_text("mine")
    assert list(run(zipped(IMAGES))) == [*NAMES, "mine.txt"]


def test_what_a_killed_process_left_is_swept(run):
    left = run.folder.with_name(f".folder.{NOBODY}@{socket.gethostname()}.0123abcd.tmp")
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    assert list(run(zipped(IMAGES))) == list(NAMES)


def test_a_full_disk_is_reported_before(run, monkeypatch):
    from braindecode_ssr import files

    monkeypatch.setattr(files, "free_bytes", lambda path: 5)
    with pytest.raises(DataError, match="free some space"):
        run(zipped(IMAGES))
    assert not run.folder.exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_right_password(run, monkeypatch, jobs):
    monkeypatch.setattr(archives, "PARALLEL_FROM", 1)
    files = {f"object_images/c{i}/c{i}_01b.jpg": bytes([i]) * 1000 for i in range(5)}
    found = run(encrypted(files, "open sesame"), "open sesame", jobs=jobs)
    assert list(found.values()) == list(files.values()) and list(found)[0] == "c0/c0_01b.jpg"


@pytest.mark.parametrize("seed", range(3))
def test_a_wrong_password_is_named_and_never_shown(run, seed):
    wrong = f"wrong{seed}"
    with pytest.raises(DataError, match="osf.io/52wrx") as caught:
        run(encrypted({"a/b/c.jpg": bytes(500)}, "right"), wrong)
    assert wrong not in str(caught.value) and not isinstance(caught.value, DamagedArchive)


def test_a_wrong_password_that_passes_the_check_byte(run):
    body = encrypted({"a/b/c.jpg": bytes(500)}, "right")
    with pytest.raises(DataError, match="is wrong"):
        for attempt in range(2000):
            try:
                run(body, f"w{attempt}")
            except DataError as error:
                if "damaged" in str(error):
                    raise


def test_no_password(run):
    with pytest.raises(DataError, match="SSR_THINGS_PASSWORD"):
        run(encrypted({"a/b/c.jpg": b"x"}, "right"))


def test_an_encryption_that_python_does_not_know(run):
    with pytest.raises(DataError, match="yourself, for example with 7z"):
        run(encrypted({"a/b/c.jpg": b"x"}, "right", method=99), "right")


def test_pythons_own_reader_agrees_with_the_cipher_of_these_tests(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(encrypted({"a": b"hello"}, "pw"))
    with zipfile.ZipFile(path) as packed:
        assert packed.read("a", pwd=b"pw") == b"hello"
