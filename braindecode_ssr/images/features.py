"""Features of a dataset's images: extracted where they are missing, each image decoded once, and read."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..datasets.base import ImageDataset
from ..datasets.pictures import to_rgb
from ..errors import DataError, MissingDataError, Say, SSRError, UsageError, silent
from ..files import atomic_write, in_threads, one_thread, sha256
from .encoders import (
    ImageEncoder,
    build_encoder,
    canonical_name,
    is_encoder,
    parts_of,
    reads_text,
    shortest_side,
)
from .store import OPTION, READER, WORDS, FeatureStore, check_features, folder_name
from .views import View, ViewFunction, build_view, image_seed, is_text

if TYPE_CHECKING:
    from torch import Tensor

    from ..config import RunSpec


UNFINISHED = ".unfinished"
AT_ONCE = 64
Remarks = dict[str, set[str]]  # what had to be changed for RGB: the images


def extract(
    dataset: ImageDataset,
    encoder: str | ImageEncoder,
    views: Sequence[str | View | ViewFunction],
    store: FeatureStore,
    *,
    batch_size: int = 64,
    device: str = "cpu",
    progress: bool = False,
    say: Say = silent,
) -> None:
    """Extract the features of all images of a dataset that are not in a store yet.

    Views of words, such as ``text``, encode the concepts of the images and need no image files. Finished
    batches are saved: a run that was killed resumes there and ends with the same features. If nothing is
    missing, the encoder is not even built.

    Parameters
    ----------
    dataset : ImageDataset
        The images.
    encoder : str or ImageEncoder
        A name, or the object itself: see :func:`~braindecode_ssr.images.encoders.build_encoder`.
    views : sequence of str, View or callable
        Names, or the functions themselves: see :func:`~braindecode_ssr.images.views.build_view`.
    store : FeatureStore
        Where the features are stored.
    batch_size : int
        Images per batch; features do not depend on it except for rounding.
    device : str
        Device of an encoder that is given by name.
    progress : bool
        Show a progress bar on stderr.
    say : callable
        Called with a line of text about pictures that had to be changed when converted to RGB.

    Raises
    ------
    UsageError
        If an encoder, view or parameter is unknown, or a view needs an encoder that reads sentences.
    MissingDataError
        If an image or the weights of the encoder are missing.
    DataError
        If an image cannot be decoded, a feature is not finite, the store has features of another encoder
        under that name, or it cannot be written.
    """
    if batch_size < 1:
        raise UsageError(f"a batch size of {batch_size} is below 1", "give another --batch-size")
    wanted = {view.name: view for view in map(build_view, views)}
    name = canonical_name(encoder if isinstance(encoder, str) else encoder.name)
    hashes, image_ids = dataset.image_hashes(), sorted(dataset.images["image_id"])

    def missing_batches() -> list[Batch]:
        """Batches of the images whose features are missing or outdated, numbered over all images."""
        batches = []
        for view in wanted.values():
            stored = set(store.image_ids(name, view.name))
            stored -= store.outdated(name, view.name, hashes)
            for number, start in enumerate(range(0, len(image_ids), batch_size)):
                batch = image_ids[start : start + batch_size]
                missing = tuple(one for one in batch if one not in stored)
                files = () if view.is_text else tuple(hashes.get(one, "") for one in missing)
                batches += [Batch(number, view, missing, files)] if missing else []
        return sorted(batches, key=lambda batch: batch.number)

    batches = missing_batches()
    if not batches:
        return
    missing = {batch.view.name: batch.view for batch in batches}.values()
    for view in missing:
        if view.is_text:
            _check_reads(encoder, view.name)
    built = build_encoder(encoder, device)
    for view in missing:
        store.check_same_encoder(name, built.dim, view_fingerprint(built, view))
    with store.locked(name, "extract"):
        batches = missing_batches()  # another process may have extracted meanwhile
        done = FinishedBatches(store.encoder_folder(name) / UNFINISHED, built)
        remarks: Remarks = {}
        with one_thread():  # the threads that decode would wait for those of BLAS
            _encode_batches(dataset, built, name, batches, done, progress, remarks)
        for remark, altered in sorted(remarks.items()):
            say(
                f"{len(altered)} of {len(dataset.images)} pictures {remark}, "
                f"the first {min(altered)!r}"
            )
        for view in wanted.values():
            of_view = [batch for batch in batches if batch.view == view]
            if not of_view:
                continue
            details: dict[str, Any] = getattr(built, "description", dict)()
            source = "extracted from the images"
            if view.is_text:
                details |= _text_description(built)
                source = "extracted from the concepts"
            store.write(
                name,
                view.name,
                [one for batch in of_view for one in batch.image_ids],
                done.read(of_view),
                view_fingerprint(built, view),
                source,
                details,
                None if view.is_text else hashes,
            )
        shutil.rmtree(done.folder, ignore_errors=True)


@dataclass(frozen=True)
class Batch:
    """Images that are encoded together, in one view."""

    number: int
    view: View
    image_ids: tuple[str, ...]
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FinishedBatches:
    """The features of finished batches, one file each, named by what they depend on."""

    folder: Path
    encoder: ImageEncoder

    def file(self, batch: Batch) -> Path:
        made_by = view_fingerprint(self.encoder, batch.view)
        key = sha256("\n".join([made_by, batch.view.name, *batch.image_ids, *batch.hashes]))
        return self.folder / folder_name(batch.view.name) / f"{key}.npy"

    def write(self, batch: Batch, features: np.ndarray) -> None:
        content = BytesIO()
        np.save(content, features.astype(np.float32))
        atomic_write(self.file(batch), content.getvalue(), OPTION)

    def read(self, batches: Sequence[Batch]) -> np.ndarray:
        """The features of batches, float32 ``(n, d)``; if a file is damaged, all are removed."""
        try:
            return np.concatenate([np.load(self.file(b), allow_pickle=False) for b in batches])
        except (OSError, ValueError) as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise MissingDataError(
                f"the finished batches in {self.folder} cannot be read "
                f"({type(error).__name__}: {error}), so they were removed",
                "run the same command again",
            ) from error


def _encode_batches(
    dataset: ImageDataset,
    encoder: ImageEncoder,
    name: str,
    batches: list[Batch],
    done: FinishedBatches,
    progress: bool,
    remarks: Remarks,
) -> None:
    """Encode the batches that are not finished: sentences first, which need no image."""
    import torch
    from tqdm.auto import tqdm

    left = [batch for batch in batches if not done.file(batch).is_file()]
    total, todo = (sum(len(batch.image_ids) for batch in some) for some in (batches, left))
    concepts = dataset.images.set_index("image_id")["concept"]
    options = {"desc": f"{name} features", "unit": "view", "disable": not progress}
    with tqdm(total=total, initial=total - todo, **options) as bar:

        def save(batch: Batch, features: np.ndarray) -> None:
            check_features(features, batch.image_ids, f"{name}, view {batch.view.name}")
            done.write(batch, features)
            bar.update(len(features))

        for batch in left:
            if batch.view.is_text:
                of_batch = concepts.loc[list(batch.image_ids)].tolist()
                save(batch, read_sentences(encoder, batch.view, of_batch))
        pixel_batches = [batch for batch in left if not batch.view.is_text]
        groups = [list(same) for _, same in groupby(pixel_batches, key=lambda batch: batch.number)]
        device = str(getattr(encoder, "device", "cpu"))

        def read(same: list[Batch]) -> dict[str, Tensor]:
            wanted = dict.fromkeys(one for batch in same for one in batch.image_ids)
            return {one: read_pixels(dataset, encoder, one, remarks) for one in wanted}

        def encode(batch: Batch, pixels: dict[str, Tensor]) -> np.ndarray:
            images = torch.stack([pixels[one] for one in batch.image_ids]).to(device)
            seen = batch.view(images, seed=[image_seed(one) for one in batch.image_ids])
            return np.asarray(encoder.encode(seen).float().cpu())

        def read_and_encode(same: list[Batch]) -> list[np.ndarray]:
            pixels = read(same)
            return [encode(batch, pixels) for batch in same]

        if getattr(encoder, "in_threads", False) and device == "cpu":
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                for same, features in zip(groups, in_threads(read_and_encode, groups), strict=True):
                    for batch, rows in zip(same, features, strict=True):
                        save(batch, rows)
            finally:
                torch.set_num_threads(threads)
            return
        for same, pixels in zip(groups, in_threads(read, groups), strict=True):
            for batch in same:  # while the next ones are decoded
                save(batch, encode(batch, pixels))


def read_pixels(
    dataset: ImageDataset, encoder: ImageEncoder, image_id: str, remarks: Remarks | None = None
) -> Tensor:
    """An image at the size of an encoder, uint8 (3, size, size)."""
    import torch

    what = f"{image_id!r} of {dataset.name}"
    try:
        image = dataset.image(image_id)
        if "remarks" not in image.info:  # of a dataset that opens pictures in its own way
            image = to_rgb(image, what)
    except SSRError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        found = f"the picture {what} cannot be read ({error})"
        raise DataError(found, "copy or download the file again") from error
    for remark in image.info["remarks"]:
        if remarks is not None:
            remarks.setdefault(remark, set()).add(image_id)
    resize = getattr(encoder, "resize", None)
    image = resize(image) if resize else shortest_side(image, encoder.size)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@dataclass(eq=False)
class Pixels:
    """Images at the size of an encoder, decoded when they are asked for; ``memory`` GB of them are kept.

    Rows of ``images`` are chosen by number; ``view`` is None for the originals alone.
    """

    images: Sequence[tuple[ImageDataset, str]]
    encoder: ImageEncoder
    view: View | None = None
    memory: float = 0.0
    kept: dict[int, np.ndarray] = field(default_factory=dict)

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """The originals, uint8 (n, 3, size, size)."""
        missing = [row for row in dict.fromkeys(rows) if row not in self.kept]
        with ThreadPoolExecutor() as pool:
            found = dict(zip(missing, pool.map(self._decode, missing), strict=True))
        room = int(1e9 * self.memory) // (3 * self.encoder.size**2) - len(self.kept)
        read = {**self.kept, **found} if found else self.kept
        self.kept.update(list(found.items())[: max(room, 0)])
        return np.stack([read[row] for row in rows])

    def altered(self, pixels: Tensor, rows: Sequence[int]) -> Tensor:
        """The view of images that were read."""
        assert self.view is not None
        return self.view(pixels, seed=[image_seed(self.images[row][1]) for row in rows])

    def encoded(self, encoder: ImageEncoder) -> np.ndarray:
        """The features of all images, or of their views, float32 (n, d)."""
        import torch

        parts = []
        for start in range(0, len(self.images), AT_ONCE):
            rows = range(start, min(start + AT_ONCE, len(self.images)))
            pixels = torch.from_numpy(self.read(rows))
            parts.append(encoder.encode(self.altered(pixels, rows) if self.view else pixels))
        return torch.cat(parts).numpy()

    def _decode(self, row: int) -> np.ndarray:
        dataset, image_id = self.images[row]
        return read_pixels(dataset, self.encoder, image_id).numpy()


def view_fingerprint(encoder: ImageEncoder, view: View) -> str:
    """The fingerprint of an encoder's features of a view; for text, with text tower and tokenizer."""
    if not view.is_text:
        return encoder.fingerprint
    text = json.dumps(_text_description(encoder), sort_keys=True)
    return encoder.fingerprint + WORDS + sha256(text)


