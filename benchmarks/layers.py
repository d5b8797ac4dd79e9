"""A training step of our NICE, ATM and CognitionCapturer encoders beside the same layers in plain PyTorch.

Plain are ``nn.Conv2d``, ``nn.AvgPool2d`` and ``nn.BatchNorm2d`` as published, for ATM a transformer written
with matrix products and for CognitionCapturer ``nn.TransformerEncoderLayer`` without checkpoints. The third
encoder has the plain front and our convolutions, so that the front is seen by itself; ``ratio`` is ours
against the faster of the two. All take turns, forward and backward, in one process.

    python benchmarks/layers.py
    python benchmarks/layers.py --batch 64 --steps 20

prints medians of processor time for each step.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from torch import Tensor, nn

from braindecode_ssr.models import ATM, CognitionCapturer, TSConv
from braindecode_ssr.models.nice import plain_layers
from braindecode_ssr.models.transformers import sinusoids

CHANS, TIMES = 63, 250


class PlainATM(nn.Module):
    """Channels and a token of the subject attend to each other, layer by layer."""

    def __init__(self) -> None:
        super().__init__()
        width, inner = TIMES, 4 * (TIMES // 4)
        self.token, self.embed = nn.Parameter(torch.randn(width)), nn.Linear(width, width)
        self.qkv, self.out = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.hidden = nn.Sequential(
            nn.Linear(width, 256), nn.GELU(), nn.Dropout(0.25), nn.Linear(256, width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(0.25)

    def forward(self, x: Tensor) -> Tensor:
        token = torch.cat([self.token.expand(len(x), 1, -1), self.embed(x)], 1)
        token = self.drop(token)
        heads = self.qkv(token).unflatten(2, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        weight = self.drop((heads[0] @ heads[1].mT / heads.shape[-1] ** 0.5).softmax(-1))
        mixed = (weight @ heads[2]).transpose(1, 2).flatten(2)
        token = self.norms[0](token + self.drop(self.out(mixed)))
        token = self.norms[1](token + self.drop(self.hidden(token)))
        return self.norms[2](token)[:, 1:]


class PlainCapturer(nn.Module):
    """A transformer layer along time, then a matrix along time."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Buffer(sinusoids(TIMES, CHANS))
        self.layer = nn.TransformerEncoderLayer(CHANS, 1, 2048, dropout=0.1, batch_first=True)
        self.subject = nn.Linear(TIMES, TIMES)

    def forward(self, x: Tensor) -> Tensor:
        return self.subject(self.layer(x.mT + self.position).mT)


ENCODERS = {"NICE": (TSConv, nn.Identity), "ATM": (ATM, PlainATM)}
ENCODERS["CognitionCapturer"] = (CognitionCapturer, PlainCapturer)


def main() -> None:
    """Measure each encoder and print a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=7, help="one to warm up is not counted")
    options = parser.parse_args()
    torch.manual_seed(0)
    x = torch.randn(options.batch, CHANS, TIMES)
    print(f"{'encoder':20}{'plain s':>9}{'plain front s':>15}{'ours s':>9}{'ratio':>7}")
    for name, (encoder, front) in ENCODERS.items():
        ours = encoder(n_outputs=1024, n_chans=CHANS, n_times=TIMES, sfreq=250.0)
        drop = {"drop_prob": ours.drop_prob}
        head = encoder.make_head(ours, 1024)
        plain = nn.Sequential(front(), plain_layers(CHANS, **drop), head)
        tail = TSConv(n_outputs=1024, n_chans=CHANS, n_times=TIMES, sfreq=250.0, **drop)
        mixed = nn.Sequential(front(), tail)
        seconds: dict[str, list[float]] = {"plain": [], "mixed": [], "ours": []}
        for _ in range(options.steps):
            for kind, model in (("plain", plain), ("mixed", mixed), ("ours", ours)):
                began = time.process_time()
                model.zero_grad()
                model(x).square().mean().backward()
                seconds[kind].append(time.process_time() - began)
        took = {kind: median(times[1:]) for kind, times in seconds.items()}
        ratio = took["ours"] / min(took["plain"], took["mixed"])
        print(
            f"{name:20}{took['plain']:9.3f}{took['mixed']:15.3f}{took['ours']:9.3f}{ratio:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
