"""Arrays and plain containers come out of a pickle; nothing else does, and nothing is executed."""

import os
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from braindecode_ssr.datasets.pickles import load_dict, load_features, load_npy, load_pt
from braindecode_ssr.errors import DataError, MissingDataError

ARRAYS = {
    "double": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "half": np.ones((2, 2), np.float16),
    "text": np.array([["a", "bc"], ["é", ""]]),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 4)),
    "bytes": np.array([b"a", b"bc"]),
    "complex": np.array([1 + 2j]),
    "scalar": np.float32(2.5),
    "objects": np.array([1, "b", None, [2, 3]], dtype=object),
}
CONTENT = {**ARRAYS, "list": [1, (2.0, "c")], "set": {1}, "ordered": OrderedDict(a=1), 5: None}


def assert_same(a, b):
    assert type(a) is type(b) or isinstance(b, OrderedDict)
    if isinstance(b, dict):
        assert list(a) == list(b)
        for key in b:
            assert_same(a[key], b[key])
    elif isinstance(b, np.ndarray):
        assert a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=")
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_bare_pickle(tmp_path, protocol):
    path = tmp_path / "bare.npy"
    path.write_bytes(pickle.dumps(CONTENT, protocol))
    assert_same(load_npy(path), CONTENT)


def test_saved_dict_is_unwrapped(tmp_path):
    np.save(tmp_path / "dict.npy", CONTENT)
    assert_same(load_npy(tmp_path / "dict.npy"), CONTENT)


