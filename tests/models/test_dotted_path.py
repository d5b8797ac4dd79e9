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
from braindecode_ssr.models.backbone import backbone_class, build_backbone
from braindecode_ssr.models.names import trusting
from braindecode_ssr.models.ssr import build_image_head

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
    {"backbone": "{file}:Net"},
    {"backbone": "hostile/net.py:Net"},
    {"backbone": "./hostile/../hostile/net.py:Net"},
    {"backbone": "torch.nn/../{file}:Net"},
    {"backbone": "braindecode.models.py:EEGNet"},
    {"backbone": "{file}:function"},
    {"backbone": "{file}:__builtins__.exec"},
    {"backbone": "EEGNet", "backbone_params": {"activation": "{file}:Net"}},
    {"image_head": "{file}:Head"},
    {"image_head": "hostile.net.Head"},
    {"image_head": "os.path.join"},
    {"image_head": "builtins.print"},
    {"image_head": "braindecode_ssr.models.ssr.check_width"},
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
    monkeypatch.chdir(tmp_path)
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
    attack = json.loads(json.dumps(attack).replace("{file}", str(hostile / "net.py")))
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
        {"backbone": "hostile/net.py:Net"},
        {"activation": "hostile/net.py:Net"},
        {"image_head": "hostile/net.py:Head"},
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


SMALL = {"n_outputs": 4, "n_chans": 3, "n_times": 50}


def test_a_trusted_file_is_found_by_its_relative_and_its_absolute_path(hostile):
    absolute = f"{hostile / 'net.py'}:Net"
    assert names.backbone_name("hostile/net.py:Net") == absolute == names.backbone_name(absolute)
    assert names.backbone_name("./hostile/../hostile/net.py:Net") == absolute
    with trusting("hostile/net.py:Net"):
        assert names.trusted() == (absolute,)
        one = build_backbone("hostile/net.py:Net", **SMALL).module
        assert type(one.model if hasattr(one, "model") else one) is names.named_backbone(absolute)
        with pytest.raises(UsageError, match="trust"):
            build_image_head("hostile/net.py:Head", (6,), 4)
        with pytest.raises(UsageError, match="trust"):
            build_backbone("hostile.net.Net", **SMALL)
    with pytest.raises(UsageError, match="trust"):
        build_backbone(absolute, **SMALL)


def test_a_link_is_trusted_as_the_file_that_it_leads_to(hostile, tmp_path):
    other = tmp_path / "other.py"
    other.write_text("from torch import nn\n\n\nclass Net(nn.Linear):\n    pass\n")
    (tmp_path / "link.py").symlink_to(other)
    with trusting("link.py:Net"):
        (tmp_path / "link.py").unlink()
        (tmp_path / "link.py").symlink_to(hostile / "net.py")
        with pytest.raises(UsageError, match="trust"):
            build_backbone("link.py:Net", **SMALL)
    assert nothing_ran(hostile)


def test_an_edited_file_is_read_again_and_leaves_nothing_beside_it(hostile):
    file, before = hostile / "net.py", set(hostile.iterdir())
    with trusting("hostile/net.py:Net"):
        first = names.named_backbone("hostile/net.py:Net")
        assert names.named_backbone("hostile/net.py:Net") is first
        file.write_text(PACKAGE.replace("class Net", "mark = 2\n\n\nclass Net"))
        again = names.named_backbone("hostile/net.py:Net")
    assert again is not first and sys.modules[again.__module__].mark == 2
    assert set(hostile.iterdir()) - before == {hostile / "IMPORTED"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hostile/broken.py:Net", "SyntaxError"),
        ("hostile/nowhere.py:Net", "FileNotFoundError"),
        ("hostile/net.py:Nothing", "Nothing"),
        ("hostile/net.py:function", "is not a class"),
        ("hostile/net.py", "cannot be the path"),
        ("hostile/net.py:", "cannot be the path"),
        ("hostile/net.py:a.b", "cannot be the path"),
    ],
)
def test_a_trusted_file_that_gives_no_class_is_one_sentence(hostile, name, said):
    with trusting(), pytest.raises(UsageError, match=said) as caught:
        build_backbone(name, **SMALL)
    assert "\n" not in str(caught.value)


class Own(torch.nn.Module):
    def __init__(self, n_outputs, n_chans, n_times):
        super().__init__()
        self.map = torch.nn.Linear(n_chans * n_times, n_outputs)

    def forward(self, x):
        return self.map(x.flatten(1))


def test_an_object_is_provided_under_a_name_and_only_there():
    with names.providing(Own) as name:
        assert name == f"{Own.__module__}.Own"
        assert type(build_backbone(name, feature_point="head", **SMALL).module) is Own
    with pytest.raises(UsageError):
        build_backbone(name, **SMALL)


def test_models_of_one_class_have_names_of_their_own_and_stay_as_they_are():
    one, other = Own(4, 3, 50), Own(4, 3, 50)
    with names.providing(one) as first, names.providing(other) as second:
        assert first != second and first.startswith(f"{Own.__module__}.Own@")
        built = build_backbone(first, **SMALL).module
        assert built is not one and torch.equal(built.map.weight, one.map.weight)
        assert backbone_class(first) is Own
    with names.providing(one) as again:
        assert again == first


def test_a_name_in_python_is_trusted_as_typed(hostile):
    with names.providing("hostile/net.py:Net") as name:
        assert name == f"{hostile / 'net.py'}:Net"
        build_backbone(name, **SMALL)
    with names.providing("eegnet") as name:
        assert name == "EEGNet"
