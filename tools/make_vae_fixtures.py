#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make tests/golden/vae: tiny random Wan VAEs and what diffusers' AutoencoderKLWan decodes and encodes with them.

Usage    python tools/make_vae_fixtures.py OUT_DIR         (torch, diffusers, safetensors; no network)
Cases    wide:   base 8, 1 residual block, 16 channels with Wan's own mean and deviation, original names.
         odd:    base 3, 2 residual blocks, 5 channels, sizes that no vector length divides, original and diffusers names.
         light:  widths that follow no rule: base 4, multipliers 1 3 2 5.
         pruned: light with some residual blocks narrower inside, as channel pruning leaves them.
Maths    weights are drawn, rounded to bf16 (half the bytes; exact in f32), and everything runs in f32. `rgb` comes from
         diffusers' decoder called frame by frame with its feat_cache, before its clamp, `latent` of the encoder from its
         encode (mean, normalised here). `whole` is the same written here without any cache: all frames at once, zeros
         in front of every causal convolution. `pruned` has only that.
"""
import json
import pathlib
import sys

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file


def original_name(k, blocks):
    """diffusers name -> original Wan name."""
    p = k.split(".")
    if p[0] in ("post_quant_conv", "quant_conv"):
        return ".".join(["conv2" if p[0][0] == "p" else "conv1"] + p[1:])
    res = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6", "conv_shortcut": "shortcut"}
    head = {"conv_in": "conv1", "norm_out": "head.0", "conv_out": "head.2"}
    if p[1] in head:
        return ".".join([p[0], head[p[1]]] + p[2:])
    if p[1] == "mid_block":
        i = int(p[3])
        return ".".join([p[0], "middle.1"] + p[4:]) if p[2] == "attentions" else ".".join([p[0], f"middle.{2 * i}", res[p[4]]] + p[5:])
    if p[1] == "down_blocks":
        return ".".join(["encoder.downsamples", p[2], res.get(p[3], p[3])] + p[4:])
    stage, j = int(p[2]), int(p[4])
    if p[3] == "upsamplers":
        return ".".join([f"decoder.upsamples.{stage * (blocks + 2) + blocks + 1}"] + p[5:])
    return ".".join([f"decoder.upsamples.{stage * (blocks + 2) + j}", res[p[5]]] + p[6:])


def draw(model):
    for name, p in model.named_parameters():
        with torch.no_grad():
            if "norm" in name:
                p.copy_(1 + 0.2 * torch.randn_like(p))
            elif name.endswith("bias"):
                p.copy_(0.1 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) / p[0].numel() ** 0.5)
            p.copy_(p.bfloat16().float())


def stream(model, z):
    """diffusers' own loop, without the clamp."""
    model.clear_cache()
    x = model.post_quant_conv(z)
    out = []
    for i in range(z.shape[2]):
        model._conv_idx = [0]
        out.append(model.decoder(x[:, :, i:i + 1], feat_cache=model._feat_map, feat_idx=model._conv_idx, first_chunk=i == 0))
    return torch.cat(out, 2)


