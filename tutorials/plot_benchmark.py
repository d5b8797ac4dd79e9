"""
.. _benchmark-and-report:

Benchmark and report
====================

Several methods, people and seeds make a grid of runs, and one table for your paper. Here we train a small
grid, plot its accuracies with 95 % intervals and a dot for each person, and print the same table in LaTeX.
"""

# Authors: braindecode_ssr developers
#
# License: BSD-3

######################################################################
# A grid
# ------
#
# Each combination of method, subject, protocol and seed is a run. Finished runs are kept, so you can stop a
# grid, resume it, or make it larger.

import tempfile
from pathlib import Path

from braindecode_ssr import benchmark

folder = Path(tempfile.mkdtemp())
result = benchmark(
    dataset="things-sim",
    preset="tiny",
    methods=["ridge-decoding", "ssr-tuned", "encoding"],
    subjects=[1, 2, 3, 4],
    evaluations=["default", "repetitions=2"],
    epochs=20,
    data_dir=folder / "things-sim",
    out=folder / "grid",
)
result.runs[["method", "subject", "evaluation", "status", "top1", "top5"]].head(6)

######################################################################
# Each run is done in a process of its own; ``jobs=2`` does two at a time (in a script, put the call below
# ``if __name__ == "__main__":``). On the command line:
#
# .. code-block:: bash
#
#     ssr-bd benchmark --dataset things-sim --preset tiny --methods ridge-decoding,ssr-tuned,encoding \
#         --subjects 1-4 --evaluations default,repetitions=2 --epochs 20 --jobs 2 --out grid
#     ssr-bd report grid --format html --plots --out page
#
# Report
# ------
#
# A report is made from the saved ranks of all queries; nothing is trained or tested again.

from braindecode_ssr import report

made = report(result)
columns = ["evaluation", "method", "top1", "top1_low", "top1_high", "n_subjects", "chance_top1"]
made.summary[columns].round(3)

######################################################################
# Bars are means over people with 95 % intervals, and each dot is a person. Gray lines connect the same
# person, which is what a paired test compares.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
for axis, (evaluation, rows) in zip(axes, made.summary.groupby("evaluation"), strict=True):
    methods = rows["method"].tolist()
    errors = [rows["top1"] - rows["top1_low"], rows["top1_high"] - rows["top1"]]
    axis.bar(methods, rows["top1"], yerr=errors, capsize=5, color="#9ecae1")
    people = made.subjects.query("evaluation == @evaluation")
    people = people.pivot(index="method", columns="subject", values="top1").loc[methods]
    axis.plot(methods, people, "o-", color="0.4", linewidth=0.7, markersize=4)
    axis.axhline(rows["chance_top1"].iloc[0], color="black", linestyle=":", label="chance")
    axis.set(title=evaluation, ylim=(0, 1.02))
axes[0].set_ylabel("top-1 accuracy")
axes[0].legend(loc="upper left")

######################################################################
# With two trials averaged instead of all, the same test is harder. With four people, intervals are wide, and
# no paired test can reach p < 0.05; the report says so itself:

print("\n".join(made.sections[0].tables[-1].notes))

######################################################################
# For a paper
# -----------
#
# ``made`` prints as Markdown and shows as tables in a notebook. ``format=`` writes LaTeX, CSV or an HTML page
# with all figures: ``report(result, format="html", out="page", plots=True)``.

paper = report(result, format="latex", out=folder / "paper")
print("\n".join(paper.files[0].read_text().splitlines()[:16]))

######################################################################
# What next
# ---------
#
# - Costs, clusters, ensembles and the commands for the published tables: :doc:`/benchmark`.
# - Intervals, tests, figures and the HTML page: :doc:`/report`.
# - What the evaluations mean: :ref:`honest-numbers`.

import shutil

shutil.rmtree(folder)
