import pandas as pd
import pytest

from braindecode_ssr.config import EvaluationSpec, build
from braindecode_ssr.errors import UsageError
from braindecode_ssr.methods import METHODS
from braindecode_ssr.retrieval.evaluations import (
    FLAGS,
    Evaluation,
    changed,
    changes_of,
    evaluation_of,
    evaluations_of,
    flags_of,
    labeled,
    named_evaluation,
)

RUN = build({"method": "contrast"})


def test_without_a_name_it_is_that_of_the_run():
    assert evaluation_of(RUN) == Evaluation("default", EvaluationSpec(), ())
    altered = build({"evaluation": {"gallery": "views"}})
    assert evaluation_of(altered).name == "gallery=views"
    assert evaluation_of(altered).flags == ("altered-gallery",)


def test_a_name_starts_from_the_defaults_and_not_from_the_run():
    altered = build({"method": "contrast", "evaluation": {"gallery": "views", "repetitions": 2}})
    assert evaluation_of(altered, "default").spec == EvaluationSpec(selection="last")
    assert evaluation_of(altered, "repetitions=5").spec.gallery == "original"


def test_a_name_an_evaluation_and_a_spec_say_the_same():
    name = "gallery=views+n-way=8"
    for asked in (name, named_evaluation(name), named_evaluation(name).spec):
        found = evaluation_of(RUN, asked)
        assert found.name == name and found.flags == ("altered-gallery", "fewer-candidates")


@pytest.mark.parametrize("method", list(METHODS))
def test_every_published_evaluation_is_understood_and_carries_the_flags_of_what_it_does(method):
    evaluation = named_evaluation("as-published", METHODS[method])
    assert set(flags_of(evaluation.spec)) <= set(evaluation.flags) <= set(FLAGS)
    if evaluation.spec.selection == "oracle":
        assert evaluation.settings["train"]["keep"] == "every"


def test_a_training_that_is_not_this_runs_is_named():
    with pytest.raises(UsageError) as caught:
        evaluation_of(RUN, "window=0.1-0.4+channels=O1/Oz")
    text = str(caught.value)
    assert "trials.start = 0.0, trials.stop = 1.0" in text and "data.channels = auto" in text
    assert "--set trials.start=0.1 --set trials.stop=0.4" in text
    assert '--set \'data.channels=["O1", "Oz"]\'' in text


def test_a_run_that_was_trained_so_may_be_called_so():
    spec = build({"method": "contrast", "trials": {"start": 0.1, "stop": 0.4}})
    assert evaluation_of(spec, "window=0.1-0.4").name == "window=0.1-0.4"


@pytest.mark.parametrize(
    ("base", "changes", "name", "flags"),
    [
        ("default", {"repetitions": 2}, "default+repetitions=2", ()),
        (None, {"repetitions": 2}, "repetitions=2", ()),
        ("gallery=views", {"n_way": 4}, "gallery=views+n-way=4", None),
        (None, {}, "default", ()),
    ],
)
def test_changes_show_in_name_and_flags(base, changes, name, flags):
    found = changed(RUN, evaluation_of(RUN, base), changes)
    expected = ("altered-gallery", "fewer-candidates") if flags is None else flags
    assert found.name.removeprefix("default+") == name.removeprefix("default+")
    assert found.flags == expected
    for field, value in changes.items():
        assert getattr(found.spec, field) == value


def test_a_change_takes_no_flag_away_from_a_published_evaluation():
    published = Evaluation("as-published", EvaluationSpec(gallery="views"), ("altered-gallery",))
    found = changed(RUN, published, {"correction": "csls"})
    assert found.name == "as-published+correction=csls"
    assert found.flags == ("altered-gallery", "transductive")


def test_each_name_with_each_number_of_repetitions():
    found = evaluations_of(RUN, ("default", "gallery=views"), (1, 5), {"correction": "csls"})
    assert [e.spec.repetitions for e in found] == [1, 5, 1, 5]
    assert [e.spec.gallery for e in found] == ["original"] * 2 + ["views"] * 2
    assert {e.spec.correction for e in found} == {"csls"}
    assert len({e.name for e in found}) == 4
    assert [e.name for e in evaluations_of(RUN)] == ["default"]


def test_fields_out_of_texts_and_options():
    sets = ("evaluation.n_way=5", "evaluation.correction=csls")
    assert changes_of(sets, gallery="views", other=None) == {
        "n_way": 5,
        "correction": "csls",
        "gallery": "views",
    }


@pytest.mark.parametrize("text", ["train.lr=1", "method=ssr", "evaluation=3"])
def test_a_finished_run_takes_no_other_settings(text):
    with pytest.raises(UsageError, match="is not one of the settings of the evaluation"):
        changes_of((text,))


def test_a_table_says_of_each_row_how_it_was_obtained():
    one = pd.DataFrame({"rank": [1, 2]})
    two = pd.DataFrame({"rank": [1.5], "top1": [0.5]})
    summary = {
        "evaluation": "n-way=4+correction=csls",
        "flags": ["transductive", "fewer-candidates"],
    }
    table = labeled([(one, {"evaluation": "default", "flags": []}), (two, summary)])
    assert table.columns.tolist() == ["evaluation", "flags", "rank", "top1"]
    assert table["flags"].tolist() == ["", "", "transductive;fewer-candidates"]
    assert table["rank"].tolist() == [1, 2, 1.5]


def test_flags_of_the_data_stand_beside_those_of_the_evaluation(sim_dir, tmp_path, monkeypatch):
    from braindecode_ssr.datasets.things_sim import ThingsSim
    from braindecode_ssr.pipeline import evaluate, train
    from braindecode_ssr.resolve import run_spec

    monkeypatch.setattr(ThingsSim, "flags", lambda *asked: ("test-in-whitening",))
    spec = run_spec({"method": "ridge-decoding", "data": {"preset": "tiny"}})
    run = train(spec, data_dir=sim_dir, out=tmp_path / "runs")
    assert run.summary["flags"] == run.record["flags"] == ["test-in-whitening"]
    _, again = evaluate(run.path, "correction=csls")
    assert again["flags"] == ["transductive", "test-in-whitening"]
