import pickle

import pytest

from braindecode_ssr import errors


def test_a_message_is_one_line_with_expected_found_and_mend():
    error = errors.DataError("a file of\nnumbers", "a   letter", "send it back")
    assert str(error) == "expected a file of numbers; found a letter; send it back"


@pytest.mark.parametrize(
    ("name", "code"),
    [("UsageError", 2), ("DataError", 1), ("MissingDataError", 1), ("LeakageError", 1)],
)
def test_exit_codes(name, code):
    error = getattr(errors, name)("a", "b", "c")
    assert error.exit_code == code and str(error) == "expected a; found b; c"


def test_missing_data_is_a_file_not_found_error_as_well():
    assert issubclass(errors.MissingDataError, FileNotFoundError)


def test_a_message_and_a_hint():
    error = errors.DataError("the file is empty", "download it again")
    assert str(error) == "the file is empty; download it again"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
