"""The base classes: what a subclass need not write itself."""

import math

import pytest
import torch

from braindecode_ssr.errors import TrainingError, UsageError
from braindecode_ssr.losses import ContrastiveLoss, Loss
from braindecode_ssr.losses.base import check_number, check_weights, perceptron
from braindecode_ssr.retrieval.ranks import space_of


class Distances(ContrastiveLoss):
    weights = {"far": 3.0}

    def parts(self, brain, original, view, image):
        return {"near": (brain - original).square().mean(), "far": (brain - view).square().mean()}


def test_a_subclass_defines_its_parts_and_gets_the_total():
    brain, original, view = torch.randn(3, 4, 5)
    found = Distances()(brain, original, view)
    assert list(found) == ["loss", "near", "far"]
    torch.testing.assert_close(found["loss"], found["near"] + 3 * found["far"])


def test_a_subclass_gets_checked_embeddings():
    with pytest.raises(UsageError, match=r"same shape.*\(4, 5\), \(4, 5\) and \(4, 6\)"):
        Distances()(torch.randn(4, 5), torch.randn(4, 5), torch.randn(4, 6))
    with pytest.raises(TrainingError, match="at least 2, not 1"):
        Distances()(*torch.randn(3, 1, 5))


def test_parts_have_to_be_defined():
    with pytest.raises(TypeError, match="parts"):
        ContrastiveLoss()


def test_a_loss_compares_vectors_unless_it_says_otherwise():
    assert space_of(Loss()) == space_of(Distances) == "euclidean"


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1]", (0, 0.5, 1, True), (-0.1, 1.1, math.nan)),
        ("(0, 1]", (0.1, 1), (0, 1.1)),
        ("[0, 1)", (0, 0.9), (1, -1)),
        ("(0, inf)", (1e-9, 1e9), (0, math.inf, "1", None, [1])),
        ("[1e-3, inf)", (1e-3,), (9e-4,)),
    ],
)
def test_numbers_lie_in_their_interval(interval, inside, outside):
    for value in inside:
        assert check_number("x", value, interval) == float(value)
    for value in outside:
        with pytest.raises(UsageError, match="x has to be a number in"):
            check_number("x", value, interval)


def test_weights_are_checked_one_by_one():
    assert check_weights({"a": 0, "b": 2}) == {"a": 0, "b": 2}
    with pytest.raises(UsageError, match="^b has to be"):
        check_weights({"a": 1, "b": math.inf})
    with pytest.raises(UsageError, match="a, b are all 0"):
        check_weights({"a": 0, "b": 0.0})


def test_a_perceptron_ends_in_a_linear_map():
    kinds = [type(layer).__name__ for layer in perceptron(3, 4, 5, activation=torch.nn.GELU)]
    assert kinds == ["Linear", "GELU", "Linear"]
