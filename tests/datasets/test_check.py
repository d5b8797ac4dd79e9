"""``data where`` and ``data check``: every path, what is in it, and where it can be had."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
from things_files import write_gifford, write_images, write_metadata, write_things, write_ubp

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.things_eeg.dataset import ThingsEEG
from braindecode_ssr.datasets.things_eeg.files import IMAGE_SOURCES, raw_source, release_source


def where(dataset, subjects=None, read=False):
    return [SimpleNamespace(**row) for row in dataset.inventory(subjects, read=read)]


def check(dataset):
    return where(dataset, read=True)


def is_whole(reports):
    return all(r.state == "found" or (r.state == "missing" and not r.needed) for r in reports)


def by_what(reports):
    return {report.what: report for report in reports}


def test_where_nothing_is(tmp_path):
    reports = where(ThingsEEG(tmp_path / "none"))
    assert len(reports) == 3 + 10 * 4 * 2
    assert {report.state for report in reports} == {"missing"} and not is_whole(reports)
    raw = by_what(reports)["raw EEG, subject 5, session 2, test"]
    assert raw.path == str(tmp_path / "none/Raw_data/sub-05/ses-02/raw_eeg_test.npy")
    assert "https://plus.figshare.com/ndownloader/files/33247376" in raw.source
    assert "CC BY 4.0" in raw.source and "14.40 GB unpacked" in raw.source
    assert "https://osf.io/download/qkgtf" in reports[0].source


def test_where_of_one_subject(tmp_path):
    assert len(where(ThingsEEG(tmp_path), subjects=[5])) == 3 + 8


def test_a_whole_reduced_set(tmp_path):
    write_things(tmp_path, sessions=2)
    for reports in (where(ThingsEEG(tmp_path)), check(ThingsEEG(tmp_path))):
        assert len(reports) == 3 + 4 and is_whole(reports)
        assert {report.state for report in reports} == {"found"}
        assert all(report.size > 0 for report in reports)
    raw = by_what(reports)["raw EEG, subject 5, session 1, train"]
    assert raw.detail == "63 channels, 4000 samples at 1000 Hz, 12 trials of 6 images, 1 targets"
    assert reports[0].detail == "6 training and 3 test images"


def test_an_epoch_beyond_the_end_of_a_raw_file(tmp_path):
    write_things(tmp_path, sessions=1, tail=500)
    broken = [report for report in check(ThingsEEG(tmp_path)) if report.state == "broken"]
    assert len(broken) == 2 and all(str(report.path) in report.detail for report in broken)
    shorter = ThingsEEG(tmp_path).with_spec(TrialSpec(tmax=0.4, stop=0.4))
    assert is_whole(check(shorter))


def test_images_are_not_needed(tmp_path):
    write_things(tmp_path, sessions=1, images=False)
    reports = check(ThingsEEG(tmp_path))
    assert by_what(reports)["train images"].state == "missing"
    assert "unless features are imported" in by_what(reports)["train images"].detail
    assert is_whole(reports)


def test_broken_files_do_not_end_the_check(tmp_path):
    write_things(tmp_path, sessions=2)
    folder = tmp_path / "Raw_data/sub-05"
    (folder / "ses-01/raw_eeg_training.npy").write_text("<html>quota</html>")
    (folder / "ses-01/raw_eeg_test.npy").write_bytes(b"")
    whole = folder / "ses-02/raw_eeg_training.npy"
    whole.write_bytes(whole.read_bytes()[:-1000])
    (folder / "ses-02/raw_eeg_test.npy").unlink()
    (tmp_path / "image_set/test_images/00003_wok/wok_12s.jpg").write_text("<html>")
    reports = by_what(check(ThingsEEG(tmp_path)))
    raw = "raw EEG, subject 5, session"
    assert reports[f"{raw} 1, train"].state == "broken"
    assert "web page" in reports[f"{raw} 1, train"].detail
    assert reports[f"{raw} 1, test"].detail == "an empty file"
    assert "truncated" in reports[f"{raw} 2, train"].detail
    assert reports[f"{raw} 2, test"].state == "missing"
    assert reports["test images"].state == "broken" and "wok_12s" in reports["test images"].detail
    assert not is_whole(reports.values())


def test_where_sees_an_empty_file(tmp_path):
    write_things(tmp_path, sessions=1)
    (tmp_path / "Raw_data/sub-05/ses-01/raw_eeg_test.npy").write_bytes(b"")
    assert (
        by_what(where(ThingsEEG(tmp_path)))["raw EEG, subject 5, session 1, test"].state == "broken"
    )


def test_a_gap_between_sessions(tmp_path):
    write_things(tmp_path, sessions=3)
    (tmp_path / "Raw_data/sub-05/ses-02").rename(tmp_path / "elsewhere")
    states = [report.state for report in where(ThingsEEG(tmp_path))[3:]]
    assert states == ["found"] * 2 + ["missing"] * 2 + ["found"] * 2


def test_released_forms(tmp_path):
    write_metadata(tmp_path)
    write_ubp(tmp_path)
    write_gifford(tmp_path)
    reports = by_what(check(ThingsEEG(tmp_path)))
    assert reports["form 'ubp', subject 5, train"].detail == (
        "6 images x 4 repetitions, 63 channels, 250 samples at 250 Hz, whitened"
    )
    assert "17 channels, 100 samples at 100 Hz" in reports["form 'gifford', subject 5, test"].detail
    assert not any("raw EEG" in what for what in reports)
    (tmp_path / "Preprocessed_data_250Hz_whiten/sub-05/test.pt").unlink()
    report = by_what(check(ThingsEEG(tmp_path)))["form 'ubp', subject 5"]
    assert report.state == "missing" and "test.pt" in report.detail


def test_broken_image_list(tmp_path):
    write_things(tmp_path, sessions=1)
    write_metadata(tmp_path, test=[("00001_aardvark", "aardvark_09s.jpg")])
    reports = check(ThingsEEG(tmp_path))
    assert reports[0].state == "broken" and "aardvark" in reports[0].detail
    assert by_what(reports)["raw EEG, subject 5, session 1, train"].state == "found"


def test_archive_that_was_cut_off(tmp_path):
    write_metadata(tmp_path)
    (tmp_path / "image_set/test_images.zip").write_bytes(b"PK")
    report = by_what(where(ThingsEEG(tmp_path)))["test_images.zip"]
    assert report.state == "broken" and "2 bytes instead of 8129948" in report.detail


def test_archive_is_named_where_images_are_not_unpacked(tmp_path):
    write_metadata(tmp_path)
    write_images(tmp_path)
    reports = by_what(check(ThingsEEG(tmp_path)))
    assert reports["train images"].detail == "6 of 6 here"


def test_rows_are_json(tmp_path):
    rows = ThingsEEG(tmp_path).inventory()
    assert json.loads(json.dumps(rows)) == rows
    assert list(rows[0]) == ["state", "what", "path", "size", "detail", "source", "needed"]


@pytest.mark.parametrize("form", ["gifford", "nice", "ubp", "neurobridge"])
def test_every_form_has_a_source(form):
    for subject in (1, 10, 11):
        source = release_source(form, subject)
        assert source.url.startswith("https://") and f"sub-{subject:02d}" in source.place


def test_sources_of_all_subjects():
    for source in (raw_source, partial(release_source, "gifford")):
        assert len({source(subject).url for subject in range(1, 11)}) == 10
    assert raw_source(11).url.startswith("https://doi.org/")
    assert [source.size for source in IMAGE_SOURCES] == [656579, 655039265, 8129948]
    assert all(len(source.sha256) == 64 for source in IMAGE_SOURCES)
