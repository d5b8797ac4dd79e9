import copy
import math
import pickle

import pytest
import torch
from test_training import make_data
from torch.distributions import Laplace, Normal, kl_divergence

from braindecode_ssr.config import TrainSpec
from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import BraVLLoss
from braindecode_ssr.losses.bravl import subsets
from braindecode_ssr.models import SSR
from braindecode_ssr.training.retriever import EEGRetriever, fit

B, E, WIDTHS, HIDDEN = 4, 3, (5, 2), 6
SIZES = {"n_outputs": E, "n_chans": 2, "n_times": 3, "n_features": sum(WIDTHS)}
PARTS = ["rebuild_brain", "rebuild_image", "divergence", "intra", "inter"]


def build(text=True, **params):
    torch.manual_seed(0)
    tri = {"feature_widths": WIDTHS} if text else {}
    params = {"backbone_width": HIDDEN, "hidden": 7, "samples": 3, **tri, **params}
    return BraVLLoss(**SIZES, **params).double()


def batch(seed=0, text=True, rows=B):
    """The three embeddings, and the further inputs of the loss."""
    torch.manual_seed(seed)
    brain, original, view = torch.randn(3, rows, E, dtype=torch.float64)
    inputs = {"trial": (2, 3), "features": (sum(WIDTHS),), "hidden": (HIDDEN,)}
    inputs = {name: torch.randn(rows, *size, dtype=torch.float64) for name, size in inputs.items()}
    if text:
        inputs["posteriors"] = torch.randn(rows, 2, 2, E, dtype=torch.float64)
    return (brain, original, view), inputs


def perceptron(net, x):
    for layer in net:
        x = x.clamp_min(0) if isinstance(layer, torch.nn.ReLU) else x @ layer.weight.T + layer.bias
    return x


def product(experts):
    """Of Gaussians (mean, variance), one after the other."""
    mean, variance = experts[0]
    for other, spread in experts[1:]:
        mean = (mean * spread + other * variance) / (variance + spread)
        variance = variance * spread / (variance + spread)
    return mean, variance


def experts_of(loss, embeddings, inputs, text):
    """Mean and variance of each expert, for each row."""
    layer = loss.brain_log_variance
    spread = (inputs["hidden"] @ layer.weight.T + layer.bias).exp()
    images = [(embeddings[1], torch.ones(B, E, dtype=torch.float64))]
    if text:
        images = [
            (inputs["posteriors"][:, k, 0], inputs["posteriors"][:, k, 1].exp()) for k in (0, 1)
        ]
    return [(embeddings[0], spread), *images]


def targets_of(inputs, text):
    vectors = [inputs["trial"].reshape(B, 6)]
    vectors += (
        [inputs["features"][:, :5], inputs["features"][:, 5:]] if text else [inputs["features"]]
    )
    centered = [vector - sum(vector) / B for vector in vectors]
    return [vector / math.sqrt((vector**2).sum() / vector.numel()) for vector in centered]


def joint_of(experts, members):
    everything = len(members) == len(experts)
    prior = [(torch.zeros(E, dtype=torch.float64), torch.ones(E, dtype=torch.float64))]
    return product([experts[k] for k in members] + (prior if everything else []))


