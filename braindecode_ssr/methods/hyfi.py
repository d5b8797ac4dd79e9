"""HyFI: hyperbolic contrast with a point between a semantic and a perceptual view."""

from .base import BACK_OF_THE_HEAD, AsPublished, Method

HYFI = Method(
    name="hyfi",
    title="HyFI",
    year=2026,
    venue="AAAI'26",
    source="Jo et al., HyFI: Hyperbolic Feature Interpolation for Brain-Vision Alignment, AAAI 2026, "
    "https://arxiv.org/abs/2603.22721",
    views=("fovea", "blur?kernel=31"),
    encoder="open-clip:RN50/openai",
    batch_size=1024,
    batch_size_of={"things-meg": 512},
    seeds=1,
    settings={
        "images": {"pool": "side-by-side"},
        "model": {
            "backbone": "EEGProject",
            "n_outputs": 1024,
            "image_head": "geodesic",
            "space": "hyperbolic",
        },
        "loss": {"name": "hyperbolic"},
        "train": {"epochs": 50, "lr": 3e-4, "weight_decay": 1e-4, "smoothing": 0.0},
    },
    settings_of={
        "inter": {"train": {"lr": 3e-5}},
        "things-sim": {"model": {"image_head_params": {"perceptual": "unit"}}},
        **BACK_OF_THE_HEAD,
    },
    parameters={
        "things-eeg": {"intra": 8_554_498, "inter": 8_554_498},
        "things-meg": {"intra": 59_703_298, "inter": 59_703_298},
    },
    published={"things-eeg": {"intra": (68.2, 91.9)}},
    as_published=AsPublished(
        evaluation={"gallery": "views"}, flags=("test-images", "altered-gallery")
    ),
    traps=(
        "Points are lifted and ranked with a curvature that is learned from 1 on, and the loss measures the "
        "same coordinates as if the curvature were 0.07; here it is 0.07 in all three places.",
        "The gallery holds points between two blurred copies of each test image.",
        "Inter-subject runs stop early on the test images as the training subjects saw them, which no "
        "run here does, as published or not.",
    ),
    known_to_differ=(
        "The default run ranks original images, each in the place of both views, and keeps the last epoch; "
        "published runs stop when the training loss has not fallen for 5 epochs.",
        "A linear map of brain to 1024, the published width, follows EEGProject; published is EEGProject "
        "alone (7.50 M parameters for EEG, with the image side). The learned number that shortens brain "
        "vectors at the start, 1 / 32, is there in both.",
        "The perceptual vector keeps its length, as published with CLIP RN50; on the simulation, whose own "
        "encoder gives vectors 28 long, it is brought to 1 (model.image_head_params.perceptual = unit).",
        "On MEG, 35.8 % top-1 intra was published without a top-5, so that no table here shows it.",
        "MEG is z-scored here, and has 200 samples, not 201.",
        "One seed (42) is published. Inter-subject accuracies are not known here.",
    ),
)
