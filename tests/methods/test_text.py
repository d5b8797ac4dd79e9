"""Methods that take a sentence beside the image: where it comes from, and what they do without."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from braindecode_ssr import pipeline
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.images.store import FeatureStore
from braindecode_ssr.losses.contrast import Contrast
from braindecode_ssr.methods import METHODS
from braindecode_ssr.resolve import _resolve_views, resolve, run_spec
from braindecode_ssr.training import retriever

WITH_TEXT = ["atm", "neural-mcrl"]
TINY = {"data": {"dataset": "things-sim", "preset": "tiny", "subject": 1}}


@pytest.mark.parametrize("name", WITH_TEXT)
def test_text_where_it_is_and_originals_where_it_is_not(name, tmp_path):
    dataset = ThingsSim(tmp_path, "tiny")
    asked = run_spec(TINY, {"method": name})
    spec, notes = resolve(asked, dataset)
    assert spec.images.views == ("original",) and spec.images.encoder == "simnet"
    assert "views original instead of text: simnet reads no sentences" in notes[-1]
    how = f"ssr-bd features extract --dataset things-sim --data-dir {dataset.root} --preset tiny"
    assert f"{how} --encoder ViT-H-14/laion2b_s32b_b79k --view text" in notes[-1]
    ids = dataset.images["image_id"].tolist()
    rows = np.random.default_rng(0).normal(size=(len(ids), 8)).astype("float32")
    store, encoder = FeatureStore.of(dataset), METHODS[name].encoder
    store.write(encoder, "text", ids, rows, "f", "test")
    spec, notes = resolve(asked, dataset)
    assert (spec.images.encoder, spec.images.views, notes) == (encoder, ("text",), [])
    blind = SimpleNamespace(has_images=lambda: False)
    assert _resolve_views(("text",), encoder, store, blind) == (("text",), [])
    views, (note,) = _resolve_views(("blur",), encoder, store, blind)
    assert views == ("original",) and "there are no image files" in note


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_TEXT)
def test_a_run_with_text(name, tmp_path):
    dataset = ThingsSim(tmp_path / "sim", "tiny")
    ids, rng = dataset.images["image_id"].tolist(), np.random.default_rng(0)
    for view in ("original", "text"):
        rows = rng.normal(size=(len(ids), 8))
        FeatureStore.of(dataset).write("mine", view, ids, rows, "imported:x", "test")
    train = {"epochs": 1, "batch_size": 32, "device": "cpu", "keep": "every"}
    settings = {"method": name, "images": {"encoder": "mine"}, "train": train}
    run = pipeline.train(run_spec(TINY, settings), data_dir=tmp_path / "sim", out=tmp_path)
    assert (run.summary["views"], run.summary["gallery"]) == (["text"], "original")
    assert run.history["brain_view"].iloc[0] != run.history["brain_original"].iloc[0]
    made_by = run.record["features"]
    assert set(made_by) == {"original", "text"}
    _, numbers = pipeline.evaluate(run.path, "as-published", device="cpu")
    assert numbers["gallery"] == "original" and numbers["flags"] == ["test-selection"]


@pytest.mark.parametrize("name", WITH_TEXT)
def test_originals_in_place_of_text_make_it_plain_contrast(name):
    loss = retriever.build_loss(run_spec({"method": name, "data": {"dataset": "things-eeg"}}))
    plain = Contrast(regime="raw-learned")
    torch.manual_seed(0)
    brain, original, text = torch.randn(3, 24, 16, dtype=torch.float64)
    found, expected = (brain.clone().requires_grad_() for _ in range(2))
    same = loss(found, original, original)["loss"]
    same.backward()
    reference = plain(expected, original, original)["loss"]
    reference.backward()
    torch.testing.assert_close(same, reference, atol=1e-12, rtol=0)
    torch.testing.assert_close(found.grad, expected.grad, atol=1e-12, rtol=0)
    assert [p.shape for p in loss.parameters()] == [p.shape for p in plain.parameters()]
    to_text = plain(brain, text, text)["loss"]
    both = 0.99 * plain(brain, original, original)["loss"] + 0.01 * to_text
    torch.testing.assert_close(loss(brain, original, text)["loss"], both, atol=1e-12, rtol=0)
