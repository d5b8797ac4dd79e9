import itertools

import pytest

from braindecode_ssr.config import EvaluationSpec
from braindecode_ssr.errors import UsageError
from braindecode_ssr.retrieval.evaluations import FLAGS, check_flags, flags_of

CHOICES = {
    "gallery": ["original", "views", "concept"],
    "n_way": [None, 5],
    "correction": ["none", "csls", "hungarian", "sinkhorn"],
    "selection": ["trained", "last", "validation", "oracle"],
}


def test_exactly_the_open_choices_go_without_a_flag():
    for values in itertools.product(*CHOICES.values()):
        chosen = dict(zip(CHOICES, values, strict=True))
        is_open = (
            chosen["gallery"] == "original"
            and chosen["n_way"] is None
            and chosen["correction"] == "none"
            and chosen["selection"] != "oracle"
        )
        flags = flags_of(EvaluationSpec(**chosen))
        assert (flags == ()) is is_open
        assert set(flags) <= set(FLAGS)


def test_fewer_repetitions_are_harder_and_no_leak():
    assert flags_of(EvaluationSpec(repetitions=1)) == ()


def test_words_come_once_and_in_order():
    words = ["transductive", "test-selection", "transductive"]
    assert check_flags(words) == ("test-selection", "transductive")
    with pytest.raises(UsageError, match="did you mean 'altered-gallery'"):
        check_flags(["altered gallery"])
