"""The settings of a run: frozen specs, read from TOML and ``key=value``, written as JSON, with a digest.

``ssr-bd list settings`` shows the text below each of them.

A spec holds choices, never objects or arrays. ``"auto"`` and ``None`` stand for choices that depend on
other choices or on the data; :mod:`braindecode_ssr.resolve` fills them in, and a run folder records the
resolved spec.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PositiveFloat,
    ValidationError,
)

from .errors import UsageError
from .registry import nearest

MAX_DEPTH = 20


def _check_params(value: Any, depth: int = 0) -> Any:
    """Parameters of a part, if all numbers in them are finite and the nesting is limited."""
    if depth > MAX_DEPTH:
        raise ValueError(f"lists and tables are nested more than {MAX_DEPTH} deep")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_params(inner, depth + 1)
    return value


def _subject(value: Any) -> int | str:
    if isinstance(value, str) and value.removeprefix("sub-"):
        return value.removeprefix("sub-")
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("a subject is the label of its folder, such as 5 or S01")


Channels = str | tuple[str, ...]
Decay = Annotated[float, Field(ge=0, lt=1)]
Entity = Annotated[str, BeforeValidator(str)]
Params = Annotated[dict[str, Any], AfterValidator(lambda params: _check_params(params))]
Seconds = Annotated[float, Field(ge=-60, le=60)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Subject = Annotated[int | str, PlainValidator(_subject)]

OTHER_NAMES = {
    **{"learning_rate": "lr", "bs": "batch_size", "wd": "weight_decay", "random_state": "seed"},
    **dict.fromkeys(("max_epochs", "n_epochs", "num_epochs"), "epochs"),
    **{"model": "backbone", "sampling_rate": "sfreq", "resample": "sfreq"},
    **{"montage": "channels", "picks": "channels"},
}
"""What other libraries call our settings."""

SHORT_NAMES = {
    "dataset": "data.dataset",
    "subject": "data.subject",
    "protocol": "data.protocol",
    "preset": "data.preset",
    "backbone": "model.backbone",
    "encoder": "images.encoder",
    "loss": "loss.name",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "lr": "train.lr",
    "weight_decay": "train.weight_decay",
    "seed": "train.seed",
    "device": "train.device",
}
"""What the options of the command line and the keywords of ``train`` stand for."""


def html_table(caption: str, cells: Mapping[str, Any]) -> str:
    """A table of names and values for a notebook."""
    rows = (f"<tr><th>{escape(k)}</th><td>{escape(str(v))}</td></tr>" for k, v in cells.items())
    return f"<table><caption>{escape(caption)}</caption>{''.join(rows)}</table>"


class Spec(BaseModel):
    """A frozen set of choices that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    later: ClassVar[tuple[str, ...]] = ()
    """Fields that were added later: not part of the digest while they have their defaults."""

    def replace(self, **changes: Any) -> Self:
        """A copy with other values, which are not checked; a dict changes some values of a section."""
        for name, value in changes.items():
            section = getattr(self, name)
            if isinstance(section, Spec) and isinstance(value, dict):
                changes[name] = section.replace(**value)
        return self.model_copy(update=changes)

    def _repr_html_(self) -> str:
        changed = dict(leaves(self.model_dump(exclude_defaults=True)))
        what = "settings other than" if changed else "all are"
        return html_table(f"{type(self).__name__}: {what} the defaults", changed)

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the JSON form."""
        text = json.dumps(self._digested(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _digested(self) -> dict[str, Any]:
        content = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in self.later and value == field.default:
                del content[name]
            elif isinstance(value, Spec):
                content[name] = value._digested()
        return content


class ExtraData(Spec):
    """Another dataset that is trained on, and never tested."""

    dataset: str
    """Registered name of the dataset."""
    data_dir: str | None = None
    """Its folder; None: where it is looked for. Not part of the digest."""
    subjects: tuple[Subject, ...] = ()
    """Whose trials; empty: of all whose files are here."""
    preset: str = "small"
    """Size of a simulated dataset."""
    seed: Seed = 0
    """Seed of a simulated dataset."""


class DataSpec(Spec):
    """Which recordings."""

    later: ClassVar[tuple[str, ...]] = ("bids", "extra")

    dataset: str = "things-sim"
    """Registered name of the dataset."""
    subject: Subject = 1
    """The tested subject: 5 for the folder ``sub-05``, ``"S01"`` for ``sub-S01``."""
    protocol: Literal["intra", "inter", "pooled"] = "intra"
    """Train on the tested subject, on all others, or on all, the tested subject included."""
    channels: Channels = "auto"
    """``"occipital-17"``, ``"things-eeg-63"`` (in the order of NICE), ``"all"`` (every recording must have
    them), ``"common"`` (those that all recordings have), ``"mag"`` or ``"grad"`` for recordings with both
    kinds of MEG sensors, regions of an MEG helmet such as ``"meg-occipital-parietal"``, names, or ``"auto"``:
    the dataset's default (THINGS-EEG: 17 for intra, all for inter; THINGS-MEG: all)."""
    preset: str = "small"
    """Size of a simulated dataset: ``tiny``, ``small``, ``full``, or the same of version 1 of the simulator,
    ``tiny-v1`` and so on; ignored by recorded ones."""
    seed: Seed = 0
    """Seed of a simulated dataset; ignored by recorded ones."""
    together_with: str = "none"
    """Another dataset to train on or compare with, ``"things-eeg"`` or ``"things-meg"``: its test concepts
    are removed from training. Or ``"none"``."""
    bids: dict[str, Entity] = {}
    """Which recordings of a BIDS folder to use if there are several of one run, by entity, datatype or
    format: ``{"proc": "sss"}``, ``{"format": "edf"}``; ``"none"``: those without the entity."""
    extra: tuple[ExtraData, ...] = ()
    """Other datasets to train on too. Concepts that any of them tests are removed from all training."""

    def _digested(self) -> dict[str, Any]:
        content = super()._digested()
        for extra in content.get("extra", ()):
            del extra["data_dir"]
        return content


