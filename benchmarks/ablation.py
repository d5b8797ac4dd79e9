"""Which part of SSR earns what, on simulated recordings: one row per variant, all else equal.

    python benchmarks/ablation.py
    python benchmarks/ablation.py --subjects 5 --seeds 0 1 2 --protocols inter --rows EEGNet ridge
    python benchmarks/ablation.py --table

Every finished run is one line of the file ``--out``; a line that is there is not run again, so that a grid
that was cut off goes on. The table gives the mean over subjects and seeds, and the difference to SSR as it is
by default, run by run (same subject, same seed), with a 95 % interval of Student's t over those pairs.
Nothing is chosen by these numbers: epochs, batch and rate are the published ones, the last epoch is tested.
Across subjects, where the published recipe is too long for two cores, every row has EEGProject with 17
channels, as UBP, and ten epochs of batches of 256: about as many steps as a run on one subject.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from methods import fit_ridge, ridge_penalty
from torch import Tensor, nn

REFERENCE = "ssr"
COLUMNS = ("variant", "runs", "top-1", "top-5", "minus ssr", "95 % interval")


@dataclass(frozen=True)
class Row:
    """One variant.

    Parameters
    ----------
    loss : str
        Name of the loss.
    params : dict
        Parameters of the loss.
    backbone : str
        ``"auto"`` or a name.
    change : callable, optional
        What is done to the model before training.
    """

    loss: str = "ssr"
    params: dict[str, Any] = field(default_factory=dict)
    backbone: str = "auto"
    change: Any = None


def only(*parts: str) -> dict[str, float]:
    """Weights of SSR's loss that leave these parts and switch the others off."""
    names = (
        "brain_view",
        "brain_original",
        "view_original",
        "reconstruct_view",
        "reconstruct_brain",
    )
    return {name: float(name in parts) for name in names}


def rows() -> dict[str, Row]:
    """The variants by name, in the order of the table."""
    pairs = ("brain_view", "brain_original", "view_original")
    both = ("reconstruct_view", "reconstruct_brain")
    return {
        "contrast on originals": Row("contrast"),
        "contrast on pooled views": Row("neurobridge"),
        "pairs: brain-view, brain-original": Row(params=only(*pairs[:2])),
        "pairs: brain-view, view-original": Row(params=only(pairs[0], pairs[2])),
        "pairs: brain-original, view-original": Row(params=only(*pairs[1:])),
        "all three pairs": Row(params=only(*pairs)),
        "all three, original detached": Row(params={**only(*pairs), "anchor": "detached"}),
        "three pairs + view from brain": Row(params=only(*pairs, both[0])),
        "three pairs + brain from view": Row(params=only(*pairs, both[1])),
        REFERENCE: Row(),
        "ssr, shuffled context (control)": Row(params={"context": "shuffled"}),
        "ssr, a quarter masked": Row(params={"mask_ratio": 0.25}),
        "ssr, three quarters masked": Row(params={"mask_ratio": 0.75}),
        "ssr, token reconstructors": Row(params={"reconstructor": "tokens"}),
        "ssr, single anchor for pairs": Row(params={**only(*both), "single_anchor": 1.0}),
        "ssr, both of unit length": Row(params={"regime": "unit"}),
        "ssr, views with their own projector": Row(params={"view_projector": "own"}),
        "ssr, tokens in the path of retrieval": Row(change=tokens_in_path),
        "reconstruction alone": Row(params=only(*both)),
        **{f"ssr, {name}": Row(backbone=name) for name in BACKBONES},
        "ridge": Row("ridge"),
    }


INTER = {
    "data": {"channels": "occipital-17"},
    "model": {"backbone": "EEGProject"},
    "train": {"epochs": 10, "batch_size": 256},
}
"""What runs across subjects have in common."""
EPOCHS = {"intra": 50, "inter": INTER["train"]["epochs"]}
BACKBONES = ("TSConv", "ShallowFBCSPNet", "EEGNet", "EEGConformer")
"""Published for inter-subject retrieval; filter bank; compact convolution; transformer."""


