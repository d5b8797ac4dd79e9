"""Sentences about real and invented concepts."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braindecode_ssr.errors import UsageError
from braindecode_ssr.images.views import build_view, concept_words, is_text, text

DATA = Path(__file__).parents[1] / "data" / "things_eeg2"


def real_concepts() -> list[str]:
    """All 1,854 concepts of THINGS-EEG2, from its image lists."""
    with gzip.open(DATA / "train_16540_images.csv.gz", "rt") as file:
        folders = {row["dir"] for row in csv.DictReader(file)}
    with open(DATA / "test_200_images.csv") as file:
        folders |= {row["dir"] for row in csv.DictReader(file)}
    return sorted(folder.partition("_")[2] for folder in folders)


def slow_words(concept: str) -> str:
    """Letter by letter."""
    words = "".join(" " if letter == "_" else letter for letter in concept)
    return words[:-1] if words[-1] in "123456789" else words


def test_real_concepts() -> None:
    concepts = real_concepts()
    assert len(concepts) == 1854
    words = [concept_words(concept) for concept in concepts]
    assert words == [slow_words(concept) for concept in concepts]
    letters = set("".join(words))
    assert letters == set("abcdefghijklmnopqrstuvwxyz -")
    numbered = [concept for concept in concepts if concept[-1].isdigit()]
    assert len(numbered) == 58 and {"bat1", "bat2", "baton4", "shell3"} <= set(numbered)
    assert len(set(words)) == 1854 - 58 + len({slow_words(concept) for concept in numbered})


@pytest.mark.parametrize(
    ("concept", "words"),
    [
        ("aircraft_carrier", "aircraft carrier"),
        ("bat2", "bat"),
        ("bat_2", "bat"),
        ("hot-air_balloon", "hot-air balloon"),
        ("t-shirt", "t-shirt"),
        ("boeing_747", "boeing 747"),
        ("7", "7"),
        ("Käse1", "Käse"),
    ],
)
def test_words(concept: str, words: str) -> None:
    assert text([concept]) == [f"This picture is {words}"]


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), max_size=4))
def test_a_sentence_for_each_whatever_it_is_called(concepts: list[str]) -> None:
    sentences = text(concepts, template="<{}>")
    assert [s[1:-1] for s in sentences] == [concept_words(concept) for concept in concepts]


def test_the_template_is_a_parameter_of_the_view() -> None:
    view = build_view("Text")
    assert (view.name, view.is_text) == ("text", True)
    assert view.parameters == {"template": "This picture is {}"}
    other = build_view("text?template=a photo of a {}.")
    assert other.name == "text?template=a photo of a {}."
    assert other.sentences(["bat1", "dog"]) == ["a photo of a bat.", "a photo of a dog."]
    assert build_view("text?template=This picture is {}").name == "text"


@pytest.mark.parametrize("template", ["a photo", "", "{} and {}"])
def test_a_template_has_one_place(template: str) -> None:
    with pytest.raises(UsageError, match="a template with one {} for the words.*text.template="):
        build_view(f"text?template={template}").sentences(["dog"])


def test_is_text() -> None:
    names = {"text", "Text", "text?template=a {}", "texture", "original", "blur?kernel=31"}
    assert {name for name in names if is_text(name)} == {"text", "Text", "text?template=a {}"}
