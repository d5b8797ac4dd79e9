import re
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from random_ranks import query_rows, run_rows, write_tables

from braindecode_ssr.errors import DataError
from braindecode_ssr.reporting import Results, report_of
from braindecode_ssr.reporting.figures import (
    TOGETHER,
    bars,
    bins,
    ceilings_of,
    chunks,
    curves,
    draw,
    file_name,
    shares,
)
from braindecode_ssr.reporting.render import MARK, html
from braindecode_ssr.reporting.run_figures import confusion_matrix
from braindecode_ssr.retrieval.statistics import COLUMN


@pytest.fixture(scope="module")
def pictures(tables, made):
    return {picture.name: picture for picture in draw(Results(*tables), made)}


def texts(figure):
    """All words of a figure."""
    from matplotlib.text import Text

    return " ".join(text.get_text() for text in figure.findobj(Text))


def heights(axis, label):
    [group] = [group for group in axis.containers if group.get_label() == label]
    return [bar.get_height() for bar in group]


def bars_of(results, metric="top1"):
    """The bars of results of one way, without the other pictures of the report."""
    [(key, queries)] = results.queries.groupby(list(COLUMN))
    ceilings = ceilings_of(key, results.runs)
    return bars(key, queries, report_of(results).summary, ceilings, metric).figure


def test_what_is_drawn(pictures):
    ways = ("default", "repetitions=1", "gallery=views")
    kinds = ("subjects", "subjects-top5", "ranks", "confusion")
    names = {f"{kind}_things-sim_tiny_intra_{way}" for kind in kinds for way in ways}
    assert set(pictures) == names | {"repetitions_things-sim_tiny_intra"}


def test_bars_are_the_means_of_subjects_and_their_mean(pictures, made):
    axis = pictures["subjects_things-sim_tiny_intra_default"].figure.axes[0]
    table = made.subjects
    own = table[(table["method"] == "nice") & (table["evaluation"] == "default")]["top1"]
    assert heights(axis, "nice") == pytest.approx([*(100 * own), 100 * own.mean()])


@pytest.mark.parametrize("metric", ["top1", "top5"])
def test_each_subject_has_its_ceiling_and_one_subject_no_mean(metric):
    for subjects, shown in (((1, 2), [60, 80, 70]), ((2,), [80])):
        queries = query_rows(subjects=subjects)
        of = {f"ceiling_{metric}": queries.drop_duplicates("run")["subject"].map({1: 0.6, 2: 0.8})}
        results = Results(queries, run_rows(queries).assign(**{k: list(v) for k, v in of.items()}))
        [axis] = bars_of(results, metric).axes
        [ceiling] = [lines for lines in axis.collections if lines.get_label() == "ceiling"]
        assert [line[0, 1] for line in ceiling.get_segments()] == pytest.approx(shown)
        assert len(heights(axis, "ssr")) == len(shown)


def test_no_bar_is_cut_where_methods_take_several_axes():
    accuracies = [0.1] * TOGETHER + [0.9]
    methods = [query_rows(method=f"mine-{i}", p=p) for i, p in enumerate(accuracies)]
    queries = pd.concat(methods, ignore_index=True)
    results = Results(queries, run_rows(queries))
    axes = bars_of(results).axes
    assert len(axes) > 1 and len({axis.get_ylim() for axis in axes}) == 1
    tops = [bar.get_height() for axis in axes for group in axis.containers[::2] for bar in group]
    low, high = axes[0].get_ylim()
    assert low == 0 and 80 < max(tops) < high


def test_a_leaky_way_is_marked_in_its_pictures(pictures):
    for kind in ("subjects", "ranks", "confusion"):
        way = f"{kind}_things-sim_tiny_intra_"
        assert f"ssr {MARK}" in texts(pictures[way + "gallery=views"].figure)
        assert "altered-gallery" in texts(pictures[way + "gallery=views"].figure)
        assert MARK not in texts(pictures[way + "default"].figure)


def test_published_subjects_are_drawn_and_marked():
    queries = query_rows(
        method="neurobridge", subjects=(1, 2, 3, 4), dataset="things-meg", preset="none", n=200
    )
    results = Results(queries, run_rows(queries))
    figure = bars_of(results)
    [axis] = figure.axes
    [line] = [line for line in axis.lines if line.get_label() == f"published {MARK}"]
    assert line.get_ydata() == pytest.approx([16.5, 53.7, 40.4, 18.1, 32.175])
    assert "test-selection" in texts(figure)


def test_ranks_and_their_chance(pictures, tables):
    axis = pictures["ranks_things-sim_tiny_intra_default"].figure.axes[0]
    queries = tables[0]
    rank = queries[(queries["evaluation"] == "default") & (queries["method"] == "ssr")]["rank"]
    found = heights(axis, "ssr")
    assert sum(found) == pytest.approx(100) and found[0] == pytest.approx(100 * (rank == 1).mean())


