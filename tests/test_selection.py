import pytest

from braindecode_ssr.config import build, merge
from braindecode_ssr.errors import MissingDataError, UsageError
from braindecode_ssr.inference.evaluation import check_selection, selected, weights_to_test
from braindecode_ssr.runs import Run

KEPT = {"train": {"epochs": 4, "keep": "every"}}
SCORED = {"train": {"validation_concepts": 5}}
BEST = {"train": {"validation_concepts": 5, "selection": "validation"}}


def spec_of(selection, *layers):
    return build(merge(*layers, {"evaluation": {"selection": selection}}))


@pytest.fixture
def run(tmp_path):
    """A run folder with four epochs, the second and the fourth best on validation concepts."""
    (tmp_path / "epochs").mkdir()
    for epoch in range(1, 5):
        (tmp_path / "epochs" / f"epoch-{epoch:04d}.safetensors").write_bytes(b"")
    (tmp_path / "history.csv").write_text(
        "valid_mrr,valid_top1\n0.1,0.5\n0.5,0.1\n0.2,0.6\n0.5,0.2\n"
    )
    return Run(tmp_path)


@pytest.mark.parametrize(
    ("layers", "asked", "comes_to"),
    [
        ((), "trained", "last"),
        ((BEST,), "trained", "validation"),
        ((BEST,), "last", "last"),
        ((KEPT,), "oracle", "oracle"),
    ],
)
def test_what_a_choice_comes_to(layers, asked, comes_to):
    assert selected(spec_of(asked, *layers)) == comes_to


@pytest.mark.parametrize(
    ("layers", "asked", "epochs"),
    [
        ((KEPT,), "trained", [4]),
        ((KEPT,), "last", [4]),
        ((KEPT,), "oracle", [1, 2, 3, 4]),
        ((KEPT, SCORED), "validation", [2]),
        ((KEPT, BEST), "validation", [2]),
        ((KEPT, BEST), "trained", [2]),
        ((KEPT, BEST), "last", [4]),
    ],
)
def test_the_epochs_that_are_tested(run, layers, asked, epochs):
    spec = spec_of(asked, *layers)
    found = weights_to_test(run, spec)
    assert [epoch for epoch, _ in found] == epochs
    of_training = selected(spec) == spec.train.selection
    for epoch, path in found:
        kept = run.epochs / f"epoch-{epoch:04d}.safetensors"
        assert path == (run.weights if of_training else kept)


@pytest.mark.parametrize("asked", ["trained", "last", "validation", "oracle"])
def test_a_closed_form_has_one_solution(run, asked):
    spec = spec_of(asked, {"train": {"solver": "ridge-decoding"}})
    assert weights_to_test(run, spec) == [(None, run.weights)]


@pytest.mark.parametrize(
    ("layers", "asked", "hint"),
    [
        ((), "oracle", "--set train.keep=every"),
        ((BEST,), "last", "--set train.keep=every"),
        ((SCORED,), "validation", "--set train.keep=every"),
        ((KEPT,), "validation", "--set train.validation_concepts"),
    ],
)
def test_a_run_that_cannot_give_it_says_how_to_train_one_that_can(run, layers, asked, hint):
    for check in (check_selection, lambda spec: weights_to_test(run, spec)):
        with pytest.raises(UsageError) as caught:
            check(spec_of(asked, *layers))
        assert hint in str(caught.value)


def test_epochs_that_are_gone(run):
    (run.epochs / "epoch-0003.safetensors").unlink()
    with pytest.raises(MissingDataError, match="epoch 3"):
        weights_to_test(run, spec_of("oracle", KEPT))