def slow(loss, embeddings, inputs, text, likelihood, beta):
    """All parts from their definitions, row by row, with the draws that the loss makes."""
    experts, targets = experts_of(loss, embeddings, inputs, text), targets_of(inputs, text)
    k, parts = len(experts), dict.fromkeys(PARTS, 0.0)
    choices = subsets(k)
    noise = torch.randn(len(choices), B, E, dtype=torch.float64)
    prior, n_rows = Normal(torch.zeros(E, dtype=torch.float64), 1.0), min(B, loss.rows)
    for s, members in enumerate(choices):
        for row in range(B):
            here = [(mean[row], variance[row]) for mean, variance in experts]
            mean, variance = joint_of(here, members)
            z, share = mean + variance.sqrt() * noise[s, row], 1 / (B * len(choices))
            parts["divergence"] += share * kl_divergence(Normal(mean, variance.sqrt()), prior).sum()
            for m, (decoder, predict) in enumerate(
                zip(loss.decoders, loss.predictors, strict=True)
            ):
                center = perceptron(decoder, z)
                name = "rebuild_image" if m else "rebuild_brain"
                parts[name] -= share * likelihood(center, 0.75).log_prob(targets[m][row]).sum()
                parts["intra"] -= (
                    share * Normal(perceptron(predict, center), 0.75).log_prob(z).sum()
                )
    parts["inter"] = parts["rebuild_brain"] + parts["rebuild_image"] + beta * parts["divergence"]
    for members in choices[:-1]:
        shift = {m: int(torch.randint(1, B, ())) for m in members}
        noise = torch.randn(loss.samples, n_rows, E, dtype=torch.float64)
        for row in range(n_rows):
            rows = [(row + shift.get(m, 0)) % B for m in range(k)]
            here = [(expert[0][r], expert[1][r]) for expert, r in zip(experts, rows, strict=True)]
            mean, variance = joint_of(here, choices[row % len(choices)])
            weights = []
            for one in noise[:, row]:
                z = mean + variance.sqrt() * one
                log_weight = (
                    prior.log_prob(z).sum() - Normal(mean, variance.sqrt()).log_prob(z).sum()
                )
                for m, decoder in enumerate(loss.decoders):
                    seen = likelihood(perceptron(decoder, z), 0.75).log_prob(targets[m][rows[m]])
                    log_weight = log_weight + seen.sum()
                weights.append(2 * log_weight)
            bound = (torch.logsumexp(torch.stack(weights), 0) - math.log(len(weights))) / 2
            parts["inter"] += bound / (n_rows * (len(choices) - 1))
    return parts


@pytest.mark.parametrize(("text", "rows"), [(True, 16), (True, 3), (False, 16)])
@pytest.mark.parametrize(("name", "of"), [("laplace", Laplace), ("normal", Normal)])
def test_parts_from_their_definitions(text, rows, name, of):
    loss, (embeddings, inputs) = build(text, likelihood=name, rows=rows), batch(text=text)
    torch.manual_seed(1)
    parts = loss(*embeddings, **inputs, epoch=30)
    assert list(parts) == ["loss", *PARTS]
    torch.manual_seed(1)
    wanted = slow(loss, embeddings, inputs, text, of, beta=0.3)
    for label in PARTS:
        torch.testing.assert_close(parts[label], wanted[label], msg=label)
    total = wanted["rebuild_brain"] + wanted["rebuild_image"] + 0.3 * wanted["divergence"]
    total = total + 1e-3 * wanted["intra"] + 1e-3 * wanted["inter"]
    torch.testing.assert_close(parts["loss"], total)


def test_gradient_numerically():
    loss, ((brain, original, view), inputs) = build(), batch(1)
    leaves = [x.requires_grad_() for x in (brain, inputs.pop("hidden"), inputs.pop("posteriors"))]

    def total(brain, hidden, posteriors):
        torch.manual_seed(2)
        all_inputs = {**inputs, "hidden": hidden, "posteriors": posteriors}
        return loss(brain, original, view, **all_inputs)["loss"]

    assert torch.autograd.gradcheck(total, leaves, fast_mode=True)


def test_every_parameter_learns():
    loss, (embeddings, inputs) = build(), batch(2)
    loss(*embeddings, **inputs)["loss"].backward()
    for name, parameter in loss.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("weights", "parts"),
    [
        ({"intra": 0.0}, ["rebuild_brain", "rebuild_image", "divergence", "inter"]),
        ({"inter": 0.0}, ["rebuild_brain", "rebuild_image", "divergence", "intra"]),
        ({"intra": 0.0, "inter": 0.0}, ["rebuild_brain", "rebuild_image", "divergence"]),
    ],
)
def test_parts_of_weight_zero_are_gone_with_their_parameters(weights, parts):
    loss, (embeddings, inputs) = build(**weights), batch(3)
    assert list(loss(*embeddings, **inputs))[1:] == parts
    named = any(name.startswith("predictors") for name, _ in loss.named_parameters())
    assert named == ("intra" in parts)


