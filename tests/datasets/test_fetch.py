"""What can be fetched: every road, its sources, and that the page of the docs says its true size."""

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from things_files import write_gifford, write_images, write_metadata, write_raw_session

from braindecode_ssr.datasets import DATASETS
from braindecode_ssr.datasets.fetch import DOWNLOADS, plan_download, run_download
from braindecode_ssr.datasets.things_meg.files import meg_sources
from braindecode_ssr.errors import UsageError
from braindecode_ssr.files import gigabytes

FORMS = [(name, form) for name in DOWNLOADS for form in DOWNLOADS[name].forms]
PAGE = Path(__file__).parents[2] / "docs" / "fetch.rst"


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_every_path_can_be_taken(name, form, tmp_path):
    offer = DOWNLOADS[name]
    sources = offer.sources(form, tmp_path, offer.subjects)
    assert (
        len({source.what for source in sources}) == len({s.place for s in sources}) == len(sources)
    )
    for source in sources:
        assert source.licence and source.bytes > 0
        assert all(url.startswith("https://") for url in source.urls)
        assert not Path(source.file).is_absolute() and ".." not in Path(source.file).parts
        assert not source.sha256 or re.fullmatch("[0-9a-f]{64}", source.sha256)
        assert bool(source.sha256) <= bool(source.size)


def test_a_checksum_and_an_address_are_of_one_file(tmp_path):
    """Two datasets may share a file, and the list of channels is the same for each subject."""
    sources = [
        source
        for name, form in FORMS
        for source in DOWNLOADS[name].sources(form, tmp_path, DOWNLOADS[name].subjects)
        if not source.nemar
    ]
    pairs = {(s.sha256, s.urls) for s in sources if not s.place.endswith("channels.tsv")}
    for column in (0, 1):
        assert max(Counter(pair[column] for pair in pairs if pair[column]).values()) == 1


def test_offers_are_of_datasets():
    assert set(DOWNLOADS) <= set(DATASETS)


def test_the_files_of_meg():
    sources = [meg_sources(subject) for subject in (1, 2, 3, 4)]
    assert [len(some) for some in sources] == [5] * 4 and meg_sources(5) == ()
    assert sum(source.size for some in sources for source in some) == 33_020_363_417
    first = sources[0][0]
    assert first.place == "derivatives/preprocessed/preprocessed_P1-epo.fif"
    assert first.url.endswith("P1-epo.fif?versionId=_KO81vnVItjzcxrR91AFeHh8sA7YiuB9")
    assert sources[3][4].place == "sourcedata/sample_attributes_P4.csv"


def test_the_shortest_path_is_the_default(tmp_path):
    todo = plan_download("things_eeg", tmp_path, subjects=[5])
    assert todo.form == "gifford" and todo.bytes == 1_736_481_485
    assert [source.sha256[:8] for source in todo.sources] == [
        *("681a7563", "dc9cc627", "57ed472c", "d353e154")
    ]
    assert plan_download("things-meg", tmp_path, subjects=[]).subjects == (1, 2, 3, 4)


def test_what_is_here_under_other_public_names_is_here(tmp_path):
    write_metadata(tmp_path, folder="Image_set")
    write_images(tmp_path, names=("train_images", "test_images"))
    write_gifford(tmp_path)
    (tmp_path / "Preprocessed_data").rename(tmp_path / "preprocessed_data")
    todo = plan_download("things-eeg", tmp_path, subjects=[5])
    assert [found.state for found in todo.status] == ["other", "here", "here", "here"]
    assert todo.sources[3].place == "preprocessed_data/sub-05"
    (tmp_path / "image_set/train_images/00003_bat1/bat1_02n.jpg").unlink()
    assert "bat1_02n" in plan_download("things-eeg", tmp_path, form="images").status[1].detail


def test_raw_sessions_that_are_here(tmp_path):
    for session in (1, 2, 3, 4):
        write_raw_session(tmp_path, 5, session)
    raw = plan_download("things-eeg", tmp_path, form="raw", subjects=[5])
    assert raw.status[3].state == "here"
    (tmp_path / "Raw_data/sub-05/ses-03/raw_eeg_test.npy").write_bytes(b"<html>")
    raw = plan_download("things-eeg", tmp_path, form="raw", subjects=[5])
    assert raw.status[3].detail == "ses-03/raw_eeg_test.npy is missing or damaged"


def test_meg_files_that_lie_directly_in_the_folder(tmp_path):
    (tmp_path / "preprocessed_P2-epo.fif").write_bytes(b"cut off")
    todo = plan_download("things-meg", tmp_path, subjects=[2])
    assert todo.sources[1].place == "preprocessed_P2-epo-1.fif"
    assert [found.state for found in todo.status] == ["absent"] * 5


def test_something_in_the_way_is_reported_before_any_download(tmp_path):
    path = tmp_path / "image_set/image_metadata.npy"
    path.parent.mkdir()
    np.save(path, {"mine": 1}, allow_pickle=True)
    with pytest.raises(Exception, match="a file other than .*--replace"):
        run_download(plan_download("things-eeg", tmp_path, form="images"), downloader=None)


@pytest.mark.parametrize("form", ["nice", "ubp", "neurobridge"])
def test_unofficial_copies_are_named_and_not_downloaded(form):
    with pytest.raises(UsageError, match="huggingface.co/datasets"):
        DOWNLOADS["things-eeg"].form(form)


def _roads():
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"``(things-\S+)(.*?)``\s{2,}(.*)", line):
            options = dict(re.findall(r"--(\S+) (\S+)", match[2]))
            yield pytest.param(
                match[1],
                options,
                re.split(r"\s{2,}", match[3]),
                id=(match[1] + match[2]).replace(" ", ""),
            )


@pytest.mark.parametrize(("name", "options", "said"), [*_roads()])
def test_the_page_says_the_true_sizes_and_times(name, options, said, tmp_path):
    subject = options.get("subject")
    subjects = None if subject is None else [] if subject == "all" else [int(subject)]
    todo = plan_download(name, tmp_path, form=options.get("form"), subjects=subjects)
    about = "" if all(source.size for source in todo.sources) else "about "
    assert said[:2] == [about + gigabytes(todo.bytes), gigabytes(todo.room)]
    for rate, text in zip((1e7, 1e8), said[2:], strict=True):
        value, unit = text.split()
        seconds = float(value) * {"h": 3600, "min": 60}[unit]
        assert seconds == pytest.approx(todo.bytes * 8 / rate, rel=0.05)


def test_the_page_has_every_form():
    named = {(road.values[0], road.values[1].get("form")) for road in _roads()}
    first = {(name, next(iter(DOWNLOADS[name].forms))) for name in DOWNLOADS}
    assert {(n, f) for n, f in FORMS} - first == {(n, f) for n, f in named if f}
    assert {(n, None) for n in DOWNLOADS} <= named


def test_the_published_image_list_is_known_and_tells_what_the_archives_hold(tmp_path):
    published = Path(__file__).parents[1] / "data" / "things_eeg2" / "image_metadata.npy"
    (tmp_path / "image_set").mkdir()
    shutil.copy(published, tmp_path / "image_set")
    todo = plan_download("things-eeg", tmp_path, form="images")
    assert [found.state for found in todo.status] == ["here", "absent", "absent"]
    names = [source.archive.names for source in todo.sources[1:]]
    assert [len(some) for some in names] == [16540, 200]
    assert names[0][0] == "00001_aardvark/aardvark_01b.jpg"
    assert names[1][-1] == "00200_wok/wok_12s.jpg"
