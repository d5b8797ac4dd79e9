"""Figures of single runs, against the files they are drawn from."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from random_ranks import query_rows

from braindecode_ssr.datasets.recordings import ImageFolder
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.inference.trained import TrainedRun
from braindecode_ssr.reporting import read_results, report_of
from braindecode_ssr.reporting.figures import draw
from braindecode_ssr.reporting.render import html, image_links
from braindecode_ssr.reporting.run_figures import (
    by_cluster,
    chosen_queries,
    learning_curve,
    learning_curves,
    panels_of,
    retrieval_grids,
    retrieval_pictures,
)
from braindecode_ssr.runs import Run


def lines_of(figure):
    return {
        (axis.get_title(loc="left"), line.get_label()): line.get_ydata()
        for axis in figure.axes
        for line in axis.lines
    }


def test_the_report_draws_the_learning_curve_of_a_run_with_every_part(run_folder):
    results = read_results([run_folder])
    [curve] = [p for p in draw(results, report_of(results)) if p.name.startswith("training")]
    history, lines = Run(run_folder).history, lines_of(curve.figure)
    for place, column in {
        ("loss", "loss"): "train_loss",
        ("parts of the loss", "brain view"): "brain_view",
        ("reconstruct brain, by context", "training"): "reconstruct_brain",
        ("reconstruct brain, by context", "right partner"): "reconstruct_brain_paired",
        ("reconstruct brain, by context", "another's"): "reconstruct_brain_shuffled",
        ("reconstruct brain, by context", "no partner"): "reconstruct_brain_none",
    }.items():
        assert list(lines.pop(place)) == list(history[column])
    assert not lines


def test_runs_of_a_method_share_a_figure_with_their_mean(run_folder, tmp_path):
    other = shutil.copytree(run_folder, tmp_path / "other")
    (Run(run_folder).history.assign(train_loss=1.0)).to_csv(other / "history.csv", index=False)
    [picture] = learning_curves([Run(run_folder), Run(other)])
    mean = (Run(run_folder).history["train_loss"] + 1) / 2
    assert lines_of(picture.figure)["loss", "loss"] == pytest.approx(mean)
    assert "2 runs" in picture.caption and len(picture.figure.axes[0].lines) == 3


def test_every_number_of_a_history_is_in_one_panel():
    names = ["epoch", "dur", "train_loss", "brain_view", "scale", "a_none", "valid_mrr"]
    panels = panels_of(pd.DataFrame(dict.fromkeys(names, [1.0])))
    assert sorted(sum(panels.values(), [])) == sorted(names[2:])


def test_a_closed_form_has_no_learning_curve(run_folder, tmp_path):
    other = shutil.copytree(run_folder, tmp_path / "other")
    tried = pd.DataFrame({"penalty": [1.0], "valid_mrr": [0.5]})
    tried.to_csv(other / "history.csv", index=False)
    assert learning_curves([Run(other)]) == []
    with pytest.raises(UsageError, match="closed form"):
        learning_curve([tried], "x")


def test_a_damaged_history_is_left_out(run_folder, tmp_path):
    other = shutil.copytree(run_folder, tmp_path / "other")
    (other / "history.csv").write_text("")
    [picture] = learning_curves([Run(other), Run(run_folder)])
    assert "2 runs" not in picture.caption


def test_the_chosen_queries_are_the_best_the_middle_and_the_worst():
    queries = query_rows(subjects=(1, 2), n=11, p=0.3)
    shown = chosen_queries(queries, 2)
    ranks = np.sort(queries["rank"])
    assert shown["kind"].tolist() == ["best"] * 2 + ["middle"] * 2 + ["worst"] * 2
    assert shown["rank"].tolist() == [*ranks[:2], *ranks[21:23], *ranks[-2:]]
    assert not shown.duplicated(["subject", "seed", "image_id"]).any()
    few = chosen_queries(queries.head(3), 2)
    assert len(few) == 3 and set(few["kind"]) == {"best", "middle", "worst"} - {"middle"}


def test_the_page_shows_the_nearest_images_of_a_run_with_the_right_one_framed(run_folder):
    results = read_results([run_folder])
    [grid] = retrieval_grids(results.trained, None)
    queries = Run(run_folder).queries.set_index("image_id")
    for query in grid.queries:
        row = queries.loc[query["name"]]
        assert [one["name"] for one in query["nearest"]] == [row[f"top_{k}"] for k in range(1, 6)]
        assert [one["right"] for one in query["nearest"]] == [row["rank"] == k for k in range(1, 6)]
        assert query["note"].split(": ")[1].startswith(f"rank {row['rank']},")
    page = html(replace(report_of(results), grids=(grid,)))
    framed = sum(one["right"] for query in grid.queries for one in query["nearest"])
    assert framed and page.count('class="right"') == framed
    assert page.count('src="data:image/jpeg') == 6 * len(grid.queries)


def test_image_files_are_linked_and_embedded_only_if_asked(tmp_path):
    (tmp_path / "my images").mkdir()
    Image.new("RGB", (300, 300), "red").save(tmp_path / "my images" / "a.jpg")
    images = ImageFolder(tmp_path / "my images")
    [name] = images.images["image_id"]
    assert image_links(images, tmp_path / "page")(name) == "../my%20images/a.jpg"
    assert image_links(images, None)(name).startswith("file:///")
    assert image_links(images, tmp_path, embed=True)(name).startswith("data:image/jpeg;base64,")
    assert image_links(None, tmp_path)(name) == ""


def test_figures_of_queries_show_images_only_if_asked(run_folder):
    for embed in (True, False):
        [picture] = retrieval_pictures([Run(run_folder)], embed)
        assert any(axis.images for axis in picture.figure.axes) is embed


def test_other_data_than_those_of_the_run_show_no_images(run_folder, tmp_path):
    other = shutil.copytree(run_folder, tmp_path / "other")
    record = json.loads((other / "run.json").read_text())
    record["dataset"]["fingerprint"] = "an earlier version"
    (other / "run.json").write_text(json.dumps(record))
    said = []
    [grid] = retrieval_grids([Run(other)], None, True, said.append)
    assert not any(query["source"] for query in grid.queries) and "an earlier version" in said[0]
    with pytest.raises(DataError, match="an earlier version"):
        TrainedRun(other).plot_retrieval()


def test_a_run_draws_itself(run_folder, tmp_path):
    from matplotlib import pyplot as plt

    run = TrainedRun(run_folder)
    shown = chosen_queries(run.queries, 1)
    figure = run.plot_retrieval(1)
    axes = np.array(figure.axes).reshape(3, 6)
    images = ThingsSim(run_folder.parent, preset="tiny")
    for line, row in zip(axes, shown.to_dict("records"), strict=True):
        for axis, column in zip(
            line, ["image_id", *(f"top_{k}" for k in range(1, 6))], strict=True
        ):
            assert (axis.images[0].get_array() == np.asarray(images.image(row[column]))).all()
            framed = column != "image_id" and row[column] == row["image_id"]
            assert axis.spines["left"].get_visible() is framed
    assert ("loss", "loss") in lines_of(run.plot_history())
    confusion = run.plot_similarity(data_dir=tmp_path).axes[0]  # the dataset is not here
    names = [label.get_text() for label in confusion.get_yticklabels()]
    assert sorted(names) == sorted(run.queries["concept"])
    assert plt.get_fignums()
    plt.close("all")


def test_concepts_that_are_taken_for_each_other_stand_together():
    names = [f"{kind}{place}" for kind in "abc" for place in range(4)]
    mixed = list(np.random.default_rng(0).permutation(names))
    matrix = np.array([[0.9 * (a[0] == b[0]) for b in mixed] for a in mixed])
    order = "".join(name[0] for name in by_cluster(matrix, mixed))
    assert sorted(order) == sorted("aaaabbbbcccc")
    assert all(kind * 4 in order for kind in "abc")
