#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make tests/golden/vae: tiny random Wan VAE decoders and what diffusers' AutoencoderKLWan decodes with them.

Usage    python tools/make_vae_fixtures.py OUT_DIR         (torch, diffusers, safetensors; no network)
Cases    wide: base 8, 1 residual block, 16 channels with Wan's own mean and deviation, original names.
         odd:  base 3, 2 residual blocks, 5 channels, sizes that no vector length divides, original and diffusers names.
Maths    weights are drawn, rounded to bf16 (half the bytes; exact in f32), and everything runs in f32. `rgb` comes from
         diffusers' decoder called frame by frame with its feat_cache, before its clamp. `whole` is the same decode
         written here without any cache: all frames at once, zeros in front of every causal convolution.
"""
import json
import pathlib
import sys

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file


def original_name(k, blocks):
    """diffusers name -> original Wan name, decoder side."""
    p = k.split(".")
    if p[0] == "post_quant_conv":
        return ".".join(["conv2"] + p[1:])
    res = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6", "conv_shortcut": "shortcut"}
    head = {"conv_in": "conv1", "norm_out": "head.0", "conv_out": "head.2"}
    if p[1] in head:
        return ".".join(["decoder", head[p[1]]] + p[2:])
    if p[1] == "mid_block":
        i = int(p[3])
        return ".".join(["decoder.middle.1"] + p[4:]) if p[2] == "attentions" else ".".join([f"decoder.middle.{2 * i}", res[p[4]]] + p[5:])
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


def whole(sd, z):
    """All frames at once from the original names: no cache anywhere."""
    def norm(n, x):
        g = sd[n + ".gamma"].reshape(1, -1, 1, 1, 1)
        return x / x.norm(dim=1, keepdim=True).clamp_min(1e-12) * x.shape[1] ** 0.5 * g

    def conv(n, x):
        w = sd[n + ".weight"]
        w = w[:, :, None] if w.ndim == 4 else w
        kt, kh, kw = w.shape[2:]
        return F.conv3d(F.pad(x, (kw // 2, kw // 2, kh // 2, kh // 2, kt - 1, 0)), w, sd[n + ".bias"])

    def res(n, x):
        h = conv(n + ".shortcut", x) if n + ".shortcut.weight" in sd else x
        x = conv(n + ".residual.2", F.silu(norm(n + ".residual.0", x)))
        return h + conv(n + ".residual.6", F.silu(norm(n + ".residual.3", x)))

    def attention(n, x):
        b, c, t, h, w = x.shape
        q, k, v = conv(n + ".to_qkv", norm(n + ".norm", x)).permute(0, 2, 3, 4, 1).reshape(t, h * w, 3 * c).chunk(3, -1)
        y = (q @ k.transpose(1, 2) / c ** 0.5).softmax(-1) @ v
        return x + conv(n + ".proj", y.reshape(1, t, h, w, c).permute(0, 4, 1, 2, 3))

    def up(n, x):
        if n + ".time_conv.weight" in sd and x.shape[2] > 1:
            y = conv(n + ".time_conv", x[:, :, 1:])  # frame 0 never enters
            b, c2, t, h, w = y.shape
            y = torch.stack(y.reshape(b, 2, c2 // 2, t, h, w).unbind(1), 3).reshape(b, c2 // 2, 2 * t, h, w)
            x = torch.cat((x[:, :, :1], y), 2)
        x = x.repeat_interleave(2, 3).repeat_interleave(2, 4)
        return conv(n + ".resample.1", x)

    x = conv("decoder.conv1", conv("conv2", z))
    x = res("decoder.middle.2", attention("decoder.middle.1", res("decoder.middle.0", x)))
    i = 0
    while any(k.startswith(f"decoder.upsamples.{i}.") for k in sd):
        n = f"decoder.upsamples.{i}"
        x = up(n, x) if n + ".resample.1.weight" in sd else res(n, x)
        i += 1
    return conv("decoder.head.2", F.silu(norm("decoder.head.0", x)))


def rel(a, b):
    return ((a - b).norm() / b.norm()).item()


def case(out, name, base, mult, blocks, z_dim, size, seed, both_names, keep_whole):
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
        rgb, all_at_once = stream(model, z), whole(sd, z)
    print(f"{name}: {sum(v.numel() for v in sd.values())} parameters, rgb {tuple(rgb.shape)} mean square {rgb.square().mean():.3f} "
          f"max {rgb.abs().max():.2f}, frame by frame against at once {rel(all_at_once, rgb):.1e}")
    assert rel(all_at_once, rgb) < 1e-5
    half = lambda d: {k: v.bfloat16().contiguous() for k, v in d.items()}
    save_file(half(sd), out / f"{name}.safetensors")
    if both_names:
        save_file(half(names), out / f"{name}_diffusers.safetensors")
    if extra:
        (out / f"{name}_config.json").write_text(json.dumps(extra) + "\n")
    frames = lambda t: t[0].transpose(0, 1).contiguous()  # [T, C, h, w]
    io = {"latent": frames(latent), "rgb": frames(rgb)}
    if keep_whole:
        io["whole"] = frames(all_at_once)
    save_file(io, out / f"{name}_io.safetensors")
    for f in out.glob("*.safetensors"):
        f.chmod(0o644)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    case(out, "wide", 8, [1, 2, 2, 4], 1, 16, (5, 5, 3), 1, both_names=False, keep_whole=False)
    case(out, "odd", 3, [1, 2, 4, 4], 2, 5, (5, 3, 4), 2, both_names=True, keep_whole=True)


if __name__ == "__main__":
    main()
