"""Whatever a server does, there is a good file in the end or one clear line; never a wrong file."""

import threading

import pytest
from faulty_server import busy, cut, honest, no_length, page, redirect, short_length, silent

from braindecode_ssr.datasets.download import CHUNK, PartialFile, download
from braindecode_ssr.errors import DataError

PATH = "/some.fif"


@pytest.fixture
def fetch(server, downloader, source, tmp_path, content):
    """Fetch the file past some faults; the bytes that are under its name in the end."""

    def run(*faults, known=True, always=None):
        url = server.put(PATH, content, *faults)
        server.always[PATH] = always
        download(source(url, known=known), tmp_path, downloader)
        assert not list(tmp_path.rglob("*.part*"))
        return (tmp_path / "folder/some-epo.fif").read_bytes()

    run.target = tmp_path / "folder/some-epo.fif"
    return run


def fails(fetch, *args, **options):
    """The one line of a fetch that cannot end well; nothing is visible under the file's name."""
    with pytest.raises(DataError) as caught:
        fetch(*args, **options)
    assert not fetch.target.exists()
    text = str(caught.value)
    assert "\n" not in text and "--mirror" in text and str(fetch.target) in text
    return text


def test_a_good_server(fetch, server, waits, content):
    assert fetch() == content
    assert server.ranges(PATH) == [None] and waits == []
    assert server.requests[0][1]["User-Agent"].startswith("Mozilla/5.0")
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("known", [True, False])
def test_a_connection_that_is_cut_three_times_resumes_where_it_was(
    fetch, server, waits, content, known
):
    assert fetch(cut(100_000), cut(70_000), cut(150_000), known=known) == content
    starts = [int(r.removeprefix("bytes=").rstrip("-")) for r in server.ranges(PATH)[1:]]
    assert starts == sorted(starts)
    for start, sent in zip(starts, (100_000, 170_000, 320_000), strict=True):
        assert sent - 3 * CHUNK <= start <= sent
    assert all(headers.get("If-Range") == '"one"' for _, headers in server.requests[1:])
    assert len(waits) == 3 and all(0.5 <= wait <= 1.0 for wait in waits)


def test_a_cut_at_every_place_near_the_ends(fetch, content):
    for n in (0, 1, 7, len(content) - 1):
        fetch.target.unlink(missing_ok=True)
        assert fetch(cut(n)) == content


def test_a_server_without_ranges_starts_over(fetch, server, content):
    assert fetch(cut(200_000, ranges=False), always=honest(ranges=False)) == content
    assert server.ranges(PATH)[1].startswith("bytes=")


def test_a_file_that_changes_in_between_is_not_stitched_together(fetch, server, content):
    assert fetch(cut(200_000, etag='"old"')) == content
    assert server.requests[1][1]["If-Range"] == '"old"'


def test_a_changed_file_is_seen_even_if_the_server_ignores_if_range(fetch, server, content):
    def ignores(handler, body):
        start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
        said = f"bytes {start}-{len(body) - 1}/{len(body)}"
        handler.answer(206, b"x" * (len(body) - start), ETag='"new"', Content_Range=said)

    assert fetch(cut(200_000), ignores, known=False) == content
    assert server.ranges(PATH)[2] is None


def test_another_part_than_asked_for_is_refused(fetch, content):
    wrong = f"bytes 5-{len(content) - 1}/{len(content)}"
    assert fetch(cut(200_000), honest(content_range=wrong)) == content


def test_a_weak_etag_is_no_proof(fetch, server, content):
    assert fetch(cut(200_000, etag='W/"weak"')) == content
    assert "If-Range" not in server.requests[1][1]


def test_a_length_that_promises_too_much(fetch, content):
    text = fails(fetch, always=honest(more=100, ranges=False), known=False)
    assert f"of {len(content) + 100} bytes" in text and "8 times" in text
    assert f"offers {len(content) + 100} bytes" in fails(fetch, always=honest(more=100))


