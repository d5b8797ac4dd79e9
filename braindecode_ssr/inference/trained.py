"""A trained run on new recordings: its model, embeddings of trials, and the images nearest to them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..datasets.base import UNITS, VOLTS, ImageDataset, check_trials
from ..datasets.recordings import ImageFolder, read_recording
from ..errors import DataError, MissingDataError, Say, UsageError, first_line, silent
from ..files import read_json
from ..images.encoders import is_encoder
from ..images.features import image_features
from ..models.names import Trust, trusting
from ..preprocessing.channels import ChannelSet, check_facts
from ..preprocessing.epochs import average_by, chosen_trials, first_sample, first_time, windows
from ..preprocessing.whitening import clamp, fit_whitening, whitening_of
from ..registry import check_name
from ..retrieval.evaluations import check_flags
from ..retrieval.ranks import (
    best,
    embed_images,
    embed_trials,
    rank_of_target,
    similarity,
    space_of,
)
from ..runs import (
    CONFIG,
    HUB_FILES,
    WHITENING,
    Run,
    load_weights,
    named_folder,
    read_whitening,
)
from .evaluation import features_of_run, load_test_set

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from .interpretation import Interpretation


WHITENINGS = ("recording", "run", "none")
AVERAGES = ("image", "none")
AGAIN = "train the run again with this version of braindecode_ssr"


@dataclass(frozen=True)
class TrainedRun(Run):
    """A run whose model can be used, from :func:`load_run`."""

    trust: Trust = False
    """Import any class that the folder names, or this one."""
    device: str = "cpu"
    """Where the model is."""

    @cached_property
    def channels(self) -> ChannelSet:
        """The channels of the model, in order, and what trials must have in common with its own."""
        record = self.record
        if "channels" not in record or "whitened_channels" not in record:
            raise DataError(f"{self.path / 'run.json'} is of an earlier version", AGAIN)
        return ChannelSet(f"the run {self.path.name}", record["channels"], record["signals"])

    @cached_property
    def model(self) -> torch.nn.Module:
        """The model with its weights, in evaluation mode.

        UsageError if it names a class that is not trusted; DataError if the folder is of an earlier version
        or damaged, or the backbone was given as an object.
        """
        from ..training.retriever import build_closed_form

        spec, n_chans = self.spec, len(self.channels.ch_names)
        if spec.train.solver != "gradient":
            n_times = int(self.channels.facts["number of samples"])
            n_features = self.record["n_features"]
            model: Any = build_closed_form(spec, n_chans * n_times, n_features)
        else:
            from ..models.ssr import SSR

            config = read_json(self.path / CONFIG)
            if not isinstance(config, dict):
                raise DataError(
                    f"{self.path} has no readable {CONFIG}, which describes the model",
                    f"{AGAIN}; if its backbone was given as an object, name it as my_net.py:MyNet",
                )
            if config.get("n_chans") != n_chans:
                raise DataError(
                    f"{CONFIG} in {self.path} has {config.get('n_chans')} channels, run.json {n_chans}",
                    "get the complete folder again",
                )
            with warnings.catch_warnings():  # braindecode's, of channels as JSON has them
                warnings.filterwarnings("ignore", "Modifying chs_info", UserWarning)
                model = SSR.from_config(config, trust=self.trust)
        return load_weights(model, self.weights).to(self.device).eval()

    def embed(
        self,
        recordings: Any,
        *,
        events: Any = None,
        whitening: str = "auto",
        average: str = "none",
        say: Say = silent,
    ) -> pd.DataFrame:
        """Embeddings of the trials of new recordings.

        Parameters
        ----------
        recordings : path-like, mne.io.Raw, mne.Epochs, or a list of them
            In any format that MNE reads. Channels are joined by name; epochs are cut, baselined and resampled
            as in training.
        events : path-like, DataFrame, sequence of float, or a list of as many as recordings, optional
            When images were shown: a BIDS ``events.tsv`` or a table with columns ``onset`` (seconds) and
            ``image``, or onsets alone. Default: the annotations.
        whitening : {"auto", "recording", "run", "none"}
            Noise normalization of the new trials: fitted on each recording itself (its trials, not what they
            show), the mean of the run's training sessions, or nothing, for data that are whitened already.
            ``"auto"`` is ``"recording"`` if the run was trained on whitened trials, else ``"none"``.
        average : {"image", "none"}
            Average all trials of the same image before the model, or embed each trial.
        say : callable
            Receives a line on each decision.

        Returns
        -------
        DataFrame, shape (n, e)
            One row per trial or image, indexed by ``image`` (None where unknown) and ``n_trials``. DataError
            if a recording lacks channels, has other units or too low a rate, or its events are not known.
        """
        x, table = self._trials(recordings, events, whitening, average, None, say)
        index = pd.MultiIndex.from_frame(table[["image", "n_trials"]])
        return pd.DataFrame(embed_trials(self.model, x), index=index)

    def retrieve(
        self,
        recordings: Any = None,
        images: str | Path | ImageDataset | None = None,
        *,
        top: int = 5,
        events: Any = None,
        whitening: str = "auto",
        average: str = "image",
        data_dir: str | Path | None = None,
        progress: bool = False,
        say: Say = silent,
    ) -> pd.DataFrame:
        """The images whose embeddings are nearest to those of new trials.

        Parameters
        ----------
        recordings, events, whitening, average, say
            As for :meth:`embed`. Trials of the same image are averaged over all recordings if events name
            images; each other trial is a query of its own. Without recordings, those of the run's own
            test, among its candidates and before any correction.
        images : path-like or ImageDataset
            The candidates: all images in a folder and its subfolders, which must be images of the run's
            encoder; their features are kept below ``ssr`` in that folder, or in ``$SSR_CACHE``.
        top : int
            How many images to list for each query.
        data_dir : path-like, optional
            For the run's own test: the folder of the dataset, if it is not where it was in training.
        progress : bool
            Show a progress bar while images are encoded.

        Returns
        -------
        DataFrame
            One row per query: ``image`` that was shown, ``n_trials``, ``rank`` of that image (ties count
            against us), both missing if events name no images, then ``top_1``, ``score_1`` and so on.
            ``attrs["flags"]`` are those of the run, and ``"transductive-whitening"`` where new trials were
            whitened with their own noise. DataError as for :meth:`embed`; or if only some of the named images
            are among the candidates, or the images cannot be encoded as in training.
        """
        if top < 1:
            raise UsageError(f"top = {top} lists no image", "give 1 or more")
        if (recordings is None) != (images is None):
            raise UsageError(
                "there are recordings or images, and not both",
                "give both, or neither for the test of the run",
            )
        if images is None:
            interpretation = self.interpret(data_dir, progress=progress)
            whole = interpretation.similarity()
            near, ids = whole.to_numpy(), list(whole.columns)
            counts = interpretation.test.table["n_repetitions"].to_numpy()
            table = pd.DataFrame({"image": whole.index.to_numpy(object), "n_trials": counts})
            table.attrs["flags"] = list(interpretation.flags)
        else:
            folder = images if isinstance(images, ImageDataset) else ImageFolder(images)
            ids = folder.images["image_id"].tolist()
            find = folder.find if isinstance(folder, ImageFolder) else {i: i for i in ids}.get
            model = self.model
            x, table = self._trials(recordings, events, whitening, average, find, say)
            gallery = embed_images(model, self._features(folder, ids, progress, say))
            near = similarity(embed_trials(model, x), gallery, space_of(model))
        own = pd.Index(ids).get_indexer(table["image"])
        if (own < 0).all() and table["image"].notna().any():
            say(
                f"no ranks: none of the images that events name, such as {table['image'].iloc[0]!r}, is "
                f"among the candidates, which are called like {ids[0]!r}"
            )
        if (own >= 0).all():
            table["rank"] = rank_of_target(near, own)
        elif (own >= 0).any():
            lost = table["image"][own < 0].unique()
            raise DataError(
                f"{len(lost)} of the images that events name are not among the candidates, such as "
                f"{lost[0]!r} (candidates are called like {ids[0]!r})",
                "add them to the folder of images, or leave their events out",
            )
        for place, column in enumerate(best(near, min(top, len(ids))).T, 1):
            table[f"top_{place}"] = np.array(ids, object)[column]
            table[f"score_{place}"] = near[np.arange(len(near)), column]
        table.attrs["n_images"] = len(ids)
        return table

    def plot_history(self) -> Figure:
        """Draw the learning curve: the loss of each epoch, each of its parts, and validation if any.

        UsageError if the run was fitted in closed form, without epochs.
        """
        from ..reporting.run_figures import key_of, learning_curve, title_of

        return learning_curve([self.history], title_of(key_of(self)), pyplot=True)

    def plot_retrieval(self, each: int = 2, *, data_dir: str | Path | None = None) -> Figure:
        """Draw the best, middle and worst test queries: what was seen and the five nearest images.

        The right image is framed. The images of the dataset must be on this disk.

        ``each`` is how many of each kind; ``data_dir`` is as for :meth:`interpret`.
        """
        from ..reporting import run_figures as figures

        find = figures.images_of(self, data_dir).image
        shown = figures.chosen_queries(self.queries, each)
        title = figures.title_of(figures.key_of(self))
        return figures.retrieved_images(shown, find, title, pyplot=True)

    def plot_similarity(self, *, data_dir: str | Path | None = None) -> Figure:
        """Draw how near each test query is to each candidate, in the order of clusters of images.

        Without the dataset on this disk, draw how often each concept is among the five nearest of each
        other, which is all that the run holds. ``data_dir`` is as for :meth:`interpret`.
        """
        from ..reporting.run_figures import confused_concepts, key_of, title_of
        from .figures import draw_similarity

        try:
            interpretation = self.interpret(data_dir)
        except DataError:
            title, flags = title_of(key_of(self)), ";".join(self.summary.get("flags", ()))
            return confused_concepts({"": self.queries}, title, [flags], pyplot=True)
        return draw_similarity([interpretation], pyplot=True)

    def interpret(
        self, data_dir: str | Path | None = None, *, progress: bool = False
    ) -> Interpretation:
        """The model with its test trials, to ask which times and sensors it decodes from.

        ``data_dir`` is the folder of the dataset, if it is not where it was when the run was trained.
        DataError if the dataset is not here, or is not the one that the run was trained on.
        """
        from ..reporting.run_figures import images_of, key_of, title_of
        from .interpretation import Interpretation, mean_training_trial

        spec, channels, dataset = self.spec, self.channels, images_of(self, data_dir)
        dataset.check_here()
        features = features_of_run(self, spec, dataset, self.device)
        features.complete(dataset, device=self.device, progress=progress)
        how = {"trained": channels, "among": self.summary.get("train_subjects", ())}
        test = load_test_set(spec, dataset, features, spec.evaluation, progress=progress, **how)
        test = replace(test, x=test.x[:])
        mean = mean_training_trial(spec, dataset, channels)
        title, flags = title_of(key_of(self)), tuple(self.summary.get("flags", ()))
        return Interpretation(self.model, test, mean, spec.evaluation, title, flags)

    def plot_time_windows(
        self,
        window: float = 0.1,
        step: float = 0.02,
        fill: str = "mean",
        *,
        data_dir: str | Path | None = None,
    ) -> Figure:
        """Draw accuracy over time: with only a sliding window of the test trials, and with all before it.

        ``window``, ``step`` and ``fill`` are as for
        :meth:`~braindecode_ssr.inference.interpretation.Interpretation.time_windows`.
        """
        from .figures import draw_time_windows

        return draw_time_windows([self.interpret(data_dir)], window, step, fill, pyplot=True)

    def plot_regions(
        self, neighbors: int = 4, fill: str = "mean", *, data_dir: str | Path | None = None
    ) -> Figure:
        """Draw accuracy on the head: with only a sensor and its neighbors, without them, and for regions.

        ``neighbors`` and ``fill`` are as for
        :meth:`~braindecode_ssr.inference.interpretation.Interpretation.sensors`.
        """
        from .figures import draw_regions

        return draw_regions([self.interpret(data_dir)], neighbors, fill, pyplot=True)

    def plot_attribution(
        self, method: str = "integrated_gradients", *, data_dir: str | Path | None = None
    ) -> Figure:
        """Draw, on the head and over time, what each sample adds to the similarity with the right image.

        ``method`` is as for :meth:`~braindecode_ssr.inference.interpretation.Interpretation.attribution`.
        """
        from .figures import draw_attribution

        return draw_attribution([self.interpret(data_dir)], method, pyplot=True)

    def _features(
        self, folder: ImageDataset, ids: list[str], progress: bool, say: Say
    ) -> np.ndarray:
        if self.spec.images.tuning != "frozen":
            return features_of_run(self, self.spec, folder, self.device).original(ids)
        spec, made_by = self.spec.images, self.record.get("features") or {}
        made_by = {k: v for k, v in made_by.items() if k.split(", ")[-1] == "original"}
        features = image_features(folder, spec.encoder, (), made_by, spec.pool)
        foreign = [name for name in features.encoders if not is_encoder(name)]
        if foreign and isinstance(folder, ImageFolder):
            raise DataError(
                f"the image features of {self.path.name} were imported as {foreign[0]!r}: no encoder here "
                f"makes them of the images in {folder.root}",
                "train a run with an encoder of `ssr-bd list encoders`",
            )
        features.complete(folder, device=self.device, progress=progress, say=say)
        return replace(features, views=tuple(spec.views)).original(ids)

    def _trials(
        self, recordings: Any, events: Any, whitening: str, average: str, named: Any, say: Say
    ) -> tuple[np.ndarray, pd.DataFrame]:
        """Trials of all recordings as the model takes them, and a row on each."""
        several = isinstance(recordings, list | tuple)
        sources = recordings if several else [recordings]
        if not len(sources):
            raise UsageError("there is no recording in the list", "give one or more")
        listed = [events] * (1 if events is not None else len(sources))
        if several and isinstance(events, list | tuple):
            listed = list(events)
        if len(listed) != len(sources):
            raise UsageError(
                f"{len(sources)} recordings were given, but events for {len(listed)}",
                "give events for each recording, in the same order",
            )
        check_name("whitening", whitening, ("auto", *WHITENINGS))
        check_name("average", average, AVERAGES)
        trials, shown = [], []
        for source, one in zip(sources, listed, strict=True):
            x, names = self._recorded(source, one, whitening, named, say)
            trials.append(x)
            shown += names
        x = np.concatenate(trials)
        table = pd.DataFrame({"image": pd.Series(shown, dtype=object), "n_trials": 1})
        known_names = table["image"].notna()
        if known_names.any() and not known_names.all():
            raise DataError(
                "events name images in some of the recordings and not in others",
                "name them in all, or use the recordings one by one",
            )
        if average == "image" and known_names.all():
            codes, images = pd.factorize(table["image"])
            x, _ = average_by(x, codes)
            counts = np.bincount(codes)
            table = pd.DataFrame({"image": images.to_numpy(object), "n_trials": counts})
        flags = [*self.record.get("flags", ())]
        if self._whitening(whitening) == "recording" and self.spec.trials.whitening != "robust":
            flags.append("transductive-whitening")
        table.attrs["flags"] = list(check_flags(flags))
        return x, table

    def _recorded(
        self, source: Any, events: Any, whitening: str, named: Any, say: Say
    ) -> tuple[np.ndarray, list[str | None]]:
        """The trials of one recording, and the images they show."""
        spec = self.spec.trials.model_copy(update={"repetitions": "all"})
        trained, whole = self.channels, self.record["whitened_channels"]
        needs = whole if spec.whitening.startswith("mvnn") else trained.ch_names
        kind = {name: trained.facts.get(name, "") for name in ("channel type", "reference")}
        recording, shown = read_recording(
            source, ChannelSet(trained.owner, needs, kind), spec, events, named, say
        )
        kept, dropped = chosen_trials(recording, spec)
        if dropped:
            counts = ", ".join(f"{count} {why}" for why, count in dropped.items())
            say(f"{recording.source}: left out {counts}")
        recording = recording.processed(recording.samples[kept], spec)
        x = windows(recording.data, recording.samples, recording.sfreq, spec)
        check_trials(x, list(recording.ch_names), recording.source)
        names = [None] * len(x) if shown is None else [shown[row] for row in kept]
        known = None if shown is None else pd.factorize(np.array(names, object))[0]
        self._whiten(x, whitening, known, recording.source, say)
        if spec.clamp is not None:
            clamp(x, spec.clamp)
        x = x[:, [list(needs).index(name) for name in trained.ch_names]]
        times = {
            "sampling rate": f"{spec.sfreq:g} Hz",
            "number of samples": str(x.shape[2]),
            "time of the first sample": first_sample(first_time(recording.sfreq, spec), spec.sfreq),
        }
        check_facts(trained, ChannelSet(recording.source, trained.ch_names, times))
        found = [named(name) if named and name else None for name in names]
        return x, [image or name for image, name in zip(found, names, strict=True)]

    def _whitening(self, asked: str) -> str:
        """One of ``WHITENINGS``."""
        whitened = self.spec.trials.whitening != "none"
        return asked if asked != "auto" else "recording" if whitened else "none"

    def _whiten(self, x: np.ndarray, asked: str, shown: Any, source: str, say: Say) -> None:
        how, file = self.spec.trials.whitening, self.path / WHITENING
        if how == "robust":
            if asked not in ("auto", "recording"):
                raise UsageError(
                    f"{self.path.name} was trained on recordings that were each scaled by their own median "
                    "and interquartile range, and new ones must be, too",
                    "use --whitening recording",
                )
            say(f"{source}: scaled (robust) by its own median and interquartile range")
            return
        choice = self._whitening(asked)
        if how == "none" and choice != "none":
            raise UsageError(
                f"{self.path.name} was trained on trials that are not whitened",
                "use --whitening none",
            )
        if choice == "recording":
            conditions = np.arange(len(x)) if how != "mvnn-time" or shown is None else shown
            fit_whitening(how, x, conditions, source)(x)
            say(f"{source}: whitened ({how}) with the noise of its own {len(x)} trials")
        elif choice == "run":
            if not file.is_file():
                raise MissingDataError(
                    f"there is no {WHITENING} in {self.path}: it is unknown how its trials were whitened",
                    "use --whitening recording",
                )
            whitening_of(read_whitening(file))(x)
            say(f"{source}: whitened ({how}) with the mean noise of the run's training sessions")
        elif how != "none":
            scale = float(np.std(x, dtype=np.float64))
            if not 0.05 < scale < 20:
                raise DataError(
                    f"the trials of {source} have a standard deviation of {scale:.2g} ({VOLTS}?), those of "
                    f"the run are {UNITS[how]}",
                    "use --whitening recording or run",
                )
            say(f"{source}: not whitened, as requested")


def load_run(
    source: str | Path | TrainedRun, *, trust: Trust = False, device: str = "auto"
) -> TrainedRun:
    """A finished run whose model can be used, from its folder or from the Hugging Face Hub.

    Nothing in the folder is executed: it holds JSON, CSV and safetensors, and classes that it names are
    imported only from braindecode, ``torch.nn``, this package and installed entry points.

    Parameters
    ----------
    source : path-like or TrainedRun
        A run folder, or ``ORG/NAME`` on the Hub, as ``ssr-bd push`` wrote it; a run is returned as it is.
    trust : bool or str
        Import any class that the folder names by a dotted path, or this one.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Raises
    ------
    MissingDataError, DataError
        If there is no such folder or repository, or it holds no finished run; if its files are damaged.

    Examples
    --------
    >>> from braindecode_ssr import load_run
    >>> run = load_run("runs/things-sim_ssr_sub-05_intra_seed-0_4ab575dd")  # doctest: +SKIP
    >>> run.retrieve("recording.vhdr", images="images", top=5)  # doctest: +SKIP
    """
    from ..training.distributed import pick_device

    if isinstance(source, TrainedRun):
        return source
    path = named_folder(source)
    if not path.is_dir():
        path = _downloaded(str(source), path)
    run = TrainedRun(path, trust, pick_device(device))
    with trusting(trust):
        run.spec  # noqa: B018
    run.summary  # noqa: B018
    if run.damage:
        raise DataError(
            f"{run.path} is damaged: cannot read {run.damage}", "get the complete folder"
        )
    return run


def retrieve(
    run: str | Path | TrainedRun,
    recordings: Any,
    images: str | Path | ImageDataset,
    *,
    trust: Trust = False,
    device: str = "auto",
    **options: Any,
) -> pd.DataFrame:
    """Retrieve the images that a person saw, from new recordings.

    Parameters
    ----------
    run : path-like or TrainedRun
        A run folder, or ``ORG/NAME`` on the Hugging Face Hub.
    recordings, images, **options
        As for :meth:`~braindecode_ssr.inference.trained.TrainedRun.retrieve`, which says what is returned.
    trust, device
        As for :func:`load_run`.

    Examples
    --------
    >>> retrieve("runs/RUN", "sub-05_eeg.vhdr", images="pictures")  # doctest: +SKIP
    """
    return load_run(run, trust=trust, device=device).retrieve(recordings, images, **options)


def _downloaded(source: str, path: Path) -> Path:
    """The folder of a repository on the Hub; only files of a run are downloaded."""
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise MissingDataError(
            f"there is no run folder {path}",
            "give the folder that `ssr-bd train` printed, or ORG/NAME on the Hugging Face Hub",
        )
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=list(HUB_FILES)))
    except Exception as error:  # no network, no such repository, not a name
        raise MissingDataError(
            f"there is no folder {path}, and the Hugging Face Hub gives no run {source}: {first_line(error)}",
            "check the name and the network",
        ) from error


__all__ = ["TrainedRun", "load_run", "retrieve"]