class TrialSpec(Spec):
    """How trials are made from recordings; times in seconds after image onset.

    The defaults are what the compared methods share: epochs from -0.2 to 1.0 s, baseline before onset,
    250 Hz, the part from 0 to 1 s, multivariate noise normalization.

    With a filter, or robust scaling, the recording is resampled as a whole before epochs are cut; without,
    each epoch is.
    """

    later: ClassVar[tuple[str, ...]] = (
        *("channels", "bad_segments", "bad_channels", "incomplete"),
        *("l_freq", "h_freq", "notch", "clamp"),
    )

    tmin: Seconds = -0.2
    """Start of the epoch that is cut from the recording."""
    tmax: Seconds = 1.0
    """End of that epoch, included."""
    baseline: Literal["prestimulus", "none"] | tuple[Seconds, Seconds] = "prestimulus"
    """Subtract from each channel its mean from ``tmin`` to 0, or in another window, both ends included; or
    nothing."""
    l_freq: float | None = Field(default=None, gt=0)
    """Lower edge of a band-pass filter in Hz, as for MNE's ``raw.filter``."""
    h_freq: float | None = Field(default=None, gt=0)
    """Upper edge of that filter in Hz."""
    notch: tuple[PositiveFloat, ...] = ()
    """Frequencies of the mains in Hz, as for MNE's ``raw.notch_filter``; harmonics are named one by one."""
    sfreq: float = Field(default=250.0, gt=0, le=1e5)
    """Sampling rate of the trials, in Hz."""
    start: Seconds = 0.0
    """Start of the part of the resampled epoch that is kept."""
    stop: Seconds = 1.0
    """End of that part, excluded."""
    whitening: Literal["mvnn", "mvnn-time", "zscore", "robust", "none"] = "mvnn"
    """Multivariate noise normalization of the channels, or of channels and times together (for rates such as
    ``sfreq=50``), or mean 0 and standard deviation 1 of each channel; per session, fitted on training trials
    only. ``"robust"``: median 0 and interquartile range 1 of each channel over each recording, one of the
    test too, before epochs are cut."""
    clamp: float | None = Field(default=None, gt=0)
    """Largest absolute value of a trial, after all else; larger ones become this one."""
    repetitions: Literal["all", "published"] = "all"
    """All trials, or the random subset (2 per training image and session, 20 per test image and session) of
    the public scripts."""
    release: str = "auto"
    """Which release of the files to read: ``"auto"``, ``"raw"`` or a preprocessed one."""
    channels: Literal["all", "common", "mag", "grad"] = "all"
    """Which channels of a subject to prepare: all, those that all recordings of the subject have, or one type
    of MEG sensor. ``data.channels`` of the same name sets it."""
    bad_segments: Literal["drop", "keep"] = "drop"
    """Trials whose epoch, baseline included, overlaps a segment that is marked bad. A trial across an
    interruption of the recording is always dropped."""
    bad_channels: Literal["error", "interpolate", "drop", "keep"] = "error"
    """Channels that are marked bad in a recording: refuse it, interpolate them there as MNE does, drop them
    from all recordings of the subject, or use them as they are."""
    incomplete: Literal["error", "drop"] = "error"
    """Trials whose epoch reaches beyond the start or end of the file that holds them."""

    @property
    def fitted(self) -> bool:
        """Whether the whitening is fitted on the training trials of a session."""
        return self.whitening not in ("robust", "none")

    @property
    def continuous(self) -> bool:
        """Whether a step is done on the whole recording."""
        return bool(self.l_freq or self.h_freq or self.notch or self.whitening == "robust")

    @property
    def of_recordings(self) -> list[str]:
        """The settings that only trials cut from recordings can have."""
        asked = {name: getattr(self, name) for name in ("l_freq", "h_freq", "notch", "clamp")}
        asked["whitening=robust"] = self.whitening == "robust"
        asked["baseline"] = isinstance(self.baseline, tuple)
        return [f"trials.{name}" for name, value in asked.items() if value]


