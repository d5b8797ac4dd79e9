"""What a recording is made of beside the file that is opened, and that a change of any of it is seen."""

import os

import mne
import numpy as np
import pytest
import scipy.io

from braindecode_ssr.datasets.bids.files import bids_runs, fingerprint
from braindecode_ssr.datasets.bids.recordings import open_run, open_signal
from braindecode_ssr.errors import DataError
from braindecode_ssr.files import file_key

STEM = "sub-01_task-look"


def eeglab(folder):
    struct = {
        **{"data": "as recorded.fdt", "nbchan": 2, "pnts": 100, "trials": 1, "srate": 100.0},
        **{"xmin": 0.0, "xmax": 0.99, "chanlocs": [], "event": [], "icawinv": [], "etc": []},
    }
    scipy.io.savemat(folder / f"{STEM}_eeg.set", {"EEG": struct})
    np.zeros(200, "<f4").tofile(folder / "as recorded.fdt")
    np.zeros(200, "<f4").tofile(folder / "of another.fdt")
    return ["as recorded.fdt"]


def brainvision(folder):
    text = "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\n"
    text += "DataFile=as recorded.eeg\r\nMarkerFile = $b_marks.vmrk\n"
    (folder / f"{STEM}_eeg.vhdr").write_text(text)
    for name in ("as recorded.eeg", f"{STEM}_eeg_marks.vmrk", "of another.eeg"):
        (folder / name).write_bytes(bytes(100))
    return ["as recorded.eeg", f"{STEM}_eeg_marks.vmrk"]


def split_fif(folder):
    info = mne.create_info(30, 1000.0, "mag")
    raw = mne.io.RawArray(np.ones((30, 30_000)), info, verbose="error")
    raw.save(folder / "as_raw.fif", split_size="2MB", verbose="error")
    (folder / "as_raw.fif").rename(folder / f"{STEM}_meg.fif")
    return ["as_raw-1.fif"]


KINDS = [(eeglab, "eeg"), (brainvision, "eeg"), (split_fif, "meg")]


@pytest.fixture(params=KINDS, ids=lambda kind: kind[0].__name__)
def study(request, tmp_path):
    """A run, its companions, and the tables that BIDS shares between recordings."""
    write, datatype = request.param
    folder = tmp_path / "sub-01" / datatype
    folder.mkdir(parents=True)
    companions = [folder / name for name in write(folder)]
    shared = [
        folder / f"{STEM}_events.tsv",
        folder / "sub-01_space-CapTrak_electrodes.tsv",
        tmp_path / "task-look_channels.tsv",
        tmp_path / "task-look_events.json",
    ]
    others = [tmp_path / "participants.tsv", tmp_path / "task-rest_channels.tsv"]
    for path in (*shared, *others):
        path.write_text("name\n")
    (run,) = bids_runs(tmp_path / "sub-01")
    return run, [run.path, *companions, *shared]


def test_all_files_of_a_recording_and_no_others(study):
    run, parts = study
    assert set(parts) <= set(run.files)
    rest = {path.name for path in set(run.files) - set(parts)}
    assert rest <= {"as_raw-2.fif", "as_raw-3.fif", "as_raw-4.fif"}


def test_a_change_of_content_counts_and_a_touch_does_not(study):
    run, parts = study
    before = file_key(run.files), fingerprint([run])
    for path in parts:
        state, content = path.stat(), path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # the same size and time
        changed = file_key(run.files), fingerprint([run])
        assert changed[0] != before[0] and changed[1] != before[1], path
        path.write_bytes(content)
        assert (file_key(run.files), fingerprint([run])) == before


def test_eeglab_counts_in_microvolts(tmp_path):
    folder = tmp_path / "sub-01" / "eeg"
    folder.mkdir(parents=True)
    eeglab(folder)
    (run,) = bids_runs(tmp_path / "sub-01")
    names = open_run(run).ch_names
    for unit in ("µV", "mV"):
        lines = ["name\ttype\tunits", *(f"{name}\tEEG\t{unit}" for name in names)]
        (folder / f"{STEM}_channels.tsv").write_text("\n".join(lines), encoding="utf-8")
        if unit == "µV":
            assert open_signal([run]).ch_names == tuple(names)
    with pytest.raises(DataError, match=r"mV in .*channels\.tsv, µV in .*\.set"):
        open_signal([run])
