import inspect
import tomllib
from pathlib import Path

import pytest

import braindecode_ssr.models as models
from braindecode_ssr.models.adjustments import adjusted_params, adjustments
from braindecode_ssr.models.backbone import backbone_class, build_backbone

TABLE = tomllib.loads((Path(models.__file__).parent / "adjustments.toml").read_text())


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_entry_is_of_a_model_and_its_parameters(name):
    model, entry = backbone_class(name), TABLE[name]
    assert model.__name__ == name
    assert set(entry) <= {
        "params",
        "without",
        "multiple_of",
        "forward",
        "feature_point",
        "needs",
        "why",
    }
    for params in entry.get("params", []):
        accepted = inspect.signature(model).parameters
        assert set(params) <= set(accepted) or "kwargs" in accepted
        assert entry["why"]


def test_signal_parameters_are_filled_in():
    assert adjusted_params("EEGDINO", {"n_chans": 63}) == [{"n_channel_embeddings": 63}]
    assert adjusted_params("NoSuchModel", {}) == [] and adjustments("NoSuchModel") == {}


def test_an_adjustment_is_taken_only_where_the_defaults_do_not_fit():
    shape = {"n_outputs": 8, "n_times": 400, "sfreq": 200.0}
    assert build_backbone("EEGDINO", n_chans=4, **shape).adjusted == {}
    wide = build_backbone("EEGDINO", n_chans=21, **shape)
    assert wide.adjusted == {"n_channel_embeddings": 21}
    params = {"n_channel_embeddings": 30, "n_layer": 1}
    assert build_backbone("EEGDINO", params, n_chans=21, **shape).adjusted == {}
