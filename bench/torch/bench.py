#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The model of `longtake bench --gpu` in PyTorch: the same shapes, steps and cache, on the same card in the same run.

    bench/torch/bench.py [--device cuda|cpu] [--json] [--chunks N] [--compile none|blocks|all] [--dim N --layers N --width W --height H]

What is equal   widths, depth, tokens, keys seen, steps and clean pass per chunk, both decoders, bf16, random weights, pictures as
                bytes on the host; rows have the names that longtake prints, so that tools/gpu-check.sh can put them side by side.
How             scaled_dot_product_attention; keys and values in one tensor per layer, [anchors | window | current], so that a pass
                concatenates nothing; text keys made once; torch.compile of the transformer's blocks, with `all` of the decoders' too
                (two minutes of compiling more; their time is cuDNN's). The cache counts as full from the start:
                every number is of the steady state. Decoding follows denoising on one stream, as in the published code.
Own code        written from the shapes; no file of another project is needed. Needs torch only.
"""
import argparse
import json
import math
import time

import torch
import torch.nn.functional as F
from torch import nn

CHUNK, WINDOW, SINK, STEPS, TEXT = 3, 12, 3, 4, 512


class Sizes:
    """As lti_random_wan of weights/random.c."""

    def __init__(self, dim, layers):
        self.dim, self.layers, self.heads, self.z = dim, layers, dim // 128, 16
        self.ffn = (dim * 35 // 6 + 63) // 64 * 64
        self.text = dim * 8 // 3 // 64 * 64
        self.vae, self.tae = ((n * dim // 1536 + 7) // 8 * 8 for n in (96, 64))


# ---- transformer ------------------------------------------------------------------------------------------------------------------


def rotate(x, cos, sin):
    """x [1, heads, n, 128]; neighbours are pairs."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


class Block(nn.Module):
    def __init__(self, s):
        super().__init__()
        d = s.dim
        self.heads = s.heads
        self.mod = nn.Parameter(torch.randn(1, 6, d) / d ** 0.5)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.cq, self.ck, self.cv, self.co = (nn.Linear(d, d) for _ in range(4))
        self.nq, self.nk, self.ncq, self.nck = (nn.RMSNorm(d, eps=1e-6) for _ in range(4))
        self.norm3 = nn.LayerNorm(d)
        self.ffn = nn.Sequential(nn.Linear(d, s.ffn), nn.GELU(approximate="tanh"), nn.Linear(s.ffn, d))

    def split(self, x):
        return x.unflatten(-1, (self.heads, 128)).transpose(1, 2)

    def text_keys(self, text):
        return self.split(self.nck(self.ck(text))), self.split(self.cv(text))

    def forward(self, x, e, cos, sin, k_all, v_all, at, text_k, text_v):
        """x [1, n, d] float32; e [frames, 6, d]; k_all, v_all [1, heads, seen, 128], the last n places are these tokens'."""
        frames, n, d = e.shape[0], x.shape[1], x.shape[2]
        shift, scale, gate, shift2, scale2, gate2 = (self.mod + e).chunk(6, 1)
        y = F.layer_norm(x, (d,)).view(frames, -1, d)
        y = (y * (1 + scale) + shift).view(1, n, d).to(k_all.dtype)
        q, k, v = self.nq(self.q(y)), self.nk(self.k(y)), self.v(y)
        k_all[:, :, at:at + n] = rotate(self.split(k), cos, sin)
        v_all[:, :, at:at + n] = self.split(v)
        seen = at + n
        y = F.scaled_dot_product_attention(rotate(self.split(q), cos, sin), k_all[:, :, :seen], v_all[:, :, :seen])
        y = self.o(y.transpose(1, 2).flatten(2))
        x = x + (y.view(frames, -1, d) * gate).view(1, n, d)
        q = self.split(self.ncq(self.cq(self.norm3(x.to(y.dtype)))))
        y = F.scaled_dot_product_attention(q, text_k, text_v)
        x = x + self.co(y.transpose(1, 2).flatten(2))
        y = F.layer_norm(x, (d,)).view(frames, -1, d)
        y = self.ffn((y * (1 + scale2) + shift2).view(1, n, d).to(k_all.dtype))
        return x + (y.view(frames, -1, d) * gate2).view(1, n, d)


class DiT(nn.Module):
    def __init__(self, s):
        super().__init__()
        d = s.dim
        self.s = s
        self.patch = nn.Linear(4 * s.z, d)
        self.text = nn.Sequential(nn.Linear(s.text, d), nn.GELU(approximate="tanh"), nn.Linear(d, d))
        self.time = nn.Sequential(nn.Linear(256, d), nn.SiLU(), nn.Linear(d, d))
        self.project = nn.Sequential(nn.SiLU(), nn.Linear(d, 6 * d))
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.mod = nn.Parameter(torch.randn(1, 2, d) / d ** 0.5)
        self.head = nn.Linear(d, 4 * s.z)

    def forward(self, x, t, cos, sin, cache, at, texts, head=True):
        """x [frames, z, h, w] float32, t [frames] -> flow of x's shape."""
        frames, z, h, w = x.shape
        dtype = self.patch.weight.dtype
        tokens = x.view(frames, z, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, -1, 4 * z)
        half = torch.exp(-math.log(10000.0) * torch.arange(128, device=x.device) / 128)
        angle = t[:, None] * half
        time_ = self.time(torch.cat((angle.cos(), angle.sin()), -1).to(dtype))
        e = self.project(time_).view(frames, 6, -1).float()
        y = self.patch(tokens.to(dtype)).float()
        for block, (k, v), (tk, tv) in zip(self.blocks, cache, texts):
            y = block(y, e, cos, sin, k, v, at, tk, tv)
        if not head:
            return None
        shift, scale = (self.mod + time_.float()[:, None]).chunk(2, 1)
        d = y.shape[-1]
        y = F.layer_norm(y, (d,)).view(frames, -1, d) * (1 + scale) + shift
        y = self.head(y.to(dtype)).float()
        return y.view(frames, h // 2, w // 2, 2, 2, z).permute(0, 5, 1, 3, 2, 4).reshape(frames, z, h, w)


class Stream:
    """Noise to latents, chunk by chunk; the cache is full."""

    def __init__(self, dit, h, w, rolling, device, dtype):
        self.dit, self.rolling, self.device = dit, rolling, device
        self.frame = (h // 2) * (w // 2)
        self.flight = STEPS * CHUNK if rolling else CHUNK
        self.past = (SINK + WINDOW) * self.frame
        seen = self.past + self.flight * self.frame
        heads = dit.s.heads
        self.cache = [tuple(torch.randn(1, heads, seen, 128, device=device, dtype=dtype) for _ in range(2)) for _ in dit.blocks]
        text = dit.text(torch.randn(1, TEXT, dit.s.text, device=device, dtype=dtype))
        self.texts = [b.text_keys(text) for b in dit.blocks]
        angle = torch.rand(self.flight * self.frame, 64, device=device) * 6.28
        self.cos, self.sin = angle.cos(), angle.sin()
        self.x = torch.randn(self.flight, dit.s.z, h, w, device=device)
        self.slot = 0
        self.sigma = torch.tensor([1.0, 0.9375, 0.8333, 0.625, 0.0], device=device)

    def flow(self, x, sigma, head=True):
        n = x.shape[0] * self.frame
        return self.dit(x, 1000 * sigma, self.cos[:n], self.sin[:n], self.cache, self.past, self.texts, head)

    def clean(self, x0):
        """Keys and values of finished frames, over the oldest of the window."""
        self.flow(x0, torch.zeros(CHUNK, device=self.device), head=False)
        n = CHUNK * self.frame
        to = (SINK + self.slot) * self.frame
        for pair in self.cache:
            for c in pair:
                c[:, :, to:to + n] = c[:, :, self.past:self.past + n]
        self.slot = (self.slot + CHUNK) % WINDOW

    def next(self):
        if self.rolling:
            level = self.sigma[:STEPS].flip(0).repeat_interleave(CHUNK)
            below = self.sigma[1:].flip(0).repeat_interleave(CHUNK)
            x0 = self.x - level[:, None, None, None] * self.flow(self.x, level)
            lower = below[:, None, None, None]
            x = (1 - lower) * x0 + lower * torch.randn_like(x0)
            done = x0[:CHUNK].clone()
            self.x = torch.cat((x[CHUNK:], torch.randn_like(done)))
        else:
            x = torch.randn_like(self.x)
            for i in range(STEPS):
                done = x - self.sigma[i] * self.flow(x, self.sigma[i].expand(CHUNK))
                x = (1 - self.sigma[i + 1]) * done + self.sigma[i + 1] * torch.randn_like(done)
        self.clean(done)
        return done


# ---- decoders ---------------------------------------------------------------------------------------------------------------------


class Causal(nn.Module):
    """A convolution over time that sees the two frames before, kept from call to call."""

    def __init__(self, i, o, k=3):
        super().__init__()
        self.conv = nn.Conv3d(i, o, (3, k, k), padding=(0, k // 2, k // 2))
        self.past = None

    def forward(self, x):
        if self.past is None:
            self.past = torch.zeros_like(x[:, :, :1]).repeat(1, 1, 2, 1, 1)
        x = torch.cat((self.past, x), 2)
        self.past = x[:, :, -2:].clone()
        return self.conv(x)


class Norm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(c, 1, 1, 1))

    def forward(self, x):
        return F.silu(F.normalize(x, dim=1) * (x.shape[1] ** 0.5 * self.gamma))


class Res(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.n1, self.c1, self.n2, self.c2 = Norm(i), Causal(i, o), Norm(o), Causal(o, o)
        self.short = nn.Conv3d(i, o, 1) if i != o else nn.Identity()

    def forward(self, x):
        return self.short(x) + self.c2(self.n2(self.c1(self.n1(x))))


class Middle(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gamma, self.qkv, self.out = nn.Parameter(torch.ones(c, 1, 1)), nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, c, 1)

    def forward(self, x):
        b, c, t, h, w = x.shape
        y = x.transpose(1, 2).flatten(0, 1)
        y = self.qkv(F.normalize(y, dim=1) * (c ** 0.5 * self.gamma))
        q, k, v = y.view(t, 1, 3 * c, h * w).transpose(2, 3).contiguous().chunk(3, -1)
        y = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(t, c, h, w)
        return x + self.out(y).view(b, t, c, h, w).transpose(1, 2)


class Up(nn.Module):
    def __init__(self, c, time_):
        super().__init__()
        self.time = Causal(c, 2 * c, 1) if time_ else None
        self.conv = nn.Conv2d(c, c // 2, 3, padding=1)

    def forward(self, x):
        if self.time:
            b, c, t, h, w = x.shape
            x = self.time(x).view(b, 2, c, t, h, w).permute(0, 2, 3, 1, 4, 5).reshape(b, c, 2 * t, h, w)
        b, c, t, h, w = x.shape
        y = F.interpolate(x.transpose(1, 2).flatten(0, 1), scale_factor=2, mode="nearest")
        return self.conv(y).unflatten(0, (b, t)).transpose(1, 2)


class VAE(nn.Module):
    """One latent frame to four pictures in [-1, 1]: [1, z, 1, h, w] -> [4, 3, 8h, 8w]."""

    def __init__(self, s):
        super().__init__()
        a, b, c = s.vae, 2 * s.vae, 4 * s.vae
        parts = [nn.Conv3d(s.z, s.z, 1), Causal(s.z, c), Res(c, c), Middle(c), Res(c, c)]
        for i, width, up in ((c, c, 2), (b, c, 2), (b, b, 1), (a, a, 0)):
            parts += [Res(i, width), Res(width, width), Res(width, width)] + ([Up(width, up == 2)] if up else [])
        self.parts = nn.Sequential(*parts, Norm(a), Causal(a, 3))

    def forward(self, z):
        return self.parts(z)[0].transpose(0, 1)


class Memory(nn.Module):
    """A block of TAEHV: each frame sees the one before."""

    def __init__(self, c):
        super().__init__()
        self.c0, self.c2, self.c4 = nn.Conv2d(2 * c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)
        self.past = None

    def forward(self, x):
        if self.past is None:
            self.past = torch.zeros_like(x[:1])
        past = torch.cat((self.past, x[:-1]))
        self.past = x[-1:].clone()
        return F.relu(self.c4(F.relu(self.c2(F.relu(self.c0(torch.cat((x, past), 1)))))) + x)


class Grow(nn.Module):
    def __init__(self, c, o, times):
        super().__init__()
        self.times, self.grow, self.conv = times, nn.Conv2d(c, times * c, 1, bias=False), nn.Conv2d(c, o, 3, padding=1, bias=False)

    def forward(self, x):
        x = self.grow(F.interpolate(x, scale_factor=2, mode="nearest"))
        return self.conv(x.reshape(x.shape[0] * self.times, -1, *x.shape[2:]))


class TAE(nn.Module):
    def __init__(self, s):
        super().__init__()
        c = [4 * s.tae, 2 * s.tae, s.tae, s.tae]
        parts = [nn.Conv2d(s.z, c[0], 3, padding=1), nn.ReLU()]
        for i, times in enumerate((1, 2, 2)):
            parts += [Memory(c[i]), Memory(c[i]), Memory(c[i]), Grow(c[i], c[i + 1], times)]
        self.parts = nn.Sequential(*parts, nn.ReLU(), nn.Conv2d(s.tae, 3, 3, padding=1))

    def forward(self, z):
        return 2 * self.parts(3 * torch.tanh(z[:, :, 0] / 3)) - 1


# ---- measuring --------------------------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, a):
        self.a, self.rows = a, []
        self.cuda = a.device.startswith("cuda")
        self.dtype = torch.bfloat16

    def report(self, name, value, unit):
        self.rows.append({"name": name, "value": value, "unit": unit})
        if not self.a.json:
            print("%-44s %12.3f %s" % (name, value, unit), flush=True)

    def sync(self):
        if self.cuda:
            torch.cuda.synchronize()

    def timed(self, fn, n, warm=2):
        for _ in range(warm):
            fn()
        self.sync()
        t0 = time.perf_counter()
        for _ in range(n):
            fn()
        self.sync()
        return (time.perf_counter() - t0) / n

    def matmul(self):
        n = 8192 if self.a.dim >= 1024 else 512
        x, w = (torch.randn(n, n, device=self.a.device, dtype=self.dtype) for _ in range(2))
        rate = 2 * n ** 3 / min(self.timed(lambda: F.linear(x, w), 2) for _ in range(3))
        self.report("matmul %d^3, BF16" % n, rate * 1e-12, "TFLOP/s")
        return rate

    def passes(self, s, stream, rate):
        n, seen = stream.flight * stream.frame, stream.past + stream.flight * stream.frame
        sigma = stream.sigma[0].expand(CHUNK)
        t = self.timed(lambda: stream.flow(stream.x, sigma), 5)
        flop = s.layers * (2 * n * (6 * s.dim ** 2 + 2 * s.dim * s.ffn) + 4 * n * seen * s.dim + 4 * n * TEXT * s.dim)
        self.report("DiT pass, %d tokens seeing %d" % (n, seen), 1e3 * t, "ms")
        self.report("  its rate", 1e-12 * flop / t, "TFLOP/s")
        self.report("  share of the matmul's rate", flop / t / rate, "")
        self.report("clean pass", 1e3 * self.timed(lambda: stream.clean(stream.x), 5), "ms")

    def to_host(self, rgb, host):
        u8 = (rgb.float().clamp(-1, 1) * 127.5 + 128).to(torch.uint8).permute(0, 2, 3, 1)
        host[:u8.shape[0]].copy_(u8, non_blocking=self.cuda)

    def decoder(self, name, decode, z):
        self.report("%s, a latent frame (4 pictures)" % name, 1e3 * self.timed(lambda: decode(z), 6, 3), "ms")

    def stream(self, name, stream, decode, host):
        gaps = []
        for i in range(3 + self.a.chunks):
            t0 = time.perf_counter()
            latent = stream.next().to(self.dtype)
            for f in range(CHUNK):
                self.to_host(decode(latent[None, f].unsqueeze(2)), host)
            self.sync()
            if i >= 3:
                gaps.append(time.perf_counter() - t0)
        self.report("%s: pictures per second" % name, 4 * CHUNK * len(gaps) / sum(gaps), "1/s")
        gaps.sort()
        self.report("  chunk, p50", 1e3 * gaps[len(gaps) // 2], "ms")
        self.report("  chunk, p99", 1e3 * gaps[(len(gaps) * 99 + 99) // 100 - 1], "ms")
        if self.cuda:
            self.report("  device memory, most", torch.cuda.max_memory_reserved() / 2 ** 30, "GiB")

    def run(self):
        a = self.a
        s = Sizes(a.dim, a.layers)
        torch.manual_seed(1)
        with torch.device(a.device):
            dit, vae, tae = (m(s).to(self.dtype).eval() for m in (DiT, VAE, TAE))
        h, w = a.height // 8, a.width // 8
        z = torch.randn(1, s.z, 1, h, w, device=a.device, dtype=self.dtype)
        vae(z), tae(z)  # their past is there before anything is compiled
        if a.compile != "none":
            torch._dynamo.config.cache_size_limit = 64
            decoders = [p for net in (vae, tae) for p in net.parts if isinstance(p, (Res, Up, Memory, Grow))]
            for m in list(dit.blocks) + (decoders if a.compile == "all" else []):
                m.compile()
        rate = self.matmul()
        host = torch.empty(4, a.height, a.width, 3, dtype=torch.uint8, pin_memory=self.cuda)
        chunk = Stream(dit, h, w, False, a.device, self.dtype)
        self.passes(s, chunk, rate)
        self.decoder("TAE", tae, z)
        self.decoder("VAE", vae, z)
        self.stream("stream with TAE", chunk, tae, host)
        self.stream("rolling stream with TAE", Stream(dit, h, w, True, a.device, self.dtype), tae, host)
        self.stream("stream with VAE", chunk, vae, host)
        if a.json:
            print(json.dumps({"torch": torch.__version__, "bench": self.rows}))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--device", default="cuda")
    p.add_argument("--json", action="store_true")
    p.add_argument("--chunks", type=int, default=20)
    p.add_argument("--compile", choices=("none", "blocks", "all"), default="blocks")
    p.add_argument("--dim", type=int, default=1536)
    p.add_argument("--layers", type=int, default=30)
    p.add_argument("--width", "-W", type=int, default=832)
    p.add_argument("--height", "-H", type=int, default=480)
    a = p.parse_args()
    if a.device.startswith("cuda") and not torch.cuda.is_available():
        p.exit(2, "bench.py: no card that this PyTorch can use; try --device cpu with small sizes\n")
    with torch.inference_mode():
        Bench(a).run()


if __name__ == "__main__":
    main()