class Tokens(nn.Module):
    """Eight pieces of the embedding, mixed by a transformer: what side branches should not be replaced by."""

    def __init__(self, n_outputs: int, pieces: int = 8, width: int = 64) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True, norm_first=True)
        self.pieces, self.into = pieces, nn.Linear(n_outputs // pieces, width)
        self.position = nn.Parameter(torch.randn(pieces, width) * 0.02)
        self.mix = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(width, n_outputs // pieces)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings of shape (b, e), mixed."""
        tokens = self.into(x.unflatten(-1, (self.pieces, -1))) + self.position
        return self.out(self.mix(tokens)).flatten(1)


def tokens_in_path(model: nn.Module, n_features: int, n_outputs: int) -> nn.Module:
    """Send brain embeddings through the tokens."""
    model.register_forward_hook(lambda module, args, output: module.in_path(output))
    model.add_module("in_path", Tokens(n_outputs))
    return model


class Case:
    """One subject under one protocol: everything that all rows share.

    Parameters
    ----------
    options : Namespace
        Of the command line.
    protocol : str
        ``"intra"`` or ``"inter"``.
    subject : int
    """

    def __init__(self, options: argparse.Namespace, protocol: str, subject: int) -> None:
        from braindecode_ssr.datasets import open_dataset
        from braindecode_ssr.evaluation import load_test_set
        from braindecode_ssr.pipeline import features_of
        from braindecode_ssr.resolve import resolve, run_spec
        from braindecode_ssr.training.data import training_data

        data = {"dataset": "things-sim", "preset": options.preset, "protocol": protocol}
        common = INTER if protocol == "inter" else {}
        train = {"epochs": options.epochs} if options.epochs else {}
        asked = run_spec(common, {"data": {**data, "subject": subject}, "train": train})
        dataset = open_dataset(asked.data)
        self.spec, _ = resolve(asked, dataset)
        features = features_of(self.spec, dataset)
        features.complete(dataset, device="cpu", progress=False)
        self.data, self.signals = training_data(self.spec, dataset, features)
        self.test = load_test_set(self.spec, dataset, features, self.spec.evaluation)
        self.ceiling = dataset.ceiling(subject, None, self.spec.trials)

    def run(self, row: Row, seed: int) -> dict[str, float]:
        """Train and test one row: its numbers."""
        start = time.perf_counter()
        numbers = self._ridge(seed) if row.loss == "ridge" else self._net(row, seed)
        kept = {name: numbers[name] for name in ("top1", "top5", "mrr", "median_rank")}
        return {**kept, "seconds": round(time.perf_counter() - start, 1)}

    def _net(self, row: Row, seed: int) -> dict[str, float]:
        from braindecode_ssr.config import build, merge
        from braindecode_ssr.evaluation import score
        from braindecode_ssr.pipeline import build_loss, build_model
        from braindecode_ssr.training.distributed import seed_everything
        from braindecode_ssr.training.retriever import fit

        changes = {"train": {"seed": seed}, "loss": {"name": row.loss, "params": row.params}}
        if row.backbone != "auto":
            changes["model"] = {"backbone": row.backbone}
        spec = build(merge(self.spec.model_dump(), changes))
        seed_everything(seed)
        n_features = self.data.original.shape[1]
        model = build_model(spec, self.signals, n_features)
        loss = build_loss(spec, model)
        if row.change:
            model = row.change(model, n_features, spec.model.n_outputs)
        with tempfile.TemporaryDirectory() as folder:
            net = fit(self.data, model, loss, spec.train, Path(folder))
        return score(net.module_, self.test)[1]

    def _ridge(self, seed: int) -> dict[str, float]:
        from braindecode_ssr.retrieval.metrics import summarize
        from braindecode_ssr.retrieval.ranks import query_table

        predict, centre = fit_ridge(self.data, ridge_penalty(self.data, seed))
        gallery, test = self.test.gallery - centre, self.test
        table = query_table(predict(test.x), gallery, test.table, test.gallery_ids)
        return summarize(table["rank"].to_numpy())


def main() -> None:
    """Run what is not there yet, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="small")
    parser.add_argument("--protocols", nargs="+", default=list(EPOCHS), choices=EPOCHS)
    parser.add_argument("--subjects", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, help="default: 50, across subjects 10")
    parser.add_argument("--rows", nargs="+", help="only those whose names hold one of these words")
    parser.add_argument("--out", type=Path, default=Path("ablation.jsonl"))
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--csv", type=Path, help="write the tables into this folder, too")
    options = parser.parse_args()
    if not options.table:
        run_grid(options)
    print_tables(options)


def run_grid(options: argparse.Namespace) -> None:
    """Append a line for each run that is not in the file yet."""
    chosen = {name: row for name, row in rows().items() if asked_for(name, options.rows)}
    done = {key_of(line) for line in read(options.out)}
    for protocol, subject in product(options.protocols, options.subjects):
        case = None
        for seed, (name, row) in product(options.seeds, chosen.items()):
            key = {"preset": options.preset, "protocol": protocol, "row": name}
            key |= {"subject": subject, "seed": seed, "epochs": options.epochs}
            if key_of(key) in done:
                continue
            case = case or Case(options, protocol, subject)
            line = {**key, **case.run(row, seed), **case.ceiling}
            with options.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(protocol, name, subject, seed, line["top1"], line["seconds"], flush=True)


def asked_for(name: str, words: list[str] | None) -> bool:
    """Whether a row is wanted: named itself, or by a word of its name that is not the name of another."""
    if not words or name in words:
        return True
    return any(word in name for word in words if word not in rows())


def group_of(line: dict) -> tuple:
    """What the runs of one table have in common."""
    epochs = line["epochs"] or EPOCHS[line["protocol"]]
    return line["preset"], line["protocol"], epochs


def key_of(line: dict) -> tuple:
    """What makes a line the same run as another."""
    return tuple(line[k] for k in ("preset", "protocol", "row", "subject", "seed", "epochs"))


def read(path: Path) -> list[dict]:
    """The lines that are there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def print_tables(options: argparse.Namespace) -> None:
    """A table for each preset, protocol and number of epochs; as files too if asked for."""
    lines = read(options.out)
    for group in sorted({group_of(line) for line in lines}):
        some = [line for line in lines if group_of(line) == group]
        rows = table(some)
        print_table(" ".join(map(str, group)), rows, some)
        if options.csv:
            write_csv(options.csv / f"evidence-{group[0]}-{group[1]}.csv", rows)


def table(lines: list[dict]) -> list[dict[str, str]]:
    """Means in percent, and differences to the reference, run by run."""
    runs = {name: {} for name in rows()}
    for line in lines:
        runs[line["row"]][line["subject"], line["seed"]] = line
    found = {name: of for name, of in runs.items() if of}
    made = [
        {
            "variant": name,
            "runs": str(len(of)),
            "top-1": percent(of, "top1"),
            "top-5": percent(of, "top5"),
            **difference(of, runs[REFERENCE]),
        }
        for name, of in found.items()
    ]
    known = [100 * line["ceiling_top1"] for line in lines]
    return [*made, {"variant": "ceiling", "top-1": f"{np.mean(known):.1f}"}]


def percent(found: dict, metric: str) -> str:
    """The mean of a metric."""
    return f"{100 * np.mean([line[metric] for line in found.values()]):.1f}"


def difference(found: dict, reference: dict) -> dict[str, str]:
    """Mean of the paired differences of top-1, and Student's interval."""
    from scipy import stats

    pairs = [100 * (found[k]["top1"] - reference[k]["top1"]) for k in found if k in reference]
    if len(pairs) < 2 or not np.any(pairs):
        return {}
    half = stats.t.ppf(0.975, len(pairs) - 1) * stats.sem(pairs)
    low, high = np.mean(pairs) - half, np.mean(pairs) + half
    return {"minus ssr": f"{np.mean(pairs):+.1f}", "95 % interval": f"{low:+.1f} to {high:+.1f}"}


def print_table(title: str, rows: list[dict[str, str]], lines: list[dict]) -> None:
    """In columns."""
    subjects, seeds = ({line[key] for line in lines} for key in ("subject", "seed"))
    print(f"\n{title}: subjects {sorted(subjects)}, seeds {sorted(seeds)}")
    for row in [dict(zip(COLUMNS, COLUMNS, strict=True)), *rows]:
        cells = (f"{row.get(c, ''):>{len(c) + 2}s}" for c in COLUMNS[1:])
        print(f"{row[COLUMNS[0]]:40s}" + "".join(cells))


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    """The table of a page of the documentation."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
