"""The causal Wan DiT and the UMT5 text encoder at small widths, in PyTorch, with the names of the real checkpoints.

Role     one implementation for training (many chunks in one pass, an attention plan instead of a mask) and for
         streaming (chunks against a cache): train/dit.py, train/distill.py, train/reference.py.
Maths    docs of the architecture: Wan2.1 model.py; per-frame time step as in Self Forcing.  RMS norm of q and k over
         the full width, RoPE on adjacent pairs (channels t | h | w), cross-attention over all text rows unmasked.
         Registers: R trained key/value pairs a block, keys neither normed nor rotated.  Sink logit: exp(s) is added to
         the softmax denominator, here as one more key of score s and value 0 (a padded channel carries the score).
Plan     a list of (queries, context): the chunks `queries` see [registers | context ... | queries], and the temporal
         position of a chunk is its place in that list times 3 (policy `slot`).  Ids >= 0 are chunks of this pass,
         ids < 0 are entries -1-i of the external cache.
Pitfalls input patches are (c, ph, pw), output patches (ph, pw, c).  The head takes e, the blocks take e0.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

CHUNK, LH, LW = 3, 12, 20
GH, GW = LH // 2, LW // 2
TOK = CHUNK * GH * GW


class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Attention(nn.Module):
    def __init__(self, dim, heads, registers=0):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k, self.heads = RMSNorm(dim), RMSNorm(dim), heads
        if registers:
            hd = dim // heads
            self.register_k = nn.Parameter(torch.randn(registers, heads, hd) * .5)
            self.register_v = nn.Parameter(torch.randn(registers, heads, hd) * .1)
            self.sinks = nn.Parameter(torch.zeros(heads))

    def split(self, x):
        """[B,C,L,d] -> [B,C,heads,L,hd]"""
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)


def rotate(x, f):
    """x [..,L,hd] by the unit complex numbers f [L,hd/2] over adjacent pairs."""
    y = torch.view_as_complex(x.float().unflatten(-1, (-1, 2))) * f
    return torch.view_as_real(y).flatten(-2).to(x.dtype)


def attention(q, k, v, hd):
    """softmax(q k^T / sqrt(hd)) v.  On a CPU plain products train about twice as fast as the fused kernel at these sizes."""
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, F.pad(v, (0, q.shape[-1] - v.shape[-1])), scale=1 / math.sqrt(hd))[..., :hd]
    return torch.softmax((q * (1 / math.sqrt(hd))) @ k.mT, -1) @ v


class Block(nn.Module):
    def __init__(self, dim, ffn, heads, registers):
        super().__init__()
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim ** .5)
        self.self_attn = Attention(dim, heads, registers)
        self.cross_attn = Attention(dim, heads)
        self.norm3 = nn.LayerNorm(dim, 1e-6)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn), nn.GELU("tanh"), nn.Linear(ffn, dim))

    def attend(self, h, plan, freqs, ext, sink):
        a = self.self_attn
        q, k, v = a.split(a.norm_q(a.q(h)).to(h.dtype)), a.split(a.norm_k(a.k(h)).to(h.dtype)), a.split(a.v(h))
        b, pad, rot = h.shape[0], 8, {}
        dt = v.dtype
        hd = q.shape[-1]
        qc, kc, vc = (z.unbind(1) for z in (q, k, v))             # one gradient per chunk, not a zero tensor per use

        def key(i, p):
            if (i, p) not in rot:
                rot[i, p] = F.pad(rotate(kc[i] if i >= 0 else ext[-1 - i][0], freqs[p]), (0, pad))
            return rot[i, p].to(dt)

        if sink:
            rk = F.pad(a.register_k.transpose(0, 1), (0, pad))
            sk = F.pad(a.sinks.view(-1, 1, 1), (hd, pad - 1))
            rk, rv = torch.cat([rk, sk], 1).to(dt).expand(b, -1, -1, -1), F.pad(a.register_v.transpose(0, 1), (0, 0, 0, 1)).to(dt).expand(b, -1, -1, -1)
        out = [None] * h.shape[1]
        for qs, ctx in plan:
            ks = ([rk] if sink else []) + [key(i, p) for p, i in enumerate(list(ctx) + list(qs))]
            vs = ([rv] if sink else []) + [vc[i] if i >= 0 else ext[-1 - i][1].to(dt) for i in list(ctx) + list(qs)]
            qq = torch.cat([rotate(qc[i], freqs[len(ctx) + j]) for j, i in enumerate(qs)], 2)
            qq = torch.cat([qq.to(dt), qq.new_full((), math.sqrt(hd)).to(dt).expand(*qq.shape[:-1], 1), qq.new_zeros((), dtype=dt).expand(*qq.shape[:-1], pad - 1)], -1)
            y = attention(qq, torch.cat(ks, 2), torch.cat(vs, 2), hd)
            for j, i in enumerate(qs):
                out[i] = y[:, :, j * TOK:(j + 1) * TOK]
        return a.o(torch.stack(out, 1).transpose(2, 3).flatten(3)), k, v

    def forward(self, x, e0, ckv, plan, freqs, ext, sink):
        m = (self.modulation + e0).unsqueeze(-2).unbind(2)                # six of [B,C,1,d]
        ln = lambda y: F.layer_norm(y.float(), y.shape[-1:], eps=1e-6)
        y, k, v = self.attend(ln(x) * (1 + m[1]) + m[0], plan, freqs, ext, sink)
        x = x + y * m[2]
        c = self.cross_attn
        b, n, L, d = x.shape
        q = c.norm_q(c.q(self.norm3(x))).to(ckv[1].dtype)
        y = F.scaled_dot_product_attention(q.reshape(b, n * L, c.heads, -1).transpose(1, 2), *ckv)
        x = x + c.o(y.transpose(1, 2).reshape(b, n, L, d))
        return x + self.ffn(ln(x) * (1 + m[4]) + m[3]) * m[5], k, v


class Head(nn.Module):
    def __init__(self, dim, out):
        super().__init__()
        self.head = nn.Linear(dim, out)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim ** .5)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)


class WanDiT(nn.Module):
    def __init__(self, dim=256, layers=8, heads=4, ffn=1024, text_dim=192, freq_dim=256, channels=16, registers=4):
        super().__init__()
        self.cfg = dict(dim=dim, layers=layers, heads=heads, ffn=ffn, text_dim=text_dim, freq_dim=freq_dim, channels=channels, registers=registers)
        self.patch_embedding = nn.Conv3d(channels, dim, (1, 2, 2), (1, 2, 2))
        self.text_embedding = nn.Sequential(nn.Linear(text_dim, dim), nn.GELU("tanh"), nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(dim, ffn, heads, registers) for _ in range(layers))
        self.head = Head(dim, 4 * channels)
        hd = dim // heads
        dh = 2 * (hd // 6)
        ang = []
        for width, n in ((hd - 2 * dh, 64), (dh, GH), (dh, GW)):
            w = 10000. ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
            ang.append(torch.arange(n, dtype=torch.float64)[:, None] * w)
        t, h, w = ang
        f = torch.cat([t[:, None, None].expand(-1, GH, GW, -1), h[None, :, None].expand(64, -1, GW, -1), w[None, None].expand(64, GH, -1, -1)], -1)
        self.register_buffer("freqs", torch.polar(torch.ones_like(f), f).to(torch.complex64)[:63].reshape(21, TOK, hd // 2), persistent=False)

    def text(self, rows):
        """Text rows [B,64,text_dim] (zero past the prompt) -> cross-attention keys and values of every block."""
        c = self.text_embedding(rows)
        out = []
        for bl in self.blocks:
            a = bl.cross_attn
            v = a.v(c)
            k = a.norm_k(a.k(c)).to(v.dtype)
            out.append(tuple(z.unflatten(-1, (a.heads, -1)).transpose(1, 2) for z in (k, v)))
        return out

    def forward(self, x, t, ckv, plan, ext=None, collect=False, sink=True):
        """x [B,C,3,16,12,20], t [B,C] in 0..1000 -> flow like x (and, with collect, [(k, v) of every block])."""
        b, n = x.shape[:2]
        d = self.cfg["dim"]
        p = x.reshape(b, n, CHUNK, -1, GH, 2, GW, 2).permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(b, n, TOK, -1)
        h = F.linear(p, self.patch_embedding.weight.view(d, -1), self.patch_embedding.bias).float()
        half = self.cfg["freq_dim"] // 2
        a = t.double()[..., None] * 10000. ** (-torch.arange(half, dtype=torch.float64, device=t.device) / half)
        e = self.time_embedding(torch.cat([a.cos(), a.sin()], -1).float()).float()
        e0 = self.time_projection(e).float().unflatten(-1, (6, d))
        kv = []
        for i, bl in enumerate(self.blocks):
            h, k, v = bl(h, e0, ckv[i], plan, self.freqs, ext[i] if ext else None, sink)
            if collect:
                kv.append((k, v))
        m = self.head.modulation[:, None] + e[:, :, None]
        o = F.layer_norm(h, (d,), eps=1e-6) * (1 + m[:, :, 1:]) + m[:, :, :1]
        o = self.head.head(o).float().view(b, n, CHUNK, GH, GW, 2, 2, -1).permute(0, 1, 2, 7, 3, 5, 4, 6).reshape(x.shape)
        return (o, kv) if collect else o


# ---------------------------------------------------------------- text
class T5Attention(nn.Module):
    def __init__(self, dim, heads, hd):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(dim, heads * hd, bias=False) for _ in range(3))
        self.o = nn.Linear(heads * hd, dim, bias=False)
        self.relative_attention_bias = nn.Embedding(32, heads)
        self.heads = heads
        nn.init.normal_(self.q.weight, std=(dim * hd) ** -.5)
        for m in (self.k, self.v, self.o):
            nn.init.normal_(m.weight, std=dim ** -.5)
        nn.init.normal_(self.relative_attention_bias.weight, std=.3)

    def forward(self, x, bucket, mask):
        b, n, _ = x.shape
        q, k, v = (f(x).view(b, n, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        bias = self.relative_attention_bias(bucket).permute(2, 0, 1)[None].float() + mask
        p = ((q @ k.mT).float() + bias).softmax(-1).to(v.dtype)
        return self.o((p @ v).transpose(1, 2).reshape(b, n, -1))


class T5Layer(nn.Module):
    def __init__(self, kind, dim, *a):
        super().__init__()
        if kind == "a":
            self.SelfAttention = T5Attention(dim, *a)
        else:
            self.DenseReluDense = nn.ModuleDict(dict(wi_0=nn.Linear(dim, a[0], bias=False), wi_1=nn.Linear(dim, a[0], bias=False), wo=nn.Linear(a[0], dim, bias=False)))
        self.layer_norm = RMSNorm(dim)


class T5Block(nn.Module):
    def __init__(self, dim, heads, hd, ff):
        super().__init__()
        self.layer = nn.ModuleList([T5Layer("a", dim, heads, hd), T5Layer("f", dim, ff)])

    def forward(self, x, bucket, mask):
        a, f = self.layer
        x = x + a.SelfAttention(a.layer_norm(x), bucket, mask)
        h, d = f.layer_norm(x), f.DenseReluDense
        return x + d["wo"](F.gelu(d["wi_0"](h), approximate="tanh") * d["wi_1"](h))


class Stack(nn.Module):
    def __init__(self, dim, layers, heads, hd, ff):
        super().__init__()
        self.block = nn.ModuleList(T5Block(dim, heads, hd, ff) for _ in range(layers))
        self.final_layer_norm = RMSNorm(dim)


class UMT5(nn.Module):
    """Ids [B,n] (0 = pad, behind the prompt) -> rows [B,n,dim], zero where padded."""

    def __init__(self, vocab, dim=192, layers=4, heads=6, hd=32, ff=512):
        super().__init__()
        self.cfg = dict(vocab_size=vocab, d_model=dim, num_layers=layers, num_heads=heads, d_kv=hd, d_ff=ff)
        self.shared = nn.Embedding(vocab, dim)
        self.encoder = Stack(dim, layers, heads, hd, ff)

    def forward(self, ids):
        n = ids.shape[1]
        rel = torch.arange(n, device=ids.device)[None] - torch.arange(n, device=ids.device)[:, None]
        a = rel.abs()
        big = 8 + sum((a >= s).long() for s in (12, 16, 23, 32, 46, 64, 91))
        bucket = torch.where(a < 8, a, big) + 16 * (rel > 0).long()
        keep = (ids != 0)
        mask = torch.where(keep, 0., -1e9)[:, None, None]
        x = self.shared(ids).float()
        for bl in self.encoder.block:
            x = bl(x, bucket, mask)
        return self.encoder.final_layer_norm(x) * keep[..., None]
