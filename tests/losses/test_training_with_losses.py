"""Every registered loss trains a model that then finds images it has not seen."""

import numpy as np
import pytest
import torch
from test_training import make_data

from braindecode_ssr.config import LossSpec, TrainSpec
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import UsageError
from braindecode_ssr.images.features import image_features
from braindecode_ssr.inference.evaluation import load_test_set, score
from braindecode_ssr.losses import LOSSES, SSRLoss
from braindecode_ssr.models.ssr import SSR
from braindecode_ssr.resolve import resolve, run_spec
from braindecode_ssr.retrieval.ranks import space_of
from braindecode_ssr.training import retriever
from braindecode_ssr.training.data import Batches, training_data
from braindecode_ssr.training.retriever import EEGRetriever, fit

TINY = {
    "data": {"dataset": "things-sim", "preset": "tiny-v1", "subject": 1},
    "images": {"views": ["blur"]},
    "trials": {"sfreq": 50},
    "model": {"n_outputs": 64},
    "train": {"epochs": 6, "batch_size": 32, "lr": 2e-3, "device": "cpu"},
}


@pytest.fixture(scope="module")
def tiny(sim_dir):
    """The resolved spec, training set, signals and test set of one subject of the simulation."""
    dataset = ThingsSim(sim_dir, "tiny-v1")
    spec, _ = resolve(run_spec(TINY), dataset)
    features = image_features(dataset, spec.images.encoder, spec.images.views)
    features.complete(dataset, device="cpu", progress=False)
    data, signals = training_data(spec, dataset, features)
    return spec, data, signals, load_test_set(spec, dataset, features, spec.evaluation)


SHORT = {"image_head": "geodesic", "image_head_params": {"perceptual": "unit"}}
SPACES = {"euclidean": {}, "hyperbolic": {"space": "hyperbolic", **SHORT}}
HEADS = {"uncertain-blur": {"image_head": "blur-levels"}}


def small_model(data, signals, name):
    shape = {"n_chans": len(signals.chs_info), "n_times": signals.n_times, "sfreq": signals.sfreq}
    width = {"n_features": data.original.shape[1], "width": 128}
    return SSR(
        n_outputs=64, **SPACES[space_of(LOSSES[name])], **HEADS.get(name, {}), **width, **shape
    )


# In BraVL's loss nothing compares images, and distances in hyperbolic space take longer to learn.
EPOCHS = {"bravl": 16, "hyperbolic": 14}
# A thousandth of the loss, wide layers, or a bound that one step serves as well: most of the time.
NARROW = {"domain": 64, "hidden": 64, "steps": 1}
QUICK = {"bravl": {"inter": 0.0, "hidden": 64}, "semantic-swap": NARROW}


