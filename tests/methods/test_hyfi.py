"""HyFI: what its recipe is made of, and that a run is ranked in the space it was trained in."""

import numpy as np
import pytest

from braindecode_ssr import pipeline
from braindecode_ssr.config import build
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import UsageError
from braindecode_ssr.methods import METHODS
from braindecode_ssr.resolve import resolve, run_spec

HYFI = METHODS["hyfi"]
TINY = {"data": {"dataset": "things-sim", "preset": "tiny-v1", "subject": 1}, "method": "hyfi"}
FAST = {
    "model": {"n_outputs": 64, "width": 128},
    "train": {"epochs": 12, "lr": 1e-3, "device": "cpu"},
}


def linear(n_in, n_out):
    return n_in * n_out + n_out


@pytest.mark.parametrize(
    ("dataset", "n_inputs"), [("things-eeg", 17 * 250), ("things-meg", 271 * 200)]
)
def test_it_has_the_published_parameters_and_ours(dataset, n_inputs):
    project = linear(n_inputs, 1024) + linear(1024, 1024) + 2 * 1024
    geodesic = 2 * linear(1024, 1024) + linear(1024, 1)
    if dataset == "things-eeg":  # notes on methods, 5.8: 7.5 M with heads
        assert project + geodesic == pytest.approx(7.5e6, abs=5e3)
    ours = linear(1024, 1024) + 1  # brain to the shared space, and the length of its vectors
    assert set(HYFI.parameters[dataset].values()) == {project + ours + geodesic}


@pytest.mark.parametrize(("protocol", "lr"), [("intra", 3e-4), ("inter", 3e-5)])
def test_what_a_run_does_is_what_was_published(protocol, lr, tmp_path):
    spec = run_spec(TINY, {"data": {"protocol": protocol}})
    spec, _ = resolve(spec, ThingsSim(tmp_path, "tiny-v1"))
    train = (spec.train.epochs, spec.train.lr, spec.train.weight_decay, spec.train.smoothing)
    assert train == (50, lr, 1e-4, 0.0) and spec.data.channels == "occipital-17"
    assert (spec.model.backbone, spec.model.image_head) == ("EEGProject", "geodesic")
    assert (spec.model.n_outputs, spec.images.pool) == (1024, "side-by-side")
    assert spec.images.views == ("fovea", "blur?kernel=31") and spec.loss.params == {}
    sizes = [HYFI.batch_size_for(dataset, protocol) for dataset in ("things-eeg", "things-meg")]
    assert sizes == [1024, 512]


def test_vectors_keep_their_length_where_they_did():
    recorded = build(HYFI.settings_for("things-eeg", "intra")).model
    simulated = build(HYFI.settings_for("things-sim", "intra")).model
    assert recorded.image_head_params == {}
    assert simulated.image_head_params == {"perceptual": "unit"}


def test_a_run_is_ranked_by_distance_and_says_so(sim_dir, tmp_path):
    run = pipeline.train(run_spec(TINY, FAST), data_dir=sim_dir, out=tmp_path)
    assert run.summary["space"] == "hyperbolic" and run.spec.model.space == "hyperbolic"
    # 3.4 to 4.6 with seeds 0 to 2; 8.5 by chance, with a standard deviation of 1.2
    assert run.summary["mean_rank"] < 5.5
    assert (run.queries["score"] < 0).all()
    ways = ["default", "as-published", "correction=csls"]
    (again, _), (blurred, as_published), (_, corrected) = pipeline.evaluate_each(
        run.path, ways, device="cpu"
    )
    np.testing.assert_allclose(again["score"], run.queries["score"], rtol=1e-5)
    assert as_published["flags"] == ["test-images", "altered-gallery"]
    assert (blurred["score"] != again["score"]).all() and corrected["space"] == "hyperbolic"


def test_other_image_features_are_refused(sim_dir, tmp_path):
    three = {"images": {"views": ["fovea", "blur", "noise"]}}
    with pytest.raises(UsageError, match="semantic and a perceptual.*3 of widths 576, 576, 576"):
        pipeline.train(run_spec(TINY, FAST, three), data_dir=sim_dir, out=tmp_path)
