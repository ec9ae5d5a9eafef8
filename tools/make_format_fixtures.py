#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Small files for tests/unit/test_lora.c and test_scale.c, with results that torch computed in f32.

usage: python tools/make_format_fixtures.py [OUT]      needs: torch safetensors peft numpy (PyPI)

base.safetensors is a piece of a Wan transformer (random, odd sizes). Each LoRA below has a
<name>.want.safetensors: the tensors it changes, after merging at scale 1 (or as said).
  peft/            made and merged by PEFT itself: lora_alpha 12, r 4 in adapter_config.json
  comfy            diffusion_model. names, lora_down/up, alpha, a conv, .diff and .diff_b
  kohya            lora_unet_ names with underscores, alpha
  diffusers        transformer. prefix, diffusers layers, lora_A/lora_B, no alpha
  torch.pt         generator_lora sub-dict, PEFT names, no config: alpha = r
  both             peft at 0.5 and comfy at -0.25
Scaled files have <name>.want.safetensors too: fp8_comfy, fp8_rows, i8_rows, fp8_plain."""
import json
import os
import sys

import torch
from safetensors.torch import load_file, save_file

OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "tests",
                                                         "golden", "formats")
D, F, R = 20, 34, 4
gen = torch.Generator().manual_seed(20)


def rnd(*shape):
    return torch.randn(*shape, generator=gen)


def path(*names):
    p = os.path.join(OUT, *names)
    os.makedirs(os.path.dirname(p), exist_ok=True)
    return p


LINEARS = {"blocks.0.self_attn.q": (D, D), "blocks.0.self_attn.k": (D, D),
           "blocks.0.cross_attn.o": (D, D), "blocks.0.ffn.0": (F, D), "blocks.0.ffn.2": (D, F)}
base = {n + ".weight": rnd(*s) for n, s in LINEARS.items()}
base["blocks.0.self_attn.k.weight"] = base["blocks.0.self_attn.k.weight"].bfloat16()
base["blocks.0.ffn.0.weight"] = base["blocks.0.ffn.0.weight"].half()
base |= {n + ".bias": rnd(s[0]) for n, s in LINEARS.items()}
base["blocks.0.norm3.weight"] = rnd(D)
base["patch_embedding.weight"] = rnd(D, 3, 1, 2, 2)
save_file(base, path("base.safetensors"))
f32 = {k: v.float() for k, v in base.items()}


def save_want(name, changed):
    save_file({k: v.contiguous() for k, v in changed.items()}, path(name + ".want.safetensors"))


def delta(a, b, scale):
    w = b.flatten(1).float() @ a.flatten(1).float()
    return scale * w


# -- PEFT ------------------------------------------------------------------------------------------
class Attn(torch.nn.Module):
    def __init__(self, names):
        super().__init__()
        for n in names:
            setattr(self, n, torch.nn.Linear(D, D))


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn, self.cross_attn = Attn("qk"), Attn("o")
        self.ffn = torch.nn.Sequential(torch.nn.Linear(D, F), torch.nn.GELU(), torch.nn.Linear(F, D))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block()])


def make_peft():
    from peft import LoraConfig, get_peft_model
    m = Model()
    m.load_state_dict({k: v for k, v in f32.items() if k[:6] == "blocks" and "norm3" not in k})
    m = get_peft_model(m, LoraConfig(r=R, lora_alpha=12, target_modules=["q", "k", "o", "ffn.0", "ffn.2"]))
    with torch.no_grad():
        for n, p in m.named_parameters():
            if "lora_" in n:
                p.copy_(rnd(*p.shape) * 0.3)
    m.save_pretrained(path("peft"))
    os.remove(path("peft", "README.md"))
    config = json.load(open(path("peft", "adapter_config.json")))
    json.dump({k: config[k] for k in ("peft_type", "r", "lora_alpha", "use_rslora", "use_dora",
                                      "alpha_pattern", "rank_pattern")},
              open(path("peft", "adapter_config.json"), "w"), indent=1)
    merged = m.merge_and_unload().state_dict()
    changed = {n + ".weight": merged[n + ".weight"] for n in LINEARS}
    save_want("peft", changed)
    return changed


def make_comfy():
    lora, want = {}, {}
    for i, (n, (o, c)) in enumerate(LINEARS.items()):
        a, b = rnd(R, c).half(), rnd(o, R).half()
        lora[f"diffusion_model.{n}.lora_down.weight"], lora[f"diffusion_model.{n}.lora_up.weight"] = a, b
        alpha = [1.0, 4.0, 8.0, 2.5, None][i]
        if alpha is not None:
            lora[f"diffusion_model.{n}.alpha"] = torch.tensor(alpha)
        want[n + ".weight"] = f32[n + ".weight"] + delta(a, b, (R if alpha is None else alpha) / R)
    a, b = rnd(R, 3, 1, 2, 2), rnd(D, R, 1, 1, 1)
    lora["diffusion_model.patch_embedding.lora_down.weight"] = a
    lora["diffusion_model.patch_embedding.lora_up.weight"] = b
    w = f32["patch_embedding.weight"]
    want["patch_embedding.weight"] = w + delta(a, b, 1).reshape(w.shape)
    lora["diffusion_model.blocks.0.norm3.diff"] = rnd(D)
    want["blocks.0.norm3.weight"] = f32["blocks.0.norm3.weight"] + lora["diffusion_model.blocks.0.norm3.diff"]
    lora["diffusion_model.blocks.0.ffn.2.diff_b"] = rnd(D).bfloat16()
    want["blocks.0.ffn.2.bias"] = (f32["blocks.0.ffn.2.bias"]
                                   + lora["diffusion_model.blocks.0.ffn.2.diff_b"].float())
    save_file(lora, path("comfy.safetensors"))
    save_want("comfy", want)
    return want


def make_kohya():
    lora, want = {}, {}
    for n in ("blocks.0.self_attn.q", "blocks.0.ffn.2"):
        o, c = LINEARS[n]
        a, b, k = rnd(R, c).bfloat16(), rnd(o, R).bfloat16(), "lora_unet_" + n.replace(".", "_")
        lora |= {k + ".lora_down.weight": a, k + ".lora_up.weight": b, k + ".alpha": torch.tensor(2.0)}
        want[n + ".weight"] = f32[n + ".weight"] + delta(a, b, 2.0 / R)
    save_file(lora, path("kohya.safetensors"))
    save_want("kohya", want)


def make_diffusers():
    theirs = {"blocks.0.self_attn.q": "blocks.0.attn1.to_q", "blocks.0.cross_attn.o": "blocks.0.attn2.to_out.0",
              "blocks.0.ffn.0": "blocks.0.ffn.net.0.proj", "blocks.0.ffn.2": "blocks.0.ffn.net.2"}
    lora, want = {}, {}
    for n, t in theirs.items():
        o, c = LINEARS[n]
        a, b = rnd(R, c), rnd(o, R)
        lora |= {f"transformer.{t}.lora_A.weight": a, f"transformer.{t}.lora_B.weight": b}
        want[n + ".weight"] = f32[n + ".weight"] + delta(a, b, 1)
    save_file(lora, path("diffusers.safetensors"))
    save_want("diffusers", want)


def make_torch():
    lora, want = {}, {}
    for n in ("blocks.0.self_attn.k", "blocks.0.ffn.0"):
        o, c = LINEARS[n]
        a, b = rnd(R, c), rnd(R, o).t()  # B lies transposed: a strided tensor
        k = f"base_model.model.{n}"
        lora |= {k + ".lora_A.default.weight": a, k + ".lora_B.default.weight": b}
        want[n + ".weight"] = f32[n + ".weight"] + delta(a, b, 1)
    torch.save({"generator_lora": lora, "step": 7}, path("torch.pt"))
    save_want("torch", want)


def make_both(peft, comfy):
    want = {}
    for k in comfy:
        want[k] = f32[k] - 0.25 * (comfy[k] - f32[k]) + 0.5 * (peft[k] - f32[k] if k in peft else 0)
    save_want("both", want)


# -- scales ----------------------------------------------------------------------------------------
def make_scaled():
    q, k, o, f0, f2 = (n for n in LINEARS)
    plain = {n + ".bias": f32[n + ".bias"] for n in LINEARS}
    comfy, rows, i8, want = dict(plain), dict(plain), dict(plain), {n: {} for n in ("comfy", "rows", "i8", "plain")}
    raw = dict(plain)
    for n in LINEARS:
        w = f32[n + ".weight"]
        dt = torch.float8_e5m2 if n == f2 else torch.float8_e4m3fn
        s = (w.abs().max() / 448).float()
        comfy[n + ".weight"], comfy[n + ".scale_weight"] = (w / s).to(dt), s
        want["comfy"][n + ".weight"] = comfy[n + ".weight"].float() * s
        r = (w.abs().amax(1, keepdim=True) / 448).float()
        rows["model." + n + ".weight"], rows["model." + n + ".weight_scale"] = (w / r).to(dt), r
        want["rows"][n + ".weight"] = rows["model." + n + ".weight"].float() * r
        r = (w.abs().amax(1, keepdim=True) / 127).float()
        i8[n + ".weight"], i8[n + ".weight_scale"] = (w / r).round().to(torch.int8), r
        want["i8"][n + ".weight"] = i8[n + ".weight"].float() * r
        raw[n + ".weight"] = w.to(dt)
        want["plain"][n + ".weight"] = raw[n + ".weight"].float()
    comfy["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    comfy[q + ".scale_input"] = torch.tensor(1.5)
    comfy["model.diffusion_model." + k + ".comfy_quant"] = torch.tensor(
        list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    save_file(comfy, path("fp8_comfy.safetensors"))
    save_file(rows, path("fp8_rows.safetensors"))
    save_file(i8, path("i8_rows.safetensors"))
    save_file(raw, path("fp8_plain.safetensors"))
    for n, f in (("comfy", "fp8_comfy"), ("rows", "fp8_rows"), ("i8", "i8_rows"), ("plain", "fp8_plain")):
        save_want(f, want[n])


torch.manual_seed(21)
peft_want = make_peft()
comfy_want = make_comfy()
make_kohya()
make_diffusers()
make_torch()
make_both(peft_want, comfy_want)
make_scaled()
# every value of E4M3 from f32, for the writer: some floats and what torch rounds them to
x = torch.cat([torch.randn(600, generator=gen) * s for s in (1e-3, 0.02, 1, 40, 150)]).clamp(-448, 448)
x = torch.cat([x, torch.arange(0, 128, dtype=torch.uint8).view(torch.float8_e4m3fn).float()[:127],
               torch.tensor([2.0 ** -10, 3 * 2.0 ** -10, 2.0 ** -11, -0.0, 17.0, 19.0, 0.01171875])])
save_file({"x": x, "e4m3": x.to(torch.float8_e4m3fn).view(torch.uint8)}, path("e4m3.safetensors"))
