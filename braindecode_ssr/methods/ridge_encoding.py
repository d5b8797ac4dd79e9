"""Ridge encoding: the trial as a linear map of image features, and identification by correlation."""

from .base import Method

RIDGE_ENCODING = Method(
    name="ridge-encoding",
    title="Ridge encoding",
    year=2008,
    source="Kay et al., Identifying natural images from human brain activity, Nature 2008 "
    "(identification); Gifford et al., NeuroImage 2022 (linear encoding of THINGS-EEG2)",
    settings={
        "model": {"backbone": "linear"},
        "train": {"solver": "ridge-encoding", "epochs": 1, "smoothing": 0.0},
    },
    parameters={
        "things-eeg": {"intra": 4_357_274, "inter": 16_144_774},
        "things-meg": {"intra": 55_556_024, "inter": 55_556_024},
    },
    known_to_differ=(
        "A baseline, not a published number. The penalty is the one under which held-out training "
        "concepts are told apart best; a trial and the one predicted for an image, both without the "
        "mean of the training trials, are compared by their correlation over channels and samples.",
    ),
)
