"""A server on the loopback, a downloader that waits for nothing, and a file to fetch."""

import hashlib
import random

import pytest
from faulty_server import FaultyServer

from braindecode_ssr.datasets.download import Downloader, Source, new_session


@pytest.fixture
def server():
    with FaultyServer() as running:
        yield running


@pytest.fixture
def waits():
    """Seconds that would have been waited."""
    return []


@pytest.fixture
def downloader(waits):
    said = []
    with new_session() as session:
        session.trust_env = False
        made = Downloader(
            say=said.append,
            timeout=(5, 5),
            sleep=waits.append,
            rng=random.Random(0),
            session=session,
        )
        made.said = said
        yield made


@pytest.fixture(scope="session")
def content():
    """The bytes of a file that begins as fif files do."""
    return b"\x00\x00\x00\x64\x00\x00\x00\x1f" + random.Random(1).randbytes(400_000)


@pytest.fixture
def source(content):
    """Make the source of a file: all that is known of it, unless told otherwise."""

    def make(*urls, known=True, place="folder/some-epo.fif", body=content):
        size, sha = (len(body), hashlib.sha256(body).hexdigest()) if known else (0, "")
        return Source("some MEG", place, urls, size, "CC0", sha)

    return make
