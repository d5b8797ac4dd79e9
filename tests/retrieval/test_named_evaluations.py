from types import SimpleNamespace

import pytest

from braindecode_ssr.config import EvaluationSpec, build, merge
from braindecode_ssr.errors import UsageError
from braindecode_ssr.methods import AsPublished
from braindecode_ssr.retrieval.evaluations import evaluation_name, named_evaluation


def published(**fields):
    return SimpleNamespace(as_published=AsPublished(**fields))


@pytest.mark.parametrize(
    ("name", "evaluation", "flags"),
    [
        ("default", {}, ()),
        ("repetitions=1", {"repetitions": 1}, ()),
        ("gallery=original", {"gallery": "original"}, ()),
        ("gallery=views", {"gallery": "views"}, ("altered-gallery",)),
        ("gallery=concept", {"gallery": "concept"}, ("class-templates",)),
        ("n-way=50", {"n_way": 50}, ("fewer-candidates",)),
        ("correction=csls", {"correction": "csls"}, ("transductive",)),
        ("correction=hungarian", {"correction": "hungarian"}, ("transductive",)),
        ("correction=sinkhorn", {"correction": "sinkhorn"}, ("transductive",)),
        (
            "gallery=views+n-way=8+repetitions=3",
            {"gallery": "views", "n_way": 8, "repetitions": 3},
            ("altered-gallery", "fewer-candidates"),
        ),
    ],
)
def test_an_evaluation_by_name_needs_no_other_training_and_carries_its_flags(
    name, evaluation, flags
):
    found = named_evaluation(name)
    assert found.name == name and found.settings == {} and found.flags == flags
    assert found.spec == EvaluationSpec(**{"selection": "last", **evaluation})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("window=0.1-0.4", {"trials": {"start": 0.1, "stop": 0.4}}),
        ("window=-0.1-0.25", {"trials": {"start": -0.1, "stop": 0.25}}),
        ("channels=occipital-17", {"data": {"channels": "occipital-17"}}),
        ("channels=O1/Oz/O2", {"data": {"channels": ("O1", "Oz", "O2")}}),
        ("selection=oracle", {"train": {"keep": "every"}}),
        (
            "selection=validation",
            {"train": {"selection": "validation", "validation_concepts": 20}},
        ),
        (
            "window=0-0.2+channels=all",
            {"trials": {"start": 0.0, "stop": 0.2}, "data": {"channels": "all"}},
        ),
    ],
)
def test_what_needs_a_training_of_its_own_says_so(name, settings):
    found = named_evaluation(name)
    assert found.settings == settings
    build(merge({}, found.settings))


@pytest.mark.parametrize("name", ["default", "repetitions=1", "n-way=2+correction=csls"])
def test_the_name_of_an_evaluation_leads_back_to_it(name):
    assert evaluation_name(named_evaluation(name).spec) == name


def test_an_evaluation_that_takes_what_was_trained_is_named_by_what_that_was():
    assert evaluation_name(EvaluationSpec()) == "default"
    assert evaluation_name(EvaluationSpec(), "validation") == "selection=validation"
    assert named_evaluation("selection=validation").spec.selection == "validation"


def test_as_published_adds_its_own_flags_and_cannot_leave_one_out():
    method = published(
        evaluation={"gallery": "views", "selection": "oracle"}, flags=["test-images"]
    )
    found = named_evaluation("as-published", method)
    assert found.flags == ("test-selection", "test-images", "altered-gallery")
    assert found.settings == {"train": {"keep": "every"}}
    assert named_evaluation("as-published", published()).flags == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("defualt", "did you mean 'default'?"),
        ("as-publish", "did you mean 'as-published'?"),
        ("galery=views", "did you mean 'gallery'?"),
        ("gallery=veiws", "did you mean 'views'?"),
        ("correction=cssl", "did you mean 'csls'?"),
        ("selection=best", "'oracle'"),
        ("repetitions=0", "evaluation.repetitions"),
        ("repetitions=ten", "evaluation.repetitions"),
        ("n-way=1", "evaluation.n_way"),
        ("window=0.4-0.1", "START before STOP"),
        ("window=1.2.3-4", "START before STOP"),
        ("window=", "START before STOP"),
        ("as-published", "name a method"),
        ("gallery=views+", "axis"),
        ("", "evaluation"),
    ],
)
def test_a_name_that_is_not_understood(name, expected):
    with pytest.raises(UsageError) as caught:
        named_evaluation(name)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_published_evaluation_with_an_unknown_flag_or_setting_is_refused():
    with pytest.raises(UsageError, match="did you mean 'transductive'"):
        named_evaluation("as-published", published(flags=["transductiv"]))
    with pytest.raises(UsageError, match=r"did you mean 'train\.keep'"):
        named_evaluation("as-published", published(settings={"train": {"kep": "every"}}))


def test_the_default_is_the_open_one():
    default = named_evaluation("default")
    assert default.spec == EvaluationSpec(selection="last")
    assert default.flags == () and default.settings == {}
