import inspect

import pytest
import torch

from braindecode_ssr.losses import LOSSES, MaskedReconstruction, SSRLoss, TripleContrast

PARTS = ["brain_view", "brain_original", "view_original", "reconstruct_view", "reconstruct_brain"]


def build(name, **params):
    loss = LOSSES[name]
    if "n_outputs" in inspect.signature(loss).parameters:
        params["n_outputs"] = 8
    return loss(**params)


def known(loss, rows=6):
    """What a loss wants to know besides the three embeddings: here, two rows show one image."""
    takes = inspect.signature(loss.forward).parameters
    return {"image": torch.arange(rows) // 2} if "image" in takes else {}


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
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, label


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_can_be_saved_and_follows_the_seed(name):
    batch = torch.randn(3, 6, 8)
    one, other = build(name, regime="unit"), build(name, regime="unit")
    other.load_state_dict(one.state_dict())
    results = []
    for loss in (one, other):
        torch.manual_seed(5)
        results.append(loss(*batch, **known(loss))["loss"])
    assert torch.equal(*results)


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
    loss = SSRLoss(8, reconstruct_view=0, reconstruct_brain=0, view_original=0)
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
