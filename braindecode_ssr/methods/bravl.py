"""BraVL: one variational autoencoder of brain, image and text."""

from .base import BACK_OF_THE_HEAD, AsPublished, Method

BRAVL = Method(
    name="bravl",
    title="BraVL",
    year=2023,
    venue="TPAMI'23",
    source="Du et al., Decoding Visual Neural Representations by Multimodal Learning of "
    "Brain-Visual-Linguistic Features, https://arxiv.org/abs/2210.06756",
    encoder="cornet-s+clip-text",
    batch_size=1024,
    seeds=1,
    settings={
        "trials": {"sfreq": 100.0, "start": 0.07, "stop": 0.4},
        "model": {"backbone": "BraVL", "image_head": "experts", "n_outputs": 32},
        "loss": {"name": "bravl", "params": {"likelihood": "normal"}},
        "train": {"epochs": 500, "lr": 1e-4, "weight_decay": 0.0, "smoothing": 0.0},
    },
    settings_of=BACK_OF_THE_HEAD,
    parameters={
        "things-eeg": {"intra": 539_552, "inter": 539_552},
        "things-meg": {"intra": 2_685_344, "inter": 2_685_344},
    },
    published={"things-eeg": {"intra": (5.8, 17.5), "inter": (1.8, 7.0)}},
    published_subjects={
        "things-eeg": {
            "intra": {
                "top1": (6.1, 4.9, 5.6, 5.0, 4.0, 6.0, 6.5, 8.8, 4.3, 7.0),
                "top5": (17.9, 14.9, 17.4, 15.1, 13.4, 18.2, 20.4, 23.7, 14.0, 19.7),
            },
            "inter": {
                "top1": (2.3, 1.5, 1.4, 1.7, 1.5, 1.8, 2.1, 2.2, 1.6, 2.3),
                "top5": (8.0, 6.3, 5.9, 6.7, 5.6, 7.2, 8.1, 7.6, 6.4, 8.5),
            },
        },
    },
    as_published=AsPublished(flags=("test-images", "transductive")),
    traps=(
        "Every epoch first trains on the image and text features of the test.",
        "The latent vectors that are compared are random draws, in the test too, not means.",
        "Outside the zero-shot setting, brain, image and text are split by three independent shuffles, "
        "which parts what belongs together.",
    ),
    known_to_differ=(
        "No test feature takes part in training. Images are ranked by the cosine of latent means; "
        "published is an SVC fitted on latents of the test images and applied to those of the brain. "
        "as-published scores as the default does: neither of the two is built.",
        "Published features are 100 principal components of a fine-tuned CORnet-S, and CLIP's of a text "
        "for each concept; import them as cornet-s and clip-text. Of one encoder, without text, the "
        "image's posterior alone is taken.",
        "Features are brought to one scale by what they are, not by factors of 50 (image) and 2 (text); "
        "trials keep theirs of 2 on the way in. Single precision; published is double.",
        "Each row is rebuilt from every subset of modalities, not from one; the Q-nets learn in the same "
        "step as the rest; the bound for unrelated rows is estimated on 16 rows of a batch.",
        "Sources disagree on the likelihood: notes, and flags of the code that nothing reads, say Laplace; "
        "what trains on EEG says normal, taken here (--set loss.params.likelihood=laplace).",
        "Whether training trials, and the tested ones, were averages is not known here.",
    ),
)
