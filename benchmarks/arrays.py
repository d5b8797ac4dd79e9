"""Whole arrays at once against loops: the moving average, averages over repetitions, the z-score.

    python benchmarks/arrays.py

prints one JSON line for each: seconds of ours and of a plain loop over trials and channels (on a part of the
trials and scaled up, since it is linear in them), their ratio, and the largest difference relative to the
largest value. Processor time is said beside the time by the clock, and the load of the machine, which tells
them apart.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

import numpy as np

from braindecode_ssr.preprocessing.epochs import average_by, moving_average, smooth
from braindecode_ssr.preprocessing.whitening import channel_scale, standardize

WIDTH, REPETITIONS = 5, 4


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16540)
    parser.add_argument("--channels", type=int, default=17)
    parser.add_argument("--times", type=int, default=250)
    parser.add_argument("--part", type=int, default=50, help="1 / part of the trials in the loop")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = options.images, options.channels, options.times
    trials = rng.standard_normal(shape, np.float32)
    images = np.resize(rng.permutation(options.images // REPETITIONS), options.images)
    for name, ours, loop in (
        ("moving average", lambda x, _: moving_average(x, WIDTH), average_in_a_loop),
        ("smoothing 0.3", lambda x, _: smooth(x, 0.3, WIDTH), smooth_in_a_loop),
        ("mean over repetitions", lambda x, n: average_by(x, n)[0], repetitions_in_a_loop),
        ("z-score", lambda x, _: standardize(x, *channel_scale(x)), zscore_in_a_loop),
    ):
        result = measure(ours, loop, trials, images, options.part)
        load = round(os.getloadavg()[0], 1)
        print(json.dumps({"what": name, "shape": shape, **result, "load": load}), flush=True)


def measure(
    ours: Callable, loop: Callable, trials: np.ndarray, images: np.ndarray, part: int
) -> dict[str, float]:
    """Seconds of both, the loop on a part of the trials; and whether they agree on that part."""
    seconds, cpu = min(timed(ours, trials, images)[:2] for _ in range(3))
    some = slice(0, max(4 * REPETITIONS, len(trials) // part))
    n_images = max(1, (some.stop - some.start) // REPETITIONS)
    numbers = np.resize(np.arange(n_images), some.stop - some.start)
    plain, plain_cpu, reference = timed(loop, trials[some], numbers)
    found = ours(trials[some], numbers)
    scale = len(trials) / (some.stop - some.start)
    return {
        "ours_seconds": round(seconds, 3),
        "ours_cpu_seconds": round(cpu, 3),
        "loop_seconds": round(scale * plain, 1),
        "ratio": round(scale * plain / seconds, 1),
        "cpu_ratio": round(scale * plain_cpu / cpu, 1),
        "max_relative_difference": float(np.abs(found - reference).max() / np.abs(reference).max()),
    }


def timed(function: Callable, *args: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Seconds by the clock, of processor time, and the result."""
    start, cpu = time.perf_counter(), time.process_time()
    result = function(*args)
    return time.perf_counter() - start, time.process_time() - cpu, result


def average_in_a_loop(trials: np.ndarray, _: np.ndarray) -> np.ndarray:
    """The mean over the samples that are there, sample by sample."""
    smoothed, half = np.empty_like(trials), WIDTH // 2
    for trial, row in enumerate(trials):
        for channel, values in enumerate(row):
            smoothed[trial, channel] = [
                values[max(0, place - half) : place + half + 1].mean()
                for place in range(len(values))
            ]
    return smoothed


def smooth_in_a_loop(trials: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Each channel of each trial with a probability of 0.3, as the dice of the seed fall."""
    chosen = np.random.default_rng(0).random(trials.shape[:2]) < 0.3
    smoothed = trials.copy()
    for trial, channel in zip(*np.nonzero(chosen), strict=True):
        one = trials[trial : trial + 1, channel : channel + 1]
        smoothed[trial, channel] = average_in_a_loop(one, _)[0, 0]
    return smoothed


def repetitions_in_a_loop(trials: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Image by image, channel by channel, the trials that show it."""
    means = []
    for image in np.unique(images):
        rows = [row for row, number in enumerate(images) if number == image]
        means.append([trials[rows, channel].mean(axis=0) for channel in range(trials.shape[1])])
    return np.array(means)


def zscore_in_a_loop(trials: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of a channel over everything, then value by value of a trial."""
    scaled = np.empty_like(trials)
    for channel in range(trials.shape[1]):
        mean = sum(float(trial[channel].sum(dtype=np.float64)) for trial in trials)
        mean /= trials.shape[0] * trials.shape[2]
        spread = sum(float(((trial[channel] - mean) ** 2).sum()) for trial in trials)
        deviation = np.sqrt(spread / (trials.shape[0] * trials.shape[2]))
        for trial in range(len(trials)):
            scaled[trial, channel] = [
                (value - mean) / deviation for value in trials[trial, channel]
            ]
    return scaled


if __name__ == "__main__":
    main()
