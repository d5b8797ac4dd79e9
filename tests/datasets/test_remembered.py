import json

import pytest

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.files import cached_numbers

NUMBERS = {"top1": 0.1 + 0.2, "top5": 1.0}


def fail():
    raise AssertionError("it was known")


def test_a_second_time_is_read_to_the_last_digit(tmp_path):
    path = tmp_path / "deep" / "numbers.json"
    assert cached_numbers(path, lambda: NUMBERS) == NUMBERS
    assert cached_numbers(path, fail) == NUMBERS
    assert [file.name for file in path.parent.iterdir()] == ["numbers.json"]


@pytest.mark.parametrize("text", ["", "{", "[1.0]", '{"top1": "0.3"}', "\udcff"])
def test_a_damaged_file_is_written_anew(tmp_path, text):
    path = tmp_path / "numbers.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert cached_numbers(path, lambda: NUMBERS) == NUMBERS
    assert json.loads(path.read_text()) == NUMBERS


def test_a_place_that_cannot_be_written_remembers_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "numbers.json"
    assert cached_numbers(path, lambda: NUMBERS) == NUMBERS
    with pytest.raises(AssertionError, match="it was known"):
        cached_numbers(path, fail)


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(AssertionError):
        cached_numbers(tmp_path / "deep" / "numbers.json", fail)
    assert not list(tmp_path.iterdir())


def test_each_question_about_the_ceiling_has_a_file_of_its_own(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        ThingsSim, "_ceiling", lambda self, *question: asked.append(question) or NUMBERS
    )
    questions = [(1, None, None), (2, None, None), (1, 4, None), (1, None, TrialSpec(stop=0.5))]
    for _ in range(2):
        for question in questions:
            ThingsSim(tmp_path, "tiny").ceiling(*question)
    ThingsSim(tmp_path, "tiny", seed=1).ceiling(1)
    assert len(asked) == len(questions) + 1
