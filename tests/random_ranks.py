"""Tables of queries and runs in the form of a benchmark's folder, with chosen accuracies."""

import numpy as np
import pandas as pd

from braindecode_ssr.retrieval.ranks import chance, summarize


def ranks(rng, p, n, n_gallery):
    """Ranks of which a fraction near ``p`` is 1."""
    return np.where(rng.random(n) < p, 1, rng.integers(2, n_gallery + 1, n))


def query_rows(seed=0, *, method="ssr", subjects=(1, 2, 3), seeds=(0, 1), n=20, p=0.4, **labels):
    """One row per query; ``p`` differs between subjects, and a little between seeds."""
    rng = np.random.default_rng(seed)
    images = [f"concept_{i:02d}/concept_{i:02d}_01b" for i in range(n)]
    tables = []
    for subject in subjects:
        own = np.clip(p + 0.1 * rng.standard_normal(), 0, 1)
        for run_seed in seeds:
            rank = ranks(rng, np.clip(own + 0.03 * rng.standard_normal(), 0, 1), n, n)
            table = pd.DataFrame(
                {
                    "dataset": "things-sim",
                    "preset": "tiny",
                    "protocol": "intra",
                    "evaluation": "default",
                    "method": method,
                    "backbone": "EEGProject",
                    "subject": subject,
                    "seed": run_seed,
                    "run": f"{method}_sub-{subject}_seed-{run_seed}",
                    "image_id": images,
                    "concept": [image.split("/")[0] for image in images],
                    "rank": rank,
                    "score": 1 / rank,
                }
            ).assign(**labels)
            tables.append(table.join(_nearest(rng, rank, images)))
    return pd.concat(tables, ignore_index=True)


def _nearest(rng, rank, images):
    """Five nearest images of each query, in agreement with its rank."""
    rows = []
    for own, place in zip(images, rank, strict=True):
        others = [image for image in rng.permutation(images) if image != own]
        others.insert(place - 1, own)
        rows.append(others[:5])
    return pd.DataFrame(rows).rename(columns=lambda place: f"top_{place + 1}")


def run_rows(queries, **more):
    """One row per run and evaluation, as ``runs.csv`` has it."""
    names = ["dataset", "preset", "protocol", "evaluation", "method", "backbone"]
    rows = []
    for key, table in queries.groupby([*names, "subject", "seed", "run"], sort=False):
        labels = dict(zip([*names, "subject", "seed", "run"], key, strict=True))
        numbers = {**summarize(table["rank"].to_numpy()), **chance(len(table))}
        rows.append(
            {
                **labels,
                "flags": "",
                "status": "done",
                "error": "",
                **numbers,
                "n_queries": len(table),
                "n_gallery": len(table),
                "repetitions": 5,
                "selection": "last",
                "ceiling_top1": 0.9,
                "ceiling_top5": 1.0,
                "train_seconds": 1.5,
                "fingerprint": "v1",
                **more,
            }
        )
    return pd.DataFrame(rows)


def write_tables(folder, queries, runs):
    """The tables where a benchmark has them."""
    folder.mkdir(parents=True, exist_ok=True)
    queries.to_csv(folder / "queries.csv", index=False)
    runs.to_csv(folder / "runs.csv", index=False)
    return folder
