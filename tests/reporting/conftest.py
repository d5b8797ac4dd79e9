"""Folders of benchmarks as they are on disk."""

import json

import numpy as np
import pandas as pd
import pytest
from random_ranks import query_rows, run_rows, write_tables
from safetensors.numpy import save_file

from braindecode_ssr.config import RunSpec


@pytest.fixture(scope="session")
def tables():
    """Two methods on six subjects in three ways, one of them with altered images."""
    subjects = range(1, 7)
    queries = pd.concat(
        [
            query_rows(0, method="ssr", subjects=subjects, p=0.7),
            query_rows(1, method="nice", subjects=subjects, p=0.3),
            query_rows(2, method="ssr", subjects=subjects, p=0.3, evaluation="repetitions=1"),
            query_rows(3, method="ssr", subjects=subjects, p=0.8, evaluation="gallery=views"),
        ],
        ignore_index=True,
    )
    runs = run_rows(queries, gallery="original")
    runs.loc[runs["evaluation"] == "gallery=views", ["flags", "gallery"]] = [
        "altered-gallery",
        "views",
    ]
    runs.loc[runs["evaluation"] == "repetitions=1", "repetitions"] = 1
    return queries, runs


@pytest.fixture
def folder(tables, tmp_path):
    """A benchmark's folder that a test may spoil."""
    return write_tables(tmp_path / "bench", *tables)


@pytest.fixture(scope="session")
def read_only_folder(tables, tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("report") / "bench", *tables)


@pytest.fixture(scope="session")
def made(read_only_folder):
    """The report of that folder."""
    from braindecode_ssr.reporting import report

    return report([read_only_folder])


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A run of SSR on the tiny simulation, as ``train`` writes it, with invented numbers."""
    from braindecode_ssr.datasets import open_dataset

    root = tmp_path_factory.mktemp("run")
    folder = root / "run"
    folder.mkdir()
    settings = {"data": {"preset": "tiny", "subject": 5}, "model": {"backbone": "EEGNet"}}
    spec = RunSpec(**settings)
    dataset = open_dataset(spec.data, root)
    data = {"root": str(root), "fingerprint": dataset.source_key(5, spec.trials)}
    (folder / "run.json").write_text(
        json.dumps({"spec": spec.model_dump(mode="json"), "dataset": data})
    )
    shown = dataset.images[dataset.images["split"] == "test"]
    queries = query_rows(subjects=(5,), seeds=(0,), n=len(shown))
    old = queries["image_id"].tolist()
    queries = queries.replace(dict(zip(old, shown["image_id"], strict=True)))
    queries["concept"] = shown["concept"].to_numpy()
    named = ["subject", "image_id", "concept", "rank", "score", *(f"top_{k}" for k in range(1, 6))]
    queries[named].to_csv(folder / "queries.csv", index=False)
    summary = {"evaluation": "default", "n_queries": len(shown), "n_gallery": len(shown)}
    (folder / "summary.json").write_text(json.dumps(summary))
    epochs = np.arange(1, 5)
    history = pd.DataFrame({"epoch": epochs, "train_batch_count": 3, "brain_view": 4 / epochs})
    for place, name in enumerate(("", "_paired", "_shuffled", "_none")):
        history[f"reconstruct_brain{name}"] = place + 1 / epochs
    history = history.assign(dur=1.0, train_loss=5 / epochs, train_loss_best=True)
    history.to_csv(folder / "history.csv", index=False)
    save_file({"w": np.zeros(1)}, folder / "model.safetensors")
    return folder
