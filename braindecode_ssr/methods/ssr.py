"""SSR: semantic-anchored framework with cross-modal reconstruction."""

from .base import BACKBONE_BY_PROTOCOL, Method

SSR = Method(
    name="ssr",
    title="SSR",
    year=2026,
    source="abstract, figure and result tables only; no paper text or code is public",
    views=("blur", "noise", "low-resolution", "mosaic"),
    settings={"loss": {"name": "ssr"}},
    settings_of=BACKBONE_BY_PROTOCOL,
    parameters={
        "things-eeg": {"intra": 6_454_272, "inter": 3_680_512},
        "things-meg": {"intra": 57_603_072, "inter": 3_603_712},
    },
    published={
        "things-eeg": {"intra": (66.9, 92.9), "inter": (22.6, 53.0)},
        "things-meg": {"intra": (41.3, 71.1), "inter": (4.9, 15.5)},
    },
    published_subjects={
        "things-eeg": {
            "intra": {
                "top1": (60.1, 67.4, 62.8, 63.6, 60.1, 73.7, 66.1, 73.1, 65.4, 76.7),
                "top5": (88.9, 94.2, 93.2, 92.4, 87.9, 94.6, 91.1, 96.1, 92.8, 98.0),
            },
            "inter": {
                "top1": (23.4, 24.9, 15.8, 21.5, 19.9, 27.6, 16.5, 21.2, 21.1, 34.5),
                "top5": (56.8, 56.5, 41.8, 50.7, 49.1, 57.4, 49.3, 51.2, 50.5, 66.4),
            },
        },
        "things-meg": {
            "intra": {"top1": (19.3, 66.6, 50.8, 28.5), "top5": (50.6, 93.5, 82.6, 57.9)},
            "inter": {"top1": (5.5, 6.0, 4.6, 3.6), "top5": (14.2, 19.4, 15.4, 13.1)},
        },
    },
    known_to_differ=(
        "The figure fixes views, three contrasts, two reconstructors and the gallery of originals; "
        "mask ratio, reconstructor width, weights, normalisation and optimiser are our reading.",
        "Backbone, image encoder, channels, seeds and the rule that keeps a checkpoint are not "
        "published; those of NeuroBridge are taken, with the last epoch and TSConv's own weights to "
        "start from.",
    ),
)
