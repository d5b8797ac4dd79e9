import math

import numpy as np
import pytest
import torch
from random_batches import random_batch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import Contrast, UncertainBlur, symmetric_info_nce
from braindecode_ssr.losses.uncertain_blur import blur_levels, blurred
from braindecode_ssr.methods import METHODS

SCALE = math.log(1 + 1 / 0.07)


class ByLoops:
    """UBP's bookkeeping, image by image: running similarity, bounds over the batch, next level."""

    def __init__(self, n_images, alpha=0.05, gamma=0.3):
        self.sim, self.level = [1.0] * n_images, [1] * n_images
        self.z = {0.05: 1.959963984540054, 0.3: 1.0364333894937898}[alpha]
        self.gamma = gamma

    def step(self, brain, original, view, image):
        unit = [[v / np.linalg.norm(v) for v in part] for part in (original, view)]
        targets = []
        for row, i in enumerate(image):
            share = (0.96, 1, 1.04)[self.level[i]]
            target = (1 - share) * unit[0][row] + share * unit[1][row]
            targets.append(target / np.linalg.norm(target))
        now = [SCALE * float(b @ t) for b, t in zip(brain, targets, strict=True)]
        running = [
            self.gamma * new + (1 - self.gamma) * self.sim[i]
            for new, i in zip(now, image, strict=True)
        ]
        middle, width = np.mean(running), self.z * np.std(running, ddof=1)
        for row, i in enumerate(image):
            self.level[i] = (
                0 if now[row] > middle + width else 2 if now[row] < middle - width else 1
            )
            self.sim[i] = running[row]
        return np.array(targets)


@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_equals_the_definition_over_many_steps(alpha):
    loss, slow = UncertainBlur(alpha=alpha).double(), ByLoops(12, alpha)
    seen = set()
    for step in range(12):
        brain, original, view = random_batch(step, 8, 5)
        image = torch.randperm(12, generator=torch.Generator().manual_seed(step))[:8]
        targets = slow.step(*(part.numpy() for part in (brain, original, view)), image.tolist())
        wanted = symmetric_info_nce(brain, torch.from_numpy(targets), SCALE)
        torch.testing.assert_close(
            loss(brain, original, view, image)["loss"], wanted, rtol=1e-6, atol=1e-6
        )
        known = len(loss.level)
        assert loss.level.tolist() == slow.level[:known]
        np.testing.assert_allclose(loss.remembered, slow.sim[:known], rtol=1e-6)
        seen |= set(slow.level)
    assert seen == {0, 1, 2}


def test_sure_and_unsure_trials():
    similarity = torch.tensor([0.0] * 30 + [50.0, -50.0])
    assert blur_levels(similarity, similarity).tolist() == [1] * 30 + [0, 2]
    original, view = torch.eye(3), torch.zeros(3, 3)
    found = blurred(original, view, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(found.diagonal(), torch.tensor([0.04, 0.0, -0.04]))


def test_without_images_the_batch_decides_for_itself():
    batch = random_batch(0, 40, 5)
    loss = UncertainBlur(regime="free", alpha=0.5).double()
    total = loss(*batch)["loss"]
    assert loss.level.numel() == 0
    assert total != UncertainBlur(regime="free", alpha=1e-6)(*batch)["loss"]
    plain = Contrast(target="view", regime="free")(*batch)["loss"]
    torch.testing.assert_close(UncertainBlur(regime="free", alpha=1e-6)(*batch)["loss"], plain)
    order = torch.randperm(40)
    torch.testing.assert_close(loss(*batch[:, order])["loss"], total)


def test_ordinary_trials_are_trained_towards_the_view_that_the_published_gallery_holds():
    batch = random_batch(0, 40, 5)
    first = UncertainBlur()(*batch, torch.arange(40))["loss"]  # nothing is known of any trial yet
    wanted = Contrast(target="view", regime="free-learned")(*batch)["loss"]
    torch.testing.assert_close(first, wanted)
    assert METHODS["ubp"].as_published.evaluation == {"gallery": "views"}


def test_where_view_and_original_agree_it_is_plain_contrast():
    brain, original, _ = random_batch(1, 9, 4)
    for _ in range(3):
        found = UncertainBlur(regime="free")(brain, original, 2 * original, torch.arange(9))
        torch.testing.assert_close(
            found["loss"], Contrast(regime="free")(brain, original, original)["loss"]
        )


def test_the_memory_is_saved_and_testing_does_not_touch_it():
    loss, image = UncertainBlur(alpha=0.5), torch.arange(6)
    for step in range(3):
        loss(*random_batch(step, 6, 4).float(), image)
    again = UncertainBlur(alpha=0.5)
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again.level, loss.level) and len(again.level) == 6
    before = loss.remembered.clone()
    batch = random_batch(9, 6, 4).float()
    loss.eval(), again.eval()
    assert torch.equal(loss(*batch, image)["loss"], again(*batch, image)["loss"])
    assert torch.equal(loss.remembered, before)


def test_gradient_numerically():
    loss = UncertainBlur(alpha=0.5).double().eval()
    batch = random_batch(3, 5, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(*x, torch.arange(5))["loss"], (batch,))


@pytest.mark.parametrize("wrong", [{"alpha": 0}, {"alpha": 1}, {"gamma": 0}, {"gamma": math.nan}])
def test_bad_input(wrong):
    with pytest.raises(UsageError, match="(alpha .* in .0, 1.|gamma .* in .0, 1.)"):
        UncertainBlur(**wrong)
    with pytest.raises(UsageError, match="image has shape"):
        UncertainBlur()(*random_batch(0, 4, 3), torch.arange(5))
