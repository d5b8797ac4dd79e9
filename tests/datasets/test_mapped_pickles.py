"""Long arrays of a pickle are mapped from the file and everything else is as before."""

import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from braindecode_ssr.datasets import pickles
from braindecode_ssr.datasets.pickles import load_npy, load_pt
from braindecode_ssr.errors import DataError
from braindecode_ssr.files import mapping

DATA = np.random.default_rng(0).normal(size=(5, 700))
CONTENT = {
    "data": DATA,
    "names": ["a", "b"],
    "rate": 1000,
    "turned": np.asfortranarray(DATA),
    5: DATA,
}


@pytest.fixture(autouse=True)
def long_is_short(monkeypatch):
    monkeypatch.setattr(pickles, "MAP_FROM", 4096)


def same(loaded):
    assert list(loaded) == list(CONTENT)
    for key, value in CONTENT.items():
        np.testing.assert_array_equal(loaded[key], value)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_arrays_are_mapped_whatever_the_protocol(tmp_path, protocol):
    path = tmp_path / "a.npy"
    path.write_bytes(pickle.dumps(CONTENT, protocol))
    loaded = load_npy(path)
    same(loaded)
    assert mapping(loaded["data"]) is mapping(loaded["turned"]) is not None
    assert loaded["turned"].flags.f_contiguous and not loaded["data"].flags.writeable
    assert type(loaded["data"]) is np.ndarray and loaded["data"] is loaded[5]


def test_saved_dict_and_torch_file(tmp_path):
    np.save(tmp_path / "a.npy", CONTENT)
    torch.save(CONTENT, tmp_path / "a.pt", pickle_protocol=5)
    for loaded in (load_npy(tmp_path / "a.npy"), load_pt(tmp_path / "a.pt")):
        same(loaded)
        assert mapping(loaded["data"]) is not None


def test_protocol_2_is_read_whole(tmp_path):
    (tmp_path / "a.npy").write_bytes(pickle.dumps(CONTENT, 2))
    assert mapping(load_npy(tmp_path / "a.npy")["data"]) is None
    same(load_npy(tmp_path / "a.npy"))


def test_long_bytes_that_are_no_array(tmp_path):
    content = {"x": DATA, "bytes": DATA.tobytes(), "changing": bytearray(DATA.tobytes())}
    (tmp_path / "b.npy").write_bytes(pickle.dumps(content, 5))
    loaded = load_npy(tmp_path / "b.npy")
    assert loaded["bytes"] == content["bytes"] == loaded["changing"]
    assert mapping(loaded["x"]) is not None


def test_many_small_things_around_a_long_array(tmp_path):
    (tmp_path / "a.npy").write_bytes(pickle.dumps([*range(3000), CONTENT], 4))
    same(load_npy(tmp_path / "a.npy")[-1])


@pytest.mark.parametrize("shape", [(5, 701), (1 << 40,), (-1,)])
def test_an_array_of_another_size_than_its_bytes(tmp_path, shape):
    class Array:
        def __reduce__(self):
            rebuild, args, _ = np.empty(0).__reduce__()
            return rebuild, args, (1, shape, np.dtype("<f8"), False, DATA.tobytes())

    (tmp_path / "a.npy").write_bytes(pickle.dumps(Array(), 4))
    with pytest.raises(DataError, match="truncated or damaged"):
        load_npy(tmp_path / "a.npy")


def test_bytes_are_not_pointers(tmp_path):
    class Array:
        def __reduce__(self):
            rebuild, args, _ = np.empty(0).__reduce__()
            return rebuild, args, (1, (3500,), np.dtype("O"), False, DATA.tobytes())

    (tmp_path / "a.npy").write_bytes(pickle.dumps(Array(), 4))
    with pytest.raises(DataError):
        load_npy(tmp_path / "a.npy")


def test_a_call_after_a_long_array_is_refused_and_not_executed(tmp_path):
    class Call:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/executed",)

    np.save(tmp_path / "a.npy", {"data": DATA, "call": Call()})
    with pytest.raises(DataError, match="refused and not executed"):
        load_npy(tmp_path / "a.npy")
    assert not (tmp_path / "executed").exists()


@given(cut=st.floats(0.01, 0.999), protocol=st.sampled_from([3, 4, 5]))
def test_truncated_anywhere(tmp_path_factory, cut, protocol):
    path = tmp_path_factory.mktemp("cut") / "a.npy"
    whole = pickle.dumps(CONTENT, protocol)
    path.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(DataError):
        load_npy(path)


@given(st.binary(max_size=40), st.sampled_from(b"B\x8e\x96X\x8d(.]\x95"))
def test_random_bytes_raise_nothing_but_data_errors(tmp_path_factory, tail, code):
    path = tmp_path_factory.mktemp("random") / "a.npy"
    path.write_bytes(b"\x80\x04" + bytes([code]) + tail + bytes(5000))
    try:
        load_npy(path)
    except DataError:
        pass
