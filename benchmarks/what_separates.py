"""What separates ``--method ssr-tuned`` from the linear ``--method encoding``, one step at a time.

All rows have the supervised components of the encoding model, as many as ``ssr-tuned`` has, of one simulated
subject. The encoding model itself ranks by likelihood, then by cosine. Then plain contrast, with the training
settings of ``ssr-tuned``, learns the map of image features, of the components, or of both, where the encoding
model solves for them.

    python benchmarks/what_separates.py --subject 5

prints a table: top-1 and top-5 in percent, means over the seeds for what is trained.
"""

from __future__ import annotations

import argparse
from itertools import product
from typing import Any

import numpy as np
import torch
from evidence import Subject
from torch import Tensor, nn

from braindecode_ssr.losses import Contrast
from braindecode_ssr.models import EEGProject
from braindecode_ssr.retrieval.ranks import cosine, minus_squared_distance, rank_of_target
from braindecode_ssr.training.encoding import EncodingModel


def main() -> None:
    """Print one row per step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--subject", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    subject = Subject(options.preset, options.subject)
    data, spec, signals, test = subject.data, subject.spec, subject.signals, subject.test
    places = {name: place for place, name in enumerate(test.gallery_ids)}
    own = np.array([places[name] for name in test.table["image_id"]])
    model = EncodingModel(
        signals.sfreq, signals.tmin, spacings=(0.02,), ranks=(spec.model.components,)
    )
    features, concepts = data.original[data.image].numpy(), data.table["concept"].to_numpy()
    model.fit(data.x.numpy(), features, concepts)

    def show(name: str, *similarities: np.ndarray) -> None:
        ranks = [rank_of_target(each, own) for each in similarities]
        top = [100 * np.mean([np.mean(each <= k) for each in ranks]) for k in (1, 5)]
        print(f"{name:45}{top[0]:6.1f}{top[1]:6.1f}", flush=True)

    queries, gallery = model.transform(np.asarray(test.x)), model.predict(test.gallery)
    show("encoding model, by likelihood", minus_squared_distance(queries, gallery))
    show("encoding model, by cosine", cosine(queries, gallery))
    trials = {"solved": model.transform(data.x.numpy()), "test": queries}
    images = {
        "solved": (model.predict(data.original.numpy()), gallery),
        "trained": (data.original.numpy(), np.asarray(test.gallery)),
    }
    for brain, image in product(("solved", "linear", "net"), images):
        if (brain, image) != ("solved", "solved"):
            of_seeds = [
                contrast(brain, trials, *images[image], data.image, spec, seed)
                for seed in options.seeds
            ]
            show(f"contrast, images {image}, brain {brain}", *of_seeds)


def contrast(
    brain: str,
    trials: dict[str, np.ndarray],
    original: np.ndarray,
    gallery: np.ndarray,
    image: Tensor,
    spec: Any,
    seed: int,
) -> np.ndarray:
    """Cosines of test trials and gallery after training with plain contrast."""
    torch.manual_seed(seed)
    x, queries = (torch.from_numpy(each).float() for each in trials.values())
    images, candidates = (torch.from_numpy(each).float() for each in (original, gallery))
    n, train = x.shape[1], spec.train
    solved = images.shape[1] == n
    head = nn.Identity() if solved else nn.Linear(images.shape[1], n)
    project = EEGProject(n_outputs=spec.model.width, n_chans=n, n_times=1)
    net = nn.Sequential(nn.Unflatten(1, (n, 1)), project, nn.Linear(spec.model.width, n))
    to = {"solved": nn.Identity(), "linear": nn.Linear(n, n), "net": net}[brain]
    loss = Contrast(regime="unit")
    both = nn.ModuleList([to, head, loss])
    optimizer = torch.optim.AdamW(both.parameters(), train.lr, weight_decay=train.weight_decay)
    whole = len(x) // train.batch_size * train.batch_size
    for _ in range(train.epochs):
        for rows in torch.randperm(len(x))[:whole].split(train.batch_size):
            seen = head(images[image[rows]])
            optimizer.zero_grad()
            loss(to(x[rows]), seen, seen)["loss"].backward()
            optimizer.step()
    both.eval()
    with torch.no_grad():
        return cosine(to(queries).numpy(), head(candidates).numpy())


if __name__ == "__main__":
    main()
