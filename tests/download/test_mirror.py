"""Another place for the same files: what is published holds there too, unless it has its own list."""

import hashlib

import pytest

from braindecode_ssr.datasets.download import download, open_mirror
from braindecode_ssr.errors import DataError, UsageError


@pytest.fixture
def mirror(server, downloader):
    """Open the mirror on the server, with or without a list."""

    def opened(sums=None):
        if sums is not None:
            server.put("/m/SHA256SUMS", sums)
        return open_mirror(server.url + "/m/", downloader)

    return opened


def test_without_a_list_the_published_checksum_holds(
    server, downloader, mirror, source, tmp_path, content
):
    server.put("/m/folder/some-epo.fif", content)
    here = mirror().source(source("https://host/some.fif"))
    assert here.proof == "SHA-256 as published" and here.size == len(content)
    download(here, tmp_path, downloader)
    server.put("/m/folder/some-epo.fif", content[:-1] + b"x")
    with pytest.raises(DataError, match="SHA-256"):
        download(here, tmp_path / "other", downloader)


def test_its_own_list_decides_and_the_report_says_so(
    server, downloader, mirror, source, tmp_path, content
):
    other = content[:300_000]
    sha = hashlib.sha256(other).hexdigest()
    server.put("/m/folder/some-epo.fif", other)
    opened = mirror(f"{sha}  ./folder/some-epo.fif\n\n{'0' * 64} *other file.zip\n".encode())
    here = opened.source(source("https://host/some.fif"))
    assert here.proof == "SHA-256 of the mirror's own list" and here.sha256 == sha
    download(here, tmp_path, downloader)
    assert (tmp_path / here.place).read_bytes() == other


def test_a_list_that_agrees_with_what_is_published(mirror, source):
    wanted = source("https://host/some.fif")
    here = mirror(f"{wanted.sha256.upper()}  {wanted.file}\n".encode()).source(wanted)
    assert here.proof == "SHA-256 as published" and here.size == wanted.size


def test_names_are_quoted(mirror, source):
    here = mirror().source(source("https://host/x", place="a b/c#d.fif"))
    assert here.url.endswith("/m/a%20b/c%23d.fif")


@pytest.mark.parametrize("sums", [b"not a list", b"abc  file"])
def test_not_a_list(mirror, sums):
    with pytest.raises(DataError, match="sha256sum"):
        mirror(sums)


def test_a_page_instead_of_a_list_is_no_list(mirror):
    assert mirror(b"<!DOCTYPE html><html>all pages are found here</html>").sums == {}


@pytest.mark.parametrize("url", ["ftp://host/x", "host/x", "/a/folder", "http://"])
def test_not_an_address(downloader, url):
    with pytest.raises(UsageError, match="https://host/folder"):
        open_mirror(url, downloader)
