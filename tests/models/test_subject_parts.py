import copy
import json

import pytest
import torch
from torch import nn

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import SSR, build_backbone, list_backbones
from braindecode_ssr.models.backbone import backbone_class, takes_subjects

SIGNAL = {"n_chans": 4, "n_times": 80, "sfreq": 100.0}
# Where each subject's part is, and parameters that make the model small.
PARTS = {
    "ATM": (["front.subjects.weight"], {}),
    "NeuralMCRL": (["front.subject.weight", "front.attend.subjects.weight"], {}),
    "CognitionCapturer": (["front.subject.weight", "front.bias"], {"n_hidden": 8}),
    "BrainModule": (["model.subject_embedding.embedding.weight"], {"depth": 1, "hidden_dim": 8}),
}


def make_model(name, n_subjects=3, **params):
    torch.manual_seed(0)
    given = {**PARTS[name][1], **params}
    options = {"n_outputs": 6, "width": 8, "n_features": 5, **SIGNAL}
    return SSR(backbone=name, backbone_params=given, n_subjects=n_subjects, **options).eval()


def as_subject(model, name, subject):
    """The model with one subject's part in the place of everybody's."""
    twin = copy.deepcopy(model)
    for part in PARTS[name][0]:
        weight = twin.backbone.get_parameter(part).data
        weight[:] = weight[subject].clone()
    return lambda x: twin(x, subject_index=torch.zeros(len(x), dtype=torch.long))


@pytest.mark.parametrize("name", PARTS)
def test_each_trial_goes_through_its_own_part_and_a_stranger_gets_the_mean(name):
    model, x = make_model(name), torch.randn(7, 4, 80)
    who = torch.tensor([2, 0, 1, 1, 0, 2, 2])
    by_hand = torch.stack([as_subject(model, name, subject)(x) for subject in range(3)])
    assert (by_hand[0] - by_hand[1]).abs().max() > 1e-4
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(model(x, subject_index=who), by_hand[who, torch.arange(7)], **close)
    torch.testing.assert_close(model(x), by_hand.mean(0), **close)
    torch.testing.assert_close(
        model.final_layer(model(x, return_features=True)["features"]), by_hand.mean(0), **close
    )


@pytest.mark.parametrize("name", PARTS)
def test_gradients_reach_the_parts_of_those_who_are_there_alone(name):
    model = make_model(name)
    model(
        torch.randn(5, 4, 80), subject_index=torch.tensor([0, 2, 2, 0, 2])
    ).square().sum().backward()
    for part in PARTS[name][0]:
        gradient = model.backbone.get_parameter(part).grad
        assert [bool(own.any()) for own in gradient] == [True, False, True]


@pytest.mark.parametrize("name", PARTS)
def test_as_many_parts_as_subjects(name):
    for part in PARTS[name][0]:
        assert len(make_model(name, n_subjects=5).backbone.get_parameter(part)) == 5
    one = make_model(name, n_subjects=1)
    x = torch.randn(2, 4, 80)
    torch.testing.assert_close(one(x), one(x, subject_index=torch.tensor([0, 0])))


def test_these_take_subjects_and_no_others():
    found = {name for name in list_backbones() if takes_subjects(backbone_class(name))}
    assert found == set(PARTS)


def test_parts_that_are_off_by_default_are_asked_for_and_reported():
    small = PARTS["BrainModule"][1]
    options = {"n_outputs": 8, **SIGNAL}
    assert build_backbone("BrainModule", small, **options).adjusted == {}
    own = build_backbone("BrainModule", small, n_subjects=3, **options)
    assert own.adjusted == {"subject_dim": 64}
    given = build_backbone("BrainModule", {**small, "subject_dim": 2}, n_subjects=3, **options)
    assert given.adjusted == {} and given.module.model.subject_dim == 2


def test_asking_for_parts_leaves_weights_and_random_state_alone():
    torch.manual_seed(3)
    plain = build_backbone("ATM", {"n_subjects": 4}, n_outputs=8, **SIGNAL).module
    after = torch.get_rng_state()
    torch.manual_seed(3)
    asked = build_backbone("ATM", n_subjects=4, n_outputs=8, **SIGNAL).module
    assert torch.equal(after, torch.get_rng_state()) and asked.training
    for name, value in plain.state_dict().items():
        assert torch.equal(asked.state_dict()[name], value), name


def test_a_configuration_knows_how_many():
    model = make_model("ATM", n_subjects=5)
    again = SSR.from_config(json.loads(json.dumps(model.get_config()))).eval()
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, 4, 80)
    assert again.n_subjects == 5 and torch.equal(again(x), model(x))


class Mean(nn.Module):
    """Averages over time; adds what its child makes of the subject."""

    def __init__(self, n_chans=4, n_outputs=8):
        super().__init__()
        self.map = nn.Linear(n_chans, n_outputs)
        self.bias = nn.Parameter(torch.zeros(3, n_outputs))

    def forward(self, x, subject_index=None):
        return self.map(x.mean(2)) + self.of(subject_index)


class AllAlikeAtFirst(Mean):
    def of(self, subject_index):
        return self.bias[subject_index]


class Deaf(Mean):
    def of(self, subject_index):
        return 0.0


def test_parts_that_begin_alike_are_parts():
    for backbone in (AllAlikeAtFirst, AllAlikeAtFirst()):
        encoder = build_backbone(
            backbone, n_subjects=3, n_outputs=8, feature_point="head", **SIGNAL
        )
        assert not encoder.module.model.bias.any()


@pytest.mark.parametrize("backbone", [Deaf, Deaf(), "EEGProject"])
def test_a_backbone_that_ignores_subjects(backbone):
    wanted = "(Deaf|EEGProject) has no subject-specific parts.*model.subjects=shared"
    with pytest.raises(UsageError, match=wanted):
        build_backbone(backbone, n_subjects=3, n_outputs=8, **SIGNAL)


def test_parts_that_were_turned_off():
    with pytest.raises(UsageError, match="BrainModule has no subject-specific parts"):
        make_model("BrainModule", subject_dim=0)


@pytest.mark.parametrize("name", PARTS)
def test_too_few_parts(name):
    params = {**PARTS[name][1], "n_subjects": 2}
    with pytest.raises(UsageError, match=f"{name} has no parts for 3 subjects.*n_subjects"):
        SSR(backbone=name, backbone_params=params, n_subjects=3, n_outputs=6, width=8, **SIGNAL)
