"""The Python of docs/hosts.rst runs as it stands there, with small files in the layouts of the real ones."""

import re
import textwrap
from pathlib import Path

import meg_files
import pytest
from things_files import write_things

TEXT = (Path(__file__).parents[1] / "docs" / "hosts.rst").read_text(encoding="utf-8")
BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", TEXT)
]


def run(word, root):
    """The names that the only block with this word leaves."""
    (block,) = [block for block in BLOCKS if word in block]
    names = {"DIR": str(root)}
    exec(block, names)
    return names


def test_eeg_in_moabb(tmp_path):
    names = run("Gifford2022(", write_things(tmp_path, images=False))
    assert list(names["raws"]) == ["0train", "1test"]
    assert names["x"].shape == (2 * (12 + 9), 3, 250)
    assert names["trials"]["image_id"].tolist() == names["images"].tolist()


def test_meg_in_moabb(tmp_path):
    meg_files.write_subject(tmp_path, 2)
    names = run("Hebart2023(", tmp_path)
    assert names["x"].shape == (len(names["images"]), len(meg_files.SENSORS), 200)


def test_an_evaluation(tmp_path):
    table = run("paradigm.evaluation(", tmp_path)["table"]
    assert len(table) == 2 and table["score_top5"].between(0, 1).all()


def test_braindecode(tmp_path):
    names = run("create_windows_from_events(", tmp_path)
    assert len(names["train"]) + len(names["test"]) == len(names["windows"]) == 864
    assert len(run("TrialSpec()", tmp_path)["windows"]) == 864


def test_every_block_is_run_above():
    assert len(BLOCKS) == 5


def test_what_the_docs_say_about_moabbdataset(tmp_path):
    """It loses the names of images, which is why the page advises against it."""
    from braindecode.datasets import MOABBDataset

    from braindecode_ssr.moabb import SimulatedThings

    dataset = SimulatedThings(sessions=[0], root=tmp_path)
    found = MOABBDataset(dataset, [1]).datasets[0].raw.annotations
    assert not any((extras or {}).get("image_id") for extras in found.extras)
    with pytest.raises((ValueError, UnboundLocalError)):
        MOABBDataset("Gifford2022", [1])  # not registered