def test_beta_rises_to_one():
    loss = build()
    assert [loss.beta(epoch) for epoch in (0, 1, 50, 100, 400)] == [0.0, 0.01, 0.5, 1.0, 1.0]
    assert loss.beta(None) == build(warmup=0).beta(0) == 1.0


def test_brain_and_image_meet_where_both_are_rebuilt_from_either():
    """Embeddings that tell the same thing cost less than those of other rows."""
    torch.manual_seed(0)
    loss = build(text=False, inter=0.0, intra=0.0, backbone_width=None, hidden=16)
    z = 3 * torch.randn(64, E, dtype=torch.float64)
    mix = torch.randn(E, 13, dtype=torch.float64)
    inputs = {"trial": (z @ mix[:, :6]).reshape(64, 2, 3), "features": z @ mix[:, 6:]}
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss(z, z, z, **inputs)["loss"].backward()
        optimizer.step()
    torch.manual_seed(1)
    together = loss(z, z, z, **inputs)["loss"]
    torch.manual_seed(1)
    assert loss(z, z.roll(1, 0), z, **inputs)["loss"] > together + 5


def test_standard_targets_do_not_depend_on_units():
    loss, (embeddings, inputs) = build(), batch(4)
    torch.manual_seed(0)
    one = loss(*embeddings, **inputs)
    inputs["trial"], inputs["features"] = 1e-6 * inputs["trial"] + 3, 50 * inputs["features"]
    torch.manual_seed(0)
    torch.testing.assert_close(loss(*embeddings, **inputs), one, rtol=1e-6, atol=1e-6)


def test_equal_trials_are_no_reason_to_fail():
    loss, (embeddings, inputs) = build(), batch(5)
    inputs["trial"] = torch.ones_like(inputs["trial"])
    assert torch.isfinite(loss(*embeddings, **inputs)["loss"])


