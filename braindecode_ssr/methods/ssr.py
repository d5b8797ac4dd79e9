"""SSR: semantic-anchored framework with cross-modal reconstruction."""

from .base import Method

SSR = Method(
    name="ssr",
    title="SSR",
    year=2026,
    source="abstract, figure and result tables only; no paper text or code is public",
    views=("blur", "noise", "low-resolution", "mosaic"),
    settings={"loss": {"name": "ssr"}},
    published={
        "things-eeg": {"intra": (66.9, 92.9), "inter": (22.6, 53.0)},
        "things-meg": {"intra": (41.3, 71.1), "inter": (4.9, 15.5)},
    },
    known_to_differ=(
        "The figure fixes views, three contrasts, two reconstructors and the gallery of originals; "
        "mask ratio, reconstructor width, weights, normalisation and optimiser are our reading.",
    ),
)