class ImageSpec(Spec):
    """Which image features."""

    later: ClassVar[tuple[str, ...]] = (
        *("pool", "tuning"),
        *("lora_rank", "lora_alpha", "lora_blocks"),
    )

    encoder: str = "auto"
    """Encoder name, as in ``ssr-bd list encoders``, the name that features were imported under, or
    ``"auto"``: that of the method if its features are stored, else the only one with stored features, else
    the dataset's default. Several joined by ``+``: their features are concatenated."""
    views: tuple[str, ...] | Literal["auto"] = "auto"
    """Views pooled into the augmented feature, or the method's own (``"auto"``)."""
    pool: Literal["mean", "side-by-side"] = "mean"
    """How views become one feature: their mean, or all of them concatenated, for an image head made for
    that."""
    tuning: Literal["frozen", "lora"] = "frozen"
    """The encoder stays as it is; or each matrix of its last blocks gets a change of low rank, trained with
    the model on the images themselves."""
    lora_rank: int = Field(default=8, ge=1)
    """Rank of the changes of ``tuning="lora"``."""
    lora_alpha: float = Field(default=16.0, gt=0)
    """These changes are multiplied by ``lora_alpha / lora_rank``."""
    lora_blocks: int = Field(default=4, ge=1)
    """How many blocks are changed, of those that the features depend on."""

    @property
    def label(self) -> str:
        """What tables call the encoder."""
        return self.encoder if self.tuning == "frozen" else f"{self.encoder}, {self.tuning}"


class ModelSpec(Spec):
    """Which model."""

    later: ClassVar[tuple[str, ...]] = (
        *("image_head", "image_head_params", "subjects", "space", "components", "width"),
        *("pretrained_concepts", "projector", "tuning", "lora_rank", "lora_alpha"),
    )

    backbone: str = "auto"
    """Brain encoder; ``"auto"``: EEGProject for intra, else TSConv."""
    backbone_params: Params = Field(default_factory=dict)
    """Parameters of the backbone."""
    feature_point: Literal["auto", "embedding", "head"] = "auto"
    """Where the backbone's features are read; ``"auto"``: its embedding if wide enough, else its head."""
    pretrained: str | None = None
    """Weights for the backbone: a folder or a repository on the Hugging Face Hub."""
    pretrained_concepts: Literal["unknown", "disjoint"] | tuple[str, ...] = "unknown"
    """What pretrained weights have seen, here or in a backbone that loads its own: unknown, which flags the
    run ``pretrained-elsewhere``; disjoint, none of the tested concepts, as far as you know; or these
    concepts, which are compared with the tested ones."""
    freeze: tuple[str, ...] = ()
    """Parts that are not trained, such as ``"backbone"`` or ``"backbone.temporal"``."""
    tuning: Literal["full", "frozen", "lora"] = "full"
    """What of the backbone is trained: all of it; nothing but its own last layer; or that and, for each
    matrix of its linear and attention layers, a change of low rank. What is frozen stays frozen."""
    lora_rank: int = Field(default=8, ge=1, le=1000)
    """Rank of the changes of ``tuning="lora"``."""
    lora_alpha: float = Field(default=16.0, gt=0)
    """These changes are multiplied by ``lora_alpha / lora_rank``."""
    components: int | None = Field(default=None, ge=1, le=1000)
    """Supervised components of each trial that the backbone gets in the place of channels and samples: those
    in which an encoding model, fitted on the training trials, predicts the responses to images best. For
    backbones without convolution, such as EEGProject."""
    width: int = Field(default=1024, ge=1)
    """Width of the backbone's head, and least width of an embedding that is taken instead."""
    n_outputs: int = Field(default=512, ge=2)
    """Width of the shared space."""
    image_head: str = "linear"
    """What maps image features into the shared space: ``"linear"``, another registered one, or ``"none"``:
    the image features are the shared space, of their width, whatever ``n_outputs``."""
    image_head_params: Params = {}
    """Parameters of the image head."""
    subjects: Literal["shared", "own"] = "shared"
    """All subjects share the whole backbone, or each training subject has a part of its own; the embedding of
    another subject is then the mean over all parts."""
    projector: Literal["linear", "perceptron", "none"] = "linear"
    """What maps the backbone's output into the shared space: a linear map, one of two layers with GELU
    between, or nothing, if the backbone is ``n_outputs`` wide."""
    space: Literal["euclidean", "hyperbolic"] = "euclidean"
    """How embeddings are compared: by their cosine, or, as tangent vectors at the origin of hyperbolic space,
    by the distance of their points. The loss must use the same space."""


