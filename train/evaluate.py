"""Read colour, scene and motion back from pixels and score a model by its own prompts.

    python train/evaluate.py reader                     train the reader on the world's own pictures, check it
    python train/evaluate.py vae                        the same facts read from VAE reconstructions
    python train/evaluate.py score --n 100 --at 2,60    generate from held-out prompts and score (C engine)
    python train/evaluate.py score --engine torch ...   the same with train/reference.py

Method   the reader is a small convolutional network on 8 pictures 4 frames apart (40x24), trained on rendered clips
         with blur, noise and colour gain, never on generated ones.  It names colour, place, time of day, shape, motion,
         weather, camera.  A scene counts when place and time of day are both right.
         Held-out prompts: colour x shape x place combinations that training never saw, words drawn by the caption grammar
         with nothing left out of colour, place and time.
Pitfalls the reader sees 29 pictures: "at 2 s" are pictures 4..32, "at 60 s" the last 29 of 60 s.  Judge it first by its
         own row: what it misses on true renders is its error, not the model's.
"""
import argparse
import json
import os
import subprocess
import tempfile

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import captions
import world
from common import DEVICE, work

HEADS = dict(colour=world.COLOUR_NAMES, place=world.PLACES, time=world.TIMES, shape=world.SHAPES, motion=world.MOTIONS, weather=world.WEATHERS, camera=world.CAMERAS)
SPAN = np.arange(0, 32, 4)


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        c = [24, 48, 64, 96, 128]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=s, padding=1) for a, b, s in zip(c[:-1], c[1:], (1, 2, 1, 2)))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in c[1:])
        self.mix = nn.Linear(2 * c[-1], 192)
        self.heads = nn.ModuleDict({k: nn.Linear(192, len(v)) for k, v in HEADS.items()})

    def forward(self, x):
        """x uint8 or float [B,8,3,24,40] in 0..255"""
        x = (x.float() / 127.5 - 1).flatten(1, 2)
        for c, n in zip(self.convs, self.norms):
            x = F.relu(n(c(x)))
        x = F.relu(self.mix(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)))
        return {k: h(x) for k, h in self.heads.items()}


def shrink(pix):
    """uint8 [8,96,160,3] -> uint8 [8,3,24,40] (means of 4x4)"""
    return pix.reshape(8, 24, 4, 40, 4, 3).mean((2, 4)).round().astype(np.uint8).transpose(0, 3, 1, 2)


def dataset(n, seed):
    rng, xs, ys = np.random.default_rng(seed), [], []
    for _ in range(n):
        s = world.sample_spec(rng, want_held_out=rng.random() < .2)
        xs.append(shrink(world.render(s, int(rng.integers(0, 9600)) + SPAN)))
        ys.append([v.index(s[k]) for k, v in HEADS.items()])
    return torch.from_numpy(np.stack(xs)), torch.tensor(ys)


