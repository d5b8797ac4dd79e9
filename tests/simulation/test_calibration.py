"""What benchmarks/simulation.py says of a figure: met, met within its interval, or not met."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

N_SUBJECTS, N_IMAGES = 3, 200


@pytest.fixture(scope="module")
def simulation():
    """The module benchmarks/simulation.py."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "simulation.py"
    spec = importlib.util.spec_from_file_location("simulation_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks for names
    spec.loader.exec_module(module)
    return module


def row(simulation, top1, left=0.7):
    """A method with these shares of first hits, the same for each subject."""
    shuffled = np.random.default_rng(0).permuted(
        np.tile(np.arange(N_IMAGES), (N_SUBJECTS, 1)), axis=1
    )
    nearest = np.tile(np.arange(10), (N_SUBJECTS, N_IMAGES, 1))
    return simulation.Row(
        (shuffled < top1 * N_IMAGES).astype(float),
        (shuffled < left * top1 * N_IMAGES).astype(float),
        nearest,
    )


@pytest.mark.parametrize(
    ("value", "found", "expected"),
    [
        (41.0, (35.0, 47.0), "met"),
        (44.0, (39.0, 49.0), "met within the interval"),
        (38.0, (33.0, 40.0), "met within the interval"),
        (44.0, (42.5, 49.0), "not met"),
        (38.0, (33.0, 39.5), "not met"),
    ],
)
def test_three_things_can_be_said_of_a_figure(simulation, value, found, expected):
    assert simulation.verdict(value, found, (40.0, 42.0)) == expected


def test_each_figure_is_printed_with_its_interval_and_what_is_said_of_it(
    simulation, capsys, monkeypatch
):
    monkeypatch.setattr(simulation, "N_DRAWS", 200)
    intra = {
        "ridge-decoding": row(simulation, 0.24, 0.75),
        "nice": row(simulation, 0.235, 0.3),
        "contrast": row(simulation, 0.41),
        "neurobridge": row(simulation, 0.8),
    }
    simulation.asked(intra, {"ridge-decoding": row(simulation, 0.1)})
    said = {}
    for line in capsys.readouterr().out.splitlines():
        if line:
            said[line.partition("  ")[0]] = line.rpartition(": ")[2]
    assert said == {
        "top-1 of nice": "met within the interval",
        "top-1 of contrast": "met",
        "top-1 of neurobridge": "not met",
        "share of top-1 with few repetitions, nice": "not met",
        "N10 skew, contrast": "not met",  # the same ten for every query
        "inter / intra, ridge-decoding": "met",
        "nice minus ridge-decoding": "met within the interval",
        "contrast minus nice": "met",
        "neurobridge minus contrast": "met",
    }


def test_its_interval_is_a_bootstrap_of_subjects_crossed_with_images(simulation):
    """With subjects that are equal, only images vary: about the binomial interval of their share."""
    hits = np.tile(np.arange(N_IMAGES) < 80, (N_SUBJECTS, 1)).astype(float)
    same = simulation.Row(hits, hits, np.zeros((N_SUBJECTS, N_IMAGES, 10), int))
    low, high = simulation.interval(same.top1, hits.shape)
    reach = 196 * (0.4 * 0.6 / N_IMAGES) ** 0.5
    assert (low, high) == pytest.approx((40 - reach, 40 + reach), abs=1.0)
