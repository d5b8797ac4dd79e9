import pytest

from braindecode_ssr import preprocessing


@pytest.mark.parametrize("name", preprocessing.__all__)
def test_functions_are_found_by_name(name):
    assert getattr(preprocessing, name).__name__ == name


def test_a_missing_name():
    with pytest.raises(AttributeError, match="whitten"):
        _ = preprocessing.whitten
