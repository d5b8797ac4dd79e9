"""Images and their names."""

from dataclasses import replace

import numpy as np
import pytest

from braindecode_ssr.simulation.experiment import PRESETS, generator
from braindecode_ssr.simulation.images import (
    GROUNDS,
    TEXTURES,
    concept_words,
    decode,
    draw_concept,
    image_table,
    jpeg,
    render,
    things_numbers,
    vary,
)


def pixels(concept, exemplar, seed=0):
    return np.asarray(decode(jpeg(concept, exemplar, 64, seed)), dtype=float)


def test_an_image_is_a_function_of_names_and_seed():
    assert jpeg("wok", "wok_01b", 64, 0) == jpeg("wok", "wok_01b", 64, 0)
    assert jpeg("wok", "wok_01b", 64, 0) != jpeg("wok", "wok_01b", 64, 1)
    assert pixels("wok", "wok_01b").shape == (64, 64, 3)


def test_exemplars_differ_but_less_than_concepts():
    concepts = [f"concept{k}" for k in range(12)]
    first = np.stack([pixels(c, "01").reshape(8, 8, 8, 8, 3).mean((1, 3)) for c in concepts])
    second = np.stack([pixels(c, "02").reshape(8, 8, 8, 8, 3).mean((1, 3)) for c in concepts])
    distance = np.abs(first[:, None] - second[None]).mean((2, 3, 4))
    own = np.diag(distance)
    others = distance[~np.eye(12, dtype=bool)]
    assert own.min() > 3, "exemplars are copies"
    assert own.mean() < 0.75 * others.mean(), "exemplars of a concept do not look alike"


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("ground", GROUNDS)
def test_every_texture_and_ground_paints(texture, ground):
    concept = replace(draw_concept(generator(0, "t")), texture=texture, ground=ground)
    picture = render(concept, 48, generator(1, "t"))
    assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8
    assert picture.std() > 2


def test_varying_leaves_the_concept_alone():
    concept = draw_concept(generator(3, "t"))
    before = concept.layout.copy()
    other = vary(concept, generator(4, "t"))
    np.testing.assert_array_equal(concept.layout, before)
    assert not np.array_equal(other.layout, before)


def test_words_are_plain_and_unique():
    words = concept_words(1854, 0)
    assert len(set(words)) == 1854
    assert all(word.isascii() and word.islower() and word.isalpha() for word in words)
    assert words[:50] == concept_words(50, 0)
    assert words != concept_words(1854, 1)


@pytest.mark.parametrize("name", list(PRESETS))
def test_numbers_follow_the_sorted_listing(name):
    preset = PRESETS[name]
    table = image_table(preset, 0)
    for split, n in (
        ("train", preset.concepts * preset.images_per_concept),
        ("test", preset.test_images),
    ):
        rows = table[table["split"] == split]
        assert rows["number"].tolist() == list(range(1, n + 1))
        assert rows["file"].tolist() == sorted(rows["file"])
        assert rows["concept"].is_monotonic_increasing
    train, test = (set(table["concept"][table["split"] == split]) for split in ("train", "test"))
    assert not train & test and len(test) == preset.test_images
    assert table["image_id"].is_unique


def test_names_are_built_as_in_things():
    row = image_table(PRESETS["tiny"], 0).iloc[1]
    assert row["file"] == f"00001_{row['concept']}/{row['concept']}_02s.jpg"
    assert row["image_id"] == f"{row['concept']}/{row['concept']}_02s"
    assert things_numbers(["b", "a", "b", "c"]) == {"a": 1, "b": 2, "c": 3}