def test_a_length_that_promises_too_much_once(fetch, content):
    assert fetch(honest(more=100), known=False) == content
    fetch.target.unlink()
    assert fetch(honest(more=100)) == content


def test_a_length_that_promises_too_little(fetch, waits, content):
    assert fetch(short_length(300_000), short_length(300_000)) == content
    fetch.target.unlink()
    assert "300000 bytes instead of 400008, 3 times" in fails(fetch, always=short_length(300_000))


def test_no_length_at_all(fetch, content):
    assert fetch(no_length(250_000), no_length()) == content
    fetch.target.unlink()
    assert "ended at 250000 of 400008" in fails(fetch, always=no_length(250_000))


def test_more_than_there_should_be(fetch, server, content):
    def too_much(handler, body):
        handler.answer(200, body + b"more", -1)

    assert fetch(too_much) == content
    fetch.target.unlink()
    assert "more than 400008 bytes" in fails(fetch, always=too_much)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"Google Drive - Quota exceeded", "download quota is used up"),
        (b"Please complete the captcha", "a firewall's page"),
        (b"Sign in to go on", "asks to log in"),
        (b"can't scan this file, virus scan warning", "asks to confirm"),
        (b"we moved", "a web page (Sorry)"),
    ],
)
def test_a_page_with_status_200(fetch, text, said):
    assert said in fails(fetch, always=page(text))


def test_one_web_page_is_forgiven_and_loses_nothing(fetch, server, content):
    assert fetch(cut(200_000), page(b"quota"), page(b"quota")) == content
    assert [r is None for r in server.ranges(PATH)] == [True, False, False, False]


@pytest.mark.parametrize(
    ("status", "said"), [(202, "not ready to send it"), (403, "refuses (403)")]
)
def test_a_firewall(fetch, waits, content, status, said):
    text = fails(fetch, always=page(b"awswaf challenge", status))
    assert said in text and "a firewall's page" in text and "3 times" in text
    waits.clear()
    assert fetch(page(b"challenge", status)) == content and len(waits) == 1


def test_retry_after_in_seconds(fetch, waits, content):
    assert fetch(busy(429, "17"), busy(503, "5")) == content
    assert waits == [17.0, 5.0]


def test_retry_after_as_a_date(fetch, waits, content):
    from datetime import UTC, datetime, timedelta
    from email.utils import format_datetime

    then = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert fetch(busy(429, then)) == content
    assert 90 < waits[0] <= 100


def test_a_server_that_asks_for_too_much_patience(fetch, waits):
    assert "try again in 7200 s" in fails(fetch, always=busy(429, "7200"))
    assert waits == []


def test_waits_grow_and_end(fetch, waits):
    assert "busy (503), 8 times" in fails(fetch, always=busy(503))
    assert len(waits) == 7 and waits == sorted(waits)
    assert all(2**i / 2 <= wait <= 2**i for i, wait in enumerate(waits))


def test_progress_gives_new_patience(fetch, waits, content):
    faults = [fault for _ in range(5) for fault in (busy(), busy(), cut(70_000))]
    assert fetch(*faults) == content
    assert max(waits) <= 4.0


def test_no_such_file_is_reported_at_once(fetch, waits):
    assert "there is no such file (404)" in fails(fetch, always=busy(404))
    assert "responds 401" in fails(fetch, always=busy(401)) and waits == []


def test_the_next_address_is_tried(server, downloader, source, tmp_path, content):
    bad, good = server.put("/bad.fif", content), server.put("/good.fif", content)
    server.always["/bad.fif"] = page(b"quota")
    assert download(source(bad, good), tmp_path, downloader) == good
    assert (tmp_path / "folder/some-epo.fif").read_bytes() == content


def test_what_came_from_one_address_resumes_at_the_next(
    server, downloader, source, tmp_path, content
):
    bad = server.put("/bad.fif", content, cut(200_000))
    good = server.put("/good.fif", content)
    server.always["/bad.fif"] = busy(404)
    download(source(bad, good), tmp_path, downloader)
    assert server.ranges("/good.fif")[0].startswith("bytes=")


