import inspect
import tomllib
from pathlib import Path

import pytest
import torch

import braindecode_ssr.models as models
from braindecode_ssr.errors import UsageError
from braindecode_ssr.models.backbone import adjustments, backbone_class, build_backbone, candidates

TABLE = tomllib.loads((Path(models.__file__).parent / "adjustments.toml").read_text())

KEYS = {
    *("params", "without", "multiple_of", "forward", "feature_point"),
    *("subjects", "needs", "why", "unfit"),
    *("unfold", "channels", "only_known", "unknown", "sfreq", "unused"),
}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_entry_is_of_a_model_and_its_parameters(name):
    model, entry = backbone_class(name), TABLE[name]
    assert model.__name__ == name
    assert set(entry) <= KEYS
    assert bool(entry.get("why")) == any(
        key in entry for key in ("params", "without", "multiple_of", "unfold")
    )
    assert set(entry.get("unfold", ())) <= set(inspect.signature(model).parameters)
    for params in entry.get("params", []):
        accepted = inspect.signature(model).parameters
        assert set(params) <= set(accepted) or "kwargs" in accepted


def test_signal_parameters_are_filled_in():
    signal = {"n_chans": 63, "n_times": 400}
    assert candidates("EEGDINO", signal) == [({}, 0), ({"n_channel_embeddings": 63}, 0)]
    assert candidates("NoSuchModel", signal) == [({}, 0)] and adjustments("NoSuchModel") == {}


def test_an_adjustment_is_taken_only_where_the_defaults_do_not_fit():
    shape = {"n_outputs": 8, "n_times": 400, "sfreq": 200.0}
    assert build_backbone("EEGDINO", n_chans=4, **shape).adjusted == {}
    wide = build_backbone("EEGDINO", n_chans=21, **shape)
    assert wide.adjusted == {"n_channel_embeddings": 21}
    params = {"n_channel_embeddings": 30, "n_layer": 1}
    assert build_backbone("EEGDINO", params, n_chans=21, **shape).adjusted == {}


def test_zeros_after_a_trial_whose_length_no_patch_divides():
    shape = {"n_outputs": 8, "n_chans": 3, "n_times": 90, "feature_point": "head"}
    params = {"depth": 1, "embed_dim": 16}
    encoder = build_backbone("LUNA", params, **shape)
    assert encoder.adjusted == {"zeros_behind": 30}
    model, x = encoder.module.eval(), torch.randn(2, 3, 90)
    longer = torch.cat([x, torch.zeros(2, 3, 30)], dim=2)
    torch.testing.assert_close(model(x), model.model(longer))
    assert build_backbone("LUNA", params, **{**shape, "n_times": 120}).adjusted == {}


def test_names_of_channels_are_passed_on_and_wrong_ones_refused():
    params = {"patch_size": 50, "num_layers": 1}
    shape = {"n_outputs": 8, "n_chans": 2, "n_times": 100, "sfreq": 200.0}
    names = [{"ch_name": name, "kind": "eeg"} for name in ("Oz", "POz")]
    encoder = build_backbone("Labram", params, chs_info=names, **shape)
    assert encoder.module(torch.randn(2, 2, 100)).shape == (2, encoder.width)
    assert encoder.module.arguments == {"ch_names": ["Oz", "POz"]}
    strange = [{"ch_name": name, "kind": "eeg"} for name in ("Oz", "Nowhere")]
    with pytest.raises(UsageError, match="1 of 2 channels are not among them: Nowhere"):
        build_backbone("Labram", params, chs_info=strange, **shape)


def test_what_a_model_is_better_off_not_knowing():
    assert adjustments("BENDR")["without"] == ["chs_info"]
    names = [{"ch_name": name, "kind": "eeg"} for name in ("Oz", "POz")]
    params = {"encoder_h": 16, "contextualizer_hidden": 32, "transformer_layers": 1}
    shape = {"n_outputs": 8, "n_chans": 2, "n_times": 200, "sfreq": 200.0}
    assert build_backbone("BENDR", params, chs_info=names, **shape).adjusted == {}
