"""Figures of single runs, against the files they are drawn from."""

import shutil

import pandas as pd
import pytest

from braindecode_ssr.errors import UsageError
from braindecode_ssr.report import read_results, report_of
from braindecode_ssr.report.figures import draw
from braindecode_ssr.report.run_figures import learning_curve, learning_curves, panels_of
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