class LossSpec(Spec):
    """Which loss, and its parameters."""

    name: str = "ssr"
    """A name, as in ``ssr-bd list losses``."""
    params: Params = Field(default_factory=dict)
    """Parameters of the loss."""


class TrainSpec(Spec):
    """How the weights are trained."""

    later: ClassVar[tuple[str, ...]] = (
        *("solver", "drop_last", "betas", "keep", "decay", "patience", "average"),
    )

    solver: Literal["gradient", "encoding", "ridge-decoding", "ridge-encoding"] = "gradient"
    """By gradient steps, or in closed form as a linear map from brain to image features or back, which
    ignores backbone, loss, epochs and rates."""
    epochs: int = Field(default=50, ge=1)
    """Passes over the training trials."""
    batch_size: int | None = Field(default=None, ge=2)
    """None: that of the method, else 1024, or an eighth of the training trials if there are few."""
    average: Literal["signals", "none"] = "signals"
    """A training trial is the mean of all trials of an image by a subject, or each trial is one."""
    drop_last: bool = True
    """Leave out the last batch of an epoch where it would be short."""
    lr: float = Field(default=1e-4, gt=0, le=100)
    """Learning rate of AdamW."""
    lr_of: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Learning rates of parts of the model, such as ``{"backbone": 1e-5}``; the deeper part wins."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay of AdamW."""
    decay: Literal["all", "matrices"] = "all"
    """What weight decay applies to: all weights, or all but biases and the gains of norms."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of AdamW's running means of gradients and of their squares."""
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    """Learning rate after the warm-up: constant, or half a cosine down to 0. ``"onecycle"``: PyTorch's
    ``OneCycleLR`` without its cycle of momentum, from 1/25 of the rate up and down to 1/250,000 of it, by
    half a cosine each."""
    warmup: float = Field(default=0.0, ge=0)
    """Epochs over which the learning rate rises, linearly but for ``"onecycle"``; at most ``epochs``."""
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of all gradients together."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, which is then tested and kept."""
    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = "none"
    """Mode of ``torch.compile`` for the model."""
    seed: Seed = 0
    """Of weights, batches, masks and dropout: 0 to 4,294,967,295."""
    device: str = "auto"
    """``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward pass; ``"auto"`` is bfloat16 autocast on CUDA and float32 elsewhere."""
    smoothing: float = Field(default=0.3, ge=0, le=1)
    """Probability that a channel of a training trial is smoothed once by a moving average of 5 samples
    (NeuroBridge's EEG prior)."""
    memory: float = Field(default=2.0, ge=0)
    """Gigabytes; averaged training trials that take more are read from disk batch by batch."""
    validation_concepts: int = Field(default=0, ge=0)
    """Training concepts held out and scored after each epoch; a closed form chooses its penalty on them, and
    takes a tenth of all for 0."""
    selection: Literal["last", "validation"] = "last"
    """Which epoch is kept: the last, or the best on the held-out training concepts."""
    patience: int | None = Field(default=None, ge=1)
    """Stop when top-5 on the held-out training concepts has not risen for so many epochs."""
    keep: Literal["final", "every"] = "final"
    """Which weights stay in the run folder: those of that epoch, or of every epoch, so that an evaluation can
    select another one. Training itself never sees a test trial."""


