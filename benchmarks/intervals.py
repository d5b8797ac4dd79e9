"""How often the 95 % intervals of tables contain the true value, in simulated experiments.

A query is a hit if its difficulty is below the ability of its subject; the difficulty is that of its image,
which all subjects share, plus that of the trial and of the seed. Accuracy is 40 % with standard deviations of
8 points between subjects and 1.5 between seeds, or 5 % with 1.5 and 0.5. The true value is that of all
subjects, images and seeds; with one subject, also that of this subject.

    python benchmarks/intervals.py
    python benchmarks/intervals.py --experiments 500
"""

from __future__ import annotations

import argparse
from statistics import NormalDist

import numpy as np
import pandas as pd

from braindecode_ssr.retrieval.statistics import confidence

SIZES = (
    (1, 1),
    (1, 3),
    (2, 1),
    (2, 3),
    (3, 1),
    (4, 1),
    (4, 3),
    (10, 1),
    (10, 3),
)  # subjects, seeds
ACCURACIES = ((0.4, 0.08, 0.015), (0.05, 0.015, 0.005))  # mean, sd between subjects, between seeds
N_IMAGES, IMAGE_SD, TRIAL_SD = 200, 0.6, 0.64  # the sd that is left to a total of 1 is the seed's
NORMAL = NormalDist()


def main() -> None:
    """Simulate and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--experiments", type=int, default=1000, help="of each kind")
    experiments = parser.parse_args().experiments
    print("accuracy  subjects  seeds  coverage  of this subject  median width (points)")
    for accuracy in ACCURACIES:
        for n_subjects, n_seeds in SIZES:
            covered, own, width = coverage(accuracy, n_subjects, n_seeds, experiments)
            one = f"{100 * own:.1f} %" if n_subjects == 1 else ""
            print(
                f"{100 * accuracy[0]:6.0f} %  {n_subjects:8d}  {n_seeds:5d}  {100 * covered:6.1f} %  "
                f"{one:>15}  {100 * width:21.1f}"
            )


def coverage(
    accuracy: tuple[float, float, float], n_subjects: int, n_seeds: int, experiments: int
) -> tuple[float, float, float]:
    """Shares of intervals that hold the true value and the mean of their subjects; the median width."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(experiments):
        scores, truth, own = experiment(rng, accuracy, n_subjects, n_seeds)
        _, low, high = confidence(scores)
        found.append((low <= truth <= high, low <= own <= high, high - low))
    covered, of_own, widths = np.array(found).T
    return float(covered.mean()), float(of_own.mean()), float(np.median(widths))


def experiment(
    rng: np.random.Generator,
    accuracy: tuple[float, float, float],
    n_subjects: int,
    n_seeds: int,
    n_images: int = N_IMAGES,
) -> tuple[pd.DataFrame, float, float]:
    """Hits of one experiment, the true accuracy of all subjects, and the mean of those that took part."""
    mean, between_subjects, between_seeds = accuracy
    limit = NORMAL.inv_cdf(mean)
    slope = NORMAL.pdf(limit)  # points of accuracy per unit of ability
    ability = between_subjects / slope * rng.standard_normal((n_subjects, 1, 1))
    luck = between_seeds / slope * rng.standard_normal((n_subjects, n_seeds, 1))
    image = IMAGE_SD * rng.standard_normal(n_images)
    trial = TRIAL_SD * rng.standard_normal((n_subjects, 1, n_images))
    rest = (1 - IMAGE_SD**2 - TRIAL_SD**2) ** 0.5
    noise = rest * rng.standard_normal((n_subjects, n_seeds, n_images))
    hits = image + trial + noise < limit + ability + luck
    rows = pd.MultiIndex.from_product(
        [range(n_subjects), range(n_seeds)], names=["subject", "seed"]
    )
    scores = pd.DataFrame(hits.reshape(-1, n_images).astype(float), index=rows)
    seeds_sd = between_seeds / slope
    total = (1 + seeds_sd**2 + (between_subjects / slope) ** 2) ** 0.5
    alone = (1 + seeds_sd**2) ** 0.5
    own = np.mean([NORMAL.cdf((limit + a) / alone) for a in ability.ravel()])
    return scores, NORMAL.cdf(limit / total), float(own)


if __name__ == "__main__":
    main()
