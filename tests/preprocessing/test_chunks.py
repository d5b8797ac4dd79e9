import numpy as np
import pytest
from threadpoolctl import threadpool_info

from braindecode_ssr import files
from braindecode_ssr.files import in_chunks


@pytest.mark.parametrize("threads", [1, 3])
def test_every_trial_once_and_in_order(monkeypatch, threads):
    monkeypatch.setattr(files, "_threads", lambda: threads)
    parts = list(in_chunks(lambda part: list(range(part.start, part.stop)), 23, 5))
    assert sum(parts, []) == list(range(23))
    assert [len(part) for part in parts] == [5, 5, 5, 5, 3]
    assert list(in_chunks(lambda part: part, 0, 5)) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_comes_through(monkeypatch, threads):
    monkeypatch.setattr(files, "_threads", lambda: threads)
    with pytest.raises(ZeroDivisionError):
        list(in_chunks(lambda part: 1 // (part.start - 10), 23, 5))


def test_linear_algebra_is_left_as_it_was():
    def widths():
        return [library["num_threads"] for library in threadpool_info()]

    np.ones((50, 50)) @ np.ones((50, 50))
    before = widths()
    list(in_chunks(lambda part: None, 10, 2))
    assert widths() == before
