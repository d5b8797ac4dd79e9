"""Shallow Alignment: contrast with an intermediate layer of the image encoder."""

from .base import BACK_OF_THE_HEAD, AsPublished, Method

SHALLOW_ALIGNMENT = Method(
    name="shallow-alignment",
    title="Shallow Alignment (RN50)",
    year=2026,
    venue="ArXiv'26",
    source="Shallow Alignment, https://arxiv.org/abs/2601.21948",
    encoder="open-clip:RN50/openai@layer3",
    batch_size=1024,
    seeds=5,
    settings={
        "model": {"backbone": "EEGProject"},
        "loss": {"name": "contrast", "params": {"regime": "free"}},
        "train": {"epochs": 50, "lr": 1e-4, "weight_decay": 1e-4, "smoothing": 0.0},
    },
    settings_of={
        **BACK_OF_THE_HEAD,
        "things-meg": {"data": {"channels": "meg-occipital-parietal"}},
    },
    parameters={
        "things-eeg": {"intra": 6_454_272, "inter": 6_454_272},
        "things-meg": {"intra": 19_305_472, "inter": 19_305_472},
    },
    published={
        "things-eeg": {"intra": (82.6, 97.7), "inter": (21.8, 49.4)},
        "things-meg": {"intra": (48.0, 74.4), "inter": (3.7, 13.0)},
    },
    published_subjects={
        "things-eeg": {
            "intra": {
                "top1": (75.0, 87.5, 83.2, 79.5, 74.6, 89.9, 78.5, 86.9, 81.3, 89.3),
                "top5": (94.3, 98.9, 98.2, 96.1, 96.4, 99.3, 97.3, 99.4, 97.8, 99.1),
            },
            "inter": {
                "top1": (23.5, 30.6, 10.0, 19.5, 18.1, 22.7, 18.6, 17.3, 23.0, 34.4),
                "top5": (53.2, 60.4, 28.1, 48.3, 45.2, 49.8, 46.0, 46.1, 54.8, 62.0),
            },
        },
        "things-meg": {
            "intra": {"top1": (25.5, 81.9, 56.0, 28.6), "top5": (54.5, 97.4, 87.5, 58.3)},
            "inter": {"top1": (1.3, 6.6, 5.4, 1.5), "top5": (6.9, 18.5, 18.5, 7.9)},
        },
    },
    as_published=AsPublished(flags=("test-selection",)),
    traps=(
        "The layer is the one with the best top-1 on the test images; so it was for the one "
        "that is taken here.",
    ),
    known_to_differ=(
        "The layer is the third stage of RN50, with 67.7 % top-1 intra as published; the published "
        "tables have layer 28 of InternViT-6B, which no encoder here makes. Once its features are "
        "imported as internvit-6b@28, --encoder internvit-6b@28 is the published one (7.57 M parameters).",
        "Sources disagree on intra per subject (subject 1: 75.0 in the text, 75.4 as SAMGA quotes it); "
        "the text is taken here.",
        "No code is public; what is not in the text is as NeuroBridge.",
    ),
)