class Whole:
    """All frames at once from the original names: no cache anywhere."""

    def __init__(self, sd):
        self.sd = sd

    def norm(self, n, x):
        g = self.sd[n + ".gamma"].reshape(1, -1, 1, 1, 1)
        return x / x.norm(dim=1, keepdim=True).clamp_min(1e-12) * x.shape[1] ** 0.5 * g

    def weight(self, n):
        w = self.sd[n + ".weight"]
        return w[:, :, None] if w.ndim == 4 else w

    def conv(self, n, x):
        w = self.weight(n)
        kt, kh, kw = w.shape[2:]
        return F.conv3d(F.pad(x, (kw // 2, kw // 2, kh // 2, kh // 2, kt - 1, 0)), w, self.sd[n + ".bias"])

    def res(self, n, x):
        h = self.conv(n + ".shortcut", x) if n + ".shortcut.weight" in self.sd else x
        x = self.conv(n + ".residual.2", F.silu(self.norm(n + ".residual.0", x)))
        return h + self.conv(n + ".residual.6", F.silu(self.norm(n + ".residual.3", x)))

    def middle(self, n, x):
        x = self.res(n + ".0", x)
        b, c, t, h, w = x.shape
        q, k, v = self.conv(n + ".1.to_qkv", self.norm(n + ".1.norm", x)).permute(0, 2, 3, 4, 1).reshape(t, h * w, 3 * c).chunk(3, -1)
        y = (q @ k.transpose(1, 2) / c ** 0.5).softmax(-1) @ v
        return self.res(n + ".2", x + self.conv(n + ".1.proj", y.reshape(1, t, h, w, c).permute(0, 4, 1, 2, 3)))

    def up(self, n, x):
        if n + ".time_conv.weight" in self.sd and x.shape[2] > 1:
            y = self.conv(n + ".time_conv", x[:, :, 1:])  # frame 0 never enters
            b, c2, t, h, w = y.shape
            y = torch.stack(y.reshape(b, 2, c2 // 2, t, h, w).unbind(1), 3).reshape(b, c2 // 2, 2 * t, h, w)
            x = torch.cat((x[:, :, :1], y), 2)
        x = x.repeat_interleave(2, 3).repeat_interleave(2, 4)
        return self.conv(n + ".resample.1", x)

    def down(self, n, x):
        x = F.conv3d(F.pad(x, (0, 1, 0, 1)), self.weight(n + ".resample.1"), self.sd[n + ".resample.1.bias"], stride=(1, 2, 2))
        if n + ".time_conv.weight" in self.sd and x.shape[2] > 1:
            w, b = self.sd[n + ".time_conv.weight"], self.sd[n + ".time_conv.bias"]
            x = torch.cat((x[:, :, :1], F.conv3d(x, w, b, stride=(2, 1, 1))), 2)
        return x

    def layers(self, prefix, resample, x):
        i = 0
        while any(k.startswith(f"{prefix}.{i}.") for k in self.sd):
            n = f"{prefix}.{i}"
            x = resample(n, x) if n + ".resample.1.weight" in self.sd else self.res(n, x)
            i += 1
        return x

    def head(self, n, x):
        return self.conv(n + ".2", F.silu(self.norm(n + ".0", x)))

    def decode(self, z):
        x = self.middle("decoder.middle", self.conv("decoder.conv1", self.conv("conv2", z)))
        return self.head("decoder.head", self.layers("decoder.upsamples", self.up, x))

    def encode(self, rgb):
        x = self.layers("encoder.downsamples", self.down, self.conv("encoder.conv1", rgb))
        return self.conv("conv1", self.head("encoder.head", self.middle("encoder.middle", x))).chunk(2, 1)[0]


def rel(a, b):
    return ((a - b).norm() / b.norm()).item()


def half(d):
    return {k: v.bfloat16().contiguous() for k, v in d.items()}


def frames(t):
    return t[0].transpose(0, 1).contiguous()  # [T, C, h, w]


def case(out, name, base, mult, blocks, z_dim, size, seed, both_names, keep_whole, encoder):
    torch.manual_seed(seed)
    extra = {} if z_dim == 16 else {"latents_mean": [0.3, -0.5, 0.1, 0.9, -0.2], "latents_std": [1.5, 0.7, 2.0, 1.1, 0.9]}
    model = AutoencoderKLWan(base_dim=base, z_dim=z_dim, dim_mult=mult, num_res_blocks=blocks,
                             temperal_downsample=[False, True, True], **extra).eval().float()
    draw(model)
    names = {k: v for k, v in model.state_dict().items() if k.startswith(("decoder.", "post_quant_conv."))}
    sd = {original_name(k, blocks): v for k, v in names.items()}
    latent = torch.randn(1, z_dim, *size)
    mean, std = (torch.tensor(model.config[k]).view(1, -1, 1, 1, 1) for k in ("latents_mean", "latents_std"))
    with torch.no_grad():
        z = latent * std + mean
        rgb, all_at_once = stream(model, z), Whole(sd).decode(z)
    print(f"{name}: {sum(v.numel() for v in sd.values())} parameters, rgb {tuple(rgb.shape)} mean square {rgb.square().mean():.3f} "
          f"max {rgb.abs().max():.2f}, frame by frame against at once {rel(all_at_once, rgb):.1e}")
    assert rel(all_at_once, rgb) < 1e-5
    save_file(half(sd), out / f"{name}.safetensors")
    if both_names:
        save_file(half(names), out / f"{name}_diffusers.safetensors")
    if extra:
        (out / f"{name}_config.json").write_text(json.dumps(extra) + "\n")
    io = {"latent": frames(latent), "rgb": frames(rgb)}
    if keep_whole:
        io["whole"] = frames(all_at_once)
    save_file(io, out / f"{name}_io.safetensors")
    if encoder:
        encoder_case(out, name, model, blocks, mean, std, size, both_names)
    return sd, latent, mean, std


def encoder_case(out, name, model, blocks, mean, std, size, both_names):
    t, h, w = size
    rgb = F.interpolate(torch.randn(1 + 4 * (t - 1), 3, h * 2, w * 2), scale_factor=4, mode="bilinear").clamp(-1, 1)
    rgb = rgb.transpose(0, 1)[None].bfloat16().float()
    names = {k: v for k, v in model.state_dict().items() if k.startswith(("encoder.", "quant_conv."))}
    sd = {original_name(k, blocks): v for k, v in names.items()}
    with torch.no_grad():
        latent, all_at_once = ((mu - mean) / std for mu in (model.encode(rgb).latent_dist.mode(), Whole(sd).encode(rgb)))
    print(f"{name} encoder: {sum(v.numel() for v in sd.values())} parameters, latent {tuple(latent.shape)} "
          f"mean square {latent.square().mean():.3f}, in chunks against at once {rel(all_at_once, latent):.1e}")
    assert rel(all_at_once, latent) < 1e-5
    save_file(half(sd), out / f"{name}_encoder.safetensors")
    if both_names:
        save_file(half(names), out / f"{name}_encoder_diffusers.safetensors")
    save_file({"rgb": frames(rgb).bfloat16(), "latent": frames(latent), "whole": frames(all_at_once)}, out / f"{name}_encoder_io.safetensors")


def pruned_case(out, sd, latent, mean, std):
    """Every second residual block loses channels between its two convolutions, each another number."""
    sd, n = dict(sd), 0
    for k in sorted(k for k in sd if k.endswith(".residual.2.weight"))[::2]:
        p, keep = k[:-len(".residual.2.weight")], sd[k].shape[0] - 1 - n % 3
        n += 1
        for leaf in ("residual.2.weight", "residual.2.bias", "residual.3.gamma"):
            sd[f"{p}.{leaf}"] = sd[f"{p}.{leaf}"][:keep]
        sd[f"{p}.residual.6.weight"] = sd[f"{p}.residual.6.weight"][:, :keep]
    with torch.no_grad():
        rgb = Whole(sd).decode(latent * std + mean)
    print(f"pruned: {n} blocks narrower inside, rgb {tuple(rgb.shape)} mean square {rgb.square().mean():.3f}")
    save_file(half(sd), out / "pruned.safetensors")
    save_file({"latent": frames(latent), "whole": frames(rgb)}, out / "pruned_io.safetensors")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    case(out, "wide", 8, [1, 2, 2, 4], 1, 16, (5, 5, 3), 1, both_names=False, keep_whole=False, encoder=False)
    case(out, "odd", 3, [1, 2, 4, 4], 2, 5, (5, 3, 4), 2, both_names=True, keep_whole=True, encoder=True)
    light = case(out, "light", 4, [1, 3, 2, 5], 1, 16, (3, 3, 4), 3, both_names=False, keep_whole=False, encoder=True)
    pruned_case(out, *light)
    for f in out.glob("*.safetensors"):
        f.chmod(0o644)


if __name__ == "__main__":
    main()
