import pytest
import torch
from braindecode.models import EEGNet
from safetensors.torch import load_file, save_file

from braindecode_ssr.errors import DataError, MissingDataError
from braindecode_ssr.models import SSR
from braindecode_ssr.models.pretrained import check_source, load_pretrained

C, T = 4, 200


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(7)
    EEGNet(n_outputs=3, n_chans=C, n_times=T).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def build(**params):
    torch.manual_seed(0)
    shape = {"n_outputs": 5, "n_chans": C, "n_times": T, "n_features": 6, "backbone": "EEGNet"}
    return SSR(**{**shape, **params})


@pytest.mark.parametrize(
    "width, fresh", [(16, []), (32, ["final_layer.conv_classifier.weight"]), (3, [])]
)
def test_all_but_a_head_of_another_width_is_loaded(folder, width, fresh):
    point = "embedding" if width == 16 else "head"
    model = build(width=width, feature_point=point)
    left = load_pretrained(model.backbone, str(folder))
    given = load_file(folder / "model.safetensors")
    own = model.backbone.state_dict()
    assert all(name.startswith("final_layer.") for name in left)
    assert bool(left) == bool(fresh)
    loaded = set(own) - set(left)
    assert len(loaded) > 10 and all(torch.equal(own[name], given[name]) for name in loaded)


def test_the_features_are_those_of_the_pretrained_model(folder):
    model = build(width=16, feature_point="embedding").eval()
    load_pretrained(model.backbone, str(folder))
    pretrained, entered = EEGNet.from_pretrained(folder).eval(), []
    pretrained.final_layer.register_forward_pre_hook(lambda part, args: entered.append(args[0]))
    x = torch.randn(2, C, T)
    pretrained(x)
    torch.testing.assert_close(model.backbone(x), entered[0].flatten(1))


@pytest.mark.parametrize("other", [{"n_chans": 5}, {"backbone": "ShallowFBCSPNet"}])
def test_weights_of_another_shape_or_model_change_nothing(folder, other):
    model = build(**other)
    before = {name: part.clone() for name, part in model.state_dict().items()}
    with pytest.raises(DataError, match="for these trials.*(shape|missing).*config.json"):
        load_pretrained(model.backbone, str(folder))
    assert all(torch.equal(part, before[name]) for name, part in model.state_dict().items())


def test_a_parameter_too_many(folder):
    given = load_file(folder / "model.safetensors")
    save_file({**given, "extra.weight": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(DataError, match="extra.weight is not a parameter"):
        load_pretrained(build().backbone, str(folder))


def test_files_that_are_missing_or_broken(tmp_path):
    with pytest.raises(MissingDataError, match="neither model.safetensors nor pytorch_model.bin"):
        load_pretrained(build().backbone, str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="file of weights.*download it again"):
        load_pretrained(build().backbone, str(tmp_path))


def test_the_older_format_is_read(folder):
    (folder / "model.safetensors").unlink()
    assert (folder / "pytorch_model.bin").is_file()
    load_pretrained(build().backbone, str(folder))


@pytest.mark.parametrize("source", ["braindecode/no-such-weights", "not a repository"])
def test_a_hub_out_of_reach_is_one_clear_line(source, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingDataError, match="pretrained weights of EEGNet from") as caught:
        load_pretrained(build().backbone, source)
    assert "\n" not in str(caught.value) and "folder" in str(caught.value)


def test_a_source_is_looked_for_before_anything_is_downloaded(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    asked = []

    def file_exists(repository, file):
        asked.append(repository)
        return repository == "org/net" and file == "pytorch_model.bin"

    monkeypatch.setattr("huggingface_hub.file_exists", file_exists)
    check_source("org/net")
    with pytest.raises(MissingDataError, match="org/nett.*no repository"):
        check_source("org/nett")
    asked.clear()
    for folder in ("./net", "/no/such/net", "net", "a/b/net"):
        with pytest.raises(MissingDataError, match="no folder.*net"):
            check_source(folder)
    with pytest.raises(MissingDataError, match="model.safetensors"):
        check_source(str(tmp_path))
    assert asked == []
