import pytest
import torch

from braindecode_ssr.errors import DataError
from braindecode_ssr.runs import load_weights, write_weights


def test_what_is_written_is_read(tmp_path):
    torch.manual_seed(0)
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    write_weights(tmp_path / "w.safetensors", model)
    assert load_weights(other, tmp_path / "w.safetensors") is other
    assert torch.equal(model.weight, other.weight) and torch.equal(model.bias, other.bias)
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]


def test_weights_are_as_readable_as_other_files(tmp_path):
    write_weights(tmp_path / "w.safetensors", torch.nn.Linear(3, 2))
    (tmp_path / "other").touch()
    modes = {file.stat().st_mode for file in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write .*--out"):
        write_weights(tmp_path / "file" / "w.safetensors", torch.nn.Linear(3, 2))


@pytest.mark.parametrize("model", [torch.nn.Linear(4, 2), torch.nn.Conv1d(3, 2, 1)])
def test_weights_of_another_model_are_refused(model, tmp_path):
    write_weights(tmp_path / "w.safetensors", torch.nn.Linear(3, 2))
    with pytest.raises(DataError, match=r"w\.safetensors"):
        load_weights(model, tmp_path / "w.safetensors")


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"w\.safetensors"):
        load_weights(torch.nn.Linear(3, 2), tmp_path / "w.safetensors")
