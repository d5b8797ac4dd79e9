import pytest

from braindecode_ssr import preprocessing


@pytest.mark.parametrize("name", preprocessing.__all__)
def test_functions_are_found_by_name(name):
    assert getattr(preprocessing, name).__name__ == name


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="whitten"):
        _ = preprocessing.whitten
