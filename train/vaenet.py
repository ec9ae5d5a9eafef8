"""The Wan 2.1 video VAE at a small width, whole sequences at a time, for training.

Role     encode [B,3,1+4n,H,W] in [-1,1] -> mean, log variance [B,16,1+n,H/8,W/8]; decode back.
Maths    the graph and names of Wan's vae.py (encoder.downsamples.I, decoder.upsamples.I, ...).  Every 3x3x3
         convolution sees two zero frames in front.  upsample3d: latent frame 0 is not doubled and is never seen by
         time_conv, whose history begins as zeros at latent 1.  downsample3d: frame 0 passes, then windows
         (0,1,2), (2,3,4), ...  So the whole sequence equals the frame-by-frame streaming form exactly.
Checked  against diffusers' AutoencoderKLWan: python train/vaenet.py --check
Pitfalls gamma is [C,1,1,1] in residual blocks and heads, [C,1,1] in the attention; RMS_norm is x/||x|| sqrt(C) gamma.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class CausalConv3d(nn.Conv3d):
    def forward(self, x):
        kt, kh, kw = self.kernel_size
        if kt > 1 and self.stride[0] == 1:
            x = F.pad(x, (0, 0, 0, 0, kt - 1, 0))
        return F.conv3d(x, self.weight, self.bias, self.stride, (0, kh // 2, kw // 2))


class RMS_norm(nn.Module):
    def __init__(self, dim, images=False):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, 1, 1) if images else torch.ones(dim, 1, 1, 1))
        self.scale = dim ** .5

    def forward(self, x):
        return F.normalize(x, dim=1) * (self.scale * self.gamma).to(x.dtype)


class ResidualBlock(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.residual = nn.Sequential(RMS_norm(cin), nn.SiLU(), CausalConv3d(cin, cout, 3), RMS_norm(cout), nn.SiLU(),
                                      nn.Identity(), CausalConv3d(cout, cout, 3))
        self.shortcut = CausalConv3d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x):
        return self.residual(x) + self.shortcut(x)


class AttentionBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm, self.to_qkv, self.proj = RMS_norm(dim, True), nn.Conv2d(dim, 3 * dim, 1), nn.Conv2d(dim, dim, 1)
        nn.init.zeros_(self.proj.weight)

    def forward(self, x):
        b, c, t, h, w = x.shape
        y = x.transpose(1, 2).reshape(b * t, c, h, w)
        q, k, v = self.to_qkv(self.norm(y)).flatten(2).transpose(1, 2)[:, None].chunk(3, -1)
        y = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(b * t, c, h, w)
        return x + self.proj(y).view(b, t, c, h, w).transpose(1, 2)


class Resample(nn.Module):
    def __init__(self, dim, mode):
        super().__init__()
        self.mode = mode
        up = mode.startswith("up")
        conv = nn.Conv2d(dim, dim // 2, 3, padding=1) if up else nn.Conv2d(dim, dim, 3, stride=2)
        self.resample = nn.Sequential(nn.Identity(), conv)
        if mode == "upsample3d":
            self.time_conv = CausalConv3d(dim, 2 * dim, (3, 1, 1))
        elif mode == "downsample3d":
            self.time_conv = CausalConv3d(dim, dim, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x):
        b, c, t, h, w = x.shape
        if self.mode == "upsample3d" and t > 1:
            y = self.time_conv(x[:, :, 1:]).view(b, 2, c, t - 1, h, w)
            y = torch.stack((y[:, 0], y[:, 1]), 3).reshape(b, c, 2 * (t - 1), h, w)
            x = torch.cat((x[:, :, :1], y), 2)
            t = 2 * t - 1
        y = x.transpose(1, 2).reshape(b * t, c, h, w)
        y = F.interpolate(y, scale_factor=2., mode="nearest") if self.mode[0] == "u" else F.pad(y, (0, 1, 0, 1))
        y = self.resample[1](y.contiguous(memory_format=torch.channels_last))
        x = y.view(b, t, *y.shape[1:]).transpose(1, 2)
        if self.mode == "downsample3d" and t > 1:
            x = torch.cat((x[:, :, :1], self.time_conv(x)), 2)
        return x.contiguous(memory_format=torch.channels_last_3d)


class Encoder3d(nn.Module):
    def __init__(self, dim, z, mult, blocks, tdown):
        super().__init__()
        dims = [dim * m for m in [1] + mult]
        self.conv1 = CausalConv3d(3, dims[0], 3)
        d = []
        for i, (a, b) in enumerate(zip(dims[:-1], dims[1:])):
            for _ in range(blocks):
                d.append(ResidualBlock(a, b))
                a = b
            if i + 1 < len(mult):
                d.append(Resample(b, "downsample3d" if tdown[i] else "downsample2d"))
        self.downsamples = nn.Sequential(*d)
        self.middle = nn.Sequential(ResidualBlock(b, b), AttentionBlock(b), ResidualBlock(b, b))
        self.head = nn.Sequential(RMS_norm(b), nn.SiLU(), CausalConv3d(b, z, 3))

    def forward(self, x):
        return self.head(self.middle(self.downsamples(self.conv1(x))))


class Decoder3d(nn.Module):
    def __init__(self, dim, z, mult, blocks, tup):
        super().__init__()
        dims = [dim * m for m in [mult[-1]] + mult[::-1]]
        self.conv1 = CausalConv3d(z, dims[0], 3)
        self.middle = nn.Sequential(ResidualBlock(dims[0], dims[0]), AttentionBlock(dims[0]), ResidualBlock(dims[0], dims[0]))
        u = []
        for i, (a, b) in enumerate(zip(dims[:-1], dims[1:])):
            a = a // 2 if i else a
            for _ in range(blocks + 1):
                u.append(ResidualBlock(a, b))
                a = b
            if i + 1 < len(mult):
                u.append(Resample(b, "upsample3d" if tup[i] else "upsample2d"))
        self.upsamples = nn.Sequential(*u)
        self.head = nn.Sequential(RMS_norm(b), nn.SiLU(), CausalConv3d(b, 3, 3))

    def forward(self, x):
        return self.head(self.upsamples(self.middle(self.conv1(x))))


class WanVAE(nn.Module):
    def __init__(self, dim=16, z=16, mult=(1, 2, 4, 4), blocks=1, tdown=(False, True, True)):
        super().__init__()
        self.encoder = Encoder3d(dim, 2 * z, list(mult), blocks, tdown)
        self.conv1, self.conv2 = CausalConv3d(2 * z, 2 * z, 1), CausalConv3d(z, z, 1)
        self.decoder = Decoder3d(dim, z, list(mult), blocks, tdown[::-1])

    def encode(self, x):
        return self.conv1(self.encoder(x)).chunk(2, 1)

    def decode(self, z):
        return self.decoder(self.conv2(z))


def to_diffusers(sd, blocks=1):
    """Original Wan names -> diffusers names."""
    out = {}
    for k, v in sd.items():
        if k.startswith(("conv1.", "conv2.")):
            k = k.replace("conv1.", "quant_conv.").replace("conv2.", "post_quant_conv.")
        side = k.split(".")[0]
        k = k.replace(f"{side}.conv1.", f"{side}.conv_in.").replace(".head.0.", ".norm_out.").replace(".head.2.", ".conv_out.")
        k = k.replace("middle.0", "mid_block.resnets.0").replace("middle.2", "mid_block.resnets.1").replace("middle.1", "mid_block.attentions.0")
        k = k.replace("residual.0.", "norm1.").replace("residual.2.", "conv1.").replace("residual.3.", "norm2.").replace("residual.6.", "conv2.")
        k = k.replace("shortcut.", "conv_shortcut.").replace("downsamples.", "down_blocks.")
        if "upsamples." in k:
            p = k.split(".")
            i, n = int(p[2]), blocks + 2
            k = ".".join(["decoder.up_blocks", str(i // n)] + (["resnets", str(i % n)] if i % n < n - 1 else ["upsamplers", "0"]) + p[3:])
        out[k] = v
    return out


def check():
    from diffusers import AutoencoderKLWan
    torch.manual_seed(0)
    mine = WanVAE(8).eval()
    for p in mine.parameters():
        nn.init.normal_(p, std=.5 / max(1, p[0].numel()) ** .5) if p.ndim > 1 and p[0].numel() > 1 else nn.init.normal_(p, 1 if p.ndim > 1 else 0, .1)
    ref = AutoencoderKLWan(base_dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1, temperal_downsample=[False, True, True]).eval()
    ref.load_state_dict(to_diffusers(mine.state_dict()))
    x = torch.rand(1, 3, 17, 48, 64) * 2 - 1
    with torch.no_grad():
        a, b = torch.cat(mine.encode(x), 1), ref.encode(x).latent_dist.parameters
        print("encode", (a - b).abs().max().item() / b.abs().max().item())
        z = torch.randn(1, 16, 5, 6, 8)
        a, b = mine.decode(z), ref.decode(z).sample
        print("decode", (a.clamp(-1, 1) - b).abs().max().item() / b.abs().max().item(), b.abs().mean().item(), b.shape)


if __name__ == "__main__":
    check()
