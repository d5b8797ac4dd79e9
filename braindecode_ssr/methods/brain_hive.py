"""Brain-HIVE: a residual perceptron on the flattened trial, three image encoders fused."""

from .base import BACK_OF_THE_HEAD, AsPublished, Method

BRAIN_HIVE = Method(
    name="brain-hive",
    title="Brain-HIVE",
    year=2026,
    venue="ICLR'26",
    source="Brain-HIVE, ICLR 2026, https://arxiv.org/abs/2602.07495",
    encoder="open-clip:RN50/openai+open-clip:ViT-B-32/laion2b_s34b_b79k+sdxl-vae",
    batch_size=1024,
    seeds=3,
    settings={
        "model": {"backbone": "BrainMLP", "image_head": "fusion"},
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
        "things-eeg": {"intra": 8_816_128, "inter": 8_816_128},
        "things-meg": {"intra": 59_964_928, "inter": 59_964_928},
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
        "No encoder here makes latents of the SDXL autoencoder (of 128-pixel images, 1024 numbers); import "
        "them as sdxl-vae. Published without them (--encoder RN50/openai+ViT-B-32/laion2b_s34b_b79k): 56.9 % "
        "top-1 intra, 14.4 inter; RN50 alone: 48.1 and 12.7.",
        "Linear maps of brain to 512 follow BrainMLP, and images are fused in 512 numbers; the published "
        "width is not known here.",
        "Sources disagree: the repository gives 80.8 / 97.0 intra and 33.7 / 65.8 inter for a later "
        "variant, and 33.1 / 61.5 and 7.4 / 19.3 on MEG; the paper's numbers are taken here.",
        "Warm-up is 10 steps, written here in epochs of THINGS-EEG.",
    ),
)