@pytest.mark.parametrize("old", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_names_of_numpy_1_and_2(tmp_path, old):
    text = pickle.dumps(CONTENT["double"], 2).replace(b"numpy._core.multiarray", old)
    (tmp_path / "a.npy").write_bytes(text)
    np.testing.assert_array_equal(load_npy(tmp_path / "a.npy"), CONTENT["double"])


def test_plain_array_is_mapped(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(10.0))
    loaded = load_npy(tmp_path / "a.npy")
    assert isinstance(loaded, np.memmap)
    np.testing.assert_array_equal(loaded, np.arange(10.0))


def test_object_array_with_a_shape_stays_an_array(tmp_path):
    rows = np.array([{"a": np.ones(2)}, None], dtype=object)
    np.save(tmp_path / "a.npy", rows, allow_pickle=True)
    loaded = load_npy(tmp_path / "a.npy")
    assert loaded.shape == (2,) and type(loaded[0]["a"]) is np.ndarray


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_torch_file(tmp_path, protocol):
    torch.save(CONTENT, tmp_path / "a.pt", pickle_protocol=protocol)
    assert_same(load_pt(tmp_path / "a.pt"), CONTENT)


def test_torch_file_with_tensors(tmp_path):
    torch.save(
        {"eeg": torch.ones(2, 3, dtype=torch.float16), "t": np.arange(3.0)}, tmp_path / "a.pt"
    )
    loaded = load_pt(tmp_path / "a.pt")
    assert_same(loaded, {"eeg": np.ones((2, 3), np.float16), "t": np.arange(3.0)})


@given(
    hnp.arrays(st.sampled_from(["f8", "<f4", ">i2", "u1", "?", "U3"]), hnp.array_shapes(min_side=0))
)
def test_any_array(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("any") / "a.npy"
    for protocol in (2, 4, 5):
        path.write_bytes(pickle.dumps([array], protocol))
        assert_same(load_npy(path)[0], array)


def test_no_second_copy_in_memory(tmp_path):
    """The array rests on the bytes that were read."""
    path = tmp_path / "a.npy"
    path.write_bytes(pickle.dumps({"x": np.arange(1000.0)}, 4))
    x = load_npy(path)["x"]
    while isinstance(x.base, np.ndarray):
        x = x.base
    assert isinstance(x.base, bytes)


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def hostile(marker):
    """Pickles that would create a file, by every way there is."""
    command = f"touch {marker}"
    call = Calls(os.system, command)
    text = command.encode()
    system = b"\x8c\x05posix\x8c\x06system\x93"
    string = b"\x8c" + bytes([len(text)]) + text
    return {
        "reduce": pickle.dumps(call, 2),
        "nested": pickle.dumps({"raw_eeg_data": [np.ones(3), {"deep": (call,)}]}, 4),
        "object array": pickle.dumps(np.array([call], dtype=object), 4),
        "stack global": b"\x80\x04" + system + string + b"\x85R.",
        "old global": b"\x80\x02cposix\nsystem\n(U" + bytes([len(text)]) + text + b"tR.",
        "instance": b"\x80\x02(U" + bytes([len(text)]) + text + b"iposix\nsystem\n.",
        "eval": pickle.dumps(Calls(eval, f"__import__('os').system({command!r})"), 4),
        "getattr": b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93.",
        "dotted module": b"\x80\x04\x8c\x05numpy\x8c\x0ctesting.os\x00\x93.",
        "numpy function": pickle.dumps(Calls(np.load, str(marker)), 4),
        "build": b"\x80\x04\x8c\x06_codecs\x8c\x06encode\x93}\x8c\x0b__wrapped__" + system + b"sb.",
        "build twice": b"\x80\x04\x8c\x05numpy\x8c\x05dtype\x93N}\x8c\x09_function"
        + system
        + b"s\x86b.",
        "new object": b"\x80\x04" + system + string + b"\x85\x81.",
        "codec": b"\x80\x04\x8c\x06_codecs\x8c\x06encode\x93\x8c\x01a\x8c\x0bzlib_codec2\x86R.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"\x80\x04\x8c\x01aQ.",
    }


@pytest.mark.parametrize("way", sorted(hostile("x")))
def test_hostile_pickle_is_refused_and_not_executed(tmp_path, way):
    marker, path = tmp_path / "executed", tmp_path / "raw_eeg_training.npy"
    path.write_bytes(hostile(marker)[way])
    with pytest.raises(DataError) as error:
        load_npy(path)
    assert not marker.exists()
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_hostile_pickle_is_a_working_one(tmp_path):
    """The same bytes do create the file when they are unpickled as usual."""
    for way in (
        "reduce",
        "nested",
        "object array",
        "stack global",
        "old global",
        "instance",
        "eval",
    ):
        marker = tmp_path / way.replace(" ", "-")
        pickle.loads(hostile(marker)[way])
        assert marker.exists(), way


def test_hostile_saved_dict(tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "a.npy"
    np.save(path, {"a": Calls(os.system, f"touch {marker}")})
    with pytest.raises(DataError, match="posix.system, which was refused and not executed"):
        load_npy(path)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [2, 5])
def test_hostile_torch_file(tmp_path, protocol):
    marker, path = tmp_path / "executed", tmp_path / "train.pt"
    for first in ([], [torch.ones(2)]):
        torch.save([*first, Calls(os.system, f"touch {marker}")], path, pickle_protocol=protocol)
        with pytest.raises(DataError) as error:
            load_pt(path)
        assert not marker.exists() and "\n" not in str(error.value)


def crafted(dtype_text, dtype_state, shape, content):
    """A pickle of an array with a dtype and content of our own making."""

    class Dtype:
        def __reduce__(self):
            return np.dtype, (dtype_text, False, True), dtype_state

    class Array:
        def __reduce__(self):
            rebuild = np.empty(0).__reduce__()[0]
            return rebuild, (np.ndarray, (0,), b"b"), (1, shape, Dtype(), False, content)

    return pickle.dumps(Array(), 4)


@pytest.mark.parametrize(
    "dtype_text, dtype_state, shape, content",
    [
        ("O8", (3, "|", None, None, None, -1, -1, 0), (1,), b"\x10\0\0\0\0\0\0\0"),
        ("f8", (3, "<", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0), (1,), b"\0" * 8),
        ("f8", (3, "<", None, None, None, -1, -1, 0), (1 << 40,), b"\0" * 8),
        ("f8", (3, "<", None, None, None, -1, -1, 0), (-1,), b"\0" * 8),
        ("f8", (3, "<", None, None, None, -1, -1, 63), (1,), ["x"]),
        ("V8", (3, "<", None, None, None, 1 << 40, 1, 0), (1,), b"\0" * 8),
    ],
)
def test_crafted_arrays_are_refused(tmp_path, dtype_text, dtype_state, shape, content):
    """NumPy would take these bytes for pointers, or read past their end."""
    path = tmp_path / "a.npy"
    path.write_bytes(crafted(dtype_text, dtype_state, shape, content))
    with pytest.raises(DataError):
        load_npy(path)


def test_the_dtypes_of_numpy_are_not_altered(tmp_path):
    class Dtype:
        def __reduce__(self):
            return np.dtype, ("f8", False, False), (3, ">", None, None, None, -1, -1, 0)

    (tmp_path / "a.npy").write_bytes(pickle.dumps([Dtype()], 4))
    with pytest.raises(DataError):
        load_npy(tmp_path / "a.npy")
    assert np.dtype("f8").isnative


def test_what_is_shared_stays_shared(tmp_path):
    """Fifty lists, each twice in the next, would be 2 ** 50 lists if they were copied."""
    nested = [np.ones(2)]
    for _ in range(50):
        nested = [nested, nested]
    (tmp_path / "a.npy").write_bytes(pickle.dumps(nested, 4))
    loaded = load_npy(tmp_path / "a.npy")
    assert loaded[0] is loaded[1] and len(loaded) == 2


def test_endless_nesting(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x80\x04]\x94h\x00a.")
    with pytest.raises(DataError):
        load_npy(tmp_path / "a.npy")


BROKEN = {
    "an empty file": b"",
    "a web page": b"\n<!DOCTYPE html><html>Quota exceeded</html>",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    "git-annex": b"/annex/objects/SHA256E-s656579--681a.npy\n",
    "a zip archive": b"PK\x03\x04" + b"\0" * 30,
    "a gzip archive": b"\x1f\x8b" + b"\0" * 30,
    "something else": b"hello, this is no array",
    "truncated": b"\x93NUMPY\x01\x00",
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_file_is_named(tmp_path, name):
    path = tmp_path / "raw_eeg_training.npy"
    path.write_bytes(BROKEN[name])
    with pytest.raises(DataError, match=name) as error:
        load_npy(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(set(BROKEN) - {"a zip archive", "truncated"}))
def test_broken_torch_file_is_named(tmp_path, name):
    path = tmp_path / "train.pt"
    path.write_bytes(BROKEN[name])
    with pytest.raises(DataError, match=name):
        load_pt(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [(4, 255), (6, 255), (8, 255), (9, 255), (10, 99), (28, 255), (42, 255), (46, 255), (48, 0)],
)
def test_a_damaged_directory_of_a_torch_file(tmp_path, place, value):
    """Places in the first entry of the zip directory: versions, flags, method, sizes, offset, name."""
    path = tmp_path / "train.pt"
    torch.save({"x": torch.ones(3)}, path)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02") + place
    content[entry] = value
    content[content.index(b"PK\x01\x02") + 9] |= 8  # names are UTF-8
    path.write_bytes(bytes(content))
    try:
        load_pt(path)
    except DataError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("kind", ["dict", "bare", "plain", "torch"])
@given(cut=st.floats(0.02, 0.999))
def test_truncated_file(tmp_path_factory, kind, cut):
    path = tmp_path_factory.mktemp("cut") / ("a.pt" if kind == "torch" else "a.npy")
    content = {"x": np.arange(50.0), "names": ["a", "b"]}
    if kind == "dict":
        np.save(path, content)
    elif kind == "bare":
        path.write_bytes(pickle.dumps(content, 4))
    elif kind == "plain":
        np.save(path, np.arange(50.0))
    else:
        torch.save(content, path)
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    with pytest.raises(DataError):
        load_pt(path) if kind == "torch" else load_npy(path)


def test_zip_that_is_not_of_torch(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme.txt", "no data")
    with pytest.raises(DataError, match="without data.pkl"):
        load_pt(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/data.pkl", pickle.dumps([1] * 99))
    with pytest.raises(DataError, match="a compressed zip"):
        load_pt(tmp_path / "b.pt")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(MissingDataError, match="there is no file"):
        load_npy(tmp_path / "none.npy")
    with pytest.raises(MissingDataError, match="is a folder"):
        load_npy(tmp_path)


def test_wrong_keys(tmp_path):
    np.save(tmp_path / "a.npy", {"preprocessed_eeg_data": 1, "times": 2})
    np.save(tmp_path / "b.npy", np.ones(3))
    with pytest.raises(
        DataError, match="no raw_eeg_data .keys there: preprocessed_eeg_data, times"
    ):
        load_dict(tmp_path / "a.npy", ["raw_eeg_data"])
    with pytest.raises(DataError, match="holds memmap, not a dict with the keys sfreq"):
        load_dict(tmp_path / "b.npy", ["sfreq"])
    assert load_dict(tmp_path / "a.npy", ["times"])["times"] == 2


@given(st.binary(max_size=60))
def test_random_bytes_raise_nothing_but_data_errors(tmp_path_factory, tail):
    path = tmp_path_factory.mktemp("random") / "a.npy"
    for head in (b"\x80\x04", b"\x80\x02", b"\x93NUMPY\x01\x00" + struct.pack("<H", 4)):
        path.write_bytes(head + tail)
        try:
            load_npy(path)
        except DataError:
            continue
        assert all(opcode.name for opcode, _, _ in pickletools.genops(head + tail))


def test_features_of_ones_own_are_not_to_be_downloaded_again(tmp_path):
    (tmp_path / "a.npy").write_text('{"a": 1}')
    with pytest.raises(DataError, match="a.npy should be an array .*; save it with numpy.save"):
        load_features(tmp_path / "a.npy")
