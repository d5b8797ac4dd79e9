"""UBP: targets blurred like the periphery of the eye, as much as a trial is uncertain."""

from .base import BACK_OF_THE_HEAD, AsPublished, Method

UBP = Method(
    name="ubp",
    title="UBP",
    year=2025,
    venue="CVPR'25",
    source="Wu et al., Bridging the Vision-Brain Gap with an Uncertainty-Aware Blur Prior, CVPR 2025, "
    "https://arxiv.org/abs/2503.04207",
    views=("fovea",),
    encoder="open-clip:RN50/openai",
    batch_size=1024,
    settings={
        "model": {"backbone": "EEGProject"},
        "loss": {"name": "uncertain-blur", "params": {"regime": "free-learned"}},
        "train": {"epochs": 50, "lr": 1e-4, "weight_decay": 1e-4, "smoothing": 0.0},
    },
    settings_of={"inter": {"train": {"lr": 1e-5}}, **BACK_OF_THE_HEAD},
    parameters={
        "things-eeg": {"intra": 6_454_272, "inter": 6_454_272},
        "things-meg": {"intra": 57_603_072, "inter": 57_603_072},
    },
    published={
        "things-eeg": {"intra": (50.9, 79.7), "inter": (12.4, 33.4)},
        "things-meg": {"intra": (26.7, 55.2), "inter": (2.2, 10.4)},
    },
    published_subjects={
        "things-eeg": {
            "intra": {
                "top1": (41.2, 51.2, 51.2, 51.1, 42.2, 57.5, 49.0, 58.6, 45.1, 61.5),
                "top5": (70.5, 80.9, 82.0, 76.9, 72.8, 83.5, 79.9, 85.8, 76.2, 88.2),
            },
            "inter": {
                "top1": (11.5, 15.5, 9.8, 13.0, 8.8, 11.7, 10.2, 12.2, 15.5, 16.0),
                "top5": (29.7, 40.0, 27.0, 32.3, 33.8, 31.0, 23.8, 32.2, 40.5, 43.5),
            },
        },
        "things-meg": {
            "intra": {"top1": (15.0, 46.0, 27.3, 18.5), "top5": (38.0, 80.5, 59.0, 43.5)},
            "inter": {"top1": (2.0, 1.5, 2.7, 2.5), "top5": (5.7, 17.2, 10.5, 8.0)},
        },
    },
    as_published=AsPublished(
        evaluation={"gallery": "views"}, flags=("test-images", "altered-gallery")
    ),
    traps=(
        "The gallery holds blurred test images.",
        "Inter-subject runs stop early on the test images as the training subjects saw them, which no "
        "run here does, as published or not.",
        "The kernels are changed in place, so that the three blurs are 45, 45 and 51, not 45, 51, 57.",
        "A checkpoint that is called best is the most recent one, and an old run is silently gone on "
        "with.",
    ),
    known_to_differ=(
        "The default run ranks original images and keeps the last epoch; published runs stop when the "
        "training loss has not fallen for 5 epochs.",
        "The three targets lie between original and foveal view in the shared space, not three "
        "blurs of the image; a trial's blur is decided whenever it is seen, not once an epoch.",
        "Linear maps of brain and image to 512 follow; published embeddings meet CLIP features as they "
        "are (5.40 M parameters for EEG, 56.8 M for MEG).",
        "MEG is z-scored here, and has 200 samples, not 201.",
    ),
)
