import numpy as np
import pandas as pd
import pytest
import torch

from braindecode_ssr.config import EvaluationSpec
from braindecode_ssr.errors import UsageError
from braindecode_ssr.inference.evaluation import TestSet, score
from braindecode_ssr.retrieval.ranks import minus_distance, rank_of_target


class Given(torch.nn.Module):
    """A model whose embeddings are its input."""

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.image_head = torch.nn.Identity()

    def forward(self, x):
        return x[:, 0]


@pytest.fixture(scope="module")
def test_set():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(30, 8)).astype("float32")
    brain = images + 1.5 * rng.normal(size=images.shape).astype("float32")
    ids = [f"c{i}/c{i}_01" for i in range(30)]
    table = pd.DataFrame(
        {
            "subject": 1,
            "image_id": ids,
            "concept": [i.split("/")[0] for i in ids],
            "n_repetitions": 4,
        }
    )
    return TestSet(brain[:, None], table, images, ids, None)


def test_the_open_way_is_the_default(test_set):
    queries, numbers = score(Given(), test_set)
    assert numbers["top1"] == (queries["rank"] == 1).mean()
    assert numbers["n_gallery"] == numbers["n_queries"] == 30
    assert numbers["chance_top1"] == pytest.approx(1 / 30)
    assert "top1" not in queries


def test_among_fewer_candidates_chance_and_gallery_are_those(test_set):
    full, _ = score(Given(), test_set)
    queries, numbers = score(Given(), test_set, EvaluationSpec(n_way=5))
    rng = np.random.default_rng(1)
    drawn = [
        1 + (rng.permutation(29)[:4] < rank - 1).sum()
        for rank in np.repeat(full["rank"].to_numpy(), 400)
    ]
    assert numbers["top1"] == pytest.approx(np.mean(np.array(drawn) == 1), abs=0.02)
    assert numbers["mean_rank"] == pytest.approx(np.mean(drawn), abs=0.05)
    assert numbers["median_rank"] == np.median(drawn)
    assert numbers["top5"] == pytest.approx(1)
    assert numbers["n_gallery"] == 5 and numbers["chance_top1"] == pytest.approx(1 / 5)
    assert queries["top1"].mean() == numbers["top1"] and len(queries) == 30


@pytest.mark.parametrize("correction", ["csls", "hungarian", "sinkhorn"])
def test_a_correction_changes_ranks_and_nearest_but_not_scores(test_set, correction):
    plain, _ = score(Given(), test_set)
    found, numbers = score(Given(), test_set, EvaluationSpec(correction=correction))
    assert (found["rank"] != plain["rank"]).any()
    assert numbers["mean_rank"] == found["rank"].mean()
    assert found["score"].equals(plain["score"])
    hits = found["rank"] == 1
    assert (found.loc[hits, "top_1"] == found.loc[hits, "image_id"]).all()


def test_it_ranks_in_the_space_of_the_model(test_set):
    model = Given()
    model.space = "hyperbolic"
    queries, numbers = score(model, test_set)
    near = minus_distance(test_set.x[:, 0], test_set.gallery)
    assert queries["score"].tolist() == near.diagonal().tolist()
    assert queries["rank"].tolist() == rank_of_target(near, np.arange(30)).tolist()
    assert queries["rank"].tolist() != score(Given(), test_set)[0]["rank"].tolist()
    assert numbers["mean_rank"] == queries["rank"].mean()


def test_more_candidates_than_there_are(test_set):
    with pytest.raises(UsageError, match="n_way = 31 .* 30 test images"):
        score(Given(), test_set, EvaluationSpec(n_way=31))
