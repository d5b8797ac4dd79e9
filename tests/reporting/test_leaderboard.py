"""Files of results: what is in them, what is refused, and that they add up to the report of their runs."""

import json

import numpy as np
import pytest

from braindecode_ssr import score
from braindecode_ssr.errors import SSRError
from braindecode_ssr.reporting import report
from braindecode_ssr.reporting.leaderboard import add_results, digest_of, leaderboard

N = 10
IDS = [f"c{n}/c{n}_01b" for n in range(N)]
LABELS = {"dataset": "things-eeg", "protocol": "intra", "backbone": "b"}


def scored(folder, seed=0, noise=1.0, **options):
    near = np.eye(N) + noise * np.random.default_rng(seed).normal(size=(N, N))
    score(near, images=IDS, out=folder, seed=seed, **{**LABELS, **options})
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Results of two methods on two subjects."""
    base = tmp_path_factory.mktemp("folders")
    return [
        scored(base / f"{method}{subject}{seed}", seed, noise, method=method, subject=subject)
        for method, noise in (("weak", 2.0), ("strong", 0.1))
        for subject in (1, 2)
        for seed in (10 * subject, 10 * subject + 1)
    ]


def test_the_table_of_files_is_that_of_their_runs_best_first(folders, tmp_path):
    files = add_results(folders, tmp_path / "results")
    assert len(files) == 8 and all(len(file.read_bytes()) < 4000 for file in files)
    made, refused = leaderboard(tmp_path / "results")
    assert refused == []
    both = [table.summary.set_index("method") for table in (made, report(folders))]
    assert both[0].index.tolist() == ["strong", "weak"]
    numbers = ["top1", "top1_low", "top5", "mrr", "mean_rank", "n_subjects", "n_seeds"]
    assert both[0][numbers].equals(both[1].loc[both[0].index, numbers])
    entries = made.sections[0].tables[1]
    assert [row[0] for row in entries.rows] == ["strong", "weak"] and entries.rows[0][-1] == "4"


def test_adding_again_changes_nothing_and_replaces_nothing(folders, tmp_path):
    said, to = [], tmp_path / "results"
    [file] = add_results(folders[:1], to)
    before = file.read_bytes()
    assert add_results(folders[:1], to, said.append) == [] and str(file) in said[0]
    other = scored(tmp_path / "other", seed=10, noise=0.3, method="weak", subject=1)
    with pytest.raises(SSRError, match="another result with the labels"):
        add_results([other, *folders[1:]], to)
    assert file.read_bytes() == before and len(list(to.rglob("*.json"))) == 1


def test_hidden_folders_at_any_depth_are_no_results(tmp_path):
    """Such as the new run of --overwrite, until it takes the place of the old one."""
    scored(tmp_path / "runs" / "grid" / "run")
    scored(tmp_path / "runs" / "grid" / ".run.new", seed=1)
    assert len(add_results([tmp_path / "runs"], tmp_path / "results")) == 1


def test_evaluations_of_a_run_are_files_of_their_own(tmp_path):
    from braindecode_ssr.sharing.score import read_similarity, score_each, write_scored

    found = read_similarity(np.eye(N), images=IDS).labeled(**LABELS)
    done = list(score_each(found, ["default", "n-way=4", "correction=csls"]))
    write_scored(tmp_path / "run", done)
    add_results([tmp_path], tmp_path / "results")
    made, _ = leaderboard(tmp_path / "results")
    flags = made.summary.set_index("evaluation")["flags"].to_dict()
    assert flags == {
        "default": "",
        "n-way=4": "fewer-candidates",
        "correction=csls": "transductive",
    }


def changed(content, **changes):
    content = {**content, **changes}
    return {**content, "digest": digest_of(content)}


WRONG = {
    "digest": lambda c: {**c, "method": "mine"},
    "no version": lambda c: changed(c, version=""),
    "version": lambda c: {name: value for name, value in c.items() if name != "version"},
    "flags": lambda c: {name: value for name, value in c.items() if name != "flags"},
    "lacks the flag transductive": lambda c: changed(c, evaluation="correction=csls"),
    "lacks the flag ensemble": lambda c: changed(c, ensemble={"size": 2}),
    "bad-flag": lambda c: changed(c, flags=["bad-flag"]),
    "top1": lambda c: changed(c, top1=0.99),
    "mrr": lambda c: changed(c, mrr=float("nan")),
    "median_rank": lambda c: changed(c, median_rank="2"),
    "chance_top1": lambda c: changed(c, chance_top1=[0.1]),
    "ensemble: ": lambda c: changed(c, ensemble=[2]),
    "number of queries": lambda c: changed(c, n_queries=200),
    "rank 11": lambda c: changed(c, queries={**c["queries"], "rank": [11] * N}),
    "table of queries": lambda c: changed(c, queries={"image_id": IDS}),
    "format": lambda c: changed(c, format=2),
    "another version": lambda c: changed(c, spec={"future": 1}),
}


def test_files_that_are_refused(folders, tmp_path):
    to = tmp_path / "results"
    good, bad = add_results(folders[:2], to)
    content = json.loads(bad.read_text())
    bad.unlink()
    for number, wrong in enumerate(WRONG.values()):
        (to / f"{number:02d}.json").write_text(json.dumps(wrong(content)))
    made, refused = leaderboard(to)
    for number, (words, said) in enumerate(zip(WRONG, refused, strict=True)):
        assert words in said.removeprefix(str(to)) and f"{number:02d}.json" in said
    assert made.summary["n_seeds"].tolist() == [1]
    good.unlink()
    with pytest.raises(SSRError, match=f"all {len(WRONG)} files"):
        leaderboard(to)


def test_other_settings_are_another_row(tmp_path, tiny_record, folders):
    """Two runs of one method; the one with another learning rate is named by its settings."""
    to = tmp_path / "results"
    [file] = add_results(folders[:1], to)
    content = json.loads(file.read_text())
    for number, (subject, lr) in enumerate([(1, 1e-4), (2, 1e-4), (1, 1e-3)]):
        spec = {**tiny_record, "data": {**tiny_record["data"], "subject": subject}}
        spec["train"] = {**spec["train"], "lr": lr, "seed": number, "device": f"cuda:{number}"}
        one = changed(content, spec=spec, subject=subject, seed=number)
        (to / f"{number}.json").write_text(json.dumps(one))
    file.unlink()
    made, _ = leaderboard(to)
    assert sorted(made.summary["n_subjects"]) == [1, 2]
    assert all(name.startswith("weak ") for name in made.summary["method"])
    other = changed(json.loads((to / "1.json").read_text()), data="other", seed=7)
    (to / "3.json").write_text(json.dumps(other))
    with pytest.raises(SSRError, match="subject 2, are of several versions"):
        leaderboard(to)


@pytest.fixture
def tiny_record():
    from braindecode_ssr.config import RunSpec

    return RunSpec().model_dump(mode="json")
