"""Every method resolves, has the parameters it says, and trains and tests on the simulation."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load_file

from braindecode_ssr import pipeline
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import MissingDataError, UsageError
from braindecode_ssr.images.encoders import encoder_name
from braindecode_ssr.images.store import FeatureStore
from braindecode_ssr.methods import METHODS, Method
from braindecode_ssr.preprocessing.channels import OCCIPITAL_17
from braindecode_ssr.resolve import check_needs, default_batch, resolve, run_spec
from braindecode_ssr.training import retriever
from braindecode_ssr_cli.catalog import catalogue

ALL = list(METHODS)
RIDGES = ["ridge-decoding", "ridge-encoding"]
FAST = ("ubp",)  # ssr, neurobridge and contrast are trained in tests/cli
FAST_FIRST = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in ALL]
TINY = {"data": {"dataset": "things-sim", "preset": "tiny", "subject": 1}}
INTER = {"data": {"protocol": "inter"}}
N_CHANS = {"things-eeg": 63, "things-meg": 271}
SIZES = {"occipital-17": 17, "meg-occipital-parietal": 39 + 45}  # sensors: notes on methods, 3.2
FEATURE_WIDTHS = {  # all others have 1024
    "nice": (768,),
    "ubp": (1024,) * 3,
    "brain-hive": (1024, 512, 1024),
    "samga": (3200,) * 5,
    "ved": (1024,) * 12,
    "hyfi": (1024, 1024),
    "bravl": (100, 512),
}
IMPORTED = ["sdxl-vae", "cornet-s", "clip-text", *(f"internvit-6b@{n}" for n in range(20, 37, 4))]


def asked(name, dataset, protocol):
    return run_spec({"method": name, "data": {"dataset": dataset, "protocol": protocol}})


def n_parameters(name, dataset, protocol, part="model"):
    spec, n_chans = asked(name, dataset, protocol), N_CHANS[dataset]
    default = "occipital-17" if (dataset, protocol) == ("things-eeg", "intra") else "all"
    channels = default if spec.data.channels == "auto" else spec.data.channels
    chs_info = [{"ch_name": str(n), "kind": "eeg"} for n in range(SIZES.get(channels, n_chans))]
    sfreq, n_times = (
        spec.trials.sfreq,
        round((spec.trials.stop - spec.trials.start) * spec.trials.sfreq),
    )
    signals = SimpleNamespace(chs_info=chs_info, n_times=n_times, sfreq=sfreq, tmin=0.0)
    widths = FEATURE_WIDTHS.get(name, (1024,))
    model = retriever.build_model(spec, signals, sum(widths), widths)
    return sum(p.numel() for p in (model if part == "model" else model.backbone).parameters())


@pytest.mark.parametrize(
    "dataset", ["things-eeg", pytest.param("things-meg", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", ALL)
def test_it_has_the_parameters_it_says(name, dataset):
    counts = METHODS[name].parameters.get(dataset, {})
    assert all(n_parameters(name, dataset, way) == counts[way] for way in counts)


def test_our_published_recipes_have_counted_parameters():
    counted = {name for name in ALL if METHODS[name].parameters}
    assert counted >= {"ssr", "neurobridge", "ubp", "nice", "atm", "ved", "samga", *RIDGES}


def linear(n_in, n_out):
    return n_in * n_out + n_out


def test_parameters_as_published():
    """Counts of the notes on methods, 3.4 and 4, and by hand."""
    assert METHODS["neurobridge"].parameters["things-eeg"]["intra"] == pytest.approx(
        6.45e6, abs=5e3
    )
    assert METHODS["neurobridge"].parameters["things-eeg"]["inter"] == pytest.approx(
        3.68e6, abs=5e3
    )
    assert METHODS["neurobridge"].parameters["things-meg"]["intra"] == pytest.approx(
        57.6e6, abs=5e4
    )
    heads = 2 * linear(1024, 512)
    project = linear(17 * 250, 1024) + linear(1024, 1024) + 2 * 1024
    assert project == pytest.approx(5.405e6, abs=5e2)  # UBP
    assert METHODS["ubp"].parameters["things-eeg"]["intra"] == project + heads
    codes = 2 * (
        linear(1024, 512) + linear(512, 512)
    )  # Cross-Modal-EEG, models/eeg.py and visual.py
    assert METHODS["ve-sdn"].parameters["things-eeg"]["intra"] - codes == 495_946
    assert METHODS["brain-hive"].parameters["things-eeg"]["intra"] == 6_452_224 + 4_723_712
    assert METHODS["atm"].parameters["things-eeg"]["intra"] - heads == pytest.approx(3.1e6, abs=5e4)
    tsconv = linear(25, 40) + linear(63 * 40, 40) + linear(40, 40) + 2 * 2 * 40
    head = linear(1440, 768) + linear(768, 768) + 2 * 768
    assert tsconv + head == pytest.approx(1.80e6, abs=5e3)  # NICE, with its head of 768
    wide = linear(1440, 1024) + linear(1024, 1024) + 2 * 1024
    nice = tsconv + wide + linear(1024, 512) + linear(768, 512)
    assert METHODS["nice"].parameters["things-eeg"]["intra"] == nice
    assert METHODS["ridge-decoding"].parameters["things-eeg"]["intra"] == 4250 * 1025 + 1024
    mixer = linear(3200, 1024) + 5 * linear(1024, 512)
    assert mixer + linear(1024, 512) + linear(512, 512) == pytest.approx(6.7e6, abs=5e4)  # SAMGA
    samga = METHODS["samga"].parameters["things-eeg"]
    assert samga["intra"] == project + linear(1024, 512) + mixer + 5  # without the last map
    assert samga["inter"] == tsconv + wide + linear(1024, 512) + mixer + 5


@pytest.mark.parametrize(
    ("name", "protocol", "expected"),
    [
        ("nice", "intra", ("TSConv", "all", 200, 2e-4, 0.0, (0.5, 0.999))),
        ("atm", "inter", ("ATM", "all", 40, 3e-4, 0.01, (0.9, 0.999))),
        ("cogcapturer", "intra", ("CognitionCapturer", "all", 50, 3e-4, 0.0, (0.9, 0.999))),
        ("neural-mcrl", "intra", ("NeuralMCRL", "all", 40, 3e-4, 0.01, (0.9, 0.999))),
        ("ve-sdn", "intra", ("VESDN", "all", 50, 1e-4, 0.01, (0.9, 0.999))),
        ("ve-sdn", "inter", ("VESDN", "all", 10, 1e-4, 0.01, (0.9, 0.999))),
        ("ubp", "intra", ("EEGProject", "occipital-17", 50, 1e-4, 1e-4, (0.9, 0.999))),
        ("ubp", "inter", ("EEGProject", "occipital-17", 50, 1e-5, 1e-4, (0.9, 0.999))),
        ("neurobridge", "intra", ("EEGProject", "occipital-17", 50, 1e-4, 1e-4, (0.9, 0.999))),
        ("neurobridge", "inter", ("TSConv", "all", 50, 1e-4, 1e-4, (0.9, 0.999))),
        ("brain-hive", "inter", ("BrainMLP", "occipital-17", 25, 5e-4, 0.05, (0.9, 0.995))),
        ("samga", "intra", ("EEGProject", "occipital-17", 60, 1e-4, 1e-4, (0.9, 0.999))),
        ("samga", "inter", ("TSConv", "all", 50, 1e-4, 1e-4, (0.9, 0.999))),
        ("ved", "intra", ("VED", "all", 150, 1e-3, 0.01, (0.9, 0.999))),
        ("ved", "inter", ("VED", "all", 50, 1e-3, 0.01, (0.9, 0.999))),
        ("bravl", "inter", ("BraVL", "occipital-17", 500, 1e-4, 0.0, (0.9, 0.999))),
        ("ssr", "inter", ("TSConv", "all", 50, 1e-4, 1e-4, (0.9, 0.999))),
    ],
)
def test_what_a_run_does_is_what_was_published(name, protocol, expected, tmp_path):
    spec = run_spec(TINY, {"method": name, "data": {"protocol": protocol}})
    spec, _ = resolve(spec, ThingsSim(tmp_path, "tiny"))
    train = spec.train
    rates = (train.lr, train.weight_decay, train.betas)
    assert (spec.model.backbone, spec.data.channels, train.epochs, *rates) == expected


def test_settings_of_a_dataset_lie_over_those_of_a_protocol():
    method = Method(
        name="x",
        title="x",
        year=2026,
        source="",
        settings={"train": {"lr": 1.0, "epochs": 1}},
        settings_of={
            "things-eeg": {"train": {"lr": 3.0}},
            "inter": {"train": {"lr": 2.0, "epochs": 2}},
            "things-eeg/inter": {"train": {"epochs": 4}},
        },
    )
    assert method.settings_for("own", "intra") == {"train": {"lr": 1.0, "epochs": 1}}
    assert method.settings_for("own", "inter") == {"train": {"lr": 2.0, "epochs": 2}}
    assert method.settings_for("things-eeg", "inter") == {"train": {"lr": 3.0, "epochs": 4}}


def test_what_a_user_asks_for_lies_above():
    spec = run_spec({"method": "ubp", "train": {"lr": 1e-3}}, INTER)
    assert spec.train.lr == 1e-3 and spec.train.weight_decay == 1e-4
    other = run_spec({"method": "nice", "loss": {"name": "ssr"}, "model": {"backbone": "EEGNet"}})
    assert other.loss.params == {} and other.model.backbone_params == {}
    same = run_spec({"method": "nice", "loss": {"name": "contrast", "params": {"scale": 20.0}}})
    assert same.loss.params == {"regime": "unit-fixed", "scale": 20.0}


@pytest.mark.parametrize(
    ("trials", "largest", "expected"),
    [(16540, 1000, 1000), (7999, 1000, 512), (66160, 64, 64), (96, 64, 8), (16, 1024, 2)],
)
def test_the_batch_of_a_method_is_the_largest(trials, largest, expected):
    assert default_batch(trials, largest) == expected


def test_the_batch_may_depend_on_protocol_and_dataset():
    cells = [(data, way) for data in ("things-eeg", "things-meg") for way in ("intra", "inter")]
    assert [METHODS["samga"].batch_size_for(*cell) for cell in cells] == [512, 1024, 1024, 1024]
    assert {METHODS["nice"].batch_size_for(*cell) for cell in cells} == {1000}
    narrow = METHODS["samga"].model_copy(update={"batch_size_of": {"intra": 2, "own/intra": 4}})
    assert narrow.batch_size_for("own", "intra") == 4 and narrow.batch_size_for("x", "intra") == 2


def test_a_run_has_the_batch_of_its_protocol(tmp_path, monkeypatch):
    monkeypatch.setattr("braindecode_ssr.resolve.n_training_trials", lambda *_: 16540)
    dataset = ThingsSim(tmp_path, "tiny")
    for protocol, size in (("intra", 512), ("inter", 1024)):
        spec = run_spec(TINY, {"method": "samga", "data": {"protocol": protocol}})
        assert resolve(spec, dataset)[0].train.batch_size == size


def with_layers(root):
    """The tiny simulation with five layers of InternViT imported."""
    dataset = ThingsSim(root, "tiny")
    ids = dataset.images["image_id"].tolist()
    rows = np.random.default_rng(0).normal(size=(5, len(ids), 6)).astype("float32")
    for name, layer in zip(METHODS["samga"].encoder.split("+"), rows, strict=True):
        FeatureStore.of(dataset).write(name, "original", ids, layer, f"made {name}", "test")
    return dataset, rows


def test_shallow_alignment_with_the_published_layer_has_the_parameters_it_says(monkeypatch):
    monkeypatch.setitem(FEATURE_WIDTHS, "shallow-alignment", (3200,))
    found = n_parameters("shallow-alignment", "things-eeg", "intra")
    assert found == pytest.approx(7.57e6, abs=5e3)
    assert any("7.57 M" in text for text in METHODS["shallow-alignment"].known_to_differ)


def test_imported_layers_are_taken_and_mixed(tmp_path):
    dataset, rows = with_layers(tmp_path)
    spec, notes = resolve(run_spec(TINY, {"method": "samga"}), dataset)
    assert (spec.images.encoder, notes) == (METHODS["samga"].encoder, [])
    _, (note,) = resolve(run_spec(TINY, {"method": "samga"}), ThingsSim(tmp_path / "none", "tiny"))
    assert "simnet instead of internvit-6b@20+" in note and "--encoder internvit-6b@20 ..." in note
    features = pipeline.features_of(spec, dataset)
    found = features.original(dataset.images["image_id"].tolist())
    np.testing.assert_array_equal(found, np.concatenate(rows, axis=1))
    assert features.widths() == (6,) * 5
    one = {"method": "shallow-alignment", "images": {"encoder": "internvit-6b@28"}}
    assert resolve(run_spec(TINY, one), dataset)[0].images.encoder == "internvit-6b@28"
    with pytest.raises(UsageError, match="@21.*features import --encoder internvit-6b@21"):
        two = {"encoder": "internvit-6b@20+internvit-6b@21"}
        resolve(run_spec(TINY, {"method": "samga", "images": two}), dataset)


@pytest.mark.slow
def test_imported_layers_make_a_run(tmp_path):
    with_layers(tmp_path)
    run = trained("samga", tmp_path, tmp_path / "runs")
    assert len(run.record["features"]) == 5
    weights = load_file(run.weights)
    assert weights["image_head.logits"].shape == (5,)
    assert weights["image_head.first.0.weight"].shape == (1024, 6)
    one = {"images": {"encoder": "internvit-6b@28"}}
    one = trained("shallow-alignment", tmp_path, tmp_path / "runs", **one)
    assert one.summary["encoder"] == "internvit-6b@28"


def test_the_encoder_of_a_method_is_taken_where_its_features_are(tmp_path):
    dataset = ThingsSim(tmp_path, "tiny")
    nice = run_spec(TINY, {"method": "nice"})
    spec, notes = resolve(nice, dataset)
    assert spec.images.encoder == "simnet"
    assert len(notes) == 1 and "simnet instead of ViT-L-14/openai, with which NICE" in notes[0]
    ids = dataset.images["image_id"].tolist()
    rows = np.random.default_rng(0).normal(size=(len(ids), 8)).astype("float32")
    for encoder in ("simnet", "open-clip:ViT-L-14/openai"):
        FeatureStore.of(dataset).write(encoder, "original", ids, rows, "f", "test")
    spec, notes = resolve(nice, dataset)
    assert spec.images.encoder == "open-clip:ViT-L-14/openai" and notes == []
    assert resolve(run_spec(TINY), dataset)[0].images.encoder == "simnet"


@pytest.mark.parametrize("name", ALL)
def test_its_encoder_is_one(name):
    encoder = METHODS[name].encoder
    assert encoder == "" or encoder_name(encoder, stored=IMPORTED) == encoder


def test_features_that_a_method_needs_must_be_there(tmp_path, monkeypatch):
    dataset = ThingsSim(tmp_path, "tiny")
    needy = Method(name="needy", title="Needy", year=2026, source="", needs=("text",))
    monkeypatch.setattr("braindecode_ssr.resolve.METHODS", {"needy": needy})
    spec, _ = resolve(run_spec(TINY, {"method": "needy"}), dataset)
    command = "ssr-bd features import --dataset things-sim .*--encoder simnet --view text"
    with pytest.raises(
        MissingDataError, match=f"text features, which Needy needs.*none.*{command}"
    ):
        pipeline.train(spec, data_dir=tmp_path, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    ids = dataset.images["image_id"].tolist()
    rows = np.random.default_rng(0).normal(size=(len(ids), 8)).astype("float32")
    FeatureStore.of(dataset).write("simnet", "text", ids, rows, "f", "test")
    check_needs(spec, dataset)


@pytest.mark.parametrize("name", RIDGES)
def test_a_linear_map_has_no_backbone(name, tmp_path):
    dataset = ThingsSim(tmp_path, "tiny")
    with pytest.raises(UsageError, match=f"{name} is a linear map.*EEGNet.*leave --backbone out"):
        resolve(run_spec(TINY, {"method": name, "model": {"backbone": "EEGNet"}}), dataset)
    with pytest.raises(UsageError, match="linear belongs to a closed form.*ridge-decoding"):
        resolve(run_spec(TINY, {"model": {"backbone": "linear"}}), dataset)


def test_the_catalog_is_complete():
    rows = catalogue("methods")
    assert [row["name"] for row in rows] == ALL
    wanted = {"citation", "year", "venue", "backbone", "parameters", "loss", "encoder", "views"}
    wanted |= {"as_published", "published", "known_to_differ", "traps", "flags", "seeds"}
    assert all(wanted <= set(row) for row in rows)
    json.dumps(rows)
    row = {row["name"]: row for row in rows}
    assert row["ubp"]["flags"] == "test-images;altered-gallery"
    assert row["ve-sdn"]["loss"] == "semantic-swap, inter contrast"
    assert row["neurobridge"]["backbone"] == "EEGProject, inter TSConv"
    assert row["ridge-encoding"]["loss"] == "ridge-encoding"


def trained(name, sim_dir, out, **settings):
    fast = {"train": {"epochs": 1, "batch_size": 32, "device": "cpu"}}
    return pipeline.train(
        run_spec(TINY, {"method": name}, fast, settings), data_dir=sim_dir, out=out
    )


@pytest.mark.parametrize("name", FAST_FIRST)
def test_it_trains_and_is_tested(name, sim_dir, tmp_path):
    run = trained(name, sim_dir, tmp_path)
    numbers = run.summary
    assert (numbers["method"], numbers["n_queries"], numbers["n_gallery"]) == (name, 16, 16)
    assert numbers["gallery"] == "original" and run.weights.is_file() and len(run.queries) == 16
    assert run.spec.data.channels in ("all", "occipital-17") and len(OCCIPITAL_17) == 17


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_it_trains_on_other_subjects(name, sim_dir, tmp_path):
    run = trained(name, sim_dir, tmp_path, **INTER)
    assert run.summary["protocol"] == "inter" and len(run.summary["train_subjects"]) == 9


@pytest.mark.parametrize("name", RIDGES)
def test_a_linear_map_is_a_run_like_any_other(name, sim_dir, tmp_path):
    run = trained(name, sim_dir, tmp_path)
    assert run.summary["mean_rank"] < 5  # 8.5 by chance
    assert run.history["chosen"].sum() == 1 and run.summary["train_seconds"] > 0
    queries, numbers = pipeline.evaluate(run.path, device="cpu")
    assert numbers["mrr"] == run.summary["mrr"]
    assert queries["rank"].tolist() == run.queries["rank"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", RIDGES)
def test_a_linear_map_comes_out_the_same_again(name, sim_dir, tmp_path):
    first, again = (trained(name, sim_dir, tmp_path / str(number)) for number in range(2))
    assert again.weights.read_bytes() == first.weights.read_bytes()