def train_reader(args):
    torch.manual_seed(0)
    x, y = dataset(args.n, 1)
    print("rendered", len(x), flush=True)
    net = Reader().to(DEVICE)
    opt = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=.02)
    total = args.epochs * (len(x) // 64)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 3e-3, total_steps=total)
    for ep in range(args.epochs):
        net.train()
        for i in torch.randperm(len(x)).split(64)[:len(x) // 64]:
            b = x[i].float()
            if np.random.rand() < .6:                             # the flaws of generated pictures: blur, noise, gain
                k = torch.tensor([1., 2., 1.]) / 4 if np.random.rand() < .7 else torch.ones(3) / 3
                f = b.flatten(0, 2)[:, None]
                b = F.conv2d(F.pad(f, (1, 1, 1, 1), mode="replicate"), (k[:, None] * k)[None, None]).view(b.shape)
            b = b * (1 + .06 * torch.randn(len(b), 1, 3, 1, 1)) + 5 * torch.randn(len(b), 1, 3, 1, 1) + 6 * torch.rand(len(b), 1, 1, 1, 1) * torch.randn(b.shape)
            out = net(b.clamp(0, 255).to(DEVICE))
            loss = sum(F.cross_entropy(out[k], y[i, j].to(DEVICE)) for j, k in enumerate(HEADS))
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
        print("epoch", ep, round(loss.item(), 4), flush=True)
    torch.save(net.state_dict(), work("reader.pt"))
    x, y = dataset(1000, 2)
    print(json.dumps(report(read(net, x), y)))


def reader():
    net = Reader()
    net.load_state_dict(torch.load(work("reader.pt"), map_location="cpu"))
    return net.eval()


@torch.no_grad()
def read(net, x):
    net.eval()
    outs = [net(b.to(DEVICE) if next(net.parameters()).is_cuda else b) for b in x.split(100)]
    return torch.stack([torch.cat([o[k].argmax(1).cpu() for o in outs]) for k in HEADS], 1)


def report(got, want):
    ok = got == want
    r = {k: round(float(ok[:, j].float().mean()), 3) for j, k in enumerate(HEADS)}
    names = list(HEADS)
    r["scene"] = round(float((ok[:, names.index("place")] & ok[:, names.index("time")]).float().mean()), 3)
    return r


def on_vae(args):
    import encode
    net, vae = reader(), encode.load_vae()
    rng, xs, ys, db = np.random.default_rng(5), [], [], []
    for _ in range(args.n):
        s = world.sample_spec(rng)
        pix = world.render(s, int(rng.integers(0, 9600)) + np.arange(33))
        with torch.no_grad():
            z = encode.encode(vae, pix[None])
            y = decode(vae, z)[0]
        db.append(-10 * np.log10(np.mean((y.astype(float) - pix) ** 2) / 255 ** 2))
        xs.append(shrink(y[1:][SPAN]))
        ys.append([v.index(s[k]) for k, v in HEADS.items()])
    print(json.dumps(dict(report(read(net, torch.from_numpy(np.stack(xs))), torch.tensor(ys)), psnr=round(float(np.mean(db)), 2))))


@torch.no_grad()
def decode(vae, z):
    """Raw latents [B,t,16,h,w] -> uint8 [B,1+4(t-1),96,160,3], whole (exact)."""
    y = vae.decode(z.transpose(1, 2).float()).clamp(-1, 1)
    return ((y + 1) * 127.5).round().byte().permute(0, 2, 3, 4, 1).cpu().numpy()


def prompts(n, seed=77):
    """Held-out combinations, wordings that leave out neither colour nor scene."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(n):
        s = world.sample_spec(rng, want_held_out=True)
        s["second"] = None
        out.append((s, captions.caption(s, rng, drop=0.)))
    return out


def engine_c(prompt, frames, seed, args, keep):
    """Pictures from the C engine as uint8 [frames,96,160,3] (all of them; raw RGB file)."""
    with tempfile.TemporaryDirectory() as d:
        out = os.path.join(d, "o.rgb")
        cmd = [args.binary, "generate", "-m", args.m, "-p", prompt, "--frames", str(frames), "-s", str(seed), "-o", out, "--mode", args.mode, "--quiet"]
        if args.no_sink:
            cmd += ["--sink", "0"]
        subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL)
        a = np.memmap(out, np.uint8, mode="r").reshape(-1, world.H, world.W, 3)
        return {k: np.array(a[k + SPAN]) for k in keep}


class EngineTorch:
    """Batched: all prompts at once, decoding only the latents that are looked at (with six of warm-up)."""

    def __init__(self, args):
        import reference
        self.ref, self.args = reference, args
        self.dit, self.text, self.cfg = reference.load(args.m)
        self.tok = captions.Tokenizer(os.path.join(args.m, "tokenizer", "spiece.model"))
        import vaenet
        from safetensors.torch import load_file
        sd = {k: v.float() for k, v in load_file(os.path.join(args.m, "vae", "diffusion_pytorch_model.safetensors")).items()}
        vc = json.load(open(os.path.join(args.m, "vae", "config.json")))
        self.vae = vaenet.WanVAE(vc["base_dim"]).eval()
        self.vae.load_state_dict(sd)
        self.mean, self.std = (torch.tensor(vc[k]).view(1, 1, 16, 1, 1) for k in ("latents_mean", "latents_std"))

    @torch.no_grad()
    def latents(self, texts, t, seed, keep=None):
        """Yields chunks [B,3,16,12,20] one after another."""
        c, a = self.cfg, self.args
        g = torch.Generator().manual_seed(seed)
        rows = self.text(self.tok(texts))
        rows = F.pad(rows, (0, 0, 0, 64 - rows.shape[1]))
        b, nb = len(texts), -(-t // 3)
        st = self.ref.Stream(self.dit, self.dit.text(rows), not a.no_sink)
        draw = lambda *_: torch.randn(b, 3, 16, 12, 20, generator=g)
        sg = self.ref.warp(c["timesteps"], c["flow_shift"])
        if a.mode == "chunk":
            f = c.get("timesteps_first")
            it = self.ref.chunk_schedule(st, lambda i: draw() if i < nb else None, draw, sg, c["window"], self.ref.warp(f, c["flow_shift"]) if f else None)
        else:
            it = self.ref.rolling_schedule(st, draw, draw, sg, nb, c["window"])
        with torch.autocast("cpu", torch.bfloat16):
            yield from it

    def pictures(self, texts, keep, seed=0):
        """{first picture: uint8 [B,8,96,160,3]}"""
        last = max(keep) + 29
        t = -(-(last - 1) // 4) + 1
        need = {}
        for k in keep:
            hi = -(-(k + 28) // 4)                                # latent n holds pictures 4n-3 .. 4n
            need[k] = (max(0, (k + 3) // 4 - 6), hi)
        lat, out = {}, {}
        for b, chunk in enumerate(self.latents(texts, t, seed)):
            for j in range(3):
                if any(lo <= 3 * b + j <= hi for lo, hi in need.values()):
                    lat[3 * b + j] = chunk[:, j].float()
        for k, (lo, hi) in need.items():
            z = torch.stack([lat[i] for i in range(lo, hi + 1)], 1) * self.std + self.mean
            first = 4 * lo if lo else 0                           # picture number of the first decoded picture
            with torch.autocast("cpu", torch.bfloat16):
                pix = np.concatenate([decode(self.vae, z[i:i + 4]) for i in range(0, len(z), 4)])
            out[k] = pix[:, k - first + SPAN]
        return out


def score(args):
    net, ps = reader(), prompts(args.n + args.skip)[args.skip:]
    at = [float(v) for v in args.at.split(",")]
    keep = [4 if s <= 2 else int(s * 16) - 29 for s in at]
    if args.engine == "torch":
        pics = EngineTorch(args).pictures([p for _, p in ps], keep)
    else:
        got = [engine_c(p, max(keep) + 29, 1000 + i, args, keep) for i, (_, p) in enumerate(ps)]
        pics = {k: np.stack([g[k] for g in got]) for k in keep}
    want = torch.tensor([[v.index(s[k]) for k, v in HEADS.items()] for s, _ in ps])
    res = {}
    for sec, k in zip(at, keep):
        res[f"{sec:g}s"] = report(read(net, torch.from_numpy(np.stack([shrink(p) for p in pics[k]]))), want)
    print(json.dumps(dict(engine=args.engine, mode=args.mode, sink=not args.no_sink, n=args.n, skip=args.skip, **res)))
    if args.sheet:
        from PIL import Image
        rows = [np.concatenate([p for k in keep for p in pics[k][i][[0, 3, 7]]], 1) for i in range(min(args.rows, args.n))]
        Image.fromarray(np.concatenate(rows)).save(args.sheet)
        for s, p in ps[:args.rows]:
            print(p)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("what", choices=["reader", "vae", "score"])
    ap.add_argument("--n", type=int, default=0)
    ap.add_argument("--epochs", type=int, default=10)
    ap.add_argument("--skip", type=int, default=0, help="leave out the first prompts of the list")
    ap.add_argument("--engine", default="c", choices=["c", "torch"])
    ap.add_argument("--binary", default="build/longtake")
    ap.add_argument("-m", default="models")
    ap.add_argument("--mode", default="chunk")
    ap.add_argument("--no-sink", action="store_true")
    ap.add_argument("--at", default="2")
    ap.add_argument("--sheet", default="")
    ap.add_argument("--rows", type=int, default=10)
    args = ap.parse_args()
    args.n = args.n or dict(reader=6000, vae=60, score=100)[args.what]
    dict(reader=train_reader, vae=on_vae, score=score)[args.what](args)


if __name__ == "__main__":
    main()
