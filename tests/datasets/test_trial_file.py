import numpy as np
import pytest

from braindecode_ssr import files
from braindecode_ssr.preprocessing.whitening import fit_whitening
from braindecode_ssr.trials.store import WritableTrials


@pytest.fixture
def trials():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(6, 6)) @ rng.normal(size=(300, 6, 40))
    return (1e-5 * mixed).astype(np.float32)


@pytest.fixture
def file(tmp_path, trials):
    (tmp_path / "file").write_bytes(b"head")
    file = WritableTrials(tmp_path / "file", 4, trials.shape)
    yield file
    file.close()


def test_slices_are_those_of_an_array(file, trials, tmp_path):
    file[100:300] = trials[100:]
    file[:100] = trials[:100].astype(np.float64)
    assert len(file) == 300 and file.shape == trials.shape and file.dtype == trials.dtype
    for part in (slice(None), slice(7, 9), slice(290, 999), slice(5, 5), slice(-3, None)):
        assert np.array_equal(file[part], trials[part])
    assert (tmp_path / "file").read_bytes() == b"head" + trials.tobytes()
    assert file.stop == 4 + trials.nbytes


def test_a_file_that_ends_too_early(file, trials):
    file[:200] = trials[:200]
    with pytest.raises(OSError, match="ends too early"):
        file[150:250]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ["mvnn", "zscore"])
def test_normalized_on_disk_as_in_memory_to_the_bit(file, trials, kind, threads, monkeypatch):
    monkeypatch.setattr(files, "_threads", lambda: threads)
    file[:] = trials
    numbers = np.arange(300) % 50
    fit_whitening(kind, file, numbers)(file)
    fit_whitening(kind, trials, numbers)(trials)
    assert np.array_equal(file[:], trials)
