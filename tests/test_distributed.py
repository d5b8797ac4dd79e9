"""Several processes train as one does: real processes, joined by gloo on this machine."""

import itertools
import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from forked import started
from test_training import make_data

from braindecode_ssr.config import TrainSpec
from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import LOSSES
from braindecode_ssr.models.ssr import SSR
from braindecode_ssr.training.distributed import (
    SynchronizedBatchNorm,
    World,
    synchronize_batch_norm,
)
from braindecode_ssr.training.retriever import fit, sizes_for


def train(folder, *, backbone="EEGProject", loss="ssr", epochs=3, stop=None, subjects=None, **spec):
    """One run, of as many processes as the environment says; writes the weights it ends with."""
    from braindecode_ssr.training.distributed import world

    folder, data = Path(folder), in_double(make_data(chans=17, times=80))
    if subjects:
        data = replace(
            data, table=data.table.assign(subject=data.image.numpy() % subjects), subject=None
        )
    if stop:
        stop_in(data, stop)
    torch.manual_seed(int(os.environ.get("RANK", 0)))  # the first one's weights are to be used
    params = {"drop_prob": 0.0, **STILL.get(backbone, {})}
    signal_ = {"n_chans": 17, "n_times": 80, "sfreq": 100.0}
    options = {"backbone": backbone, "backbone_params": params, "n_subjects": subjects}
    model = SSR(n_outputs=16, n_features=12, width=24, **options, **signal_).double()
    for name in BEFORE_NORM[backbone]:
        model.get_parameter(name).requires_grad_(False)
    criterion = LOSSES[loss](**sizes_for(LOSSES[loss], model)).double()
    spec = TrainSpec(epochs=epochs, batch_size=32, lr=1e-3, **spec)
    with world("cpu") as among:
        options = {"world": among, "resume": True}
        net = fit(data, model, criterion, spec, folder / "checkpoint", **options)
        if among.first:
            parts = (net.module_, net.criterion_)
            state = {name: value for part in parts for name, value in part.state_dict().items()}
            both = [p for part in parts for p in part.named_parameters() if p[1].requires_grad]
            last = {f"gradient of {name}": p.grad for name, p in both}  # of the last step
            loss = [float(loss) for loss in net.history[:, "train_loss"]]
            torch.save({"tensors": {**state, **last}, "loss": loss}, folder / "end.pt")
    return net


def in_double(data):
    """In double precision two orders of adding up stay together through all steps of Adam."""
    parts = {name: getattr(data, name).double() for name in ("x", "original", "view")}
    return replace(data, **parts)


def stop_in(data, batch):
    """The second process waits in this batch, to be killed there."""
    getitem, batches = type(data).__getitem__, itertools.count(1)

    def stopping(self, index):
        if os.environ.get("RANK") == "1" and next(batches) == batch:
            time.sleep(120)
        return getitem(self, index)

    type(data).__getitem__ = stopping