@pytest.mark.parametrize("n", [1, 2, 16, 20, 200, 1854, 5000])
def test_bins_hold_every_rank_once(n):
    ranks = np.arange(1, n + 1)
    assert shares(ranks, bins(n)).sum() == pytest.approx(1)
    assert bins(n)[-1][1] == n and bins(n)[0] == (1, 1)


def test_confusion_against_a_plain_count():
    queries = query_rows(subjects=(1, 2), n=7)
    concepts = sorted(queries["concept"].unique())
    expected = np.zeros((7, 7))
    for row in queries.to_dict("records"):
        for k in range(1, 6):
            expected[
                concepts.index(row["concept"]), concepts.index(row[f"top_{k}"].split("/")[0])
            ] += 1
    found = confusion_matrix(queries, concepts)
    assert found == pytest.approx(expected / 4)
    assert found.sum(axis=1) == pytest.approx(5)
    hits = (queries["rank"] <= 5).groupby(queries["concept"]).mean()
    assert np.diag(found) == pytest.approx(hits.to_numpy())


def test_candidates_that_nobody_saw_are_left_out():
    queries = query_rows(subjects=(1,), seeds=(0,), n=7).query("concept != 'concept_00'")
    concepts = sorted(queries["concept"].unique())
    assert confusion_matrix(queries, concepts).shape == (6, 6)


def test_without_the_nearest_images_there_is_no_confusion(made, tables):
    queries, runs = tables
    bare = Results(queries[[name for name in queries if not name.startswith("top_")]], runs)
    assert not [p for p in draw(bare, made) if p.name.startswith("confusion")]


def test_the_curve_is_that_of_plain_repetitions(pictures, made):
    axes = pictures["repetitions_things-sim_tiny_intra"].figure.axes
    lines = {line.get_label(): line for line in axes[0].lines}
    assert set(lines) == {"ssr", "nice", "chance", "ceiling"}
    assert list(lines["ssr"].get_xdata()) == [1, 5]
    rows = made.summary[(made.summary["method"] == "ssr") & (made.summary["gallery"] == "original")]
    assert sorted(lines["ssr"].get_ydata()) == pytest.approx(sorted(100 * rows["top1"]))
    assert curves(made.summary[made.summary["evaluation"] != "repetitions=1"]) == []


@pytest.mark.parametrize("n", [1, TOGETHER, TOGETHER + 1, 13])
def test_methods_share_axes_evenly(n):
    names = [f"m{i}" for i in range(n)]
    parts = chunks(names)
    assert sum(parts, []) == names
    assert max(map(len, parts)) <= TOGETHER and max(map(len, parts)) - min(map(len, parts)) <= 3


def test_names_of_files():
    assert file_name("ranks", ("a b", "x/y", "intra", "window=0.1-0.4+n-way=5")) == (
        "ranks_a-b_x-y_intra_window=0.1-0.4+n-way=5"
    )


def test_files_are_whole_and_the_same_each_time(pictures, tmp_path, coarse):
    picture = pictures["ranks_things-sim_tiny_intra_default"]
    png, pdf = picture.write(tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG") and pdf.read_bytes().startswith(b"%PDF")
    assert replace(picture).png == png.read_bytes()  # drawn again
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([png.name, pdf.name])
    with pytest.raises(DataError, match="cannot write"):
        picture.write(png)


def test_html_holds_pictures(pictures, made, coarse):
    picture = pictures["ranks_things-sim_tiny_intra_default"]
    page = html(replace(made, pictures=(picture,)))
    assert page.count('<img alt="') == 1 and 'src="data:image/png;base64,' in page


def test_pictures_of_one_subject_and_one_image(coarse):
    queries = query_rows(subjects=(1,), seeds=(0,), n=2)
    queries = pd.concat([queries, queries.assign(method="other")], ignore_index=True)
    results = Results(queries, run_rows(queries))
    assert [picture.png[:4] for picture in draw(results, report_of(results))]


@pytest.mark.parametrize(
    "label", [pytest.param("ssr", marks=pytest.mark.slow), "a-method-of-ours-with-a-long-name"]
)
def test_no_text_is_cut_with_one_subject_and_one_method(label):
    queries = query_rows(subjects=(5,), seeds=(0,), method=label, preset="small")
    results = Results(queries, run_rows(queries))
    for picture in draw(results, report_of(results)):
        picture.figure.draw_without_rendering()
        width, height = picture.figure.bbox.size
        box = picture.figure._suptitle.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height
        assert (
            " ".join(texts(picture.figure).split()).count("(small), intra-subject, evaluation") == 1
        )


def test_the_recipe_of_the_documentation(tables, tmp_path, monkeypatch, coarse):
    default = [table[table["evaluation"] == "default"] for table in tables]
    write_tables(tmp_path / "bench", *default)
    text = (Path(__file__).parents[3] / "docs" / "report.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text)
    (block,) = [block for block in blocks if "read_results" in block]
    monkeypatch.chdir(tmp_path)
    names = {"out": tmp_path}
    exec(textwrap.dedent(block), names)
    assert names["table"].loc["default", "ssr"] > names["table"].loc["default", "nice"]
    assert len(list(tmp_path.glob("*.png"))) == 4