def _text_description(encoder: ImageEncoder) -> dict[str, Any]:
    return getattr(encoder, "text_description", dict)()


def read_sentences(encoder: Any, view: View, concepts: Sequence[str]) -> np.ndarray:
    """Features ``(n, d)`` of the sentences that a view makes of ``n`` concepts; each is read once."""
    sentences = view.sentences(concepts)
    rows = {sentence: row for row, sentence in enumerate(dict.fromkeys(sentences))}
    features = np.asarray(encoder.encode_text(list(rows)).float().cpu())
    return features[[rows[sentence] for sentence in sentences]]


def _check_reads(encoder: str | ImageEncoder, view: str) -> None:
    if isinstance(encoder, str):
        name, reads = encoder, reads_text(encoder)
    else:
        name, reads = encoder.name, hasattr(encoder, "encode_text")
    if not reads:
        raise UsageError(
            f"the view {view} needs an encoder that reads sentences, and {name} encodes images only",
            f"choose the output of a model of open_clip, such as --encoder {READER}",
        )


ORIGINAL = "original"
Pool = Literal["mean", "side-by-side"]


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a dataset's images from one encoder, or from several joined by ``+``.

    ``views`` are pooled into the augmented feature (none: originals only): their mean, or ``"side-by-side"``,
    where the original is repeated for each view. ``fingerprints`` are as :meth:`made_by` gives them;
    ``objects`` are encoders and views given as objects. Those of a ``tuned`` encoder are not stored.
    """

    store: FeatureStore
    encoder: str
    views: tuple[str, ...]
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    pool: Pool = "mean"
    objects: Mapping[str, Any] = field(default_factory=dict)
    tuned: ImageEncoder | None = None
    dataset: ImageDataset | None = None

    @property
    def encoders(self) -> tuple[str, ...]:
        return parts_of(self.encoder)

    def complete(
        self, dataset: ImageDataset, *, device: str, progress: bool, say: Say = silent
    ) -> None:
        """Extract missing features where the images (not needed for text) and the encoder are available."""
        if self.tuned is not None:
            return
        ids, hashes = set(dataset.images["image_id"]), dataset.image_hashes()
        for name in self.encoders:
            missing = [
                view
                for view in self._all_views()
                if not ids <= set(self.store.image_ids(name, view))
                or self.store.outdated(name, view, hashes)
            ]
            missing = [view for view in missing if self._can_be_extracted(name, view, dataset)]
            if not missing:
                continue
            try:
                encoder = build_encoder(self.objects.get(name, name), device)
            except MissingDataError as error:
                if all(map(is_text, missing)):
                    error.hint += """; or go without text: --set 'images.views=["original"]'"""
                raise
            views = [self.objects.get(view, view) for view in missing]
            extract(dataset, encoder, views, self.store, device=device, progress=progress, say=say)

    def check(self, dataset: ImageDataset) -> None:
        """Raise an error if features are neither stored nor can be extracted, or the encoder is unknown."""
        ids = dataset.images["image_id"].tolist()
        for name in self.encoders:
            for view in self._all_views():
                stored = self.store.image_ids(name, view)
                if not self._can_be_extracted(name, view, dataset):
                    self.store.manifest(name, view)
                    if not set(ids) <= set(stored):
                        self.store.read(name, view, ids)
                elif name not in self.objects and not stored:
                    kind, _, argument = canonical_name(name).partition(":")
                    if kind in ("open-clip", "timm"):
                        from .pretrained import check_pretrained

                        check_pretrained(kind, argument)
                    elif kind in ("simnet", "pyramid") and argument:
                        build_encoder(name)

    def made_by(self) -> dict[str, str]:
        """The fingerprint of what made the features of the originals and of each view."""
        if self.tuned is not None:
            return dict.fromkeys(self._all_views(), self.tuned.fingerprint)
        return {
            self._key(name, view): self.store.manifest(name, view)["fingerprint"]
            for view in self._all_views()
            for name in self.encoders
        }

    def made_of(self, dataset: ImageDataset) -> str:
        """A digest of the image files that the features are or will be extracted from; empty if imported."""
        name, known = self.encoders[0], dict[str, str]()
        if stored := self.store.image_ids(name, ORIGINAL):
            known = self.store.made_of(name, ORIGINAL)
        if stored and not known:
            return ""
        known = known | dataset.image_hashes()
        used = dataset.images["image_id"]
        lines = [f"{one} {known[one]}" for one in sorted(used) if one in known]
        return sha256("\n".join(lines))[:16] if lines else ""

    def widths(self) -> tuple[int, ...]:
        """Widths of the vectors that are concatenated in a feature, (d, ...); none if one is not stored."""
        if self.tuned is not None:
            return (self.tuned.dim,)
        if not all(self.store.image_ids(name, ORIGINAL) for name in self.encoders):
            return ()
        dims = tuple(int(self.store.manifest(name, ORIGINAL)["dim"]) for name in self.encoders)
        return dims * self.repeats

    def original(self, image_ids: Sequence[str]) -> np.ndarray:
        """Features of the originals, shape (n, d)."""
        return np.tile(self._read(ORIGINAL, image_ids), (1, self.repeats))

    def view(self, image_ids: Sequence[str]) -> np.ndarray:
        """Pooled features of the views, shape (n, d); those of the originals if there is no view."""
        views = [self._read(view, image_ids) for view in self.views or (ORIGINAL,)]
        return np.concatenate(views, 1) if self.pool == "side-by-side" else np.mean(views, axis=0)

    def concept(self, image_ids: Sequence[str]) -> np.ndarray:
        """Mean feature (n, d) of the stored images of each image's concept that are not in ``image_ids``.

        Not normalized, as in NICE. Images that the dataset does not list are stored as ``concept/name``.
        """
        others: dict[str, list[str]] = defaultdict(list)
        of: dict[str, str] = {}
        if self.dataset is not None:
            images = self.dataset.images
            of = dict(zip(images["image_id"], images["concept"], strict=True))
        known = [set(self.store.image_ids(name, ORIGINAL)) for name in self.encoders]
        for other in sorted(set.intersection(*known) - set(image_ids)):
            others[of.get(other, other.partition("/")[0])].append(other)
        concepts = [of.get(image_id, image_id.partition("/")[0]) for image_id in image_ids]
        alone = [concept for concept in concepts if concept not in others]
        if alone:
            name, how = self.encoder, "import them too"
            if not all(map(self.store.imported, self.encoders)):  # the two are never mixed
                name, how = "NAME", "import all features under another name, and train with it"
            raise MissingDataError(
                f"the concept gallery needs other images of {alone[0]!r}, and {self.store.path} has no "
                f"features of any from {self.encoder}",
                f"{how}: ssr-bd features import {self.store.options} --encoder {name} --array FEATURES.npy "
                "--images NAMES.txt",
            )
        return np.stack([self.original(others[concept]).mean(axis=0) for concept in concepts])

    @property
    def repeats(self) -> int:
        """How often the original is repeated to be as wide as the concatenated views."""
        return max(len(self.views), 1) if self.pool == "side-by-side" else 1

    def _can_be_extracted(self, encoder: str, view: str, dataset: ImageDataset) -> bool:
        if encoder not in self.objects and not is_encoder(encoder):
            return False
        if getattr(self.objects.get(view), "is_text", is_text(view)):
            return not self.store.imported(encoder)
        return dataset.has_images()

    def _all_views(self) -> list[str]:
        return list(dict.fromkeys((ORIGINAL, *self.views)))

    def _key(self, encoder: str, view: str) -> str:
        return view if len(self.encoders) == 1 else f"{encoder}, {view}"

    def _read(self, view: str, image_ids: Sequence[str]) -> np.ndarray:
        if self.tuned is not None and self.dataset is not None:
            images = [(self.dataset, image_id) for image_id in image_ids]
            seen = None if view == ORIGINAL else build_view(view)
            return Pixels(images, self.tuned, seen).encoded(self.tuned)
        ids, made_by = list(image_ids), self.fingerprints
        parts = [
            self.store.read(name, view, ids, fingerprint=made_by.get(self._key(name, view)))
            for name in self.encoders
        ]
        return np.concatenate(parts, 1) if len(parts) > 1 else parts[0]


def image_features(
    dataset: ImageDataset,
    encoder: str | ImageEncoder,
    views: Sequence[str | View | ViewFunction],
    fingerprints: Mapping[str, str] | None = None,
    pool: Pool = "mean",
) -> ImageFeatures:
    """The features of a dataset's images, in the dataset's own store; see :class:`ImageFeatures`."""
    objects: dict[str, Any] = {}
    if not isinstance(encoder, str):
        objects[encoder.name] = build_encoder(encoder)
        encoder = encoder.name
    names = []
    for view in views:
        if not isinstance(view, str):
            built = build_view(view)
            objects[built.name] = built
            view = built.name
        names.append(view)
    store = FeatureStore.of(dataset)
    how: dict[str, Any] = {"pool": pool, "objects": objects, "dataset": dataset}
    return ImageFeatures(store, encoder, tuple(names), fingerprints or {}, **how)


def features_of(
    spec: RunSpec, dataset: ImageDataset, made_by: dict[str, str] | None = None
) -> ImageFeatures:
    """The image features of a resolved spec; ``made_by`` as a run recorded it."""
    views = tuple(spec.images.views)  # resolved, so no longer "auto"
    return image_features(dataset, spec.images.encoder, views, made_by, spec.images.pool)


def feature_rows(dataset: ImageDataset) -> list[dict[str, Any]]:
    """One row ``encoder, view, images, width, missing, problem`` per encoder and view."""
    store, wanted = FeatureStore.of(dataset), set(dataset.images["image_id"])
    rows = []
    for encoder in store.encoders():
        for view in store.views(encoder):
            row = {"encoder": encoder, "view": view, "images": 0, "width": 0}
            try:
                ids = store.image_ids(encoder, view)
                width = store.read(encoder, view, ids).shape[1]
            except SSRError as error:
                row |= {"missing": len(wanted), "problem": str(error)}
            else:
                missing = len(wanted - set(ids))
                problem = f"no features of {missing} images" if missing else ""
                row |= {"images": len(ids), "width": width, "missing": missing, "problem": problem}
            rows.append(row)
    return rows
