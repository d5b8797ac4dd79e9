import math

import plain_encoders as plain
import pytest
import torch
from random_batches import random_batch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import Contrast, UncertainBlur
from braindecode_ssr.losses.uncertain_blur import blur_levels
from braindecode_ssr.methods import METHODS

PUBLIC_LOSSES = [3.976324, 2.839040, 2.471863, 2.512990, 2.248335, 3.921853]
PUBLIC_LOSSES += [3.021684, 3.467011, 3.369704, 2.319791, 3.465120, 2.490262]
PUBLIC_LEVELS = "221122101021202100100202"


def batch_of(seed, rows, width):
    """Three embeddings, and three blur levels, the middle one of which is the view."""
    brain, original, view = random_batch(seed, rows, width)
    levels = torch.stack([*random_batch(seed + 50, rows, width)[:2], view], 1)[:, [0, 2, 1]]
    return (brain, original, view), levels


def test_the_numbers_of_the_public_code():
    """UBP's repository at 89d8b83, PLModel.forward of main.py: 12 steps of 2 subjects x 12 images."""
    loss, levels, seen = UncertainBlur(alpha=0.3), plain.noise((12, 3, 5), 60), set()
    for step, wanted in enumerate(PUBLIC_LOSSES):
        order = torch.randperm(24, generator=torch.Generator().manual_seed(step))[:8]
        image, subject, brain = order % 12, order // 12, plain.noise((8, 5), 70 + step)
        other = torch.zeros_like(brain)
        parts = loss(brain, other, other, image, subject, levels[image])
        assert parts["loss"].item() == pytest.approx(wanted, abs=2e-6)
        seen |= set(loss.level.flatten().tolist())
    assert "".join(map(str, loss.level.flatten().tolist())) == PUBLIC_LEVELS and seen == {0, 1, 2}


def test_sure_and_unsure_trials():
    similarity = torch.tensor([0.0] * 30 + [50.0, -50.0])
    assert blur_levels(similarity, similarity).tolist() == [1] * 30 + [0, 2]


def test_without_images_the_batch_decides_for_itself():
    batch, levels = batch_of(0, 40, 5)
    loss = UncertainBlur(regime="free", alpha=0.5).double()
    total = loss(*batch, levels=levels)["loss"]
    assert loss.level.numel() == 0
    calm = UncertainBlur(regime="free", alpha=1e-6)(*batch, levels=levels)["loss"]
    assert total != calm
    plain = Contrast(target="view", regime="free")(*batch)["loss"]
    torch.testing.assert_close(calm, plain)
    order = torch.randperm(40)
    mixed = [part[order] for part in (*batch, levels)]
    torch.testing.assert_close(loss(*mixed[:3], levels=mixed[3])["loss"], total)


def test_ordinary_trials_are_trained_towards_the_view_that_the_published_gallery_holds():
    batch, levels = batch_of(0, 40, 5)
    first = UncertainBlur()(*batch, torch.arange(40), levels=levels)["loss"]  # nothing is known yet
    wanted = Contrast(target="view", regime="free-learned")(*batch)["loss"]
    torch.testing.assert_close(first, wanted)
    published = METHODS["ubp"].as_published
    assert published.evaluation == {"gallery": "views"}
    kernels = [
        "fovea?kernel=45",
        "fovea?kernel=45",
        "fovea",
    ]  # base/data_eeg.py changes them in place
    assert published.settings["images"]["views"] == kernels


def test_with_one_view_it_is_plain_contrast():
    batch, _ = batch_of(1, 9, 4)
    for _ in range(3):
        found = UncertainBlur(regime="free")(*batch, torch.arange(9), levels=batch[2][:, None])
        wanted = Contrast(regime="free", target="view")(*batch)["loss"]
        torch.testing.assert_close(found["loss"], wanted)


def test_the_memory_is_saved_and_testing_does_not_touch_it():
    loss, image = UncertainBlur(alpha=0.5), torch.arange(6)
    for step in range(3):
        batch, levels = batch_of(step, 6, 4)
        loss(*(part.float() for part in batch), image, levels=levels.float())
    again = UncertainBlur(alpha=0.5)
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again.level, loss.level) and again.level.shape == (1, 6)
    before = loss.remembered.clone()
    batch, levels = batch_of(9, 6, 4)
    loss.eval(), again.eval()
    one, other = (each(*batch, image, levels=levels)["loss"] for each in (loss, again))
    assert torch.equal(one, other) and torch.equal(loss.remembered, before)


def test_gradient_numerically():
    loss = UncertainBlur(alpha=0.5).double().eval()
    batch, levels = batch_of(3, 5, 3)
    brain, levels = batch[0].requires_grad_(), levels.requires_grad_()

    def total(brain, levels):
        return loss(brain, *batch[1:], torch.arange(5), levels=levels)["loss"]

    assert torch.autograd.gradcheck(total, (brain, levels))


@pytest.mark.parametrize("wrong", [{"alpha": 0}, {"alpha": 1}, {"gamma": 0}, {"gamma": math.nan}])
def test_bad_input(wrong):
    with pytest.raises(UsageError, match="(alpha .* in .0, 1.|gamma .* in .0, 1.)"):
        UncertainBlur(**wrong)
    batch, levels = batch_of(0, 4, 3)
    with pytest.raises(UsageError, match="image has shape"):
        UncertainBlur()(*batch, torch.arange(5), levels=levels)
    for few in (None, levels[:, :2]):
        with pytest.raises(UsageError, match="three blur levels.*gives (one|2).*--method ubp"):
            UncertainBlur()(*batch, torch.arange(4), levels=few)