class EvaluationSpec(Spec):
    """How the test is scored."""

    later: ClassVar[tuple[str, ...]] = ("n_way", "correction", "selection", "average")

    gallery: Literal["original", "views", "concept"] = "original"
    """Candidates: the test images, their pooled views, or the mean of a concept's other images."""
    repetitions: int | None = Field(default=None, ge=1)
    """Test trials averaged per image; None: all there are."""
    average: Literal["signals", "predictions", "none"] = "signals"
    """The trials of an image are averaged before the model; or each goes through the model, and their
    embeddings are averaged without being normalized first; or each is a query of its own, and the numbers of
    an image are the means over them."""
    n_way: int | None = Field(default=None, ge=2)
    """Candidates per query: its own image and a random choice of others, over which the exact expectation is
    taken; None: the whole gallery."""
    correction: Literal["none", "csls", "hungarian", "sinkhorn"] = "none"
    """Correction of the similarities of all queries together; all but ``"none"`` are transductive."""
    selection: Literal["trained", "last", "validation", "oracle"] = "trained"
    """Which weights are tested: those that training kept, those of the last epoch, of the epoch that was best
    on held-out training concepts, or of the epoch that is best on this very test. All but ``"trained"`` may
    need a run trained with ``train.keep="every"``."""


class FinetuneSpec(Spec):
    """Which run a model is trained further from, see :func:`braindecode_ssr.pipeline.finetune`."""

    run: str = ""
    """The name of its folder; empty: trained from the beginning."""
    weights: str = ""
    """SHA-256 of its weights, the first 16 digits."""
    trials: int | None = Field(default=None, ge=4)
    """Only the first trials of the training part, in order of presentation; None: all."""


class RunSpec(Spec):
    """Everything that a run depends on."""

    later: ClassVar[tuple[str, ...]] = ("finetune",)

    method: str = "ssr"
    data: DataSpec = DataSpec()
    trials: TrialSpec = TrialSpec()
    images: ImageSpec = ImageSpec()
    model: ModelSpec = ModelSpec()
    loss: LossSpec = LossSpec()
    train: TrainSpec = TrainSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    finetune: FinetuneSpec = FinetuneSpec()

    @property
    def label(self) -> str:
        """What tables call the method: ``ssr``, ``ssr-finetuned-200``, or ``ssr-with-things-eeg1``."""
        tuned = f"-finetuned-{self.finetune.trials or 'all'}" if self.finetune.run else ""
        return self.method + "".join(f"-with-{one.dataset}" for one in self.data.extra) + tuned


def read_toml(path: Path) -> dict[str, Any]:
    """The nested settings of a TOML file; raises UsageError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(
            f"the TOML file {path} cannot be read: {error}", "correct it, or leave out --config"
        ) from error


def parse_setting(text: str) -> dict[str, Any]:
    """``"train.lr=3e-4"`` as ``{"train": {"lr": 3e-4}}``; the value is TOML, else a plain string."""
    key, separator, value = text.partition("=")
    if not separator or not all(part.strip() for part in key.split(".")):
        raise UsageError(
            f"--set takes key=value, not {text!r}", "write, for example, --set train.lr=3e-4"
        )
    try:
        nested: Any = tomllib.loads(f"value = {value.strip()}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        nested = value.strip()
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return nested


def nested(options: dict[str, Any]) -> dict[str, Any]:
    """Nested settings from options by short name or dotted name; None stands for not given."""
    settings: dict[str, Any] = {}
    for name, value in options.items():
        if value is not None:
            value = value.tolist() if hasattr(value, "tolist") else value  # numbers of NumPy
            dotted = SHORT_NAMES.get(name, name)
            if "." not in dotted and dotted != "method":
                raise _unknown_setting(dotted)
            for part in reversed(dotted.split(".")):
                value = {part: value}
            settings = merge(settings, value)
    return settings


def merge(*layers: dict[str, Any]) -> dict[str, Any]:
    """Merge nested settings; later ones win."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = merge(merged[key], value) if both else value
    return merged


