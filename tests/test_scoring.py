"""Similarities of other programs: every form of file, joined by name, and what is refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from braindecode_ssr import score
from braindecode_ssr.errors import DataError, SSRError, UsageError
from braindecode_ssr.reporting import report

FOLDERS = [parent / "shared" / "data" / "real_similarity" for parent in Path(__file__).parents]
REAL = next((folder for folder in FOLDERS if folder.is_dir()), None)
real = pytest.mark.skipif(REAL is None, reason="the real similarities are not here")

N = 12
IDS = [f"c{n}/c{n}_01b" for n in range(N)]
NEAR = np.random.default_rng(0).normal(size=(N, N)) + 1.5 * np.eye(N)
RANKS = {name: int((NEAR[n] >= NEAR[n, n]).sum()) for n, name in enumerate(IDS)}


def ranks(result):
    return dict(zip(result[0]["image_id"], result[0]["rank"], strict=True))


def percent(result):
    return [round(100 * result[1][name], 1) for name in ("top1", "top5")]


@real
def test_real_similarities_give_their_published_numbers():
    def of(key, evaluation="default"):
        file = f"{REAL / 'things_eeg2_similarity.npz'}:{key}"
        return score(file, images=REAL / "image_ids.txt", evaluation=evaluation)

    whole = of("ensemble")
    assert percent(whole) == [67.0, 89.0] and whole[1]["flags"] == []
    assert whole[1]["top1_low"] < 0.62 and 0.72 < whole[1]["top1_high"] < 0.75
    assigned = of("ensemble", "correction=hungarian")
    assert percent(assigned)[0] == 96.5 and assigned[1]["flags"] == ["transductive"]
    seeds = [percent(of(f"rn50_seed{seed}"))[0] for seed in range(10)]
    assert np.mean(seeds) == pytest.approx(25.9)


def shuffled(seed=1):
    rows, columns = (np.random.default_rng(s).permutation(N) for s in (seed, seed + 1))
    return (
        NEAR[np.ix_(rows, columns)],
        [IDS[r] for r in rows],
        [f"images/{IDS[c]}.jpg".removeprefix("images/") for c in columns],
    )


def table(near, rows, columns):
    return pd.DataFrame(near, rows, columns)


WRITE = {
    "npz": lambda path, near, rows, columns: np.savez(
        path, x=near, brain_ids=np.array(rows), gallery_ids=np.array(columns)
    ),
    "pt": lambda path, near, rows, columns: torch.save(
        {"logits": torch.tensor(near), "query_ids": rows, "gallery_ids": columns}, path
    ),
    "safetensors": lambda path, near, rows, columns: save_file(
        {"x": near}, path, {"brain_ids": json.dumps(rows), "gallery_ids": json.dumps(columns)}
    ),
    "csv": lambda path, *named: table(*named).to_csv(path),
    "tsv": lambda path, *named: table(*named).to_csv(path, sep="\t", index_label="image_id"),
}


@pytest.mark.parametrize("kind", WRITE)
def test_rows_and_columns_are_joined_by_name(tmp_path, kind):
    path = tmp_path / f"mine.{kind}"
    WRITE[kind](path, *shuffled())
    assert ranks(score(path)) == RANKS
    assert score(path)[1]["method"] == "mine"


def test_arrays_without_names_get_them_from_a_list_or_from_their_order(tmp_path):
    path, listed, said = tmp_path / "near.npy", tmp_path / "names.txt", []
    np.save(path, NEAR)
    listed.write_text("\n".join(IDS))
    assert ranks(score(path, images=listed, say=said.append)) == RANKS and said == []
    in_order = score(path, say=said.append)
    assert list(ranks(in_order).values()) == list(RANKS.values())
    assert len(said) == 1 and "no names" in said[0]
    plain = tmp_path / "plain.csv"
    pd.DataFrame(NEAR).to_csv(plain, header=False, index=False)
    assert list(ranks(score(plain)).values()) == list(RANKS.values())
    assert ranks(score(table(NEAR, IDS, IDS))) == RANKS


def test_two_files_of_embeddings(tmp_path):
    rng = np.random.default_rng(3)
    images = rng.normal(size=(N, 6))
    brain = 3 * (images + rng.normal(size=(N, 6)))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (brain, images)]
    cosines = unit[0] @ unit[1].T
    order = rng.permutation(N)
    np.savez(tmp_path / "b.npz", features=brain[order], image_ids=np.array(IDS)[order])
    save_file({"features": images}, tmp_path / "g.safetensors", {"files": json.dumps(IDS)})
    found = score(tmp_path / "b.npz", tmp_path / "g.safetensors")
    assert ranks(found) == {
        name: int((cosines[n] >= cosines[n, n]).sum()) for n, name in enumerate(IDS)
    }


def test_candidates_without_a_query_are_reported(tmp_path):
    said = []
    found = score(table(NEAR[:5], IDS[:5], IDS), say=said.append)
    assert ranks(found) == {name: RANKS[name] for name in IDS[:5]}
    assert found[1]["n_gallery"] == N and "7 of 12" in said[0]


def spoiled(**changes):
    near, rows, columns = NEAR.copy(), list(IDS), list(IDS)
    near[3, 4] = changes.get("number", near[3, 4])
    rows[2], columns[2] = changes.get("row", rows[2]), changes.get("column", columns[2])
    return table(near, rows, columns)


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (spoiled(number=np.nan), {}, ["nan", IDS[3], IDS[4]]),
        (spoiled(row=IDS[5]), {}, ["2 queries", IDS[5]]),
        (spoiled(column=IDS[5] + ".png"), {}, ["2 candidates", IDS[5]]),
        (spoiled(row="other"), {}, ["no candidates", "other"]),
        (spoiled(), {"images": IDS}, ["--images"]),
        (NEAR, {"images": IDS[:4]}, ["4 names", "12 queries"]),
        (NEAR[:5], {}, ["5 queries", "12 candidates"]),
        (NEAR[0], {}, ["shape (12,)"]),
        (np.float64(3), {"gallery": NEAR}, ["cannot be compared"]),
        (NEAR, {"images": range(4)}, ["4 names", "12 queries"]),
        (NEAR, {"gallery": NEAR[:, :3]}, ["cannot be compared"]),
        (table(NEAR, IDS, IDS), {"gallery": NEAR}, ["queries only"]),
        (NEAR, {"evaluation": "repetitions=1"}, ["needs a run"]),
        (NEAR, {"evaluation": "gallery=views"}, ["needs a run"]),
        (NEAR, {"flags": ["good"]}, ["good", "test-selection"]),
        (NEAR, {"subjekt": 1}, ["subjekt", "did you mean 'subject'"]),
    ],
)
def test_what_cannot_be_joined_is_refused(given, options, words):
    with pytest.raises(SSRError) as caught:
        score(given, **options)
    for word in words:
        assert word in str(caught.value)


class Harmful:
    def __reduce__(self):
        return print, ("executed",)


def test_files_run_no_code_and_say_what_is_wrong(tmp_path, capsys):
    for name, write in {
        "a.npy": lambda f: np.save(f, np.array([Harmful()], dtype=object)),
        "b.pt": lambda f: torch.save({"logits": Harmful()}, f),
        "c.npz": lambda f: np.savez(f, x=np.array([Harmful()], dtype=object)),
        "d.csv": lambda f: f.write_text("a,b\n1,x\n"),
        "e.npy": lambda f: f.write_bytes(pickle.dumps(Harmful())),
        "f.npz": lambda f: np.savez(f, x=NEAR, y=NEAR),
        "g.npz": lambda f: np.savez(f, brain=NEAR, gallery=NEAR, about=np.array("{")),
    }.items():
        write(tmp_path / name)
        with pytest.raises(DataError):
            score(tmp_path / name)
    assert "executed" not in capsys.readouterr().out
    assert ranks(score(f"{tmp_path / 'f.npz'}:y", images=IDS)) == RANKS
    with pytest.raises(SSRError, match="did you mean 'y'"):
        score(f"{tmp_path / 'f.npz'}:yy")
    with pytest.raises(SSRError, match="no such file"):
        score(tmp_path / "nothing.csv")


def test_the_folder_is_one_that_report_reads(tmp_path):
    out, labels = tmp_path / "out", {"dataset": "things-eeg", "protocol": "intra", "subject": 8}
    score(NEAR, images=IDS, out=out, evaluation="correction=csls", **labels)
    _, summary = score(NEAR, images=IDS, out=out, flags=["test-selection"], method="m", **labels)
    made = report([out])
    row = made.summary.iloc[0]
    assert (row["method"], row["flags"], len(made.summary)) == ("m", "test-selection", 1)
    assert row["top1"] == summary["top1"] == np.mean([r == 1 for r in RANKS.values()])
    assert made.subjects["subject"].tolist() == [8]
    (out / "summary.json").write_text('{"scored_by": {}}')
    with pytest.raises(DataError, match="lacks dataset"):
        report([out])
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="not empty"):
        score(NEAR, out=tmp_path)
    with pytest.raises(UsageError, match="a file, not a folder"):
        score(NEAR, out=tmp_path / "run.json")
