import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.errors import DataError
from braindecode_ssr.retrieval.ranks import query_table, similarity


def test_one_row_per_query_with_rank_score_and_the_nearest():
    gallery = np.eye(6)
    ids = [f"c{i}/c{i}_1" for i in range(6)]
    images = pd.DataFrame(
        {"subject": 3, "image_id": [ids[4], ids[0]], "concept": ["c4", "c0"]}, index=[9, 9]
    )
    queries = np.array([[0, 0, 0, 0, 1, 0.1], [0.5, 1, 0, 0, 0, 0]])
    table = query_table(queries, gallery, images, ids)
    assert table["rank"].tolist() == [1, 2]
    assert table["top_1"].tolist() == [ids[4], ids[1]]
    assert table["subject"].tolist() == [3, 3]
    assert table.loc[1, "score"] == 0.5 / np.sqrt(1.25)
    assert list(table.columns) == ["subject", "image_id", "concept", "rank", "score"] + [
        f"top_{k}" for k in range(1, 6)
    ]


def test_an_image_that_is_no_candidate_is_not_ranked_as_another():
    images = pd.DataFrame({"subject": 1, "image_id": ["a", "lost"], "concept": ["a", "l"]})
    with pytest.raises(DataError, match="'lost'.*not among the candidates"):
        query_table(np.eye(2), np.eye(2), images, ["a", "b"])


def test_a_gallery_of_three_has_three_nearest():
    ids = ["a/a_1", "b/b_1", "c/c_1"]
    images = pd.DataFrame({"subject": 1, "image_id": ids, "concept": list("abc")})
    table = query_table(np.eye(3), np.eye(3), images, ids)
    assert [name for name in table if name.startswith("top_")] == ["top_1", "top_2", "top_3"]


@pytest.mark.parametrize("space", ["euclidean", "hyperbolic"])
@pytest.mark.parametrize("size", [1, 7, 40])
def test_blocks_of_queries_give_the_same_table(monkeypatch, space, size):
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(40, 8)).round(1)
    gallery[7] = gallery[3]  # a tie
    queries = gallery + rng.normal(size=gallery.shape)
    ids = [f"c{i}/c{i}_0" for i in range(40)]
    images = pd.DataFrame({"subject": 1, "image_id": ids, "concept": [i[:2] for i in ids]})
    whole = query_table(queries, gallery, images, ids, space=space)
    asked = []

    def counted(*args):
        asked.append(len(args[0]))
        return similarity(*args)

    monkeypatch.setattr("braindecode_ssr.retrieval.ranks.AT_ONCE", size * 40)
    monkeypatch.setattr("braindecode_ssr.retrieval.ranks.similarity", counted)
    blocks = query_table(queries, gallery, images, ids, space=space)
    assert max(asked[1:] or asked) == size
    pd.testing.assert_frame_equal(blocks, whole, rtol=1e-12)
    queries[33] = np.nan
    with pytest.raises(DataError, match="row 33"):
        query_table(queries, gallery, images, ids, space=space)
