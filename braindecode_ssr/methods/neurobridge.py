"""NeuroBridge: contrast with the mean of four views of the image."""

from .base import AsPublished, Method

NEUROBRIDGE = Method(
    name="neurobridge",
    title="NeuroBridge",
    year=2026,
    venue="AAAI'26",
    source="NeuroBridge, AAAI 2026, https://arxiv.org/abs/2511.06836",
    views=("blur", "noise", "low-resolution", "mosaic"),
    encoder="open-clip:RN50/openai",
    batch_size=1024,
    seeds=1,
    settings={
        "loss": {"name": "neurobridge"},
        "train": {"epochs": 50, "lr": 1e-4, "weight_decay": 1e-4, "smoothing": 0.3},
    },
    settings_of={
        "intra": {"model": {"backbone": "EEGProject"}},
        "inter": {"model": {"backbone": "TSConv", "backbone_params": {"weight_init": "torch"}}},
    },
    parameters={
        "things-eeg": {"intra": 6_454_272, "inter": 3_680_512},
        "things-meg": {"intra": 57_603_072, "inter": 3_603_712},
    },
    published={
        "things-eeg": {"intra": (63.2, 89.9), "inter": (19.0, 45.9)},
        "things-meg": {"intra": (32.2, 60.8), "inter": (3.4, 12.8)},
    },
    published_subjects={
        "things-eeg": {
            "intra": {
                "top1": (50.0, 63.2, 61.6, 61.4, 54.8, 69.7, 62.7, 71.2, 64.0, 73.6),
                "top5": (77.6, 90.6, 91.1, 90.0, 85.0, 92.9, 88.8, 95.1, 91.0, 97.1),
            },
            "inter": {
                "top1": (23.2, 21.2, 13.2, 17.0, 14.5, 25.0, 15.3, 20.1, 13.7, 27.2),
                "top5": (52.4, 49.3, 36.5, 45.3, 37.7, 55.0, 45.1, 44.9, 36.5, 56.3),
            },
        },
        "things-meg": {
            "intra": {"top1": (16.5, 53.7, 40.4, 18.1), "top5": (41.6, 85.3, 73.2, 43.1)},
            "inter": {"top1": (4.3, 3.6, 3.0, 2.5), "top5": (13.1, 15.6, 11.2, 11.3)},
        },
    },
    as_published=AsPublished(
        evaluation={"gallery": "views", "selection": "oracle"},
        flags=("test-selection", "altered-gallery"),
    ),
    traps=(
        "The epoch of the lowest test loss is saved and reported as best; last-epoch numbers are "
        "written too, and the text does not say which of them the tables hold.",
        "The gallery is the mean of four altered test images, not the originals.",
        "The flag that should choose the scale is overwritten by a module of the same name, so that "
        "the softplus branch is always taken (2.727); that scale is kept here, as a choice.",
    ),
    known_to_differ=(
        "The default run keeps the last epoch and ranks original images; as published here, the epoch "
        "of the best test accuracy stands for that of the lowest test loss.",
        "One seed (2025) is published.",
    ),
)
