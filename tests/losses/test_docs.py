"""The page on losses is complete, and what it shows runs."""

import inspect
import re
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from test_training import make_data

from braindecode_ssr import losses
from braindecode_ssr.config import TrainSpec
from braindecode_ssr.losses import LOSSES, MaskedReconstruction, SSRLoss
from braindecode_ssr.losses.base import REGIMES
from braindecode_ssr.losses.ssr import TokenReconstructor
from braindecode_ssr.models.ssr import SSR
from braindecode_ssr.training.retriever import fit

PAGE = (Path(__file__).parents[2] / "docs" / "losses.rst").read_text(encoding="utf-8")
BLOCKS = re.findall(r"\.\. code-block:: python\n\n((?:(?:    .*)?\n)+)", PAGE)


ENTRIES = dict(re.findall(r"^``([a-z-]+)``\n((?:    .*\n)+)", PAGE, re.MULTILINE))
OWN = [name for name in LOSSES if LOSSES.is_own(name)]


def parameters(part):
    return set(inspect.signature(part).parameters)


def test_entries_name_losses_and_their_parameters():
    """An entry is not demanded: a new loss is documented by its docstring, and ``ssr-bd list losses``."""
    assert {"ssr", "contrast", "bravl"} <= set(ENTRIES) <= set(OWN)
    for name, text in ENTRIES.items():
        named = re.split(r"Parameters?:", " ".join(text.split()))
        mentioned = set(re.findall(r"``(\w+)``", named[1])) if len(named) > 1 else set()
        assert mentioned <= parameters(LOSSES[name]), name


@pytest.mark.parametrize("name", REGIMES)
def test_regimes_are_in_a_table(name):
    assert f"\n``{name}``" in PAGE


@pytest.mark.parametrize("part", [*OWN, MaskedReconstruction, TokenReconstructor], ids=str)
def test_docstrings_name_every_parameter(part):
    part = LOSSES.resolve(part)
    text = inspect.getdoc(part).split("Parameters\n-----", 1)[1]
    named = {
        name
        for line in re.findall(r"^\w.*$", text, re.MULTILINE)
        for name in re.findall(r"\w+", line)
    }
    assert parameters(part) <= named


def test_every_loss_is_importable_from_the_package():
    for name in OWN:
        assert getattr(losses, LOSSES[name].__name__) is LOSSES[name]
        assert LOSSES[name].__name__ in losses.__all__


def test_reconstruction_is_explained():
    sizes = {"n_outputs", "n_own", "n_other", "backbone_width", "n_features"}
    named = (parameters(SSRLoss) | parameters(TokenReconstructor)) - sizes
    assert {name for name in named if f"``{name}``" not in PAGE} == set()


def test_what_it_shows_runs(tmp_path):
    assert len(BLOCKS) == 2
    shown, own = {}, {"__name__": "my_losses"}
    exec(dedent(BLOCKS[0]), shown)  # noqa: S102
    assert torch.isfinite(shown["parts"]["loss"])
    exec(dedent(BLOCKS[1]), own)  # noqa: S102
    model = SSR(n_outputs=16, n_chans=4, n_times=32, sfreq=100, n_features=12, width=24)
    spec = TrainSpec(epochs=3, batch_size=32, lr=3e-3)
    net = fit(make_data(), model, own["Hinge"](), spec, tmp_path)
    hinge = net.history[:, "hinge"]
    assert 0 <= hinge[-1] < hinge[0]
    perfect = torch.eye(5)
    assert own["Hinge"]()(perfect, perfect, perfect)["loss"].item() == pytest.approx(0, abs=1e-7)
