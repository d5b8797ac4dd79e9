import pandas as pd
import pytest
from random_ranks import query_rows, run_rows

from braindecode_ssr.errors import UsageError
from braindecode_ssr.methods import METHODS
from braindecode_ssr.reporting import Results, report_of
from braindecode_ssr.reporting.render import MARK, percent
from braindecode_ssr.retrieval.evaluations import FLAGS
from braindecode_ssr.retrieval.statistics import interval, paired_tests


def made_of(*tables, **more):
    queries = pd.concat(tables, ignore_index=True)
    return report_of(Results(queries, run_rows(queries, **more)))


def tables_of(section):
    return {table.name: table for table in section.tables}


def cells(table):
    return {
        row[0].removesuffix(f" {MARK}"): dict(zip(table.head, row, strict=True))
        for row in table.rows
    }


def test_one_section_per_evaluation_with_its_tables(made):
    assert [section.title for section in made.sections] == [
        "things-sim (tiny), intra-subject, evaluation default",
        "things-sim (tiny), intra-subject, evaluation repetitions=1",
        "things-sim (tiny), intra-subject, evaluation gallery=views",
    ]
    assert [list(tables_of(s)) for s in made.sections] == [
        ["accuracy", "top1", "top5", "tests"],
        ["accuracy", "top1", "top5"],
        ["accuracy", "top1", "top5"],
    ]


def test_the_numbers_are_those_of_the_statistics(made, tables):
    queries = tables[0][tables[0]["evaluation"] == "default"]
    row = cells(tables_of(made.sections[0])["accuracy"])["ssr"]
    found = interval(queries[queries["method"] == "ssr"], "top1")
    ends = f"{percent(found.low)}, {percent(found.high)}"
    assert row["top-1 (%)"] == f"{percent(found.mean)} [{ends}]"
    assert (row["subjects"], row["seeds"], row["gallery"]) == ("6", "2", "original, 20")
    assert (row["selection"], row["trials averaged"]) == ("last", "5")
    [test] = made.tests.to_dict("records")
    expected = paired_tests(queries).iloc[0]
    assert test["p"] == expected["p"] and test["evaluation"] == "default"


def test_ceiling_and_chance_stand_below(made):
    rows = cells(tables_of(made.sections[0])["accuracy"])
    assert rows["ceiling"]["top-1 (%)"] == "90.0" and rows["chance"]["top-1 (%)"] == "5.00"


def test_a_leaky_row_is_marked_and_explained_and_others_are_not(made):
    default, _, views = (tables_of(section)["accuracy"] for section in made.sections)
    assert all(MARK not in cell for cell in default.rows[0][:5])
    assert MARK in views.rows[0][0] and MARK in views.rows[0][2]
    [note] = [note for note in views.notes if note.startswith(MARK)]
    assert f"altered-gallery: {FLAGS['altered-gallery']}" in note
    assert MARK in tables_of(made.sections[2])["top1"].rows[0][0]
    leaky = made.summary.set_index("evaluation").loc["gallery=views"]
    assert leaky["flags"] == "altered-gallery" and FLAGS["altered-gallery"] in leaky["flags_mean"]


def test_published_numbers_stand_beside_ours_with_protocol_and_source():
    real = {"subjects": (1, 2), "dataset": "things-eeg", "preset": "none", "n": 200}
    report = made_of(query_rows(0, **real), query_rows(1, method="nice", **real))
    table = tables_of(report.sections[0])["accuracy"]
    row = cells(table)["nice"]
    assert row["published on things-eeg"] == f"16.1 / 43.6 {MARK}"
    assert row["published under"] == "class-templates" and row["source"] == "[2]"
    assert any(f"[2] NICE, ICLR'24: {METHODS['nice'].source}" in note for note in table.notes)


@pytest.mark.parametrize(
    "other",
    [{"dataset": "things-sim", "preset": "small", "n": 200}, {"dataset": "things-eeg", "n": 20}],
)
def test_published_numbers_are_hidden_beside_another_dataset_or_size_of_gallery(other):
    report = made_of(query_rows(method="nice", subjects=(1, 2), **{"preset": "none", **other}))
    words = " ".join(
        cell for t in report.sections[0].tables for cell in (*t.head, *t.rows[0], *t.notes)
    )
    assert "ublished" not in words and "published_top1" not in report.summary


def test_published_subjects_stand_below_ours_on_the_same_dataset_only(made):
    subjects = tables_of(made.sections[0])["top1"]
    assert not any("published" in row[0] for row in subjects.rows)
    table = query_rows(method="ssr", subjects=(1, 3), dataset="things-meg", preset="none", n=200)
    section = made_of(table).sections[0]
    [row] = [row for row in tables_of(section)["top1"].rows if row[0] == "ssr, published"]
    assert row[1:] == ("19.3", "50.8", "–")
    assert section.title == "things-meg, intra-subject, evaluation default"


def test_each_method_as_published_has_its_own_protocol_so_nothing_is_tested():
    names = {"evaluation": "as-published"}
    report = made_of(query_rows(0, **names), query_rows(1, method="nice", **names))
    assert "tests" not in tables_of(report.sections[0]) and report.tests.empty


def test_methods_with_other_flags_are_not_tested_against_each_other():
    queries = pd.concat([query_rows(0), query_rows(1, method="nice")], ignore_index=True)
    runs = run_rows(queries)
    runs.loc[runs["method"] == "nice", "flags"] = "transductive"
    assert report_of(Results(queries, runs)).tests.empty


def test_a_method_of_somebody_else_has_nothing_published():
    report = made_of(query_rows(method="mine", evaluation="theirs"))
    assert "published" not in " ".join(tables_of(report.sections[0])["accuracy"].head)
    assert cells(tables_of(report.sections[0])["accuracy"])["mine"]["gallery"] == "not recorded, 20"


def test_the_gallery_is_that_of_the_evaluation_where_runs_do_not_tell():
    report = made_of(query_rows(evaluation="gallery=concept+repetitions=2"))
    assert report.summary["gallery"].item() == "concept"


def test_rows_on_unlike_subjects_and_failed_runs_are_reported():
    queries = pd.concat([query_rows(0), query_rows(1, method="nice", subjects=(1, 2))])
    runs = run_rows(queries)
    runs.loc[len(runs)] = {**runs.iloc[-1], "subject": 3, "run": "x", "status": "failed"}
    notes = report_of(Results(queries, runs)).sections[0].tables[0].notes
    assert any("different subjects" in note for note in notes)
    assert any(note.startswith("1 runs failed") for note in notes)


def test_what_one_subject_can_say_is_reported():
    table = made_of(query_rows(subjects=(4,), seeds=(0,))).sections[0].tables[0]
    assert "from one subject, it says nothing about others" in table.notes[0]
    assert "over queries" in table.notes[0]


def test_against_must_be_there(tables):
    with pytest.raises(UsageError, match="did you mean 'nice'"):
        report_of(Results(*tables), against="nise")


def test_json_has_no_nan(made):
    import json

    content = made.as_json()
    assert set(content) == {"summary", "subjects", "tests"}
    json.dumps(content, allow_nan=False, default=float)
    assert content["summary"][0]["gallery"] == "original" and len(content["subjects"]) == 24
