"""What a file must begin with; what a page looks like; when to try again."""

import io
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import mne
import numpy as np
import pytest
from archives import zipped

from braindecode_ssr.datasets.download import Downloader, TryAgain, _status_error, page, wrong_head
from braindecode_ssr.files import gigabytes


def npy(content):
    buffer = io.BytesIO()
    np.save(buffer, content)
    return buffer.getvalue()


def test_real_files_pass(tmp_path):
    import torch

    info = mne.create_info(["MLT11-1609"], 200.0, "mag")
    epochs = mne.EpochsArray(np.zeros((2, 1, 10)), info, verbose="error")
    epochs.save(tmp_path / "x-epo.fif", verbose="error")
    torch.save({"eeg": torch.zeros(3)}, tmp_path / "x.pt")
    (tmp_path / "x.npy").write_bytes(npy({"a": 1}))
    (tmp_path / "x.zip").write_bytes(zipped({"a": b"b"}))
    (tmp_path / "x.csv").write_text("\ufefftrial_type,image_nr\nexp,1\n", encoding="utf-8")
    (tmp_path / "other.txt").write_bytes(b"\x00anything")
    for path in tmp_path.iterdir():
        assert wrong_head(path.name, path.read_bytes()[:1000]) == ""


@pytest.mark.parametrize("name", ["x.zip", "x.pt", "x.npy", "x-epo.fif", "x.jpg"])
def test_wrong_files_do_not(name):
    assert "is not a" in wrong_head(name, b"something else")
    assert wrong_head(name, b"") == "an empty file"
    assert "web page" in wrong_head(name, b"\n <!DOCTYPE HTML><title>Not\n here</title>")


def test_binary_data_is_not_a_table():
    assert wrong_head("x.csv", b"PK\x03\x04\x00") == "binary data"


@pytest.mark.parametrize(
    "head",
    [b"<html>", b"\xef\xbb\xbf<!doctype html>", b"  <?xml version='1.0'?><Error>AccessDenied"],
)
def test_pages(head):
    assert page(head)


def test_a_file_that_mentions_html_is_not_a_page():
    assert page(b"trial_type,<html>") == "" and page(b"\x93NUMPY<html>") == ""


def test_waits_grow_to_a_limit_and_depend_on_the_seed():
    def waits(seed):
        done = []
        downloader = Downloader(sleep=done.append, rng=random.Random(seed), tries=99)
        for failures in range(1, 12):
            downloader._wait("a file", TryAgain("busy"), failures)
        return done

    assert waits(0) == waits(0) != waits(1)
    assert waits(0)[:7] == sorted(waits(0)[:7]) and max(waits(0)) <= 60


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), (" 0 ", 0), (-60, 60), (60, 0), ("soon", 0), ("-5", 0), ("", 0), (None, 0)],
)
def test_retry_after(header, seconds):
    """A number of seconds or a date; numbers stand for dates so many seconds ago."""
    import requests

    if isinstance(header, int):
        then = datetime.now(UTC) - timedelta(seconds=header)
        header = format_datetime(then, usegmt=True)
    response = requests.Response()
    response.status_code, response.raw = 429, io.BytesIO()
    response.headers.update({"Retry-After": header} if header is not None else {})
    assert _status_error(response).retry_after == pytest.approx(seconds, abs=2)


def test_sizes_as_people_say_them():
    assert gigabytes(1072655693) == "1.07 GB" and gigabytes(656579) == "0.7 MB"
