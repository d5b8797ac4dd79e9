import inspect
import pickle
import subprocess
import sys

import pytest
import torch
from random_batches import known, of_any_kind

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import (
    LOSSES,
    MaskedReconstruction,
    SingleAnchor,
    SSRLoss,
    TripleContrast,
)

PARTS = ["brain_view", "brain_original", "view_original", "reconstruct_view", "reconstruct_brain"]


def build(name, **params):
    return of_any_kind(LOSSES[name], **params)


@pytest.mark.parametrize("regime", ["free", "unit"])
@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_has_the_one_face(name, regime):
    torch.manual_seed(0)
    loss = build(name, regime=regime)
    brain, original, view = (torch.randn(6, 8, requires_grad=True) for _ in range(3))
    parts = loss(brain, original, view, **known(loss))
    assert next(iter(parts)) == "loss" and len(parts) > 1
    assert all(part.shape == () and torch.isfinite(part) for part in parts.values())
    parts["loss"].backward()
    assert brain.grad.abs().sum() > 0
    for label, parameter in loss.named_parameters():
        if label.startswith(
            "clubs."
        ):  # moved by an optimizer of the loss, before its value is taken
            continue
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, label


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_can_be_saved_and_follows_the_seed(name):
    batch = torch.randn(3, 6, 8)
    one, other = build(name, regime="unit"), build(name, regime="unit")
    other.load_state_dict(one.state_dict())
    results = []
    for loss in (one, other, pickle.loads(pickle.dumps(one))):
        torch.manual_seed(5)
        results.append(loss(*batch, **known(loss))["loss"])
    assert results[0] == results[1] == results[2]


def test_ssr_is_the_sum_of_its_two_branches():
    batch = torch.randn(3, 6, 8)
    loss = SSRLoss(8, reconstruct_view=0.1, reconstruct_brain=0.2, brain_view=0.5)
    torch.manual_seed(2)
    parts = loss(*batch)
    assert list(parts) == ["loss", *PARTS]
    contrast = TripleContrast(brain_view=0.5)(*batch)
    reconstruction = MaskedReconstruction(8, reconstruct_view=0.1, reconstruct_brain=0.2)
    reconstruction.load_state_dict(loss.reconstruction.state_dict())
    torch.manual_seed(2)
    rest = reconstruction(*batch)
    torch.testing.assert_close(parts["loss"], contrast["loss"] + rest["loss"])


def test_parts_of_weight_zero_are_gone():
    loss = SSRLoss(8, "free", reconstruct_view=0, reconstruct_brain=0, view_original=0)
    assert list(loss(*torch.randn(3, 4, 8))) == ["loss", "brain_view", "brain_original"]
    assert not list(loss.parameters())
    only = SSRLoss(8, brain_view=0, brain_original=0, view_original=0)
    assert list(only(*torch.randn(3, 4, 8))) == ["loss", "reconstruct_view", "reconstruct_brain"]


def test_ssr_finds_partners_that_are_there():
    """On a toy problem where brain and images share a code, the contrasts fall and stay finite."""
    torch.manual_seed(0)
    code = torch.randn(64, 8)
    brain = torch.nn.Linear(12, 8)
    signals = torch.cat([code, torch.randn(64, 4)], 1)
    loss = SSRLoss(8)
    optimizer = torch.optim.Adam([*brain.parameters(), *loss.parameters()], 3e-2)
    first = None
    for _ in range(150):
        parts = loss(brain(signals), code, code + 0.1 * torch.randn(64, 8))
        first = first or {name: part.item() for name, part in parts.items()}
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
    for name in ("brain_view", "brain_original", "reconstruct_view", "reconstruct_brain"):
        assert parts[name].item() < 0.5 * first[name], name


def test_a_single_anchor_beside_or_instead_of_the_pairs():
    batch = torch.randn(3, 6, 8)
    pairs = {"brain_view": 0, "brain_original": 0, "view_original": 0}
    nothing = {"reconstruct_view": 0, "reconstruct_brain": 0}
    alone = SSRLoss(8, regime="unit", single_anchor=2.0, **pairs, **nothing)
    wanted = SingleAnchor("unit")(*batch)["loss"]
    parts = alone(*batch)
    assert list(parts) == ["loss", "single_anchor"]
    torch.testing.assert_close(parts["loss"], 2 * wanted)
    beside = SSRLoss(8, single_anchor=1.0)(*batch)
    assert list(beside) == ["loss", *PARTS[:3], "single_anchor", *PARTS[3:]]


