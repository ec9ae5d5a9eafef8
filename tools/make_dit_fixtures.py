#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make tests/golden/dit: a tiny random Wan DiT and what diffusers' WanTransformer3DModel computes with it.

Usage    python tools/make_dit_fixtures.py OUT_DIR         (torch, diffusers, safetensors; no network)
Maths    flows without registers come from diffusers in f32, with its per-token timesteps as per-frame ones; flows with registers,
         register tokens and sink logits from wan_reference.py in f64, which is first held against diffusers here.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

from wan_reference import Reference, make_model, make_sinks, original_name

SIZES = dict(heads=2, head_dim=20, layers=3, ffn=84, channels=8, text_dim=20, freq_dim=18)
TEXT_LEN, TEXT_USED = 11, 7
# name: frames, timesteps
CASES = {"frames": [1000.0, 937.5, 937.5, 250.25, 0.0], "pairs": [833.25, 833.25, 62.5, 62.5], "same": [625.0, 625.0, 625.0]}


def by_diffusers(model, x, t, text):
    tokens = x.shape[2] * x.shape[3] // 4
    ts = torch.tensor(t).repeat_interleave(tokens)[None]
    with torch.no_grad():
        return model(x.transpose(0, 1)[None], ts, text[None]).sample[0].transpose(0, 1).contiguous()


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    model = make_model(7, **SIZES)
    sinks = make_sinks(8, SIZES["heads"], SIZES["head_dim"], SIZES["layers"], registers=3, tokens=2)
    weights = {k: v.bfloat16() if v.dim() > 1 else v for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in weights.items()}, out / "diffusers.safetensors")
    original = {original_name(k): v.contiguous() for k, v in weights.items()}
    for i in range(SIZES["layers"]):
        for k in ("register_k", "register_v", "sinks"):
            original[f"blocks.{i}.self_attn.{k}"] = sinks[k][i]
    original["register_tokens"] = sinks["register_tokens"]
    save_file(original, out / "original.safetensors")
    (out / "config.json").write_text(json.dumps({"attention_head_dim": SIZES["head_dim"], "text_len": TEXT_LEN}) + "\n")

    torch.manual_seed(9)
    text = torch.randn(TEXT_LEN, SIZES["text_dim"])
    text[TEXT_USED:] = 0
    io = {"text": text}
    for name, t in CASES.items():
        io[f"{name}.x"] = torch.randn(len(t), SIZES["channels"], 6, 10).bfloat16().float()
        io[f"{name}.t"] = torch.tensor(t)
        io[f"{name}.flow"] = by_diffusers(model, io[f"{name}.x"], t, text)
    plain = Reference(model, text)
    full = Reference(model, text, sinks)
    for name, t in CASES.items():
        x, pos = io[f"{name}.x"], list(range(len(t)))
        flow = plain.forward(x, t, pos)[0]
        rel = ((flow - io[f"{name}.flow"]).norm() / flow.norm()).item()
        print(f"{name}: reference against diffusers {rel:.1e}")
        assert rel < 1e-5
        io[f"{name}.flow_registers"] = full.forward(x, t, [p + 7 for p in pos])[0].float()
        print(f"  registers change it by {((io[f'{name}.flow_registers'] - flow).norm() / flow.norm()).item():.2f}")
    save_file({k: v.bfloat16() if k.endswith(".x") else v for k, v in io.items()}, out / "io.safetensors")


main()
