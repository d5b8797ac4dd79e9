"""Batches of embeddings, partners that are hard to confuse, and what a loss wants to know beside them."""

import inspect

import hypothesis.strategies as st
import torch


def random_batch(seed, rows, width):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, rows, width, dtype=torch.float64, generator=generator)


batches = st.builds(random_batch, st.integers(0, 2**31), st.integers(2, 7), st.integers(2, 9))


def images_of(seed, rows):
    """Image indices in which some rows show the same image."""
    return torch.randint(
        0, max(2, rows // 2), (rows,), generator=torch.Generator().manual_seed(seed)
    )


def same_of(image):
    return image[:, None] == image[None, :]


SIZES = {"n_outputs": 8, "n_chans": 2, "n_times": 5, "n_features": 6, "backbone_width": 4}


def of_any_kind(loss, **params):
    """A loss of embeddings of width 8, with those of the parameters that it takes."""
    takes = inspect.signature(loss).parameters
    return loss(**{name: value for name, value in {**SIZES, **params}.items() if name in takes})


def known(loss, rows=6):
    """What a loss wants to know besides the three embeddings: here, two rows show one image."""
    there = {
        "image": torch.arange(rows) // 2,
        "trial": torch.randn(rows, 2, 5),
        "features": torch.randn(rows, 6),
        "hidden": torch.randn(rows, 4),
        "levels": torch.randn(rows, 3, 8),
    }
    takes = inspect.signature(loss.forward).parameters
    return {name: rows for name, rows in there.items() if name in takes}
