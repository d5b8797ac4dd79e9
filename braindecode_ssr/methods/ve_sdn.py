"""VE-SDN: meaning apart from domain, and each modality rebuilt with the other's meaning."""

from .base import Method

VE_SDN = Method(
    name="ve-sdn",
    title="VE-SDN",
    year=2024,
    venue="ArXiv'24",
    source="Chen et al., Visual Neural Decoding via Improved Visual-EEG Semantic Consistency, "
    "https://arxiv.org/abs/2408.06788",
    encoder="open-clip:ViT-H-14/laion2b_s32b_b79k",
    batch_size=1024,
    seeds=5,
    settings={
        "data": {"channels": "all"},
        "model": {"backbone": "VESDN"},
        "loss": {"params": {"regime": "unit"}},
        "train": {"epochs": 50, "lr": 1e-4, "weight_decay": 0.01, "smoothing": 0.0},
    },
    settings_of={
        "intra": {"loss": {"name": "semantic-swap"}},
        "inter": {"loss": {"name": "contrast"}, "train": {"epochs": 10}},
    },
    parameters={
        "things-eeg": {"intra": 1_545_546, "inter": 1_545_546},
        "things-meg": {"intra": 1_781_296, "inter": 1_781_296},
    },
    published={"things-eeg": {"intra": (37.2, 70.0)}},
    published_subjects={
        "things-eeg": {
            "intra": {
                "top1": (32.6, 34.4, 38.7, 39.8, 29.4, 34.5, 34.5, 49.3, 39.0, 39.8),
                "top5": (63.7, 69.9, 73.5, 72.0, 58.6, 68.8, 68.3, 79.8, 69.6, 75.3),
            },
        },
    },
    traps=(
        "Which images the shipped features were made of, and how, is not to be seen: the code that "
        "makes them is absent.",
    ),
    known_to_differ=(
        "The default run keeps the last epoch; published is the epoch of the lowest training loss.",
        "Semantic codes are the embeddings, and domain codes are made of them; published are two "
        "perceptrons side by side on encoder features. The nets of the bound take one step a batch "
        "with the rest, not ten of their own.",
        "The optional term that pulls images to a running mean of their concept's responses is left "
        "out.",
        "Inter-subject runs contrast only, as the public scripts do (their geometry term left out); "
        "each subject is whitened by itself, where the scripts z-score by all training subjects.",
        "The published numbers are of the code of 2024; the public code is a later rewrite.",
    ),
)