def start(folder, size, **options):
    """The processes of one run, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    return [
        started(
            train,
            folder,
            folder=folder,
            env={**world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            **options,
        )
        for rank in range(size)
    ]


def ended(processes, timeout=120):
    """The exit codes and error texts of processes."""
    for process in processes:
        process.join(timeout)
    return [process.exitcode for process in processes], [p.err.read_text() for p in processes]


# A bias that batch normalisation takes away again has no gradient but rounding, which Adam makes large;
# so it is with one that the softmax of an attention takes away, and of ATM's two kinds of tokens one is idle.
BEFORE_NORM = {
    "EEGProject": (),
    "BraVL": (),
    "TSConv": ("backbone.temporal.1.bias", "backbone.spatial.0.bias"),
    "ATM": (
        *("backbone.temporal.1.bias", "backbone.spatial.0.bias", "backbone.front.unknown"),
        *("backbone.front.transformer." + name for name in ("attention.key.bias", "norms.2.bias")),
    ),
}
STILL = {"ATM": {"attention_drop_prob": 0.0}}
CASES = [
    pytest.param({"backbone": "EEGProject", "loss": "ssr"}, marks=pytest.mark.slow),
    {"backbone": "TSConv", "loss": "ssr", "clip": 0.5, "ema": 0.9},
    pytest.param(
        {"backbone": "ATM", "loss": "contrast", "subjects": 3, "validation_concepts": 4},
        marks=pytest.mark.slow,
    ),
    pytest.param({"backbone": "BraVL", "loss": "bravl"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("options", CASES, ids=lambda case: case["backbone"])
def test_two_processes_end_with_the_weights_of_one(tmp_path, options):
    alone, both = tmp_path / "one", tmp_path / "two"
    alone.mkdir(), both.mkdir()
    train(alone, **options)
    codes, errors = ended(start(both, 2, **options))
    assert codes == [0, 0], errors
    one, two = (torch.load(folder / "end.pt") for folder in (alone, both))
    # In single precision Adam takes them 1e-5 apart on some processors; in double 1e-13, weights 1e-10.
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-9)
    assert one["tensors"].keys() == two["tensors"].keys()
    for name, value in one["tensors"].items():
        # Of single elements Adam makes steps of one size, also where the gradient is mere rounding.
        apart = torch.linalg.norm((two["tensors"][name] - value).double())
        assert apart <= 1e-6 * torch.linalg.norm(value.double()), name


def test_a_lost_process_ends_the_other_in_one_line_and_the_run_resumes(tmp_path):
    options = {"epochs": 5}
    processes = start(tmp_path, 2, stop=11, **options)
    wait_for(lambda: any((tmp_path / "checkpoint").glob("epoch-*")), processes)
    processes[1].kill()
    codes, errors = ended(processes)
    assert codes[1] == -signal.SIGKILL and codes[0] != 0
    assert "was lost" in errors[0] and "the same command" in errors[0]
    assert not (tmp_path / "end.pt").exists()
    codes, errors = ended(start(tmp_path, 2, **options))
    assert codes == [0, 0], errors
    whole = tmp_path / "whole"
    whole.mkdir()
    train(whole, **options)
    resumed, reference = (torch.load(folder / "end.pt") for folder in (tmp_path, whole))
    assert resumed["loss"] == pytest.approx(reference["loss"], rel=1e-9)


def wait_for(condition, processes):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline and all(p.is_alive() for p in processes)
        time.sleep(0.02)


def test_a_batch_that_cannot_be_split_is_refused():
    World(0, 2).check_batch(32)
    with pytest.raises(UsageError, match="3 processes cannot split a batch of 32.*multiple of 3"):
        World(0, 3).check_batch(32)


def test_each_process_has_its_rows_of_a_batch():
    batch = torch.arange(12).reshape(6, 2)
    shares = [World(rank, 3).shard(batch) for rank in range(3)]
    assert torch.equal(torch.cat(shares), batch)
    assert World().shard(batch) is batch


def test_synchronized_batch_norm_keeps_parameters_and_statistics():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv1d(3, 5, 3), torch.nn.BatchNorm1d(5))
    model(torch.randn(7, 3, 20))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, expected = (x := torch.randn(4, 3, 20)), model.eval()(x)
    again = synchronize_batch_norm(model, World(0, 2))
    assert isinstance(again[1], SynchronizedBatchNorm)
    assert again.state_dict().keys() == before.keys()
    torch.testing.assert_close(again(x), expected)


def test_on_gpus_the_layer_is_torchs():
    model = torch.nn.Sequential(torch.nn.Conv1d(3, 5, 3), torch.nn.BatchNorm1d(5))
    again = synchronize_batch_norm(model, World(0, 2), "cuda:0")
    assert isinstance(again[1], torch.nn.SyncBatchNorm)
    assert synchronize_batch_norm(model, World(), "cuda") is model
