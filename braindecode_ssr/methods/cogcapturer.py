"""CognitionCapturer, the image third of it: attention along time and soft labels."""

from .base import AsPublished, Method

COGCAPTURER = Method(
    name="cogcapturer",
    title="CogCapturer (image only)",
    year=2025,
    venue="AAAI'25",
    source="Zhang et al., CognitionCapturer: Decoding Visual Stimuli From Human EEG Signal With "
    "Multimodal Information, AAAI 2025, https://arxiv.org/abs/2412.10489",
    encoder="open-clip:ViT-H-14/laion2b_s32b_b79k",
    batch_size=1024,
    seeds=1,
    settings={
        "data": {"channels": "all"},
        "model": {"backbone": "CognitionCapturer"},
        "loss": {"name": "soft-label", "params": {"regime": "raw", "top_k": 7, "among": "image"}},
        "train": {"epochs": 50, "lr": 3e-4, "weight_decay": 0.0, "smoothing": 0.0},
    },
    parameters={
        "things-eeg": {"intra": 4_584_551, "inter": 4_584_551},
        "things-meg": {"intra": 5_413_979, "inter": 5_413_979},
    },
    published={"things-eeg": {"intra": (33.3, 60.6)}},
    published_subjects={
        "things-eeg": {
            "intra": {
                "top1": (27.2, 28.7, 37.2, 37.7, 21.8, 31.6, 32.8, 47.6, 33.4, 35.1),
                "top5": (59.5, 57.0, 66.1, 63.2, 47.8, 58.1, 59.6, 73.5, 57.7, 63.6),
            },
        },
    },
    as_published=AsPublished(
        evaluation={"selection": "oracle"}, flags=("test-selection", "oracle-union")
    ),
    traps=(
        "The validation set is the test set; checkpoint and early stopping follow its accuracy.",
        "The accuracy called all counts a hit of any of three modalities: an oracle.",
        "The matrix of the first subject serves all subjects; so it does here.",
    ),
    known_to_differ=(
        "Only the encoder towards the image is trained. The published model has two more, towards "
        "captions and depth maps, and its numbers are the union of hits of several; sources disagree "
        "on intra: 33.3 / 60.6 (tables of SSR, taken here), 35.6 / 80.2 (the paper's headline).",
        "Features of words can be had (view text: a sentence about the concept, or imported ones of "
        "captions), but no encoder of their own towards them; of depth there is nothing.",
        "Training averages the repetitions of an image; published are single trials, and only there "
        "do soft labels of the same image differ from plain ones.",
        "Linear maps of brain and image to 512 follow; published embeddings meet CLIP features as they "
        "are. The width of the feed-forward layer is PyTorch's default; none is published.",
    ),
)
