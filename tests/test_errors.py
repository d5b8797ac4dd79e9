import pickle

import pytest

from braindecode_ssr import errors


def test_a_message_is_one_line():
    error = errors.DataError("the file holds\na   letter", "send it back")
    assert str(error) == "the file holds a letter; send it back"


@pytest.mark.parametrize(
    ("name", "code"),
    [("UsageError", 2), ("DataError", 1), ("MissingDataError", 1), ("LeakageError", 1)],
)
def test_exit_codes(name, code):
    error = getattr(errors, name)("a", "b")
    assert error.exit_code == code and str(error) == "a; b"


def test_missing_data_is_a_file_not_found_error_as_well():
    assert issubclass(errors.MissingDataError, FileNotFoundError)


def test_a_message_and_a_hint():
    for kind in (errors.DataError, errors.MissingDataError):
        error = kind("the file is empty", "download it again")
        assert str(error) == "the file is empty; download it again"
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_what_a_library_raises_over_a_file_becomes_a_sentence():
    """Some libraries raise errors without a text, whose first line does not exist."""
    with pytest.raises(
        errors.DataError, match=r"^x\.fif cannot be read \(OSError\); get it again$"
    ):
        with errors.reading("x.fif", "get it again"):
            raise OSError
    with pytest.raises(errors.MissingDataError, match="^no x; look"):
        with errors.reading("x.fif", "get it again"):
            raise errors.MissingDataError("no x", "look")


def test_long_lists_are_cut():
    assert (
        errors.listed("abc", 3) == "a, b, c" and errors.listed("abcde", 3) == "a, b, c and 2 more"
    )
