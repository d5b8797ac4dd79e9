"""Ridge decoding: image features as a linear map of the trial."""

from .base import Method

RIDGE_DECODING = Method(
    name="ridge-decoding",
    title="Ridge decoding",
    year=1970,
    source="Hoerl & Kennard, Ridge Regression, Technometrics 1970; from brain to image features",
    settings={
        "model": {"backbone": "linear"},
        "train": {"solver": "ridge-decoding", "epochs": 1, "smoothing": 0.0},
    },
    parameters={
        "things-eeg": {"intra": 4_357_274, "inter": 16_144_774},
        "things-meg": {"intra": 55_556_024, "inter": 55_556_024},
    },
    known_to_differ=(
        "A baseline, not a published number. The penalty is the one under which held-out training "
        "concepts are told apart best; predicted features are ranked by cosine about the mean of the "
        "training images.",
    ),
)