def test_missing_inputs_are_named():
    loss, (embeddings, inputs) = build(), batch(6)
    with pytest.raises(UsageError, match="raw image features.*embeddings only.*EEGRetriever"):
        loss(*embeddings, trial=inputs["trial"])
    with pytest.raises(UsageError, match="output of the backbone is missing.*backbone_width"):
        loss(*embeddings, trial=inputs["trial"], features=inputs["features"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"likelihood": "cauchy"}, "likelihood .* one of 'laplace', 'normal'"),
        ({"scale": 0.0}, "scale .* in .1e-3, inf"),
        ({"scale": float("nan")}, "scale .* in .1e-3, inf"),
        ({"warmup": -1}, "warmup .* in .0, inf.*loss.params.warmup"),
        ({"samples": 0}, "samples .* whole number of 1 or more"),
        ({"rows": 1.5}, "rows .* whole number of 1 or more"),
        ({"intra": -1}, "intra .* in .0, inf"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(UsageError, match=message):
        build(**params)


def model(head="experts"):
    torch.manual_seed(0)
    shape = {"n_chans": 4, "n_times": 32, "n_features": 12, "feature_widths": [8, 4]}
    return SSR(n_outputs=6, backbone="BraVL", image_head=head, **shape)


def criterion(**params):
    sizes = {"n_chans": 4, "n_times": 32, "n_features": 12, "feature_widths": [8, 4]}
    torch.manual_seed(1)
    return BraVLLoss(n_outputs=6, backbone_width=256, samples=2, **sizes, **params)


class Listening(BraVLLoss):
    """Remembers its inputs."""

    def forward(self, brain, original, view, trial, features, hidden, posteriors, epoch):
        self.inputs = (brain, trial, features, hidden, posteriors, epoch)
        return super().forward(
            brain,
            original,
            view,
            trial=trial,
            features=features,
            hidden=hidden,
            posteriors=posteriors,
            epoch=epoch,
        )


def test_training_tells_what_it_asks_for(tmp_path):
    data, loss = make_data(), criterion()
    loss.__class__ = Listening
    net = fit(data, model(), loss, TrainSpec(epochs=2, batch_size=96, lr=1e-30), tmp_path)
    brain, trial, features, hidden, posteriors, epoch = loss.inputs
    assert epoch == 1
    torch.testing.assert_close(net.module_(trial), brain)
    torch.testing.assert_close(net.module_(trial, return_features=True)["features"], hidden)
    torch.testing.assert_close(net.module_.image_head.posteriors(features), posteriors)
    row = int((data.original == features[0]).all(1).nonzero())
    assert torch.equal(data.x[row], trial[0])


def test_a_head_without_posteriors_counts_as_of_variance_one(tmp_path):
    net = fit(
        make_data(), model("linear"), criterion(), TrainSpec(epochs=1, batch_size=32), tmp_path
    )
    assert torch.isfinite(torch.tensor(net.history[-1]["train_loss"]))


def test_it_learns_and_resumes_where_it_was(tmp_path):
    def run(folder, epochs, **options):
        spec = TrainSpec(epochs=epochs, batch_size=32, lr=3e-3)
        net = fit(make_data(), model(), criterion(warmup=2.0), spec, tmp_path / folder, **options)
        state = [*net.module_.state_dict().values(), *net.criterion_.state_dict().values()]
        return net.history[:, "rebuild_image"], state

    rebuilt, whole = run("whole", 2)
    assert rebuilt[-1] < rebuilt[0]
    run("parts", 1)
    assert all(map(torch.equal, whole, run("parts", 2, resume=True)[1]))


def test_a_class_gets_the_sizes_of_the_model():
    data = make_data()
    shape = {"module__n_outputs": 6, "module__backbone": "BraVL", "module__sfreq": 100}
    options = {"batch_size": 32, "max_epochs": 1, "verbose": 0, "criterion__samples": 2}
    net = EEGRetriever(criterion=BraVLLoss, **shape, **options)
    net.fit(data.x.numpy(), data.original.numpy())
    assert net.criterion_.widths == (4 * 32, 12)
    assert net.criterion_.brain_log_variance.in_features == 256
    assert net.predict(data.x.numpy()).shape == (96, 6)


def test_copies():
    loss, (embeddings, inputs) = build(), batch(7)
    for again in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        torch.manual_seed(0)
        one = loss(*embeddings, **inputs)["loss"]
        torch.manual_seed(0)
        assert torch.equal(again(*embeddings, **inputs)["loss"], one)


def test_it_counts_what_the_notes_say():
    """Q: 561 -> 512 -> 32; the brain's encoder of 0.226 M has its log-variance here."""
    with torch.device("meta"):
        sizes = {"n_outputs": 32, "n_chans": 17, "n_times": 33, "n_features": 612}
        loss = BraVLLoss(**sizes, feature_widths=(100, 512), backbone_width=256)
        encoder = SSR(n_outputs=32, n_chans=17, n_times=33, backbone="BraVL", n_features=612)

    def count(*parts):
        return sum(p.numel() for part in parts for p in part.parameters())

    assert count(loss.predictors[0]) == 561 * 512 + 512 + 512 * 32 + 32
    brain = count(encoder.backbone, encoder.final_layer, loss.brain_log_variance)
    assert brain == 561 * 256 + 256 + 256 * 256 + 256 + 2 * (256 * 32 + 32) == 226_112
    assert count(loss.decoders[0]) == 32 * 256 + 256 + 256 * 256 + 256 + 256 * 561 + 561
