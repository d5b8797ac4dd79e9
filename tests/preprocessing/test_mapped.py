import os

import numpy as np
import pytest

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.files import forget, mapping
from braindecode_ssr.preprocessing.windows import windows

PAGES = 4096


def resident(array):
    """Bytes of a mapped file that are resident in this process, as Linux counts them."""
    with open("/proc/self/smaps", encoding="ascii") as file:
        lines = file.read().splitlines()
    start = next(place for place, line in enumerate(lines) if line.endswith(array.filename.name))
    return 1024 * next(int(x.split()[1]) for x in lines[start:] if x.startswith("Rss:"))


@pytest.fixture
def recording(tmp_path):
    data = np.random.default_rng(0).normal(0, 1e-5, (8, 64 * PAGES)).astype("<f8")
    data.tofile(tmp_path / "recording")
    return data, np.memmap(tmp_path / "recording", "<f8", "r", shape=data.shape)


def test_the_map_of_views_and_none_of_arrays(recording):
    data, mapped = recording
    assert mapping(data) is mapping(data[1:]) is None
    assert mapping(mapped[2:, ::3].T) is mapping(np.asarray(mapped)) is mapped._mmap
    forget(data)
    forget(mapped)
    assert np.array_equal(mapped, data)


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="Linux says what is resident")
def test_what_was_read_is_given_back(recording):
    data, mapped = recording
    mapped.sum()
    assert resident(mapped) >= data.nbytes
    forget(mapped[3:5])
    assert resident(mapped) < data.nbytes / 10
    samples = np.arange(500, data.shape[1] - 1200, 200)
    windows(mapped, samples, 1000.0, TrialSpec())
    assert resident(mapped) < data.nbytes / 10


@pytest.mark.parametrize("step", [200, 3000, -3000])
def test_windows_of_a_map_that_is_not_aligned_are_the_same_to_the_bit(tmp_path, recording, step):
    data, _ = recording
    (tmp_path / "shifted").write_bytes(b"abc" + data.tobytes())
    raw = np.memmap(tmp_path / "shifted", np.uint8, "r")
    shifted = np.ndarray(data.shape, "<f8", raw, 3)
    assert not shifted.flags.aligned
    samples = np.arange(500, data.shape[1] - 1200, abs(step))[:: np.sign(step)]
    for spec in (TrialSpec(), TrialSpec(baseline="none", sfreq=100)):
        expected = windows(data, samples, 1000.0, spec)
        assert np.array_equal(windows(shifted, samples, 1000.0, spec), expected)
        out = np.zeros_like(expected)
        assert windows(data, samples, 1000.0, spec, out=out) is out
        assert np.array_equal(out, expected)
