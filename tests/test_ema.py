import numpy as np
import torch
from test_training import make_data, make_parts, run

from braindecode_ssr.config import TrainSpec
from braindecode_ssr.training.callbacks import WeightAverage
from braindecode_ssr.training.retriever import EEGRetriever, fit


class Trail(WeightAverage):
    """Remembers the weights after every step, for the slow reference."""

    def __init__(self, decay):
        super().__init__(decay)
        self.trail = []

    def on_train_begin(self, net, **kwargs):
        super().on_train_begin(net, **kwargs)
        self.trail.append(
            np.concatenate([p.detach().numpy().ravel() for p in net.module_.parameters()])
        )

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        super().on_batch_end(net, batch, training, **kwargs)
        self.trail.append(
            np.concatenate([p.detach().numpy().ravel() for p in net.module_.parameters()])
        )


def flat(state, model):
    return np.concatenate(
        [state[name].detach().numpy().ravel() for name, _ in model.named_parameters()]
    )


def test_the_average_is_that_of_a_plain_loop():
    model, loss = make_parts()
    trail = Trail(0.9)
    data = make_data()
    net = EEGRetriever(
        model, criterion=loss, batch_size=32, max_epochs=5, callbacks=[("trail", trail)], verbose=0
    )
    net.fit(data, None)
    average = trail.trail[0].astype(float)
    for step, now in enumerate(trail.trail[1:], start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * now
    assert len(trail.trail) == 16
    ours = flat(dict(trail.model.named_parameters()), model)
    np.testing.assert_allclose(ours, average, rtol=1e-4, atol=1e-6)


def test_a_run_ends_with_the_average_and_trains_as_without(tmp_path):
    plain = run(tmp_path / "plain", epochs=3)
    averaged = run(tmp_path / "ema", epochs=3, train={"ema": 0.99})
    assert plain.history[:, "train_loss"] == averaged.history[:, "train_loss"]
    a, b = (torch.cat([p.flatten() for p in net.module_.parameters()]) for net in (plain, averaged))
    assert not torch.equal(a, b)


def test_validation_scores_the_average_and_training_continues_unharmed(tmp_path):
    asked = {"validation_concepts": 6, "ema": 0.5}
    with_average = run(tmp_path / "a", epochs=3, train=asked)
    without = run(tmp_path / "b", epochs=3, train={"validation_concepts": 6})
    assert with_average.history[:, "train_loss"] == without.history[:, "train_loss"]
    spec = TrainSpec(epochs=3, batch_size=32, lr=3e-3, selection="validation", **asked)
    best = fit(make_data(), *make_parts(), spec, tmp_path / "c")
    last = int(np.argmax(best.history[:, "valid_mrr"])) + 1
    until = run(tmp_path / "d", epochs=last, train=asked)
    for one, other in zip(best.module_.parameters(), until.module_.parameters(), strict=True):
        assert torch.equal(one, other)
