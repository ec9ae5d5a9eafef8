"""Stage 2: encode clips to latents on disk.   python train/encode.py --clips 3000

Layout   shard files lat_KKK.npy, float16 [n, 18, 16, 12, 20] (mean of the posterior, not normalised) and lat_KKK.json (the
         facts).  The 18 latent frames are anchor 0..2 (latents 0..2 of the stream) and a stretch 3..17 of five chunks.
         spec["contiguous"]: the stretch follows the anchor at once (a third).  Otherwise it begins at a random
         later time, up to ten minutes in; it is encoded with three latents of warm-up in front, which are dropped, so that
         it looks as in mid-stream (the first latent of a causal VAE stands for one picture, later ones for four).
         anc_KKK.*: anchors only, [n, 3, 16, 12, 20], cheap, many, for the first chunk (--anchors).
         stats.json: mean and standard deviation per channel over mid-stream latents.
Pitfalls the stretch's first latent must lie on the stream's grid: its pictures are 4n-3 .. 4n of the clip.
"""
import argparse
import json
import os

import numpy as np
import torch

import world
from common import DEVICE, autocast, work
from vaenet import WanVAE

LAT, STRETCH, WARM = 18, 15, 3


def clip(rng, **force):
    """One clip: facts and the pictures of its one or two encodes (uint8)."""
    spec = world.sample_spec(rng)
    spec.update(force)
    if rng.random() < .35:
        spec["contiguous"], spec["start"] = True, 3
        return spec, world.render(spec, range(1 + 4 * (LAT - 1))), None
    n = int(rng.integers(6, 2400)) if rng.random() < .6 else int(rng.integers(6, 60))
    spec["contiguous"], spec["start"] = False, n
    first = 4 * (n - WARM)                                         # picture that stands alone in the warm-up's first latent
    return spec, world.render(spec, first + np.arange(1 + 4 * (LAT - 1))), world.render(spec, range(9))


def load_vae(path=None):
    st = torch.load(path or work("vae.pt"), map_location=DEVICE)["net"]
    net = WanVAE(st["encoder.conv1.weight"].shape[0]).to(DEVICE).eval()
    net.load_state_dict(st)
    return net


@torch.no_grad()
def encode(net, pix):
    """uint8 [B,T,H,W,3] -> float32 [B,t,16,h,w]"""
    x = torch.from_numpy(pix).to(DEVICE).permute(0, 4, 1, 2, 3).float().div(127.5).sub(1)
    with autocast():
        return net.encode(x.contiguous(memory_format=torch.channels_last_3d))[0].float().transpose(1, 2)


def load_all(folder=None, kind="lat"):
    """Every shard there is of a kind (lat, anc): latents (list of memory maps), specs."""
    folder = folder or os.path.dirname(work("lat", "x"))
    lat, specs = [], []
    for f in sorted(os.listdir(folder)):
        if f.startswith(kind + "_") and f.endswith(".json"):
            s = json.load(open(os.path.join(folder, f)))
            m = np.load(os.path.join(folder, f[:-5] + ".npy"), mmap_mode="r")
            lat += [m[i] for i in range(len(s))]
            specs += s
    return lat, specs


class Source(torch.utils.data.IterableDataset):
    def __init__(self, seed, part, anchors):
        self.a, self.anchors = (seed, part, int(anchors)), anchors

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([*self.a, info.id if info else 0])
        while True:
            if self.anchors:
                spec = world.sample_spec(rng)
                yield spec, world.render(spec, range(9)), None
            else:
                yield clip(rng)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--clips", type=int, default=3000)
    ap.add_argument("--anchors", action="store_true", help="only the first three latents of each clip")
    ap.add_argument("--shard", type=int, default=50)
    ap.add_argument("--threads", type=int, default=0)
    ap.add_argument("--seed", type=int, default=11)
    args = ap.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    kind, batch = ("anc", 10) if args.anchors else ("lat", 2)
    shard = args.shard * (4 if args.anchors else 1)
    net = load_vae()
    have = len(load_all(kind=kind)[1])
    k = have // shard
    src = iter(torch.utils.data.DataLoader(Source(args.seed, k, args.anchors), batch_size=None, num_workers=12 if DEVICE.type == "cuda" else 0))
    while have < args.clips:
        lat, specs = [], []
        while len(specs) < shard:
            got = [next(src) for _ in range(batch)]
            z = encode(net, np.stack([g[1] for g in got])).cpu()
            far = [i for i, g in enumerate(got) if g[2] is not None]
            if far:
                za = encode(net, np.stack([got[i][2] for i in far])).cpu()
                for j, i in enumerate(far):
                    z[i, :3] = za[j]
            lat += [q.numpy().astype(np.float16) for q in z]
            specs += [g[0] for g in got]
        np.save(work("lat", f"{kind}_{k:03d}.npy"), np.stack(lat))
        json.dump(specs, open(work("lat", f"{kind}_{k:03d}.json"), "w"))
        if k == 0 and not args.anchors:
            z = np.stack(lat)[:, 3:].astype(np.float64)
            json.dump(dict(mean=z.mean((0, 1, 3, 4)).tolist(), std=z.std((0, 1, 3, 4)).tolist()), open(work("stats.json"), "w"))
        k, have = k + 1, have + shard
        print(kind, have, "clips", flush=True)


if __name__ == "__main__":
    main()
