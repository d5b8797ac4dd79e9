"""Features of a dataset's images: every image decoded once for all views, killed runs carried on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.base import ImageDataset
from ..datasets.pictures import to_rgb
from ..errors import DataError, MissingDataError, SSRError, UsageError
from ..files import atomic_write, sha256
from .encoders import build_encoder, full_name
from .store import (
    PLACE,
    FeatureStore,
    check_features,
    check_reads,
    details_in,
    fingerprint_in,
    folder_name,
    read_sentences,
)
from .views import View, build_view, image_seed

if TYPE_CHECKING:
    from torch import Tensor

    from .encoders import ImageEncoder


UNFINISHED = ".unfinished"
DECODERS = 2


def silent(text: str) -> None:
    """Say nothing."""


def extract(
    dataset: ImageDataset,
    encoder: str | ImageEncoder,
    views: Sequence[str | View],
    store: FeatureStore,
    *,
    batch_size: int = 64,
    device: str = "cpu",
    progress: bool = False,
    say: Callable[[str], None] = silent,
) -> None:
    """Put the features of all images of a dataset into a store, those that are not there yet.

    A view of words, such as ``text``, takes the concepts of the images, and needs no image file.

    Batches are written down as they are done. A run that was killed goes on from there, and ends with the
    same features as one that was not. What the store holds already is not made again; if nothing is
    missing, the encoder is not even built.

    Parameters
    ----------
    dataset : ImageDataset
        Whose images.
    encoder : str or ImageEncoder
        A name, see :func:`~braindecode_ssr.images.encoders.build_encoder`, or the object itself.
    views : sequence of str or View
        Which views.
    store : FeatureStore
        Where the features go.
    batch_size : int
        Images encoded at once; the features do not depend on it, but for rounding.
    device : str
        Where a named encoder computes.
    progress : bool
        Show a bar on stderr.
    say : callable
        Called with a line of text where pictures had to be altered on the way to RGB.

    Raises
    ------
    UsageError
        If an encoder, a view or a parameter is not known, or the encoder does not read sentences where
        the view makes some.
    MissingDataError
        If an image, or the encoder's weights, are not here.
    DataError
        If an image cannot be decoded, a feature is not finite, the store holds features of another
        encoder under that name, or it cannot be written.
    """
    if batch_size < 1:
        raise UsageError("a batch size of 1 or more", str(batch_size), "give another --batch-size")
    asked = {view.name: view for view in map(build_view, views)}
    name = full_name(encoder) if isinstance(encoder, str) else encoder.name
    hashes = dataset.image_hashes()
    blocks = _todo(dataset, name, asked, store, batch_size, hashes)
    if not blocks:
        return
    missing = {block.view.name: block.view for block in blocks}.values()
    for view in missing:
        if view.of_words:
            check_reads(encoder, view.name)
    built = build_encoder(encoder, device)
    for view in missing:
        store.check_kin(built.name, built.dim, fingerprint_in(built, view))
    with store.locked(built.name, "extract"):
        blocks = _todo(dataset, built.name, asked, store, batch_size, hashes)
        done = Unfinished(store.encoder_folder(built.name) / UNFINISHED, built)
        remarks: dict[str, set[str]] = {}
        _encode_missing(dataset, built, blocks, done, progress, remarks)
        for remark, altered in sorted(remarks.items()):
            first = min(altered)
            say(f"{len(altered)} of {len(dataset.images)} pictures {remark}, the first {first!r}")
        for view in asked.values():
            of_view = [block for block in blocks if block.view == view]
            _finish(built, view, of_view, done, store, hashes)
        done.remove()


@dataclass(frozen=True)
class Block:
    """Images that are encoded at once, in one view."""

    number: int
    view: View
    image_ids: tuple[str, ...]
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unfinished:
    """The blocks that are done, until all are: a folder of arrays named by what is in them.

    Parameters
    ----------
    path : Path
        The folder.
    encoder : ImageEncoder
        What makes them.
    """

    path: Path
    encoder: ImageEncoder

    def file(self, block: Block) -> Path:
        """Where the features of a block are kept."""
        made_by = fingerprint_in(self.encoder, block.view)
        text = "\n".join([made_by, block.view.name, *block.image_ids, *block.hashes])
        return self.path / folder_name(block.view.name) / f"{sha256(text)}.npy"

    def has(self, block: Block) -> bool:
        """Whether a block is done."""
        return self.file(block).is_file()

    def write(self, block: Block, features: np.ndarray) -> None:
        """Keep the features of a block, as a whole or not at all."""
        path = self.file(block)
        content = BytesIO()
        np.save(content, features.astype(np.float32))
        atomic_write(path, content.getvalue(), PLACE)

    def read(self, block: Block) -> np.ndarray:
        """The features of a block, float32 ``(n, d)``."""
        return np.load(self.file(block), allow_pickle=False)

    def remove(self) -> None:
        """All of it is in the store now."""
        shutil.rmtree(self.path, ignore_errors=True)


def _todo(
    dataset: ImageDataset,
    encoder: str,
    views: dict[str, View],
    store: FeatureStore,
    size: int,
    hashes: dict[str, str],
) -> list[Block]:
    """Blocks of images without features of their content; the same ones, whatever is there already."""
    image_ids = sorted(dataset.images["image_id"])
    blocks = []
    for view in views.values():
        there = set(store.image_ids(encoder, view.name))
        there -= store.outdated(encoder, view.name, hashes)
        for number, start in enumerate(range(0, len(image_ids), size)):
            missing = [one for one in image_ids[start : start + size] if one not in there]
            if missing:
                of_block = () if view.of_words else tuple(hashes.get(one, "") for one in missing)
                blocks.append(Block(number, view, tuple(missing), of_block))
    return sorted(blocks, key=lambda block: block.number)


def _encode_missing(
    dataset: ImageDataset,
    encoder: ImageEncoder,
    blocks: list[Block],
    done: Unfinished,
    progress: bool,
    remarks: dict[str, set[str]],
) -> None:
    from tqdm import tqdm

    left = [block for block in blocks if not done.has(block)]
    total, before = (sum(len(block.image_ids) for block in some) for some in (blocks, left))
    bar = tqdm(
        total=total,
        initial=total - before,
        desc=f"{encoder.name} features",
        unit="view",
        disable=not progress,
    )
    with bar:
        for block, features in _encoded(dataset, encoder, left, remarks):
            check_features(features, block.image_ids, f"{encoder.name}, view {block.view.name}")
            done.write(block, features)
            bar.update(len(features))


def _encoded(
    dataset: ImageDataset,
    encoder: ImageEncoder,
    blocks: list[Block],
    remarks: dict[str, set[str]],
) -> Iterator[tuple[Block, np.ndarray]]:
    """Blocks with their features: sentences first, which need no image."""
    concepts = dataset.images.set_index("image_id")["concept"]
    for block in blocks:
        if block.view.of_words:
            of_block = concepts.loc[list(block.image_ids)].tolist()
            yield block, read_sentences(encoder, block.view, of_block)
    seen = [block for block in blocks if not block.view.of_words]
    for same, pixels in _decoded(dataset, encoder, seen, remarks):
        for block in same:
            yield block, _encode(encoder, block, pixels)


def _encode(encoder: ImageEncoder, block: Block, pixels: dict[str, Tensor]) -> np.ndarray:
    import torch

    images = torch.stack([pixels[one] for one in block.image_ids])
    images = images.to(getattr(encoder, "device", "cpu"))
    seen = block.view(images, seed=[image_seed(one) for one in block.image_ids])
    return np.asarray(encoder.encode(seen).float().cpu())


def _decoded(
    dataset: ImageDataset,
    encoder: ImageEncoder,
    blocks: list[Block],
    remarks: dict[str, set[str]],
) -> Iterator[tuple[list[Block], dict[str, Tensor]]]:
    """Blocks of the same images and the pixels of these, the next ones decoded meanwhile."""
    groups: dict[int, list[Block]] = {}
    for block in blocks:
        groups.setdefault(block.number, []).append(block)
    with ThreadPoolExecutor(DECODERS) as pool:
        ahead: list[tuple[list[Block], dict[str, Any]]] = []
        for same in groups.values():
            wanted = dict.fromkeys(one for block in same for one in block.image_ids)
            futures = {
                one: pool.submit(read_pixels, dataset, encoder, one, remarks) for one in wanted
            }
            ahead.append((same, futures))
            if len(ahead) > 1:
                yield _arrived(*ahead.pop(0))
        for same, futures in ahead:
            yield _arrived(same, futures)


def _arrived(same: list[Block], futures: dict[str, Any]) -> tuple[list[Block], dict[str, Tensor]]:
    return same, {one: future.result() for one, future in futures.items()}


def read_pixels(
    dataset: ImageDataset,
    encoder: ImageEncoder,
    image_id: str,
    remarks: dict[str, set[str]] | None = None,
) -> Tensor:
    """An image at the size of an encoder.

    Parameters
    ----------
    remarks : dict, optional
        Gets the image id under each alteration that turning the picture into RGB took.

    Returns
    -------
    Tensor of uint8, shape (3, size, size)

    Raises
    ------
    MissingDataError
        If it is not here.
    DataError
        If it cannot be decoded.
    """
    import torch

    from .encoders import shortest_side

    try:
        image = dataset.image(image_id)
        if "remarks" not in image.info:  # of a dataset that opens pictures in its own way
            image = to_rgb(image, f"{image_id!r} of {dataset.name}")
    except SSRError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"the picture {image_id!r} of {dataset.name} cannot be read ({error})",
            "copy or download the file again",
        ) from error
    for remark in image.info["remarks"]:
        if remarks is not None:
            remarks.setdefault(remark, set()).add(image_id)
    resize = getattr(encoder, "resize", None)
    image = resize(image) if resize else shortest_side(image, encoder.size)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _finish(
    encoder: ImageEncoder,
    view: View,
    blocks: Iterable[Block],
    done: Unfinished,
    store: FeatureStore,
    hashes: dict[str, str],
) -> None:
    """Move the blocks of a view into the store."""
    blocks = list(blocks)
    if not blocks:
        return
    try:
        features = np.concatenate([done.read(block) for block in blocks])
    except (OSError, ValueError) as error:
        done.remove()
        raise MissingDataError(
            f"the finished parts of {encoder.name} features in {done.path}",
            f"{type(error).__name__}: {error}",
            "they are removed; give the same command again",
        ) from error
    store.write(
        encoder.name,
        view.name,
        [one for block in blocks for one in block.image_ids],
        features,
        fingerprint_in(encoder, view),
        f"extracted from the {'concepts' if view.of_words else 'images'}",
        details_in(encoder, view),
        None if view.of_words else hashes,
    )