def test_redirects(server, fetch, content):
    server.files["/real"] = content
    server.always["/hop"] = redirect("/real", 307)
    assert fetch(always=redirect("/hop")) == content


def test_redirects_are_followed_with_the_range(server, fetch, content):
    server.put("/real", content, cut(200_000))
    assert fetch(always=redirect("/real")) == content
    assert server.ranges("/real")[1].startswith("bytes=")


@pytest.mark.parametrize("to", [PATH, "file:///etc/passwd", "/login"])
def test_redirects_that_lead_nowhere(server, fetch, to):
    server.always["/login"] = page(b"Sign in")
    text = fails(fetch, always=redirect(to))
    assert any(said in text for said in ("endless loop", "request failed", "asks to log in"))


def test_a_silent_server(server, fetch, downloader, waits, content):
    event = threading.Event()
    downloader.timeout = 2, 0.2
    try:
        assert fetch(silent(event)) == content
    finally:
        event.set()
    assert "does not respond" in downloader.said[0] and len(waits) == 1


def test_nobody_there(downloader, source, tmp_path, waits):
    with pytest.raises(DataError, match="no connection .*8 times"):
        download(source("http://127.0.0.1:9/some.fif"), tmp_path, downloader)
    assert not (tmp_path / "folder/some-epo.fif").exists()


def test_tampered_bytes_are_never_used(server, fetch, content):
    tampered = content[:-1] + bytes([content[-1] ^ 1])

    def serves(handler, body):
        handler.answer(200, tampered)

    assert "SHA-256" in fails(fetch, always=serves)
    assert not list(fetch.target.parent.glob("*.part*"))


def test_a_part_that_is_damaged_is_downloaded_again(server, fetch, content):
    part = PartialFile(fetch.target)
    part.begin(server.url + PATH, '"one"', len(content))
    part.path.write_bytes(b"\x00" * 1000)
    assert fetch() == content
    assert server.ranges(PATH) == ["bytes=1000-", None]


def test_a_part_longer_than_the_file(server, fetch, content):
    part = PartialFile(fetch.target)
    part.begin(server.url + PATH, '"one"', 0)
    part.path.write_bytes(content + b"more")
    assert fetch(known=False) == content


def test_a_part_that_is_complete_already(server, fetch, content):
    part = PartialFile(fetch.target)
    part.begin(server.url + PATH, '"one"', len(content))
    part.path.write_bytes(content)
    assert fetch() == content and server.requests == []
    fetch.target.unlink()
    part.begin(server.url + PATH, '"one"', len(content))
    part.path.write_bytes(content)
    assert fetch(known=False) == content and len(server.requests) == 1


def test_ctrl_c_leaves_a_part_that_resumes(server, fetch, downloader, content, waits):
    def stop(seconds):
        raise KeyboardInterrupt

    downloader.sleep = stop
    with pytest.raises(KeyboardInterrupt):
        fetch(cut(300_000))
    assert PartialFile(fetch.target).size > 200_000 and not fetch.target.exists()
    downloader.sleep = waits.append
    assert fetch() == content
    assert server.ranges(PATH)[-1].startswith("bytes=2")


def test_a_server_that_compresses_against_the_request(fetch, content):
    import gzip

    def packs(handler, body):
        handler.answer(200, gzip.compress(body), Content_Encoding="gzip")

    assert fetch(packs) == content


def test_a_size_known_only_from_the_server_must_fit(fetch, monkeypatch):
    from braindecode_ssr import files

    monkeypatch.setattr(files, "free_bytes", lambda path: 300_000)
    with pytest.raises(DataError, match="0.3 MB are free"):
        fetch(known=False)


def test_a_small_text(server, downloader):
    url = server.put("/sums", b"abc", busy(), cut(1))
    assert downloader.text(url, 100) == "abc" and downloader.text(url, 2) == "ab"
    assert downloader.text(server.url + "/none", 100) is None
    server.always["/sums"] = busy(401)
    with pytest.raises(DataError, match="401"):
        downloader.text(url, 100)
