"""The loss plot of the model card.   python train/card.py --out models"""
import argparse
import json
import os

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from common import work


def rows(stage):
    p = work(stage + ".jsonl")
    return [json.loads(x) for x in open(p)] if os.path.exists(p) else []


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="models")
    args = ap.parse_args()
    stages = [("dit", "DiT: loss on v"), ("distill", "guidance distilled: loss on v")]
    stages = [s for s in stages if rows(s[0])]
    fig, ax = plt.subplots(1, 1 + len(stages), figsize=(4.2 * (1 + len(stages)), 3.2), squeeze=False)
    ax = ax[0]
    v = rows("vae")
    for key, label in (("psnr", "training crops"), ("val_psnr", "whole clips")):
        p = [(r["step"], r[key]) for r in v if key in r]
        ax[0].plot(*zip(*p), label=label) if p else None
    ax[0].set_title("VAE: PSNR, dB")
    for a, (stage, title) in zip(ax[1:], stages):
        d = rows(stage)
        for key in ("first", "chunks", "rolling", "self"):
            p = [(r["step"], r[key]) for r in d if key in r]
            a.plot(*zip(*p), label=key) if p else None
        a.set_ylim(0, 1.5)
        a.set_title(title)
    for a in ax:
        a.set_xlabel("step")
        a.grid(alpha=.3)
        a.legend() if a.lines else None
    fig.tight_layout()
    fig.savefig(os.path.join(args.out, "loss.png"), dpi=80)


if __name__ == "__main__":
    main()
