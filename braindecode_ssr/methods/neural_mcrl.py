"""Neural-MCRL: subject maps, attention between channels and weighted bands before the convolution."""

from .base import IMAGE_AND_TEXT, AsPublished, Method

NEURAL_MCRL = Method(
    name="neural-mcrl",
    title="Neural-MCRL",
    year=2024,
    venue="ArXiv'24",
    source="Li et al., Neural-MCRL: Neural Multimodal Contrastive Representation Learning for "
    "EEG-based Visual Decoding, https://arxiv.org/abs/2412.17337",
    views=("text",),
    encoder="open-clip:ViT-H-14/laion2b_s32b_b79k",
    batch_size=256,
    seeds=1,
    settings={
        "data": {"channels": "all"},
        "model": {"backbone": "NeuralMCRL"},
        "loss": {"name": "triple", "params": IMAGE_AND_TEXT},
        "train": {"epochs": 40, "lr": 3e-4, "weight_decay": 0.01, "smoothing": 0.0},
    },
    parameters={
        "things-eeg": {"intra": 4_162_482, "inter": 4_162_482},
        "things-meg": {"intra": 4_643_608, "inter": 4_643_608},
    },
    published={"things-eeg": {"intra": (32.4, 64.1), "inter": (14.0, 34.3)}},
    published_subjects={
        "things-eeg": {
            "intra": {
                "top1": (27.5, 28.5, 37.0, 35.0, 22.5, 31.5, 31.5, 42.0, 30.5, 37.5),
                "top5": (64.0, 61.5, 69.0, 66.0, 51.5, 61.0, 62.5, 74.5, 59.5, 71.0),
            },
            "inter": {
                "top1": (13.0, 12.0, 14.5, 12.5, 11.5, 13.5, 14.0, 18.5, 13.5, 17.0),
                "top5": (31.5, 30.5, 35.5, 35.5, 29.0, 35.5, 36.0, 38.5, 32.5, 39.0),
            },
        },
    },
    as_published=AsPublished(evaluation={"selection": "oracle"}, flags=("test-selection",)),
    traps=(
        "The best test accuracy of all epochs is kept.",
        "The cross-attention between modalities that the paper describes is never called.",
        "Ten maps of subjects are indexed by the subject's number from 1, so that the tenth fails.",
    ),
    known_to_differ=(
        "Training averages the repetitions of an image; published are single trials.",
        "The hundredth of the loss that compares with words, 0.99 image + 0.01 text, has ATM's sentence "
        "about the concept (view text); published are captions by BLIP2, whose features can be imported as "
        "that view. Where the encoder has no words, originals take it, and the run says so.",
        "How bands are weighted is our reading; see the backbone. Linear maps of brain and image to 512 "
        "follow; published embeddings meet CLIP features as they are.",
        "Sources disagree on the venue: arXiv 2024 in the tables of SSR, ICME 2025 elsewhere.",
        "The weight decay is PyTorch's default for AdamW; none is stated.",
    ),
)
