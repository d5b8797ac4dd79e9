import itertools

import numpy as np
import pytest

from braindecode_ssr.benchmarking.plan import Grid, protocols_of, seeds_of
from braindecode_ssr.errors import UsageError
from braindecode_ssr_cli.options import SEEDS


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("1", (0,)),
        ("3", (0, 1, 2)),
        ("0,3,7", (0, 3, 7)),
        ("7,", None),
        ("4-6", (4, 5, 6)),
        ("5-5", (5,)),
        ("0-1,9,1", (0, 1, 9)),
        ("0", None),
        ("6-4", None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("two", None),
        ("²", None),
    ],
)
def test_seeds(text, seeds):
    if seeds is None:
        with pytest.raises(UsageError):
            seeds_of(SEEDS.parse(text))
    else:
        assert seeds_of(SEEDS.parse(text)) == seeds


def test_seeds_of_numpy():
    assert seeds_of(np.int64(3)) == (0, 1, 2) and seeds_of(np.arange(4, 6)) == (4, 5)


def test_protocols():
    assert protocols_of(("inter", "intra", "inter")) == ("inter", "intra")
    assert protocols_of(()) == ("intra", "inter")
    with pytest.raises(UsageError, match="did you mean 'inter'"):
        protocols_of(("interr",))


def test_cells_are_each_with_each_over_the_settings_of_all():
    settings = {"data": {"preset": "tiny", "subject": 9}, "train": {"epochs": 2}}
    axes = {"methods": ("a", "b"), "subjects": (1, 2), "seeds": (0, 5)}
    grid = Grid(**axes, protocols=("intra", "inter"), settings=settings)
    found = [
        (c["data"]["protocol"], c["method"], c["data"]["subject"], c["train"]["seed"])
        for c in grid.cells()
    ]
    assert found == list(itertools.product(("intra", "inter"), "ab", (1, 2), (0, 5)))
    assert all(c["data"]["preset"] == "tiny" and c["train"]["epochs"] == 2 for c in grid.cells())
