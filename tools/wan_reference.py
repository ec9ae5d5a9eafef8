# SPDX-License-Identifier: Apache-2.0
"""A causal Wan DiT in plain PyTorch, float64: the oracle of make_dit_fixtures.py and make_rollout_fixtures.py.

Built on the submodules of diffusers' WanTransformer3DModel (linears, RMS norms, feed-forward), with what diffusers has
not: one timestep per frame, keys of past frames at given positions, registers, register tokens and sink logits. No
cache tricks: keys are kept un-rotated per frame and everything visible is rotated anew on every pass.
"""
import json
import math

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file

ATTN = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "o", "norm_q": "norm_q", "norm_k": "norm_k"}
PLAIN = {
    "condition_embedder.text_embedder.linear_1": "text_embedding.0", "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0", "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1", "proj_out": "head.head", "patch_embedding": "patch_embedding",
}


def original_name(key):
    """diffusers name -> original Wan name."""
    if key == "scale_shift_table":
        return "head.modulation"
    if not key.startswith("blocks."):
        stem, leaf = key.rsplit(".", 1)
        return f"{PLAIN[stem]}.{leaf}"
    _, n, rest = key.split(".", 2)
    if rest == "scale_shift_table":
        return f"blocks.{n}.modulation"
    part, leaf = rest.split(".", 1)
    if part in ("attn1", "attn2"):
        stem, leaf = leaf.rsplit(".", 1)
        return f"blocks.{n}.{'self' if part == 'attn1' else 'cross'}_attn.{ATTN[stem]}.{leaf}"
    if part == "norm2":
        return f"blocks.{n}.norm3.{leaf}"
    assert part == "ffn", key
    return f"blocks.{n}.ffn.{leaf.replace('net.0.proj', '0').replace('net.2', '2')}"


def make_model(seed, heads, head_dim, layers, ffn, channels, text_dim, freq_dim):
    """Random weights with enough spread that every path matters, rounded to bf16 (exact in f32, half the bytes)."""
    torch.manual_seed(seed)
    model = WanTransformer3DModel(num_attention_heads=heads, attention_head_dim=head_dim, in_channels=channels, out_channels=channels,
                                  text_dim=text_dim, freq_dim=freq_dim, ffn_dim=ffn, num_layers=layers)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                p.copy_(1 + 0.3 * torch.randn_like(p))
            elif name.endswith("bias"):
                p.copy_(0.1 * torch.randn_like(p))
            elif "scale_shift_table" in name:
                p.copy_(0.5 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) / p[0].numel() ** 0.5)
            p.copy_(p.bfloat16().float())
    return model.eval()


def make_sinks(seed, heads, head_dim, layers, registers, tokens):
    g = torch.Generator().manual_seed(seed)
    r = lambda *s: torch.randn(*s, generator=g).bfloat16().float()
    return {"register_k": [2 * r(registers, heads, head_dim) for _ in range(layers)], "register_v": [r(registers, heads, head_dim) for _ in range(layers)],
            "sinks": [1 + r(heads) for _ in range(layers)], "register_tokens": r(1, tokens, heads * head_dim)}


def load(folder):
    """The model and the sinks of a fixture folder."""
    state = load_file(folder / "diffusers.safetensors")
    heads_dim = json.loads((folder / "config.json").read_text())["attention_head_dim"]
    dim, channels = state["patch_embedding.weight"].shape[:2]
    layers = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("blocks."))
    model = WanTransformer3DModel(num_attention_heads=dim // heads_dim, attention_head_dim=heads_dim, in_channels=channels,
                                  out_channels=channels, text_dim=state["condition_embedder.text_embedder.linear_1.weight"].shape[1],
                                  freq_dim=state["condition_embedder.time_embedder.linear_1.weight"].shape[1],
                                  ffn_dim=state["blocks.0.ffn.net.0.proj.weight"].shape[0], num_layers=layers)
    model.load_state_dict({k: v.float() for k, v in state.items()})
    own = load_file(folder / "original.safetensors")
    sinks = {k: [own[f"blocks.{i}.self_attn.{k}"] for i in range(layers)] for k in ("register_k", "register_v", "sinks")}
    return model.eval(), sinks | {"register_tokens": own["register_tokens"]}


