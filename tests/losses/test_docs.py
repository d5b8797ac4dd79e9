"""The page on losses is complete, and what it shows runs."""

import inspect
import re
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from test_training import make_data

from braindecode_ssr.config import TrainSpec
from braindecode_ssr.losses import LOSSES, MaskedReconstruction
from braindecode_ssr.losses.base import REGIMES
from braindecode_ssr.losses.ssr import TokenReconstructor
from braindecode_ssr.models.ssr import SSR
from braindecode_ssr.training.retriever import fit

PAGE = (Path(__file__).parents[2] / "docs" / "losses.rst").read_text(encoding="utf-8")
BLOCKS = re.findall(r"\.\. code-block:: python\n\n((?:(?:    .*)?\n)+)", PAGE)


@pytest.mark.parametrize("name", [*LOSSES, *REGIMES])
def test_names_are_in_a_table(name):
    assert f"\n``{name}``" in PAGE


def test_parameters_are_named():
    parts = [*(LOSSES[name] for name in LOSSES), MaskedReconstruction, TokenReconstructor]
    named = {name for part in parts for name in inspect.signature(part).parameters}
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
