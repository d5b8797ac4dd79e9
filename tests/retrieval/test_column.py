import pandas as pd
import pytest
from random_ranks import query_rows

from braindecode_ssr.errors import DataError
from braindecode_ssr.retrieval.statistics import COLUMN, ROW, check_one, labels_of_methods


@pytest.mark.parametrize("name", COLUMN)
def test_what_differs_is_refused_and_named(name):
    mixed = pd.concat([query_rows(), query_rows(**{name: "other"})])
    with pytest.raises(DataError, match=f"they differ in {name}, .*{name} 'other'"):
        check_one(mixed, COLUMN, "one column")


def test_one_kind_passes_and_absent_columns_do_not_matter():
    check_one(query_rows(), ROW, "one row")
    check_one(query_rows()[["rank", "method"]], ROW, "one row")
    check_one(query_rows()[["rank"]], ROW, "one row")


def test_no_rows():
    with pytest.raises(DataError, match="no rows"):
        check_one(query_rows().head(0), ROW, "one row")


def test_a_backbone_is_named_where_a_method_has_several():
    table = pd.DataFrame(
        {"method": ["ssr", "ssr", "nice"], "backbone": ["TSConv", "EEGProject", "TSConv"]}
    )
    assert list(labels_of_methods(table)) == ["ssr (TSConv)", "ssr (EEGProject)", "nice"]
    assert list(labels_of_methods(table[["method"]])) == ["ssr", "ssr", "nice"]
