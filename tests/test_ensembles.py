"""Means of similarities: what they are, what they are called, and what is not averaged."""

import numpy as np
import pandas as pd
import pytest
from test_scoring import IDS, NEAR, REAL, N, percent, ranks, real

from braindecode_ssr import ensemble
from braindecode_ssr.errors import SSRError
from braindecode_ssr.retrieval.ranks import ensemble as mean

OTHER = NEAR + np.random.default_rng(5).normal(size=(N, N))


@real
def test_ten_real_seeds():
    files = [f"{REAL / 'things_eeg2_similarity.npz'}:rn50_seed{seed}" for seed in range(10)]
    whole = ensemble(files, images=REAL / "image_ids.txt", method="RN50")
    assert percent(whole) == [37.0, 73.5]
    assert whole[1]["method"] == "RN50, ensemble of 10" and whole[1]["flags"] == ["ensemble"]


def test_the_mean_is_over_standardized_rows():
    weights = [1.0, 3.0]
    expected = np.zeros((N, N))
    for near, weight in zip((NEAR, OTHER), weights, strict=True):
        for q in range(N):
            expected[q] += weight / 4 * (near[q] - np.mean(near[q])) / np.std(near[q])
    np.testing.assert_allclose(mean([NEAR, OTHER], weights), expected)
    scaled = 100 * NEAR - 7 * np.arange(N)[:, None]  # another unit, another offset of each query
    np.testing.assert_allclose(mean([scaled, OTHER], weights), expected)
    assert np.isfinite(mean([np.ones((N, N)), OTHER], [1, 1])).all()
    alone = mean([NEAR[:3], OTHER[:3]], weights)  # no other query has a say
    np.testing.assert_allclose(alone, expected[:3])


@pytest.fixture
def files(tmp_path):
    """Two files with the same images in another order."""
    order = np.random.default_rng(2).permutation(N)
    names = [IDS[n] for n in order]
    pd.DataFrame(NEAR, IDS, IDS).to_csv(tmp_path / "a.csv")
    pd.DataFrame(OTHER[np.ix_(order, order)], names, names).to_csv(tmp_path / "b.csv")
    return tmp_path / "a.csv", tmp_path / "b.csv"


def test_files_are_joined_by_name(files):
    near = mean([NEAR, OTHER], [1, 1])
    queries, summary = ensemble(files, subject=3)
    assert ranks((queries,)) == {
        name: int((near[n] >= near[n, n]).sum()) for n, name in enumerate(IDS)
    }
    assert summary["method"] == "a+b, ensemble of 2" and summary["subject"] == 3
    assert summary["ensemble"]["weights"] == [0.5, 0.5] and len(summary["source"]) == 2
    _, corrected = ensemble(files, evaluation="correction=csls")
    assert corrected["flags"] == ["transductive", "ensemble"]


def test_labels_of_a_run_cannot_be_changed(files):
    from braindecode_ssr.sharing.score import read_similarity

    found = read_similarity(files[0]).labeled(subject=3, dataset="things-eeg")
    assert found.labeled(subject=3, method="mine").labels["method"] == "mine"
    with pytest.raises(SSRError, match="of subject 3, not 4"):
        found.labeled(subject=4)


def test_what_is_not_averaged(files, tmp_path):
    names = [*IDS[:-1], "other"]
    pd.DataFrame(OTHER, names, names).to_csv(tmp_path / "c.csv")
    for sources, options, words in [
        (files[:1], {}, "at least two"),
        (str(files[0]), {}, "at least two"),
        ((files[0], files[0]), {}, "given twice"),
        ((files[0], tmp_path / "c.csv"), {}, "not tested on the same images: 'c11/c11_01b'"),
        (files, {"weights": "test"}, "'test'"),
        (files, {"weights": "validation"}, "held-out training concepts"),
    ]:
        with pytest.raises(SSRError, match=words):
            ensemble(sources, **options)
