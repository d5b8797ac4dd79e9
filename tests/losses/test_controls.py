"""What reconstruction must gain where there is something to gain, and must not where there is nothing.

Both modalities hold six numbers that are correlated between them and forty that the other one lacks. An
encoder of each is trained on 128 pairs, which is too little for contrast alone to leave the forty out.
"""

import numpy as np
import torch
from torch.nn.functional import normalize

from braindecode_ssr.losses import SSRLoss

WIDTH, N_TRAIN, N_TEST, STEPS = 16, 128, 100, 160


def pair(seed, correlation):
    """Brains and images, (228, 46): parts that are correlated, and private ones, mixed by rotations."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    rows = N_TRAIN + N_TEST
    common, own = normal(2, rows, 6)
    partner = correlation * common + (1 - correlation**2) ** 0.5 * own
    sides = (torch.cat([part, normal(rows, 40)], 1) for part in (partner, common))
    return [side @ torch.linalg.qr(normal(46, 46))[0] for side in sides]


def trained(seed, correlation, **params):
    """Reciprocal rank of the own image among 100 unseen ones, and the loss by context on them."""
    brains, images = pair(seed, correlation)
    torch.manual_seed(seed)
    views = images + 0.1 * torch.randn_like(images)
    to_brain, to_image = torch.nn.Linear(46, WIDTH), torch.nn.Linear(46, WIDTH)
    loss = SSRLoss(WIDTH, **params)
    weights = [p for part in (to_brain, to_image, loss) for p in part.parameters()]
    optimizer = torch.optim.AdamW(weights, 1e-2, fused=True)
    for _ in range(STEPS):
        rows = torch.randperm(N_TRAIN)[:16]
        optimizer.zero_grad()
        batch = to_brain(brains[rows]), to_image(images[rows]), to_image(views[rows])
        loss(*batch)["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        unseen = to_brain(brains[N_TRAIN:]), to_image(images[N_TRAIN:]), to_image(views[N_TRAIN:])
        loss(*unseen)
        cosine = normalize(unseen[0]) @ normalize(unseen[1]).T
    rank = (cosine >= cosine.diagonal()[:, None]).sum(1)
    return (1 / rank).mean().item(), {k: v.item() for k, v in loss.diagnostics().items()}


RECONSTRUCTED = {"mask_ratio": 0.8, "reconstruct_view": 10.0, "reconstruct_brain": 10.0}
NOT = {"reconstruct_view": 0.0, "reconstruct_brain": 0.0}
SEEDS = (0,)


def test_what_the_other_modality_knows_is_read_and_retrieval_gains():
    runs = [trained(seed, 0.99, **RECONSTRUCTED) for seed in SEEDS]
    without = [trained(seed, 0.99, **NOT)[0] for seed in SEEDS]
    shuffled = [trained(seed, 0.99, context="shuffled", **RECONSTRUCTED)[0] for seed in SEEDS]
    for _, by_context in runs:
        for name in ("reconstruct_view", "reconstruct_brain"):
            assert by_context[f"{name}_paired"] < 0.5 * by_context[f"{name}_shuffled"]
            assert by_context[f"{name}_paired"] < by_context[f"{name}_none"]
    gain = np.mean([rank for rank, _ in runs]) - np.mean(without)
    over_shuffled = np.mean([rank for rank, _ in runs]) - np.mean(shuffled)
    # After 120 steps, seeds 0 to 3: 0.04 to 0.11 and 0.07 to 0.13; after 200, 0.12 to 0.21 and 0.12 to 0.23.
    assert gain > 0.05 and over_shuffled > 0.05


def test_where_the_other_modality_knows_nothing_nothing_is_gained():
    rank, by_context = trained(0, 0.0, **RECONSTRUCTED)
    for name in ("reconstruct_view", "reconstruct_brain"):
        gain = 1 - by_context[f"{name}_paired"] / by_context[f"{name}_shuffled"]
        assert abs(gain) < 0.1  # seeds 0 to 3: at most 0.11 in one direction
    without, _ = trained(0, 0.0, **NOT)
    assert max(rank, without) < 0.12 and rank - without < 0.05  # by chance 0.052
