#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make tests/golden/tae: a tiny random TAEHV and what it decodes and encodes, computed here in plain PyTorch.

Usage    python tools/make_tae_fixtures.py OUT_DIR         (torch, safetensors; no network)
Maths    all frames at once: a memory block sees the frame before on channels (zeros first), a grow layer makes s frames of
         one, a pool one of s; the first 3 decoded pictures are dropped, a video is padded at its end by repeating the last
         picture. f32; weights rounded to bf16 before. `rgb` is not clamped, so that errors cannot hide.
Files    tiny.safetensors        names of taew2_1; the first grow layer holds twice the rows it needs
         prefixed.safetensors    the same weights, "model.taehv." before every name
         tiny_io.safetensors     latent -> rgb; pictures -> encoded (latents); padded: encoded of the first 6 pictures
         lighttae_io.safetensors the same weights used with denormalised latents (Wan's mean and deviation)
"""
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

WIDTHS, ENC, Z = (12, 10, 6, 5), 7, 16
GROW, POOL = (1, 2, 2), (2, 2, 1)
MEAN = torch.tensor([-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
                     -0.1922, -0.9497, 0.2503, -0.2921]).view(1, -1, 1, 1)
STD = torch.tensor([2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382,
                    1.1253, 2.8251, 1.9160]).view(1, -1, 1, 1)


def draw():
    sd = {}

    def conv(name, co, ci, k=3, bias=True):
        sd[name + ".weight"] = (torch.randn(co, ci, k, k) * (1.0 / (ci * k * k)) ** 0.5).bfloat16()
        if bias:
            sd[name + ".bias"] = (0.1 * torch.randn(co)).bfloat16()

    def blocks(side, first, c):
        for i in range(first, first + 3):
            for j, ci in ((0, 2 * c), (2, c), (4, c)):
                conv(f"{side}.{i}.conv.{j}", c, ci)

    conv("decoder.1", WIDTHS[0], Z)
    for i in range(3):
        c = WIDTHS[i]
        blocks("decoder", 3 + 6 * i, c)
        conv(f"decoder.{7 + 6 * i}.conv", (GROW[i] if i else 2) * c, c, 1, False)
        conv(f"decoder.{8 + 6 * i}", WIDTHS[i + 1], c, bias=False)
    conv("decoder.22", 3, WIDTHS[3])
    conv("encoder.0", ENC, 3)
    for i in range(3):
        conv(f"encoder.{2 + 5 * i}.conv", ENC, POOL[i] * ENC, 1, False)
        conv(f"encoder.{3 + 5 * i}", ENC, ENC, bias=False)
        blocks("encoder", 4 + 5 * i, ENC)
    conv("encoder.17", Z, ENC)
    return sd


class Whole:
    def __init__(self, sd):
        self.sd = {k: v.float() for k, v in sd.items()}

    def conv(self, n, x, **kw):
        w = self.sd[n + ".weight"]
        return F.conv2d(x, w, self.sd.get(n + ".bias"), padding=w.shape[-1] // 2, **kw)

    def blocks(self, side, first, x):
        for i in range(first, first + 3):
            past = torch.cat((torch.zeros_like(x[:1]), x[:-1]))
            y = F.relu(self.conv(f"{side}.{i}.conv.0", torch.cat((x, past), 1)))
            x = F.relu(self.conv(f"{side}.{i}.conv.4", F.relu(self.conv(f"{side}.{i}.conv.2", y))) + x)
        return x

    def decode(self, z):
        x = F.relu(self.conv("decoder.1", 3 * torch.tanh(z / 3)))
        for i in range(3):
            x = self.blocks("decoder", 3 + 6 * i, x).repeat_interleave(2, 2).repeat_interleave(2, 3)
            t, c, h, w = x.shape
            grow = self.sd[f"decoder.{7 + 6 * i}.conv.weight"][-GROW[i] * c:]
            x = self.conv(f"decoder.{8 + 6 * i}", F.conv2d(x, grow).reshape(t * GROW[i], c, h, w))
        return self.conv("decoder.22", F.relu(x))[3:]

    def encode(self, x):
        x = torch.cat([x] + [x[-1:]] * (-x.shape[0] % 4))
        x = F.relu(self.conv("encoder.0", x))
        for i in range(3):
            t, c, h, w = x.shape
            x = self.conv(f"encoder.{2 + 5 * i}.conv", x.reshape(t // POOL[i], POOL[i] * c, h, w))
            x = self.blocks("encoder", 4 + 5 * i, self.conv(f"encoder.{3 + 5 * i}", x, stride=2))
        return self.conv("encoder.17", x)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(5)
    sd = draw()
    tae = Whole(sd)
    latent = torch.randn(3, Z, 3, 4)
    pictures = F.interpolate(torch.rand(9, 3, 6, 8), scale_factor=4, mode="bilinear").bfloat16().float()
    with torch.no_grad():
        io = {"latent": latent, "rgb": tae.decode(latent), "pictures": pictures.bfloat16(), "encoded": tae.encode(pictures),
              "padded": tae.encode(pictures[:6])}
        light = {"latent": latent, "rgb": tae.decode(latent * STD + MEAN), "pictures": pictures.bfloat16(),
                 "encoded": (tae.encode(pictures) - MEAN) / STD}
    for k in ("rgb", "encoded"):
        print(f"{k} {tuple(io[k].shape)} mean {io[k].mean():.3f} deviation {io[k].std():.3f}")
    save_file(sd, out / "tiny.safetensors")
    save_file({"model.taehv." + k: v for k, v in sd.items()}, out / "prefixed.safetensors")
    save_file(io, out / "tiny_io.safetensors")
    save_file(light, out / "lighttae_io.safetensors")
    for f in out.glob("*.safetensors"):
        f.chmod(0o644)


if __name__ == "__main__":
    main()
