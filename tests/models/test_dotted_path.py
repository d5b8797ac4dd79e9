"""A configuration from elsewhere names classes; nothing it names runs unless it is trusted."""

import json
import os
import sys
import unittest.mock
from importlib.metadata import EntryPoint, EntryPoints

import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import SSR, EEGProject, names
from braindecode_ssr.models.backbone import build_backbone
from braindecode_ssr.models.image_heads import build_image_head
from braindecode_ssr.models.names import trusting

SHAPE = {"n_outputs": 4, "n_chans": 3, "n_times": 50, "n_features": 6}
PACKAGE = """
from pathlib import Path
from torch import nn

(Path(__file__).parent / "IMPORTED").touch()


class Net(nn.Module):
    def __init__(self, n_outputs, n_chans, n_times):
        super().__init__()
        (Path(__file__).parent / "BUILT").touch()
        self.map = nn.Linear(n_chans * n_times, n_outputs)

    def forward(self, x):
        return self.map(x.flatten(1))


class Head(nn.Linear):
    def __init__(self, widths, n_outputs):
        super().__init__(sum(widths), n_outputs)


def function(*args, **kwargs):
    (Path(__file__).parent / "CALLED").touch()
    return Net(**kwargs)
"""

ATTACKS = [
    {"backbone": "hostile.net.Net"},
    {"backbone": "hostile.net:Net"},
    {"backbone": "hostile.net.function"},
    {"backbone": "os.system"},
    {"backbone": "builtins.exec"},
    {"backbone": "unittest.mock.Mock"},
    {"backbone": "torchvision.ops.misc.ConvNormActivation"},
    {"backbone": "torch.hub.load"},
    {"backbone": "torch.nn.functional.relu"},
    {"backbone": "torch.nn.utils.clip_grad_norm_"},
    {"backbone": "torch.nn.__loader__.load_module"},
    {"backbone": "braindecode.models.base.Path"},
    {"backbone": "braindecode_ssr.runs.Run"},
    {"backbone": "braindecode_ssr.models.backbone.importlib.import_module"},
    {"backbone": "..net.Net"},
    {"backbone": "torch.nn..os.abort"},
    {"backbone": "hostile/net.Net"},
    {"backbone": "EEGNet", "backbone_params": {"activation": "os.abort"}},
    {"backbone": "EEGNet", "backbone_params": {"activation": "hostile.net.Net"}},
    {"backbone": "EEGProject", "backbone_params": {"activation": "unittest.mock.Mock"}},
    {
        "backbone": "braindecode_ssr.models.ssr.SSR",
        "backbone_params": {"backbone": "hostile.net.Net"},
    },
    {"image_head": "hostile.net.Head"},
    {"image_head": "os.path.join"},
    {"image_head": "builtins.print"},
    {"image_head": "braindecode_ssr.models.image_heads.check_width"},
]


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A package that leaves a file for each thing that was done to it."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "net.py").write_text(PACKAGE)
    (folder / "broken.py").write_text("def (:\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(os, "abort", lambda *args: pytest.fail("os.abort was called"))
    monkeypatch.setattr(os, "system", lambda *args: pytest.fail("os.system was called"))
    monkeypatch.setattr(unittest.mock, "Mock", lambda *args: pytest.fail("Mock was called"))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "hostile"]:
        del sys.modules[name]


def nothing_ran(folder):
    done = {name for name in ("IMPORTED", "BUILT", "CALLED") if (folder / name).exists()}
    return not done and "hostile.net" not in sys.modules


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_what_a_configuration_names_is_neither_imported_nor_called(hostile, attack):
    for build in (lambda: SSR(**SHAPE, **attack), lambda: SSR.from_config({**SHAPE, **attack})):
        with pytest.raises(UsageError):
            build()
    assert nothing_ran(hostile)


@pytest.mark.parametrize(
    "config",
    [
        {"activation": "os.abort"},
        {"activation": "hostile.net.Net"},
        {"self": "hostile.net.Net"},
        {"args": "hostile.net.Net", "kwargs": "hostile.net.Net"},
        {"backbone": "hostile.net.Net"},
        {"image_head": "hostile.net.Head"},
    ],
    ids=str,
)
@pytest.mark.parametrize("model", [SSR, EEGProject])
def test_a_pretrained_folder_from_elsewhere(hostile, tmp_path, model, config):
    """braindecode's own loading imports every type that a config.json names."""
    if model is EEGProject and not {"activation", "self", "args"} & set(config):
        return
    shape = SHAPE if model is SSR else {k: v for k, v in SHAPE.items() if k != "n_features"}
    made = model(**shape)
    made.save_pretrained(tmp_path / "weights")
    file = tmp_path / "weights" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    with pytest.raises((UsageError, TypeError)):
        model.from_pretrained(tmp_path / "weights")
        raise TypeError("loaded, without what is not a parameter")
    assert nothing_ran(hostile)


def test_trust_is_asked_for_once_and_ends(hostile, tmp_path):
    named = {"backbone": "hostile.net.Net", "image_head": "hostile.net.Head"}
    with pytest.raises(UsageError, match="hostile.net.*--trust.*trust=True"):
        SSR(**SHAPE, **named)
    with trusting():
        model = SSR(**SHAPE, **named)
    model.reset_head(5)
    assert model.image_head(torch.zeros(2, 6)).shape == (2, 5)
    model.save_pretrained(tmp_path / "own")
    with pytest.raises(UsageError):
        SSR.from_pretrained(tmp_path / "own")
    assert type(SSR.from_pretrained(tmp_path / "own", trust=True).image_head).__name__ == "Head"
    assert type(SSR.from_config(model.get_config(), trust=True).image_head).__name__ == "Head"


def test_one_name_is_trusted_and_no_other(hostile):
    shape = {"n_outputs": 4, "n_chans": 3, "n_times": 50}
    with trusting("hostile.net:Net"):
        assert build_backbone("hostile.net.Net", **shape).width == 150
        with pytest.raises(UsageError, match="trust"):
            build_image_head("hostile.net.Head", (6,), 4)
        with trusting(False):
            build_backbone("hostile.net.Net", **shape)


@pytest.mark.parametrize(
    "name", ["hostile.broken.Net", "hostile.nowhere.Net", "hostile.net.Nothing"]
)
def test_a_trusted_name_that_cannot_be_imported_is_one_sentence(hostile, name):
    with trusting(), pytest.raises(UsageError, match=name):
        build_backbone(name, n_outputs=4, n_chans=3, n_times=50)


def test_what_an_entry_point_provides_needs_no_trust(hostile, monkeypatch):
    point = EntryPoint("net", "hostile.net:Net", "braindecode_ssr.backbones")
    monkeypatch.setattr(names, "entry_points", lambda: EntryPoints([point]))
    shape = {"n_outputs": 4, "n_chans": 3, "n_times": 50}
    assert build_backbone("hostile.net.Net", **shape).width == 150
    with pytest.raises(UsageError, match="trust"):
        build_backbone("hostile.net.function", **shape)
    with pytest.raises(UsageError, match="trust"):
        build_image_head("hostile.net.Head", (6,), 4)


def test_known_layers_and_models_are_named_as_before():
    params = {"activation": "torch.nn.modules.activation.ReLU"}
    model = SSR(**SHAPE, backbone="braindecode.models.EEGNet", backbone_params=params)
    again = SSR.from_config(json.loads(json.dumps(model.get_config())))
    assert again.load_state_dict(model.state_dict())
