from types import SimpleNamespace

import mne
import numpy as np
import pytest
import torch
from braindecode.models import REVE
from braindecode.models.signal_jepa import _PRETRAIN_CHS_INFO
from safetensors.torch import save_file

from braindecode_ssr.datasets.base import eeg_info
from braindecode_ssr.errors import MissingDataError, UsageError
from braindecode_ssr.models.backbone import build_backbone
from braindecode_ssr.models.electrodes import electrode_positions
from braindecode_ssr.models.pretrained import load_pretrained

SMALL = {"depth": 1, "embed_dim": 32, "heads": 2, "head_dim": 8}


def reve(names, n_times=200, params=SMALL, chs_info=None):
    torch.manual_seed(0)
    channels = chs_info or eeg_info(names, 200.0)["chs"]
    shape = {"n_chans": len(channels), "n_times": n_times, "sfreq": 200.0, "n_outputs": 8}
    return build_backbone("REVE", params, chs_info=channels, **shape)


def test_positions_are_those_of_the_bank():
    """SignalJEPA's list in braindecode has the same template head; TP9 and AF7 as REVE's users print them."""
    channels = [{"ch_name": channel["ch_name"].upper()} for channel in _PRETRAIN_CHS_INFO]
    wanted = np.array([channel["loc"] for channel in _PRETRAIN_CHS_INFO])
    np.testing.assert_allclose(electrode_positions(channels), wanted, atol=1e-7)
    found = electrode_positions([{"ch_name": "TP9"}, {"ch_name": "AF7"}])
    printed = [[-0.0856, -0.0465, -0.0457], [-0.0548, 0.0686, -0.0106]]
    np.testing.assert_allclose(found, printed, atol=6e-5)


def test_an_electrode_without_a_standard_name_is_where_it_was_measured():
    info = mne.create_info(["Cz", "PO7"], 200.0, "eeg")
    with mne.utils.use_log_level("error"):
        info.set_montage(mne.channels.make_standard_montage("standard_1005"))
    strange = [{**channel, "ch_name": f"E{i}"} for i, channel in enumerate(info["chs"])]
    torch.testing.assert_close(electrode_positions(strange), electrode_positions(info["chs"]))
    lost = [
        {"ch_name": "E1", "loc": np.zeros(12)},
        {"ch_name": "MLO11", "kind": 1, "loc": np.ones(12)},
    ]
    with pytest.raises(UsageError, match="2 of 3 channels have neither.*E1, MLO11"):
        electrode_positions([*lost, {"ch_name": "Oz"}])


def test_reve_is_built_without_the_hub_and_sees_the_whole_trial():
    encoder = reve(["EEG OZ-Ref", "EEG P7-Ref", "EEG Strange"][:2], n_times=250)
    assert encoder.adjusted == {"zeros_behind": 130}
    assert (
        encoder.channels["matched"] == {"Oz": "Oz", "P7": "P7"}
        and not encoder.channels["unmatched"]
    )
    x = torch.randn(2, 2, 250, requires_grad=True)
    encoder.module(x).square().sum().backward()
    assert x.grad[:, :, -1].ne(0).all()
    inner, longer = encoder.module.model.eval(), torch.cat([x, torch.zeros(2, 2, 130)], 2)
    places = electrode_positions([{"ch_name": "Oz"}, {"ch_name": "P7"}]).expand(2, 2, 3)
    torch.testing.assert_close(encoder.module(x), inner(longer, pos=places))
    assert not torch.allclose(inner(longer), inner(longer, pos=places.flip(1)))
    assert reve(["Oz"], n_times=200).adjusted == {}
    assert reve(["Oz"], n_times=90).adjusted == {"zeros_behind": 110}
    short = {**SMALL, "patch_size": 50, "patch_overlap": 0}
    assert reve(["Oz"], n_times=250, params=short).adjusted == {}


def test_published_weights_of_reve_have_a_token_that_the_model_has_not(tmp_path):
    torch.manual_seed(1)
    given = {k: torch.randn_like(v) for k, v in reve(["Oz"]).module.state_dict().items()}
    given = {k: v for k, v in given.items() if not k.startswith("final_layer.")}
    save_file({**given, "cls_query_token": torch.zeros(1, 1, 32)}, tmp_path / "model.safetensors")
    module = reve(["P7", "Oz"]).module  # any electrodes
    assert all(name.startswith("final_layer.") for name in load_pretrained(module, str(tmp_path)))
    assert all(torch.equal(module.state_dict()[name], value) for name, value in given.items())


def test_what_models_take_channels_for():
    shape = {"n_chans": 3, "n_times": 200, "sfreq": 200.0, "n_outputs": 8}
    channels = eeg_info(["Oz", "TP9", "O1"], 200.0)["chs"]

    def of(name, params):
        return build_backbone(name, params, chs_info=channels, **shape).channels

    labram = of("Labram", {"num_layers": 1, "embed_dim": 40, "num_heads": 2})
    assert labram["matched"] == {"Oz": "OZ", "TP9": "TP9", "O1": "O1"}
    eegpt = of("EEGPT", {"depth": 1, "embed_dim": 32, "num_heads": 2})
    assert eegpt["matched"] == {"Oz": "OZ", "O1": "O1"} and eegpt["unmatched"] == ["TP9"]
    biot = of("BIOT", {"num_layers": 1, "embed_dim": 16, "num_heads": 2})
    assert biot == {"by": "place", "matched": {}, "unmatched": []}
    assert of("EEGNet", {}) == {}


def test_the_bank_of_braindecode_is_put_back():
    from braindecode.models import reve as module

    before = module.RevePositionBank
    reve(["Oz"])
    with pytest.raises(UsageError, match="neither a name"):
        reve(["X1", "X2"])
    assert module.RevePositionBank is before and REVE is module.REVE


def test_a_repository_that_asks_for_consent(monkeypatch, tmp_path):
    from huggingface_hub.errors import GatedRepoError

    from braindecode_ssr.models.pretrained import check_source

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def file_exists(repository, file):
        answer = SimpleNamespace(status_code=403, headers={}, request=None)
        raise GatedRepoError("403 Client Error", response=answer)

    monkeypatch.setattr("huggingface_hub.file_exists", file_exists)
    with pytest.raises(MissingDataError, match="huggingface.co/brain-bzh/reve-base.*hf auth login"):
        check_source("brain-bzh/reve-base")
