import pytest
import torch
from test_training import make_parts, run

from braindecode_ssr.errors import DataError
from braindecode_ssr.runs import load_weights
from braindecode_ssr.training.callbacks import kept_epochs


def flat(model):
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


def of_file(path):
    return flat(load_weights(make_parts()[0], path))


@pytest.mark.parametrize("train", [{}, {"ema": 0.9}, {"validation_concepts": 4}])
def test_each_file_is_a_run_that_ended_there(train, tmp_path):
    run(tmp_path / "all", epochs=3, train=train, kept=tmp_path / "epochs")
    kept = kept_epochs(tmp_path / "epochs")
    assert list(kept) == [1, 2, 3]
    for epoch, file in kept.items():
        short = run(tmp_path / f"to-{epoch}", epochs=epoch, train=train)
        assert torch.equal(of_file(file), flat(short.module_))


def test_keeping_changes_nothing_in_training(tmp_path):
    plain = run(tmp_path / "plain", epochs=2)
    keeping = run(tmp_path / "keeping", epochs=2, kept=tmp_path / "epochs")
    assert torch.equal(flat(plain.module_), flat(keeping.module_))


def test_a_resumed_run_has_all_epochs(tmp_path):
    run(tmp_path / "run", epochs=2, kept=tmp_path / "epochs")
    net = run(tmp_path / "run", epochs=4, kept=tmp_path / "epochs", resume=True)
    kept = kept_epochs(tmp_path / "epochs")
    assert list(kept) == [1, 2, 3, 4]
    assert torch.equal(of_file(kept[4]), flat(net.module_))


def test_a_run_that_starts_over_forgets_the_epochs_of_another(tmp_path):
    run(tmp_path / "run", epochs=3, kept=tmp_path / "epochs")
    run(tmp_path / "run", epochs=1, kept=tmp_path / "epochs")
    assert list(kept_epochs(tmp_path / "epochs")) == [1]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        run(tmp_path / "run", epochs=1, kept=tmp_path / "file" / "epochs")
