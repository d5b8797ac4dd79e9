import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_training import make_data, make_parts, weights

from braindecode_ssr.config import TrainSpec
from braindecode_ssr.training.callbacks import learning_rate_factor
from braindecode_ssr.training.retriever import fit


@given(st.integers(1, 300), st.integers(0, 50), st.sampled_from(["constant", "cosine"]))
def test_the_rate_rises_to_the_whole_and_then_never_rises(total, warmup, schedule):
    shares = [
        learning_rate_factor(step, total + warmup, warmup, schedule)
        for step in range(total + warmup)
    ]
    assert all(0 < share <= 1 for share in shares)
    assert shares[warmup] == 1
    assert all(a < b for a, b in zip(shares[:warmup], shares[1 : warmup + 1], strict=True)) or (
        warmup and shares[warmup - 1] == 1
    )
    assert all(a >= b for a, b in zip(shares[warmup:], shares[warmup + 1 :], strict=False))


def test_the_cosine_is_torchs():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        assert learning_rate_factor(step, 20, 0, "cosine") == pytest.approx(
            reference.get_last_lr()[0]
        )
        optimizer.step()
        reference.step()


def rates_of(folder, *, epochs=3, resume=False, **train):
    """The net of a run, and the learning rate of each of its steps."""
    seen = []
    spec = TrainSpec(epochs=epochs, batch_size=32, lr=1e-2, schedule="cosine", **train)
    model, loss = make_parts()
    step = torch.optim.AdamW.step

    def noted(self, *args, **kwargs):
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", noted)
        net = fit(make_data(), model, loss, spec, folder, resume=resume)
    return net, seen


def test_a_run_takes_its_steps_at_these_rates(tmp_path):
    _, seen = rates_of(tmp_path, warmup=1.0)  # 96 trials in batches of 32: 3 steps an epoch
    cosine = [(1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]
    assert seen == pytest.approx([1e-2 * share for share in (1 / 3, 2 / 3, 1, *cosine)])


def test_a_resumed_run_continues_at_its_rates_to_the_same_weights(tmp_path):
    options = {"warmup": 0.5, "clip": 0.1, "ema": 0.9}
    whole, seen = rates_of(tmp_path / "whole", epochs=4, **options)
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "braindecode_ssr.training.retriever.EEGRetriever.on_epoch_end", interrupt_third
        )
        rates_of(tmp_path / "parts", epochs=4, **options)
    resumed, rest = rates_of(tmp_path / "parts", epochs=4, resume=True, **options)
    assert rest == pytest.approx(seen[-len(rest) :]) and len(rest) < len(seen)
    assert torch.equal(weights(whole), weights(resumed))


def interrupt_third(net, *args, **kwargs):
    if len(net.history) == 3:
        raise KeyboardInterrupt
    type(net).__mro__[1].on_epoch_end(net, net, **kwargs)


def test_clipped_gradients_are_no_longer_than_asked(tmp_path):
    lengths = []
    step = torch.optim.AdamW.step

    def noted(self, *args, **kwargs):
        step(self, *args, **kwargs)  # finds the gradients as well
        parameters = [p for group in self.param_groups for p in group["params"]]
        lengths.append(torch.nn.utils.get_total_norm([p.grad for p in parameters]).item())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", noted)
        for clip in (None, 0.05):
            spec = TrainSpec(epochs=1, batch_size=32, clip=clip)
            fit(make_data(), *make_parts(), spec, tmp_path / str(clip))
    assert min(lengths[:3]) > 0.05
    assert max(lengths[3:]) <= 0.05 * (1 + 1e-4)
