"""The Python of the documentation runs as it stands there."""

import inspect
import pydoc
import re
import shlex
import textwrap
from importlib import import_module
from pathlib import Path

import click
import pandas as pd
import pytest

from braindecode_ssr_cli import root

DOCS = Path(__file__).parents[1] / "docs"
TRAINING = DOCS / "training.rst"


def code_of(section):
    """The first Python block of a section of docs/training.rst."""
    text = TRAINING.read_text(encoding="utf-8").partition(f"\n{section}\n---")[2]
    block = re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text)
    return textwrap.dedent(block[1])


def test_the_estimator_example():
    names = {}
    exec(code_of("As a scikit-learn estimator"), names)
    assert names["embeddings"].shape == (80, 512)
    assert names["top1"] > 0.5


def test_the_plain_loop():
    names = {}
    exec(code_of("In plain PyTorch"), names)
    assert names["parts"]["loss"].isfinite()


def test_the_lightning_module(tmp_path):
    lightning = pytest.importorskip("lightning", reason="Lightning is no dependency")
    import torch

    names = {}
    exec(code_of("In Lightning"), names)
    module = names["Retriever"](n_chans=17, n_times=100, sfreq=100, n_features=32)
    data = torch.utils.data.TensorDataset(
        torch.randn(32, 17, 100), torch.randn(32, 32), torch.randn(32, 32)
    )
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    trainer = lightning.Trainer(max_epochs=1, default_root_dir=tmp_path, **options)
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=16))
    assert trainer.global_step == 2


def listed():
    """Module and name of everything that docs/api.rst lists."""
    page = (DOCS / "api.rst").read_text(encoding="utf-8")
    for module, part in re.findall(
        r"currentmodule:: (\S+)\n(.*?)(?=\.\. currentmodule|\Z)", page, re.S
    ):
        yield from ((module, name) for name in re.findall(r"^   ([A-Za-z_][\w.]*)$", part, re.M))


@pytest.mark.parametrize(
    "package", ["", ".models", ".losses", ".moabb", ".images", ".preprocessing"]
)
def test_the_api_page_has_every_public_name(package):
    found = {f"{module}.{name}" for module, name in listed()}
    whole = f"braindecode_ssr{package}"
    names = {name for name in import_module(whole).__all__ if not name.isupper()} - {"__version__"}
    short = {name for name in names if f"braindecode_ssr.{name}" in found}
    assert not {name for name in names - short if f"{whole}.{name}" not in found}


@pytest.mark.parametrize(("module", "name"), listed())
def test_what_the_api_page_lists_is_documented(module, name):
    """With its public methods and properties, which may inherit their docstring."""
    found = pydoc.locate(f"{module}.{name}")
    assert found is not None and found.__doc__
    parts = vars(found) if inspect.isclass(found) else {}
    for part, value in parts.items():
        code = getattr(value, "fget", None) or getattr(value, "func", None) or value
        ours = str(getattr(code, "__module__", "")).startswith("braindecode_ssr")
        if not part.startswith("_") and ours and callable(code):
            above = [vars(kind).get(part) for kind in found.__mro__]
            assert any(getattr(one, "__doc__", None) for one in above), part


def test_the_result_on_the_first_page_is_that_of_the_evidence():
    page = (DOCS / "index.rst").read_text(encoding="utf-8")
    table = pd.read_csv(DOCS / "evidence-small.csv", dtype=str).set_index("row")
    rows = ["ridge-decoding", "contrast on originals", "ssr", "encoding"]
    for name, top1, top5 in table.loc[rows, ["top-1", "top-5"]].itertuples():
        assert re.search(rf"^{name} +{top1} +{top5} ", page, re.M), name


def commands(text):
    """The commands of a page as lists of words, without comments."""
    for line in re.findall(r"^ +(ssr-bd .+)$", text.replace("\\\n", " "), re.M):
        for command in line.split("&&"):
            yield [word for word in shlex.split(command, comments=True) if word not in "[]"]


@pytest.mark.parametrize(
    "page", [DOCS.parent / "README.md", *sorted(DOCS.glob("*.rst"))], ids=lambda page: page.name
)
def test_commands_of_the_docs_have_the_options_they_are_given(page):
    for words in commands(page.read_text(encoding="utf-8")):
        command, rest = root, words[1:]
        while rest and isinstance(command, click.Group) and not rest[0].startswith("-"):
            command = command.get_command(click.Context(command), rest.pop(0))
            assert command is not None, words
        options = {name for option in command.params for name in option.opts} | {"--help", "-h"}
        given = {
            re.match("-{1,2}[a-z-]*", word.strip("[]"))[0]
            for word in rest
            if word.strip("[]").startswith("-")
        }
        assert given <= options, words


def test_what_a_flag_is_stands_on_the_page_of_evaluations():
    """And the release whose authors whitened it with test trials is on the first page, too."""
    page = (DOCS / "evaluations.rst").read_text(encoding="utf-8")
    for flag in ("test-in-whitening", "pretrained-elsewhere", "same-recording"):
        assert f"``{flag}``" in page
    assert "`test-in-whitening`" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
