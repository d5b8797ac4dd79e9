import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braindecode_ssr.config import RunSpec, build, merge, parse_setting, read_toml, setting_names
from braindecode_ssr.errors import UsageError


def test_a_spec_survives_json():
    spec = build({"data": {"channels": ["Oz", "Pz"]}, "images": {"views": ["blur"]}})
    assert RunSpec.model_validate(json.loads(spec.model_dump_json())) == spec


def test_equal_specs_have_equal_digests_and_others_do_not():
    assert build({}).digest == RunSpec().digest
    assert build({"train": {"seed": 1}}).digest != RunSpec().digest


def test_settings_that_came_later_leave_the_digests_of_older_runs_alone():
    """As computed before ``train.keep``, ``evaluation.selection`` and others were there."""
    assert RunSpec().digest == "a9d91c6fe26b3669"
    older = {"train": {"epochs": 3, "lr_of": {"a": 1e-3}}, "evaluation": {"gallery": "views"}}
    assert build(older).digest == "653247cf4c88a375"
    laters = ({"train": {"keep": "every"}}, {"evaluation": {"n_way": 5}})
    for later in (*laters, {"model": {"subjects": "own"}}, {"model": {"space": "hyperbolic"}}):
        assert build(later).digest != RunSpec().digest


def test_a_spec_that_was_written_before_they_came_is_read():
    older = RunSpec().model_dump(mode="json")
    older["evaluation"] = {"gallery": "original", "repetitions": None}
    del older["train"]["keep"], older["train"]["solver"], older["train"]["betas"]
    del older["model"]["subjects"]
    assert RunSpec.model_validate(older) == RunSpec()


def test_training_cannot_choose_on_the_test():
    with pytest.raises(UsageError, match="'last' or 'validation'"):
        build({"train": {"selection": "oracle"}})


def test_an_unknown_setting_gets_the_nearest():
    with pytest.raises(UsageError, match=r"did you mean 'train.lr'\?"):
        build({"train": {"lrr": 1e-3}})


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("train", "epochs", 0),
        ("train", "batch_size", 1),
        ("train", "lr", -1),
        ("train", "seed", -1),
        ("data", "protocol", "both"),
        ("data", "subject", -1),
        ("trials", "sfreq", "fast"),
        ("evaluation", "repetitions", 0),
        ("evaluation", "gallery", "altered"),
        ("evaluation", "n_way", 1),
        ("evaluation", "correction", "csl"),
        ("evaluation", "selection", "best"),
        ("model", "subjects", "all"),
        ("train", "keep", "some"),
    ],
)
def test_a_value_that_does_not_fit_is_named(section, name, value):
    with pytest.raises(UsageError) as caught:
        build({section: {name: value}})
    assert f"{section}.{name}" in str(caught.value) and repr(value) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_near_miss_gets_the_nearest_name():
    with pytest.raises(UsageError, match=r"did you mean 'sinkhorn'\?"):
        build({"evaluation": {"correction": "sinkhron"}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.lr=3e-4", {"train": {"lr": 3e-4}}),
        ("method=ssr", {"method": "ssr"}),
        ('images.views=["blur", "mosaic"]', {"images": {"views": ["blur", "mosaic"]}}),
        ("loss.params.mask_ratio = 0.25", {"loss": {"params": {"mask_ratio": 0.25}}}),
        ("data.channels=all", {"data": {"channels": "all"}}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_settings_of_the_command_line(text, expected):
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["train.lr", "=3", ""])
def test_a_setting_without_key_or_value_is_refused(text):
    with pytest.raises(UsageError, match="key=value"):
        parse_setting(text)


NESTED = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)


@given(st.dictionaries(st.sampled_from("abc"), NESTED, max_size=3))
def test_merging_with_nothing_or_itself_changes_nothing(settings):
    assert merge(settings, {}) == merge({}, settings) == merge(settings, settings) == settings


def test_later_settings_win_and_neighbors_stay():
    assert merge({"t": {"a": 1, "b": 2}}, {"t": {"a": 3}}) == {"t": {"a": 3, "b": 2}}


def test_every_setting_name_is_accepted_and_described_by_the_spec():
    names = setting_names()
    assert "train.lr" in names and "method" in names and "data" not in names
    dumped = RunSpec().model_dump()
    for name in names:
        section, _, field = name.partition(".")
        assert field in dumped[section] if field else section in dumped


def test_toml(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('method = "contrast"\n[train]\nepochs = 3\n')
    assert read_toml(file) == {"method": "contrast", "train": {"epochs": 3}}
    file.write_text("method = ")
    with pytest.raises(UsageError, match="TOML"):
        read_toml(file)
    with pytest.raises(UsageError, match="no_such"):
        read_toml(tmp_path / "no_such.toml")
