"""Invented concept words, and the THINGS-style names of image files."""

from __future__ import annotations

import pandas as pd

from .presets import Preset
from .seeds import generator

ONSETS = "b bl br c ch d dr f fl g gr h j k kl l m n p pl pr r s sh sk sl sn st t tr v w z".split()
VOWELS = "a e i o u oo ee ai ou".split()
CODAS = "b ck d g l m n nd ng p r rn sk st t x".split()


def concept_words(n: int, seed: int) -> list[str]:
    """Invented words, all different, in random order.

    Parameters
    ----------
    n : int
        How many.
    seed : int
        Seed of the experiment.
    """
    rng = generator(seed, "words")
    words: dict[str, None] = {}
    while len(words) < n:
        syllables = [
            str(rng.choice(ONSETS)) + str(rng.choice(VOWELS)) for _ in range(rng.integers(1, 3))
        ]
        words["".join(syllables) + str(rng.choice(CODAS))] = None
    return list(words)


def image_table(preset: Preset, seed: int) -> pd.DataFrame:
    """The image table of an experiment, in image-number order.

    Concepts are numbered in ASCII order within their split, and images of a concept from 1, so that the
    sorted file listing of a split is in image-number order, as in THINGS-EEG2.

    Returns
    -------
    DataFrame
        ``split, number, image_id, concept, file``.
    """
    words = concept_words(preset.concepts + preset.test_images, seed)
    exemplar = generator(seed, "exemplars").integers(1, 13, preset.test_images)
    train = [
        (word, k)
        for word in sorted(words[: preset.concepts])
        for k in range(1, preset.images_per_concept + 1)
    ]
    test = list(zip(sorted(words[preset.concepts :]), exemplar.tolist(), strict=True))
    return pd.concat([_rows("train", train), _rows("test", test)], ignore_index=True)


def things_numbers(concepts: list[str]) -> dict[str, int]:
    """Concept to its number from 1 in the ASCII-sorted list of all concepts."""
    return {concept: k for k, concept in enumerate(sorted(set(concepts)), 1)}


def _rows(split: str, images: list[tuple[str, int]]) -> pd.DataFrame:
    concepts = [concept for concept, _ in images]
    folder = things_numbers(concepts)
    stems = [f"{concept}_{k:02d}{'b' if k == 1 else 's'}" for concept, k in images]
    return pd.DataFrame(
        {
            "split": split,
            "number": range(1, len(images) + 1),
            "image_id": [f"{c}/{stem}" for c, stem in zip(concepts, stems, strict=True)],
            "concept": concepts,
            "file": [
                f"{folder[c]:05d}_{c}/{stem}.jpg" for c, stem in zip(concepts, stems, strict=True)
            ],
        }
    )
