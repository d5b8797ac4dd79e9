"""Batches of embeddings, and partners that are hard to confuse."""

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