class Reference:
    def __init__(self, model, text, sinks=None):
        self.m = model.double()
        self.heads, self.hd = model.config.num_attention_heads, model.config.attention_head_dim
        self.layers = len(model.blocks)
        self.eps = model.config.eps
        self.sinks = sinks
        self.ctx = self.m.condition_embedder.text_embedder(text.double()[None])[0]
        self.tokens = self.token_keys() if sinks else None

    def time(self, t):
        """e [F,D], e0 [F,6,D]"""
        ce, n = self.m.condition_embedder, self.m.config.freq_dim // 2
        w = 10000.0 ** (-torch.arange(n, dtype=torch.float64) / n)
        a = torch.tensor(t, dtype=torch.float64)[:, None] * w
        e = ce.time_embedder(torch.cat([a.cos(), a.sin()], 1))
        return e, ce.time_proj(F.silu(e)).unflatten(1, (6, -1))

    def rotate(self, x, pos, gh, gw):
        """x [len(pos)*gh*gw, H, hd]; pos: temporal position of each frame."""
        if not pos:
            return x
        hw = 2 * (self.hd // 6)
        freq = lambda p, d: p[:, None] * 10000.0 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
        f, h, w = torch.meshgrid(torch.tensor(pos, dtype=torch.float64), torch.arange(gh).double(), torch.arange(gw).double(), indexing="ij")
        a = torch.cat([freq(f.flatten(), self.hd - 2 * hw), freq(h.flatten(), hw), freq(w.flatten(), hw)], 1)[:, None]
        z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(torch.ones_like(a), a)
        return torch.view_as_real(z).flatten(-2)

    def attend(self, q, k, v, sink=None):
        s = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(self.hd)
        if sink is not None:
            s = torch.cat([s, sink.double()[:, None, None].expand(-1, s.shape[1], 1)], 2)
        p = s.softmax(-1)[..., : k.shape[0]]
        return torch.einsum("hqk,khd->qhd", p, v).flatten(1)

    def norm(self, x):
        return F.layer_norm(x, x.shape[-1:], eps=self.eps)

    def qkv(self, attn, x, y):
        split = lambda z: z.unflatten(-1, (self.heads, self.hd))
        return split(attn.norm_q(attn.to_q(x))), split(attn.norm_k(attn.to_k(y))), split(attn.to_v(y))

    def block(self, i, x, e0, see):
        """see(q, k, v) -> heads of the self-attention. Returns x and the un-rotated k, v."""
        b = self.m.blocks[i]
        m = (b.scale_shift_table + e0).unbind(-2)
        q, k, v = self.qkv(b.attn1, h := self.norm(x) * (1 + m[1]) + m[0], h)
        x = x + b.attn1.to_out[0](see(q, k, v)) * m[2]
        h = F.layer_norm(x, x.shape[-1:], b.norm2.weight, b.norm2.bias, self.eps)
        cq, ck, cv = self.qkv(b.attn2, h, self.ctx)
        x = x + b.attn2.to_out[0](self.attend(cq, ck, cv))
        return x + b.ffn(self.norm(x) * (1 + m[4]) + m[3]) * m[5], k, v

    def token_keys(self):
        """Register tokens: a sequence of their own at t = 0, without positions, seeing themselves and the text."""
        x, keys = self.sinks["register_tokens"][0].double(), []
        e0 = self.time([0.0])[1]
        for i in range(self.layers):
            x, k, v = self.block(i, x, e0, lambda q, k, v: self.attend(q, k, v, self.sinks["sinks"][i]))
            keys.append((k, v))
        return keys

    @torch.no_grad()
    def forward(self, x, t, pos, past=(), past_pos=()):
        """x [F,C,h,w], t and pos per frame; past: per frame a list over layers of un-rotated (k, v) at past_pos.
        Returns the flow and, per frame of x, its list over layers of un-rotated (k, v)."""
        frames, _, hh, ww = x.shape
        gh, gw = hh // 2, ww // 2
        tok = gh * gw
        e, e0 = (z.repeat_interleave(tok, 0) for z in self.time(t))
        z = self.m.patch_embedding(x.double().transpose(0, 1)[None]).flatten(2)[0].T
        kept = [[] for _ in range(frames)]
        for i in range(self.layers):
            def see(q, k, v):
                ks = [self.rotate(torch.cat([p[i][0] for p in past]), past_pos, gh, gw)] if past else []
                vs = [p[i][1] for p in past]
                ks, vs = ks + [self.rotate(k, pos, gh, gw)], vs + [v]
                if self.sinks:
                    ks = [self.sinks["register_k"][i].double(), self.tokens[i][0]] + ks
                    vs = [self.sinks["register_v"][i].double(), self.tokens[i][1]] + vs
                return self.attend(self.rotate(q, pos, gh, gw), torch.cat(ks), torch.cat(vs), self.sinks and self.sinks["sinks"][i])
            z, k, v = self.block(i, z, e0, see)
            for f in range(frames):
                kept[f].append((k[f * tok:(f + 1) * tok], v[f * tok:(f + 1) * tok]))
        shift, scale = (self.m.scale_shift_table + e[:, None]).unbind(1)
        o = self.m.proj_out(self.norm(z) * (1 + scale) + shift)
        return o.reshape(frames, gh, gw, 2, 2, -1).permute(0, 5, 1, 3, 2, 4).reshape(frames, -1, hh, ww), kept