@pytest.mark.parametrize("name", list(LOSSES))
def test_it_finds_unseen_images_better_than_chance(name, tiny, tmp_path):
    spec, data, signals, test = tiny
    spec = spec.model_copy(update={"loss": LossSpec(name=name, params=QUICK.get(name, {}))})
    torch.manual_seed(0)
    model = small_model(data, signals, name)
    train = spec.train.model_copy(update={"epochs": EPOCHS.get(name, spec.train.epochs)})
    net = fit(data, model, retriever.build_loss(spec, model), train, tmp_path)
    losses = net.history[:, "train_loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    numbers = score(net.module_, test)[1]
    assert numbers["n_gallery"] == 16
    # Over all losses and seeds 0 to 4: at most 4.3, and at least 0.69. By chance 8.5 (its standard
    # deviation is 1.2) and 0.31.
    assert numbers["mean_rank"] < 5.5
    assert numbers["top5"] > 0.5


def test_every_parameter_of_the_loss_can_be_set_from_outside():
    params = {"regime": "unit", "reconstructor": "tokens", "reconstructor_params": {"n_tokens": 4}}
    loss = retriever.build_loss(run_spec(TINY, {"loss": {"name": "ssr", "params": params}}))
    assert loss.reconstruction.reconstructors["reconstruct_view"].n_tokens == 4
    with pytest.raises(UsageError, match="parameter of the loss single-anchor.*mean 'regime'"):
        wrong = {"loss": {"name": "single-anchor", "params": {"regim": "unit"}}}
        retriever.build_loss(run_spec(TINY, wrong))


class Listening(SSRLoss):
    """Remembers which images it got."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def forward(self, brain, original, view, image=None):
        self.seen.append(image)
        return super().forward(brain, original, view, image)


def model(**params):
    shape = {"n_outputs": 16, "n_chans": 4, "n_times": 32, "sfreq": 100}
    return SSR(n_features=12, width=24, **shape, **params)


def test_a_loss_gets_the_image_of_each_row(tmp_path):
    data, loss = make_data(), Listening(16, duplicates="positives")
    fit(data, model(), loss, TrainSpec(epochs=1, batch_size=32), tmp_path)
    wanted = [y["image"] for _, y in Batches(data, 32, seed=0)]
    assert len(loss.seen) == 3 and all(map(torch.equal, loss.seen, wanted))


def test_a_loss_gets_only_what_its_forward_names(tmp_path):
    class Plain(torch.nn.Module):
        def forward(self, brain, original, view):
            return {"loss": (brain - original).square().mean()}

    net = fit(make_data(), model(), Plain(), TrainSpec(epochs=1, batch_size=32), tmp_path)
    assert net.inputs_ == {"brain", "original", "view"}


def test_a_loss_gets_the_number_of_finished_epochs(tmp_path):
    class Counting(torch.nn.Module):
        seen = []

        def forward(self, brain, original, view, epoch):
            self.seen.append(epoch)
            return {"loss": (brain - original).square().mean()}

    def run(epochs, **options):
        fit(
            make_data(),
            model(),
            Counting(),
            TrainSpec(epochs=epochs, batch_size=32),
            tmp_path,
            **options,
        )
        return Counting.seen

    assert run(2) == [0, 0, 0, 1, 1, 1]
    assert run(3, resume=True)[6:] == [2, 2, 2]


def test_what_the_partner_is_worth_is_recorded_and_weights_are_the_same(tmp_path):
    class Silent(SSRLoss):
        def diagnostics(self):
            return {}

    def run(kind):
        torch.manual_seed(0)
        parts, spec = (model(), kind(16)), TrainSpec(epochs=2, batch_size=32, lr=3e-3)
        return fit(make_data(), *parts, spec, tmp_path / kind.__name__)

    net, silent = run(SSRLoss), run(Silent)
    names = {f"reconstruct_{d}_{c}" for d in ("view", "brain") for c in ("shuffled", "none")}
    assert names <= set(net.history[-1]) and not names & set(silent.history[-1])
    for one, other in ((net.module_, silent.module_), (net.criterion_, silent.criterion_)):
        assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_vectors_before_the_projectors_and_a_projector_of_views_by_setting(tmp_path):
    params = {"level": "encoded", "view_projector": "own"}
    spec = run_spec(TINY, {"loss": {"params": params}, "model": {"n_outputs": 16}})
    torch.manual_seed(0)
    encoder = model()
    loss = retriever.build_loss(spec, encoder)
    start = loss.view_projector.weight.detach().clone()
    net = fit(make_data(), encoder, loss, TrainSpec(epochs=1, batch_size=32), tmp_path)
    assert {"hidden", "features", "view_features"} <= net.inputs_
    assert not torch.equal(net.criterion_.view_projector.weight, start)
    widths = [part.layers[2].out_features for part in loss.reconstruction.reconstructors.values()]
    assert widths == [12, encoder.backbone_width]


def test_arrays_have_no_image_index():
    data = make_data()
    arrays = data.x.numpy(), data.original.numpy()
    shape = {"module__n_outputs": 16, "module__width": 24, "module__sfreq": 100}
    options = {"batch_size": 32, "max_epochs": 1, "verbose": 0, "criterion": SSRLoss, **shape}
    EEGRetriever(**options).fit(*arrays)
    with pytest.raises(UsageError, match="image index of each of the 32 rows.*TrainingSet"):
        EEGRetriever(criterion__duplicates="ignored", **options).fit(*arrays)


@pytest.mark.parametrize(
    ("name", "params"),
    [("uncertain-blur", {}), ("semantic-swap", {"steps": 2}), ("mmd-contrast", {"stage": 3})],
)
def test_a_loss_with_a_memory_resumes_where_it_was(name, params, tmp_path):
    def run(folder, epochs, **options):
        torch.manual_seed(0)
        loss = {"name": name, "params": params}
        spec = run_spec(TINY, {"loss": loss, "model": {"n_outputs": 16}})
        train = TrainSpec(epochs=epochs, batch_size=32, lr=3e-3)
        one = model(**HEADS.get(name, {}))
        loss = retriever.build_loss(spec, one)
        net = fit(make_data(), one, loss, train, tmp_path / folder, **options)
        return [*net.module_.state_dict().values(), *net.criterion_.parameters()]

    whole = run("whole", 2)
    run("parts", 1)
    assert all(map(torch.equal, whole, run("parts", 2, resume=True)))