def leaves(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested settings."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def build(settings: dict[str, Any]) -> RunSpec:
    """A checked run spec from nested settings; raises UsageError for the first wrong key or value."""
    try:
        spec = RunSpec.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        name, known = ".".join(str(part) for part in first["loc"]), setting_names()
        unions = (other for other in known if name.startswith(f"{other}.") and "." in other)
        name = next((other for other in unions if not other.endswith(("params", "lr_of"))), name)
        if first["type"] == "extra_forbidden":
            raise _unknown_setting(name) from None
        words = re.findall(r"'([^']+)'", (first.get("ctx") or {}).get("expected", ""))
        near = nearest(str(first["input"]), words)
        meant = f"did you mean {near!r}? " if near else ""
        raise UsageError(
            f"{name} = {first['input']!r} is not valid: {first['msg']}",
            f"{meant}set another value with --set {name}=... or its own option",
        ) from None
    check_settings(spec)
    return spec


def check_settings(spec: RunSpec) -> None:
    """Raise UsageError for values that are valid one by one and make no sense together."""
    if not spec.data.channels:
        raise UsageError(
            "data.channels names no channel",
            'name some, such as --set \'data.channels=["Oz", "O1"]\', or a set such as occipital-17',
        )
    trials, train, sample = spec.trials, spec.train, 1 / spec.trials.sfreq
    epoch = f"the epoch, trials.tmin = {trials.tmin:g} to trials.tmax = {trials.tmax:g} s"
    kept = f"trials.start = {trials.start:g} to trials.stop = {trials.stop:g} s"
    if trials.tmin >= trials.tmax:
        raise UsageError(
            f"trials.tmin = {trials.tmin:g} s is not before trials.tmax = {trials.tmax:g} s",
            "set them in seconds after image onset, such as --set trials.tmin=-0.2 "
            "--set trials.tmax=1.0",
        )
    if trials.baseline == "prestimulus" and not trials.tmin <= 0 <= trials.tmax:
        raise UsageError(
            f"{epoch}, does not include image onset, so there is no baseline before it",
            "start at or before 0 with --set trials.tmin=-0.2, or use --set trials.baseline=none",
        )
    if isinstance(trials.baseline, tuple):
        first, last = trials.baseline
        if not trials.tmin - sample < first <= last < trials.tmax + sample:
            raise UsageError(
                f"trials.baseline = {first:g} to {last:g} s is not inside {epoch}",
                "give its first and last second after image onset: --set 'trials.baseline=[-0.2, 0]'",
            )
    if trials.l_freq and trials.h_freq and trials.l_freq >= trials.h_freq:
        raise UsageError(
            f"trials.l_freq = {trials.l_freq:g} Hz is not below trials.h_freq = {trials.h_freq:g} Hz",
            "give the edges of a band-pass: --set trials.l_freq=0.1 --set trials.h_freq=75",
        )
    if trials.l_freq and trials.l_freq >= trials.sfreq / 2:
        raise UsageError(
            f"trials.l_freq = {trials.l_freq:g} Hz leaves nothing of trials of trials.sfreq = "
            f"{trials.sfreq:g} Hz, which hold frequencies below {trials.sfreq / 2:g} Hz",
            "lower --set trials.l_freq=..., the lower edge of a band-pass",
        )
    if trials.stop - trials.start < sample:
        raise UsageError(
            f"the part of the epoch that is kept, {kept}, contains no sample at {trials.sfreq:g} Hz",
            "set --set trials.start=... below --set trials.stop=...",
        )
    if trials.start < trials.tmin - sample or trials.stop > trials.tmax + 2 * sample:
        raise UsageError(
            f"the part that is kept, {kept}, is not inside {epoch}",
            "choose both with --set trials.start=... and --set trials.stop=..., or a longer epoch",
        )
    if train.warmup > train.epochs:
        raise UsageError(
            f"a warm-up of train.warmup = {train.warmup:g} epochs is longer than the whole run, "
            f"train.epochs = {train.epochs}",
            "lower --set train.warmup, or raise --epochs",
        )


def setting_names(spec: type[BaseModel] = RunSpec, prefix: str = "") -> list[str]:
    """All dotted names that ``--set`` takes."""
    names: list[str] = []
    for name, field in spec.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += setting_names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def _unknown_setting(name: str) -> UsageError:
    near = meant_setting(name) or nearest(name, setting_names())
    hint = f"did you mean {near!r}? " if near else ""
    return UsageError(
        f"unknown setting: {name!r}", f"{hint}`ssr-bd list settings` shows all of them"
    )


def meant_setting(name: str) -> str | None:
    """The setting that a user means by its last part, or by its name in other libraries."""
    last = name.split(".")[-1].replace("-", "_").lower()
    leaf = OTHER_NAMES.get(last, last)
    found = [setting for setting in setting_names() if setting.split(".")[-1] == leaf]
    return found[0] if len(found) == 1 else None
