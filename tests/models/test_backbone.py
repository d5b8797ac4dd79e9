import numpy as np
import pytest
import torch
from braindecode.models import EEGNet, ShallowFBCSPNet
from braindecode.models.util import models_dict

from braindecode_ssr.datasets.base import eeg_info
from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import EEGProject, build_backbone, list_backbones
from braindecode_ssr.models.backbone import backbone_class

SHAPE = {"n_outputs": 12, "n_chans": 17, "n_times": 250, "sfreq": 250.0}
OCCIPITAL = "P7 P5 P3 P1 Pz P2 P4 P6 P8 PO7 PO3 POz PO4 PO8 O1 Oz O2".split()


class Strange(torch.nn.Module):
    """What an outside module may do wrong."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


def test_names_are_ours_first_then_braindecodes_without_ssr():
    names = list_backbones()
    assert names[:2] == ["EEGProject", "TSConv"]
    assert len(names) >= 60 and len(names) == len(set(names))
    assert set(models_dict) - set(names) == {"SSR"}


@pytest.mark.parametrize("name", ["EEGProject", "eegproject", "EEG-Project"])
def test_our_names(name):
    assert backbone_class(name) is EEGProject


@pytest.mark.parametrize(
    "given",
    ["ShallowFBCSPNet", "shallowfbcspnet", ShallowFBCSPNet, "braindecode.models.ShallowFBCSPNet"],
)
def test_braindecodes_models_by_name_class_and_path(given):
    before = dict(models_dict)
    encoder = build_backbone(given, {"n_filters_time": 8}, feature_point="head", **SHAPE)
    module = encoder.module
    assert (encoder.feature_point, encoder.width, encoder.adjusted) == ("head", 12, {})
    assert type(module) is ShallowFBCSPNet and module.training
    assert module(torch.randn(3, 17, 250)).shape == (3, 12)
    assert module.conv_time_spat is not None and module.n_filters_time == 8
    assert dict(models_dict) == before


def test_an_instance_is_used_as_it_is():
    module = EEGNet(n_outputs=12, n_chans=17, n_times=250)
    module.final_layer.eval()
    statistics = {name: buffer.clone() for name, buffer in module.named_buffers()}
    state = torch.get_rng_state()
    assert build_backbone(module, **SHAPE).module is module
    assert module.training and not module.final_layer.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(statistics[name], buffer) for name, buffer in module.named_buffers())
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(17 * 250, 12))
    assert build_backbone(plain, **SHAPE).module is plain


def test_types_in_parameters_may_be_dotted_paths():
    module = build_backbone("EEGProject", {"activation": "torch.nn.ReLU"}, **SHAPE).module
    assert type(module.final_layer.residual[0]) is torch.nn.ReLU


def test_positions_reach_a_model_that_needs_them():
    chs_info = eeg_info(OCCIPITAL, 250.0)["chs"]
    encoder = build_backbone("DGCNN", chs_info=chs_info, **SHAPE)
    assert (encoder.feature_point, encoder.width) == ("embedding", 256)
    assert encoder.module(torch.randn(2, 17, 250)).shape == (2, 256)
    with pytest.raises(UsageError, match="DGCNN.*: chs_info not specified; .*give chs_info"):
        build_backbone("DGCNN", **SHAPE)


def test_channels_without_a_position_are_named():
    chs_info = eeg_info(OCCIPITAL, 250.0)["chs"]
    for channel in chs_info[:2]:
        channel["loc"] = np.full(12, np.nan)
    with pytest.raises(UsageError, match=f"LUNA.*2 of 17 .*{OCCIPITAL[0]}"):
        build_backbone("LUNA", chs_info=chs_info, **SHAPE)


@pytest.mark.parametrize(
    "given, message",
    [
        ("EEGConfomer", "did you mean 'EEGConformer'"),
        ("ts_con", "did you mean 'TSConv'"),
        ("SSR", "backbone.*'SSR'"),
        ("NeuroPose", "NeuroPose does not take trials of 17 channels and 250 samples"),
        ("AttnSleep", "AttnSleep does not take trials"),
        ("torch.nn.Nothing", "'torch.nn.Nothing' cannot be imported"),
        ("no_such_package.Model", "no_such_package.Model.*add --trust"),
        ("pathlib.Path", "pathlib.Path.*add --trust"),
        (dict, "name, class or instance of torch.nn.Module"),
        (5, "name, class or instance of torch.nn.Module"),
        (Strange(lambda x: x.mean(2)), r"one vector of 12 numbers.*Strange gives \(2, 17\)"),
        (Strange(lambda x: {"features": x}), "Strange gives dict"),
        (Strange(lambda x: 1 / 0), "Strange.*: division by zero"),
    ],
)
def test_what_cannot_be_a_backbone_is_reported_in_one_line(given, message):
    with pytest.raises(UsageError, match=message) as caught:
        build_backbone(given, **SHAPE)
    assert "\n" not in str(caught.value)


def test_parameters_that_do_not_fit():
    with pytest.raises(UsageError, match="EEGNet.*'depth'"):
        build_backbone("EEGNet", {"depth": 3}, **SHAPE)
    with pytest.raises(UsageError, match="backbone_params .*'F1'.*built already"):
        build_backbone(EEGNet(n_outputs=12, n_chans=17, n_times=250), {"F1": 4}, **SHAPE)
    with pytest.raises(UsageError, match="TSConv.*at least 75 samples"):
        build_backbone("TSConv", **{**SHAPE, "n_times": 60})
