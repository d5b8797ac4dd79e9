"""What a trained model decodes from: accuracy with parts of the test trials replaced, and attributions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import EvaluationSpec, RunSpec
from ..datasets.base import ImageDataset
from ..datasets.zero_shot import training_subjects
from ..errors import DataError, MissingDataError, UsageError
from ..models.names import quiet_import
from ..preprocessing.channels import ChannelSet, regions_of
from ..registry import check_name
from ..retrieval.hyperbolic import expmap0, pairwise_distance
from ..retrieval.ranks import embed_images, has_own_parts, similarity, space_of
from ..training.data import match_subjects
from .evaluation import TestSet, embed, score

if TYPE_CHECKING:
    import mne

FILLS = ("mean", "zero")
TIME_KINDS = ("only", "until", "without")
SENSOR_KINDS = ("only", "without")
METHODS = ("integrated_gradients", "input_x_gradient", "saliency")

Similarity = Callable[[Tensor, Tensor], Tensor]
SIMILARITIES: dict[str, Similarity] = {
    "euclidean": lambda q, g: q @ F.normalize(g).T,
    "hyperbolic": lambda q, g: -pairwise_distance(expmap0(q), expmap0(g)),
    "gaussian": lambda q, g: q @ g.T - (g**2).sum(1) / 2 - (q**2).sum(1, keepdim=True) / 2,
}
"""As :data:`braindecode_ssr.retrieval.ranks.SPACES`, with gradients; cosines times the length of queries."""


@dataclass(frozen=True, eq=False, repr=False)
class Interpretation:
    """A trained model, its test trials, and what replaces the samples that are taken from them.

    Accuracies are of the same weights throughout: samples are replaced in the test trials and the ranks
    computed again. What a model trained on one window or region only would reach is another question.
    """

    model: torch.nn.Module
    """The trained model, with an ``image_head``."""
    test: TestSet
    """The test trials and the candidates."""
    mean: np.ndarray
    """The mean training trial, shape (c, t)."""
    evaluation: EvaluationSpec = EvaluationSpec()
    """Its correction and number of candidates are used."""
    title: str = ""
    """The title of figures."""
    flags: tuple[str, ...] = ()
    """What readers of the numbers must know."""

    @property
    def times(self) -> np.ndarray:
        """Seconds from the onset of the image to each sample."""
        signals = self.test.signals
        return (signals.tmin or 0.0) + np.arange(self.test.x.shape[2]) / signals.sfreq

    @property
    def ch_names(self) -> list[str]:
        """Channels of the trials."""
        return [channel["ch_name"] for channel in self.test.signals.chs_info]

    def accuracy(self, keep: Iterable[np.ndarray], fill: str = "mean") -> pd.DataFrame:
        """Accuracy when some samples of each test trial are kept and all others are replaced.

        Parameters
        ----------
        keep : iterable of ndarray of bool
            What is kept, each of a shape that broadcasts to (c, t).
        fill : {"mean", "zero"}
            What replaces the others: the mean training trial, or zero.

        Returns
        -------
        DataFrame
            ``top1, top5, mrr`` and their chance ``chance_top1, chance_top5``, a row for each of ``keep``.
        """
        check_name("fill", fill, FILLS)
        other = self.mean.astype(np.float32) if fill == "mean" else np.float32(0)
        rows = []
        for kept in keep:
            test = replace(self.test, x=np.where(kept, self.test.x, other))
            rows.append(score(self.model, test, self.evaluation)[1])
        names = ["top1", "top5", "mrr", "chance_top1", "chance_top5", "n_queries"]
        return pd.DataFrame(rows)[names]

    def similarity(self) -> pd.DataFrame:
        """How near each query is to each candidate, (q, g), before a correction; larger is nearer."""
        found = embed(self.model, self.test)
        near = similarity(found.brain, found.gallery, found.space)
        seen = pd.Index(found.table["image_id"], name="seen")
        return pd.DataFrame(near, seen, pd.Index(found.gallery_ids, name="candidate"))

    def time_windows(
        self,
        window: float = 0.1,
        step: float = 0.02,
        kinds: Sequence[str] = ("only", "until"),
        fill: str = "mean",
    ) -> pd.DataFrame:
        """Accuracy over windows of time.

        Parameters
        ----------
        window : float
            Length of a window in seconds.
        step : float
            Seconds from the start of a window to that of the next one.
        kinds : sequence of {"only", "until", "without"}
            Keep only a window, all samples up to its end, or all but the window.
        fill : {"mean", "zero"}
            See :meth:`accuracy`.

        Returns
        -------
        DataFrame
            ``kind``, ``start`` and ``stop`` of the window in seconds, and the columns of :meth:`accuracy`.
            The last row, of the kind ``"all"``, is of complete trials.
        """
        rate, times = self.test.signals.sfreq, self.times
        width, hop = round(window * rate), round(step * rate)
        if not (1 <= width <= len(times) and 1 <= hop):
            raise UsageError(
                f"a window of {window:g} s and a step of {step:g} s do not fit trials of {len(times)} "
                f"samples at {rate:g} Hz",
                f"use a window of at most {len(times) / rate:g} s and a step of at least {1 / rate:g} s",
            )
        at, rows, keep = np.arange(len(times)), [], []
        for kind in [check_name("kind", kind, TIME_KINDS) for kind in kinds]:
            for first in range(0, len(times) - width + 1, hop):
                inside = (at >= first) & (at < first + width)
                keep.append({"only": inside, "until": at < first + width}.get(kind, ~inside))
                start = times[first]
                rows.append({"kind": kind, "start": start, "stop": start + width / rate})
        rows.append({"kind": "all", "start": times[0], "stop": times[-1] + 1 / rate})
        found = self.accuracy([*keep, np.array(True)], fill)
        return pd.concat([pd.DataFrame(rows), found], axis=1)

    def regions(self, kinds: Sequence[str] = SENSOR_KINDS, fill: str = "mean") -> pd.DataFrame:
        """Accuracy with only the channels of a region, or without them; regions go by the names of channels.

        Parameters
        ----------
        kinds : sequence of {"only", "without"}
        fill : {"mean", "zero"}
            See :meth:`accuracy`.

        Returns
        -------
        DataFrame
            ``kind``, ``region``, ``n_channels`` and the columns of :meth:`accuracy`; the last row is of all
            channels. DataError if names of channels, as in the 10-05 system, do not say where they are.
        """
        regions = regions_of(self.ch_names)
        if set(regions) == {"other"}:
            raise DataError(
                f"channel names such as {self.ch_names[0]} do not say in which region of the head they are",
                "use sensors, if their positions are known, or name EEG channels as the 10-05 system does",
            )
        return self._groups("region", regions, kinds, fill)

    def sensors(
        self, neighbors: int = 4, kinds: Sequence[str] = SENSOR_KINDS, fill: str = "mean"
    ) -> pd.DataFrame:
        """As :meth:`regions`, for each sensor and its nearest ``neighbors``: a searchlight.

        Sensors at one place, such as the three of a triplet, share a row, which is called by the first in the
        column ``sensor``. DataError if positions are not known.
        """
        where, place = sensor_places(self.test.signals.chs_info)
        if not 0 <= neighbors < len(where):
            raise UsageError(
                f"each of {len(where)} sensors cannot have {neighbors} neighbors",
                f"use 0 to {len(where) - 1}",
            )
        distance = np.linalg.norm(where[:, None] - where, axis=-1)
        near = np.argsort(distance, axis=1, kind="stable")[:, : neighbors + 1]
        names = [self.ch_names[i] for i in first_at(place)]
        lights = [np.flatnonzero(np.isin(place, row)).tolist() for row in near]
        return self._groups("sensor", dict(zip(names, lights, strict=True)), kinds, fill)

    def _groups(
        self, what: str, groups: dict[str, list[int]], kinds: Sequence[str], fill: str
    ) -> pd.DataFrame:
        n, rows, keep = len(self.ch_names), [], []
        for kind in [check_name("kind", kind, SENSOR_KINDS) for kind in kinds]:
            for name, channels in groups.items():
                inside = np.isin(np.arange(n), channels)[:, None]
                keep.append(inside if kind == "only" else ~inside)
                rows.append({"kind": kind, what: name, "n_channels": len(channels)})
        rows.append({"kind": "all", what: "all", "n_channels": n})
        found = self.accuracy([*keep, np.array(True)], fill)
        return pd.concat([pd.DataFrame(rows), found], axis=1)

    def attribution(
        self, method: str = "integrated_gradients", steps: int = 20, batch_size: int = 16
    ) -> pd.DataFrame:
        """How much each sample adds to the advantage of the right image, mean over test trials.

        The advantage is the similarity of a trial with its right image, minus the mean over all candidates.
        For cosines, the length of the embedding, on which no rank depends, is held at that of the trial.
        Computed by :mod:`braindecode.visualization` with captum.

        Parameters
        ----------
        method : {"integrated_gradients", "input_x_gradient", "saliency"}
            Integrated gradients go from the mean training trial to each test trial, and their sum is the
            advantage in the test trial minus that in the mean training trial; saliency is the absolute
            gradient.
        steps, batch_size : int
            Steps on the path of integrated gradients, and trials at a time.

        Returns
        -------
        DataFrame, shape (c, t)
            Channels by name, seconds after the onset of the image. MissingDataError if captum is not
            installed.
        """
        check_name("attribution method", method, METHODS)
        with quiet_import():
            from braindecode import visualization

        test, device = self.test, next(self.model.parameters()).device
        gallery = torch.from_numpy(embed_images(self.model, test.gallery)).to(device)
        advantage = _Advantage(self.model, gallery, test.who).eval()
        lengths = np.ones(len(test.x))
        if space_of(self.model) == "euclidean":
            brain = embed(self.model, replace(test, query=None)).brain
            lengths = np.linalg.norm(brain, axis=1)
        right = pd.Index(test.gallery_ids).get_indexer(test.table["image_id"])
        right = torch.from_numpy(right if test.query is None else right[test.query])
        options: dict[str, Any] = {}
        if method == "integrated_gradients":
            mean = torch.from_numpy(self.mean.astype(np.float32))[None].to(device)
            options = {"baseline": mean, "steps": steps}
        total = np.zeros(test.x.shape[1:])
        # cuDNN's recurrent layers have no gradient in evaluation mode
        with torch.backends.cudnn.flags(enabled=False):
            for first in range(0, len(test.x), batch_size):
                part = slice(first, first + batch_size)
                x, target = torch.from_numpy(test.x[part]).to(device), right[part].to(device)
                try:
                    found = getattr(visualization, method)(advantage, x, target, **options)
                except ImportError as error:
                    raise MissingDataError(
                        "attributions are computed by captum, which is not installed",
                        "pip install captum",
                    ) from error
                total += np.einsum("bct,b->ct", found.double().cpu().numpy(), 1 / lengths[part])
        names, times = self.ch_names, self.times.round(6)
        return pd.DataFrame(total / len(test.x), pd.Index(names, name="channel"), times)


class _Advantage(torch.nn.Module):
    """Similarities of trials (b, c, t) with all candidates, minus their mean, (b, g)."""

    def __init__(self, model: torch.nn.Module, gallery: Tensor, who: int | None) -> None:
        super().__init__()
        self.model, self.gallery = model, gallery
        self.similarity = SIMILARITIES[space_of(model)]
        self.who = who if has_own_parts(model) else None

    def forward(self, x: Tensor) -> Tensor:
        own: dict[str, Any] = {}
        if self.who is not None:
            own["subject_index"] = torch.full((len(x),), self.who, device=x.device)
        near = self.similarity(self.model(x, **own), self.gallery)
        return near - near.mean(dim=1, keepdim=True)


def mean_training_trial(
    spec: RunSpec, dataset: ImageDataset, trained: ChannelSet, at_most: int = 500
) -> np.ndarray:
    """The mean trial (c, t) of the training subjects, each by ``at_most`` trials at equal distances."""
    parts = []
    subjects = training_subjects(spec.data, dataset)
    for store, signals in match_subjects(spec, dataset, subjects, trained=trained):
        rows = store.rows("train")
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, at_most).astype(int))]
        picks = store.pick(tuple(signals.channels.ch_names))
        parts.append(store.trials[rows][:, picks].mean(axis=0, dtype=np.float64))
    return np.mean(parts, axis=0).astype(np.float32)


def sensor_places(chs_info: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """The different places (p, 3) of sensors, to the millimeter, and that of each channel (c,)."""
    where = np.array([np.asarray(channel["loc"], float)[:3] for channel in chs_info])
    lost = ~np.isfinite(where).all(1) | (where == 0).all(1)
    if lost.any():
        names = [channel["ch_name"] for channel, one in zip(chs_info, lost, strict=True) if one]
        raise DataError(
            f"the positions of {len(names)} channels are not known, such as {names[0]}",
            "use regions, or name EEG channels as the 10-05 system does; MEG recordings hold theirs",
        )
    different, place = np.unique(where.round(3), axis=0, return_inverse=True)
    return different, place.reshape(-1)


def first_at(place: np.ndarray) -> list[int]:
    """The first channel at each place."""
    return np.unique(place, return_index=True)[1].tolist()


def head_of(chs_info: Sequence[dict[str, Any]]) -> mne.Info:
    """What :func:`mne.viz.plot_topomap` draws on: the first channel at each place, in the order of places."""
    import mne

    chosen = [chs_info[i] for i in first_at(sensor_places(chs_info)[1])]
    eeg = chosen[0]["kind"] == mne.io.constants.FIFF.FIFFV_EEG_CH
    names = [channel["ch_name"] for channel in chosen]
    info = mne.create_info(names, 1.0, "eeg" if eeg else "mag", verbose="error")
    for own, channel in zip(info["chs"], chosen, strict=True):
        own["loc"] = np.asarray(channel["loc"], float)
    return info