SMALL = {"n_tokens": 4, "drop_prob": 0.0}
CHOICES = [
    {"regime": "free"},
    {"scale": 5.0},
    {"mask_ratio": 0.9},
    {"hidden": 5},
    {"context": "shuffled"},
    {"context": "detached"},
    {"context": "none"},
    {"anchor": "detached"},
    {"duplicates": "ignored"},
    {"duplicates": "positives"},
    {"single_anchor": 1.0},
    {"reconstructor": "tokens", "reconstructor_params": SMALL},
    {"pull": "mse"},
    {"pull_target": "detached"},
    {"reconstructor": "whole"},
    {"level": "encoded"},
    {"view_projector": "own"},
    {"whole_ratio": 0.5},
    {"visual": "original"},
    {"visual": "mean"},
    *({name: 0.5} for name in PARTS),
]


def gradients(**params):
    torch.manual_seed(0)
    batch = torch.randn(3, 6, 8, requires_grad=True)
    torch.manual_seed(0)
    loss = SSRLoss(8, **params, backbone_width=8, n_features=8)
    inputs = {"hidden": batch[0] ** 2, "features": batch[1] ** 2, "view_features": batch[2] ** 2}
    total = loss(*batch, image=torch.arange(6) // 2, **inputs)["loss"]
    return torch.autograd.grad(total, batch)[0]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_no_choice_is_without_effect(choice):
    """What embeddings are moved by is another thing with each of them."""
    assert not torch.allclose(gradients(**choice), gradients(), rtol=1e-4, atol=1e-7)


def test_every_parameter_of_ssr_is_among_the_choices():
    tried = {name for choice in CHOICES for name in choice}
    sizes = {"n_outputs", "backbone_width", "n_features"}
    assert tried == set(inspect.signature(SSRLoss).parameters) - sizes


NOT_A_NUMBER = ["half", [1], float("nan")]
BAD = [
    *(
        {name: value}
        for name in ("regime", "reconstructor", "duplicates", "level", "view_projector")
        for value in ("x", 3)
    ),
    *(
        {name: value}
        for name in ("scale", "mask_ratio", "whole_ratio", "hidden", "single_anchor", *PARTS)
        for value in NOT_A_NUMBER
    ),
    {"scale": 0},
    {"hidden": 0},
    {"reconstructor_params": 5},
    *(
        {"reconstructor": "tokens", "reconstructor_params": {name: value}}
        for name in ("n_tokens", "n_blocks", "n_heads", "drop_prob")
        for value in (*NOT_A_NUMBER, -1)
    ),
]


def test_vectors_before_the_projectors_are_reconstructed():
    """Backbone output and image features, of widths of their own, in place of embeddings."""
    sizes = {"backbone_width": 12, "n_features": 6, "mask_ratio": 0.3}
    loss = SSRLoss(8, level="encoded", visual="mean", **sizes)
    batch, brain, images, views = torch.randn(3, 5, 8), *torch.randn(3, 5, 12)
    images, views = images[:, :6], views[:, :6]
    torch.manual_seed(4)
    found = loss(*batch, hidden=brain, features=images, view_features=views)
    torch.manual_seed(4)
    wanted = loss.reconstruction.parts(brain, (images + views) / 2)
    assert all(torch.equal(found[name], part) for name, part in wanted.items())
    with pytest.raises(UsageError, match="hidden"):
        loss(*batch, features=images, view_features=views)
    with pytest.raises(UsageError, match="backbone_width"):
        SSRLoss(8, level="encoded")


def test_views_with_a_projector_of_their_own():
    loss = SSRLoss(8, view_projector="own", n_features=6)
    brain, original, view = torch.randn(3, 5, 8)
    features = torch.randn(5, 6)
    torch.manual_seed(1)
    found = loss(brain, original, view, view_features=features)
    shared = SSRLoss(8)
    shared.load_state_dict(loss.state_dict(), strict=False)
    torch.manual_seed(1)
    wanted = shared(brain, original, loss.view_projector(features))
    assert all(torch.equal(found[name], part) for name, part in wanted.items())
    with pytest.raises(UsageError, match="view_features"):
        loss(brain, original, view)


@pytest.mark.parametrize("params", BAD, ids=str)
def test_bad_choices_are_one_line(params):
    with pytest.raises(UsageError) as caught:
        SSRLoss(8, **params)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", NOT_A_NUMBER)
@pytest.mark.parametrize(
    "name, param",
    [
        ("soft-label", "top_k"),
        ("uncertain-blur", "alpha"),
        ("semantic-swap", "domain"),
        ("semantic-swap", "swap"),
        ("contrast-mse", "distance"),
        ("single-anchor", "view_original"),
        ("bravl", "scale"),
        ("bravl", "samples"),
        ("bravl", "inter"),
    ],
)
def test_numbers_of_other_losses_too(name, param, value):
    with pytest.raises(UsageError):
        build(name, **{param: value})


@pytest.mark.slow  # test_architecture.py reads the same from the imports
def test_losses_need_torch_and_little_else():
    heavy = "braindecode mne skorch sklearn pandas scipy pydantic moabb".split()
    code = (
        "import sys; from braindecode_ssr.losses import LOSSES; [LOSSES[n] for n in LOSSES];"
        f"print(*[m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
