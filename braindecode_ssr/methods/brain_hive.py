"""Brain-HIVE: a residual perceptron on the flattened trial."""

from .base import BACK_OF_THE_HEAD, AsPublished, Method

BRAIN_HIVE = Method(
    name="brain-hive",
    title="Brain-HIVE (one encoder)",
    year=2026,
    venue="ICLR'26",
    source="Brain-HIVE, ICLR 2026, https://arxiv.org/abs/2602.07495",
    encoder="open-clip:RN50/openai",
    batch_size=1024,
    seeds=3,
    settings={
        "model": {"backbone": "BrainMLP"},
        "loss": {"name": "contrast", "params": {"regime": "unit"}},
        "train": {
            "epochs": 25,
            "lr": 5e-4,
            "betas": (0.9, 0.995),
            "weight_decay": 0.05,
            "schedule": "cosine",
            "warmup": 0.6,
            "clip": 1.0,
            "smoothing": 0.0,
        },
    },
    settings_of={"inter": {"train": {"warmup": 0.07}}, **BACK_OF_THE_HEAD},
    parameters={
        "things-eeg": {"intra": 7_502_848, "inter": 7_502_848},
        "things-meg": {"intra": 58_651_648, "inter": 58_651_648},
    },
    published={
        "things-eeg": {"intra": (75.7, 94.6), "inter": (20.0, 44.1)},
        "things-meg": {"intra": (33.7, 60.5), "inter": (5.4, 15.2)},
    },
    as_published=AsPublished(evaluation={"selection": "oracle"}, flags=("test-selection",)),
    traps=(
        "Inter-subject runs keep the best epoch on the tested subject; intra-subject runs the last.",
        "The public features of one encoder are corrupt: two random images have a cosine of 0.994.",
    ),
    known_to_differ=(
        "As published, the best epoch on the tested subject is kept for inter-subject runs only; here, "
        "whenever asked for.",
        "One encoder's features; published are three (RN50, CLIP ViT-B/32 of laion2b, latents of the "
        "SDXL autoencoder), mapped, added and refined. RN50 alone: 48.1 % top-1 intra, 12.7 inter.",
        "Sources disagree: the repository gives 80.8 / 97.0 intra and 33.7 / 65.8 inter for a later "
        "variant, and 33.1 / 61.5 and 7.4 / 19.3 on MEG; the paper's numbers are taken here.",
        "Warm-up is 10 steps, written here in epochs of THINGS-EEG.",
    ),
)
