import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from braindecode_ssr.config import TrialSpec, build
from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.files import atomic_write
from braindecode_ssr.pipeline import train
from braindecode_ssr.resolve import run_spec
from braindecode_ssr.runs import (
    Run,
    git_commit,
    machine,
    named_folder,
    new_run,
    run_name,
    run_of,
    versions,
)

SPEC = build({"data": {"subject": 5}, "train": {"seed": 3}})


def test_the_name_tells_the_run_and_leaves_the_device_out():
    assert run_name(SPEC).startswith("things-sim_ssr_sub-05_intra_seed-3_")
    other = build({"data": {"subject": 5}, "train": {"seed": 3, "device": "cuda"}})
    assert run_name(other) == run_name(SPEC)
    assert run_name(build({"data": {"subject": 5}, "train": {"seed": 3, "lr": 1}})) != run_name(
        SPEC
    )


def test_names_that_look_like_no_value_stay(tmp_path):
    """A concept may be called null, and an image NA; what is not known is an empty cell."""
    text = "subject,image_id,concept,rank,score\n1,NA,null,1,\n"
    (tmp_path / "queries.csv").write_text(text)
    (tmp_path / "summary.json").write_text('{"n_gallery": 2}')
    [row] = Run(tmp_path).queries.to_dict("records")
    assert (row["image_id"], row["concept"], row["rank"]) == ("NA", "null", 1)
    assert np.isnan(row["score"])
    (tmp_path / "queries.csv").write_text(
        "subject,image_id,concept,rank,score,top_1\n1,007,01,1,,1e5\n"
    )
    [row] = Run(tmp_path).queries.to_dict(
        "records"
    )  # nor is an image that is called by a number one
    assert (row["image_id"], row["concept"], row["top_1"]) == ("007", "01", "1e5")


def test_a_folder_goes_by_its_own_name(tmp_path, monkeypatch):
    (tmp_path / "a-run" / "export").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a-run" / "export")
    assert [named_folder(name).name for name in (".", "..", "../../a-run")] == [
        *("export", "a-run", "a-run")
    ]


def test_a_run_that_fails_leaves_no_empty_folder(tmp_path):
    with pytest.raises(RuntimeError), new_run(run_of(tmp_path / "runs", SPEC)) as run:
        assert run.path.is_dir()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_a_folder_stays(tmp_path):
    with pytest.raises(RuntimeError), new_run(run_of(tmp_path, SPEC)) as run:
        run.write_json("run.json", {})
        raise RuntimeError
    assert [p.name for p in run.path.iterdir()] == ["run.json"]


def test_an_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataError, match="cannot write .*file.*--out"),
        new_run(run_of(tmp_path / "file", SPEC)),
    ):
        pass


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    atomic_write(path, "old")

    def full(self, text, **kwargs):
        self.write_bytes(b"ne")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match="No space left on device"):
        atomic_write(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]
    assert path.read_text() == "old"


def test_tables_and_records_come_back(tmp_path):
    with new_run(run_of(tmp_path, SPEC)) as run:
        run.write_json("run.json", {"spec": SPEC.model_dump(mode="json")})
        for name in ("queries.csv", "history.csv"):
            run.write_table(name, pd.DataFrame({"rank": [1, 2]}))
        save_file({"weight": np.zeros(1)}, run.weights)
        assert not run.finished
        run.write_json("summary.json", {"top1": 0.5})
    again = Run(run.path)
    assert again.spec == SPEC and again.finished and again.summary == {"top1": 0.5}
    assert again.queries["rank"].tolist() == [1, 2]


def test_a_missing_or_damaged_part_is_named(tmp_path):
    with pytest.raises(MissingDataError, match="summary.json"):
        Run(tmp_path).summary  # noqa: B018
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DataError, match="run.json"):
        Run(tmp_path).record  # noqa: B018
    (tmp_path / "run.json").write_text(json.dumps({"spec": {"x": 1}}))
    with pytest.raises(DataError, match="run.json"):
        Run(tmp_path).spec  # noqa: B018


def test_versions_name_what_numbers_depend_on():
    assert {"python", "torch", "braindecode", "mne"} <= set(versions())


def test_the_machine_names_what_the_last_digits_depend_on(tmp_path):
    import torch

    here = machine()
    assert here["threads"] == torch.get_num_threads() and here["blas_threads"] >= 1
    assert all(here[name] for name in ("cpu", "cores", "blas", "aten"))
    assert json.loads(json.dumps(here)) == here


def test_settings_show_what_is_not_default_in_a_notebook():
    shown = SPEC._repr_html_()
    assert "<th>data.subject</th><td>5</td>" in shown and "<th>train.seed</th><td>3</td>" in shown
    assert shown.count("<tr>") == 2 and "<tr>" not in TrialSpec()._repr_html_()


def test_the_commit_is_that_of_the_source_tree_or_nothing():
    commit = git_commit()
    assert commit is None or len(commit.removesuffix("-dirty")) == 40


def test_train_takes_the_options_of_the_command_line_as_keywords(sim_dir, tmp_path):
    places = {"data_dir": sim_dir, "out": tmp_path / "runs"}
    run = train(
        dataset="things-sim",
        preset="tiny",
        subject=np.int64(1),
        epochs=np.int64(1),
        lr=1e-3,
        **places,
    )
    spec = run_spec({"data": {"preset": "tiny"}, "train": {"epochs": 1, "lr": 1e-3}})
    assert train(spec, **places).path == run.path  # the same run, which is finished
    assert "<td>things-sim</td>" in run._repr_html_() and "top-1" in run._repr_html_()
    with pytest.raises(UsageError, match="epochs"):
        train(epoch=1, **places)
    with pytest.raises(UsageError, match="epochs"):
        train(spec, epochs=2, **places)
