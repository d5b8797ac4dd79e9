"""ATM: attention between channels before the convolution, trained on single trials."""

from .base import IMAGE_AND_TEXT, AsPublished, Method

ATM = Method(
    name="atm",
    title="ATM",
    year=2024,
    venue="NeurIPS'24",
    source="Li et al., Visual Decoding and Reconstruction via EEG Embeddings with Guided Diffusion, "
    "NeurIPS 2024, https://arxiv.org/abs/2403.07721",
    views=("text",),
    encoder="open-clip:ViT-H-14/laion2b_s32b_b79k",
    batch_size=64,
    seeds=1,
    settings={
        "data": {"channels": "all"},
        "model": {"backbone": "ATM"},
        "loss": {"name": "triple", "params": IMAGE_AND_TEXT},
        "train": {"epochs": 40, "lr": 3e-4, "weight_decay": 0.01, "smoothing": 0.0},
    },
    parameters={
        "things-eeg": {"intra": 4_125_012, "inter": 4_125_012},
        "things-meg": {"intra": 3_910_968, "inter": 3_910_968},
    },
    published={"things-eeg": {"intra": (27.1, 58.1), "inter": (11.9, 33.8)}},
    published_subjects={
        "things-eeg": {
            "intra": {
                "top1": (25.6, 22.0, 25.0, 31.4, 12.9, 21.3, 30.5, 38.8, 34.4, 29.1),
                "top5": (60.4, 54.5, 62.4, 60.9, 43.0, 51.1, 61.5, 72.0, 51.5, 63.5),
            },
            "inter": {
                "top1": (10.5, 7.1, 11.9, 14.7, 7.0, 11.1, 16.1, 15.0, 4.9, 20.5),
                "top5": (26.8, 24.8, 33.8, 39.4, 23.9, 35.8, 43.5, 40.3, 22.7, 46.5),
            },
        },
    },
    as_published=AsPublished(evaluation={"selection": "oracle"}, flags=("test-selection",)),
    traps=(
        "The test is scored after every epoch and the best accuracy is kept.",
        "Image features were made with the training transform (random crops), so that the targets "
        "carry noise; here the evaluation transform is used.",
        "The scale is used without its exponential (2.659, learned); that is kept here, as a choice.",
    ),
    known_to_differ=(
        "Training averages the repetitions of an image; published are single trials (66,160).",
        "Where the encoder has no words (view text), originals take their hundredth of the loss, 0.99 "
        "image + 0.01 text, and the run says so. The sentence is the published one, with the concept in "
        "plain words; the public code writes the folder's name (baton4). One linear map takes both.",
        "The paper names a squared distance beside the contrast, the retrieval code has the sentences; "
        "loss contrast-mse is the former.",
        "Sources disagree on intra: 27.1 / 58.1 (tables of SSR, taken here), 26.1 / 55.3 (the paper's "
        "table 8), 28.6 / 58.5 (arXiv), 28.5 / 60.4 (as UBP quotes it).",
        "Linear maps of brain and image to 512 follow; published embeddings meet CLIP features as they "
        "are. The subject's token is the one of unknown subjects.",
        "The weight decay is PyTorch's default for AdamW; none is stated.",
    ),
)
