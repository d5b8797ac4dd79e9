"""What a model decodes from, against models and trials of which it is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from braindecode_ssr.datasets.base import eeg_info
from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.inference.evaluation import TestSet
from braindecode_ssr.inference.interpretation import (
    SIMILARITIES,
    Interpretation,
    head_of,
    sensor_places,
)
from braindecode_ssr.preprocessing.channels import THINGS_EEG_63_RAW, regions_of
from braindecode_ssr.retrieval.ranks import SPACES
from braindecode_ssr.training.data import Signals

N, TIMES, WIDTH = 20, 20, 6
OCCIPITAL = [THINGS_EEG_63_RAW.index(name) for name in ("O1", "Oz", "O2")]


class Linear(nn.Module):
    """A map that reads every sample of a trial; images are their own embeddings."""

    def __init__(self):
        super().__init__()
        weight = torch.randn(63 * TIMES, WIDTH, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(weight)
        self.image_head = nn.Identity()

    def forward(self, x):
        return x.flatten(1) @ self.weight


@pytest.fixture(scope="module")
def known():
    """Trials in which occipital channels between 80 and 120 ms, and nothing else, tell the image."""
    rng, model = np.random.default_rng(0), Linear()
    inside = np.zeros((63, TIMES), bool)
    inside[OCCIPITAL, 8:12] = True
    image = rng.normal(size=(N, WIDTH)).astype(np.float32)
    weight = model.weight.detach().numpy().reshape(63, TIMES, WIDTH)[inside]
    mean = rng.normal(size=(63, TIMES)).astype(np.float32)
    x = mean + 0.003 * rng.normal(size=(N, 63, TIMES)).astype(np.float32)
    x[:, inside] += image @ np.linalg.pinv(weight).astype(np.float32)
    model.weight.requires_grad_(False)
    offset = mean.reshape(1, -1) @ model.weight.numpy()  # so that the mean trial tells no image
    model.forward = lambda x: x.flatten(1) @ model.weight - torch.from_numpy(offset)
    ids = [f"image{n:02d}" for n in range(N)]
    table = pd.DataFrame({"subject": 1, "image_id": ids, "concept": ids, "n_repetitions": 4})
    info = eeg_info(THINGS_EEG_63_RAW, 100.0)
    signals = Signals(TIMES, 100.0, info["chs"], tmin=0.0)
    return Interpretation(model, TestSet(x, table, image, ids, signals), mean)


def only(table, kind):
    return table[table["kind"] == kind].reset_index(drop=True)


def test_the_window_that_holds_the_signal_wins(known):
    found = known.time_windows(0.04, 0.01, ("only", "until", "without"))
    whole = found.iloc[-1]
    assert (whole["kind"], whole["top1"], whole["stop"]) == ("all", 1.0, pytest.approx(0.2))
    sliding = only(found, "only")
    assert sliding["top1"].idxmax() == 8 and sliding["top1"][8] == 1
    assert sliding["start"][8] == pytest.approx(0.08) and len(sliding) == 17
    apart = (sliding["stop"] <= 0.0801) | (sliding["start"] >= 0.1199)
    assert sliding["top1"][apart].max() < 0.35
    assert only(found, "without")["top1"][8] < 0.35 and only(found, "without")["top1"][0] == 1
    until = only(found, "until")
    assert (until["top1"][until["stop"] > 0.119] == 1).all()
    assert (until["top1"][until["stop"] < 0.081] < 0.35).all()


def test_the_region_and_the_sensors_that_hold_the_signal_win(known):
    regions = known.regions()
    best = only(regions, "only").set_index("region")["top1"]
    worst = only(regions, "without").set_index("region")["top1"]
    assert best["occipital"] == 1 and best.drop("occipital").max() < 0.35
    assert worst["occipital"] < 0.35 and worst.drop("occipital").min() == 1
    sensors = only(known.sensors(4, ("only",)), "only").set_index("sensor")
    assert sensors["top1"].idxmax() in ("O1", "Oz", "O2", "POz")
    assert (sensors["n_channels"] == 5).all() and len(sensors) == 63
    assert sensors.loc[["Fz" if "Fz" in sensors.index else "Fp1", "C3", "T8"], "top1"].max() < 0.35


def test_accuracy_is_that_of_ranks_by_hand(known):
    rng, test = np.random.default_rng(1), known.test
    keep = rng.random((3, 63, TIMES)) < 0.9
    keep[:, OCCIPITAL, 8:10] = False
    for fill, other in (("mean", known.mean), ("zero", 0 * known.mean)):
        found = known.accuracy(keep, fill)
        for row, mask in zip(found.to_dict("records"), keep, strict=True):
            ranks = []
            for q in range(N):
                x = np.array(
                    [
                        [test.x[q, c, t] if mask[c, t] else other[c, t] for t in range(TIMES)]
                        for c in range(63)
                    ]
                )
                brain = known.model(torch.from_numpy(x.astype(np.float32))[None])[0].numpy()
                near = [brain @ g / np.linalg.norm(brain) / np.linalg.norm(g) for g in test.gallery]
                ranks.append(1 + sum(near[g] >= near[q] for g in range(N) if g != q))
            assert row["top1"] == np.mean(np.array(ranks) == 1)
            assert row["top5"] == np.mean(np.array(ranks) <= 5)


def test_integrated_gradients_sum_to_what_distinguishes_trials_from_their_mean(known):
    pytest.importorskip("captum")
    found = known.attribution(steps=4)  # of a linear map, any number is exact
    test = known.test
    near = SPACES["euclidean"](known.model(torch.from_numpy(test.x)).numpy(), test.gallery)
    assert found.shape == (63, TIMES) and list(found.index[:1]) == ["Fp1"]
    assert found.columns[8] == 0.08
    assert found.to_numpy().sum() == pytest.approx((np.diag(near) - near.mean(1)).mean(), rel=1e-3)
    inside = found.to_numpy()[OCCIPITAL, 8:12].sum()
    assert inside == pytest.approx(found.to_numpy().sum(), rel=0.1)


class OfTwo(Linear):
    """The part of the second subject reads trials as they are, that of the first their negative."""

    n_subjects, takes_subjects = 2, True

    def forward(self, x, subject_index=None):
        sign = torch.zeros(len(x)) if subject_index is None else 2.0 * subject_index - 1
        return sign[:, None] * super().forward(x)


def test_a_model_with_a_part_for_each_subject_is_asked_through_that_of_the_subject(known):
    x = known.test.x - known.mean
    own = replace(known, model=OfTwo(), test=replace(known.test, x=x, who=1), mean=0 * known.mean)
    other = replace(own, test=replace(own.test, who=0))
    whole = [look.accuracy([np.array(True)])["top1"][0] for look in (own, other)]
    assert whole == [1, 0]
    near = own.similarity().to_numpy()
    assert near == pytest.approx(-other.similarity().to_numpy(), abs=1e-6)
    pytest.importorskip("captum")
    total = own.attribution(steps=4).to_numpy().sum()
    assert total == pytest.approx((np.diag(near) - near.mean(1)).mean(), rel=1e-3)


def test_trials_whose_predictions_are_averaged(known):
    """Two halves of each response: their mean prediction is that of the whole, and so is its accuracy."""
    x = np.concatenate(
        [known.mean + 2 * (known.test.x - known.mean), 0 * known.test.x + known.mean]
    )
    test = replace(known.test, x=x, query=np.tile(np.arange(N), 2))
    halves = replace(known, test=test)
    assert halves.accuracy([np.array(True)])["top1"][0] == 1
    assert halves.similarity().to_numpy() == pytest.approx(known.similarity().to_numpy(), abs=1e-4)


@pytest.mark.parametrize("space", SPACES)
def test_similarities_with_gradients_are_those_of_the_test(space):
    q, g = np.random.default_rng(0).normal(size=(2, 7, 4))
    ours = SIMILARITIES[space](torch.from_numpy(q), torch.from_numpy(g)).numpy()
    length = np.linalg.norm(q, axis=1, keepdims=True) if space == "euclidean" else 1
    np.testing.assert_allclose(ours / length, SPACES[space](q, g), atol=1e-6)


def test_regions_of_eeg_and_meg_go_by_name():
    names = ["Fp1", "AFz", "FC5", "T7", "TP10", "EEG CP1-Ref", "PO7", "Oz", "VEOG"]
    found = {region: [names[i] for i in channels] for region, channels in regions_of(names).items()}
    assert found == {
        "frontal": ["Fp1", "AFz"],
        "central": ["FC5"],
        "temporal": ["T7", "TP10"],
        "parietal": ["EEG CP1-Ref"],
        "occipital": ["PO7", "Oz"],
        "other": ["VEOG"],
    }
    assert list(regions_of(["MLO11-1609", "MRF12-1609", "MZC01-1609"])) == [
        "frontal",
        "central",
        "occipital",
    ]
    # names of the 10-05 system between those of the 10-10 system
    assert list(regions_of(["AFF1h", "FFC1h", "TTP7h", "CCP1h", "POO1"])) == [
        "frontal",
        "central",
        "temporal",
        "parietal",
        "occipital",
    ]


def test_channels_without_a_region(known):
    info = [
        {**channel, "ch_name": f"E{n}"} for n, channel in enumerate(known.test.signals.chs_info)
    ]
    test = replace(known.test, signals=replace(known.test.signals, chs_info=info))
    with pytest.raises(DataError, match="E0 do not say in which region"):
        replace(known, test=test).regions()


def test_sensors_at_one_place_share_a_dot():
    info = eeg_info(["Oz", "O1", "O2", "Pz"], 100.0)["chs"]
    info[1]["loc"][:3] = info[2]["loc"][:3]
    where, place = sensor_places(info)
    assert len(where) == 3 and place[1] == place[2] != place[0]
    assert sorted(head_of(info).ch_names) == ["O1", "Oz", "Pz"]
    info[3]["loc"][:3] = np.nan
    with pytest.raises(DataError, match="positions of 1 channels are not known, such as Pz"):
        sensor_places(info)


def test_what_does_not_fit_is_refused(known):
    for call in (
        lambda: known.time_windows(window=0.5),
        lambda: known.time_windows(step=0.001),
        lambda: known.time_windows(kinds=("onyl",)),
        lambda: known.sensors(63),
        lambda: known.regions(fill="median"),
        lambda: known.attribution("saliencey"),
    ):
        with pytest.raises(UsageError):
            call()
